//! Sockets that are listened on: opened before anything runs, with the mode and the options that they need.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::StartError;
use super::handover::{Estate, Inherited};
use crate::config::{ListenAddress, Settings};

/// Clients that wait to be accepted. The system bounds it by `net.core.somaxconn`, which is 4096 unless somebody chose
/// otherwise; std's 128 would be full when as many clients come back at once after a restart.
const BACKLOG: i32 = 4096;

/// Where a listener listens, with the real port.
#[derive(Clone, PartialEq, Eq)]
pub enum LocalAddress {
    /// An address of this machine.
    Inet(SocketAddr),
    /// The file of a Unix socket.
    Unix(Arc<Path>),
}

impl LocalAddress {
    /// The address and the port; none of a Unix socket.
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for LocalAddress {
    /// As it would stand in a configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An open socket that is listened on.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) address: LocalAddress,
    pub(super) descriptor: OwnedFd,
    /// Of a Unix socket.
    pub(super) file: Option<SocketFile>,
}

/// All listeners of a gateway.
#[derive(Debug)]
pub(super) struct Sockets {
    /// In the order of `server.listen`.
    pub(super) listen: Vec<Socket>,
    /// Of `admin.listen`.
    pub(super) admin: Socket,
}

impl Sockets {
    /// Opens those that `settings` ask for, or takes them over from the process before.
    pub(super) fn open(settings: &Settings, inherited: &mut Inherited) -> Result<Self, StartError> {
        let addresses: Vec<_> = settings.listen.iter().map(|listener| &listener.address).collect();
        let listen = bind_all(&addresses, inherited)?;
        let admin = bind("admin.listen", &settings.admin_listen, false, inherited)?;
        for address in inherited.left() {
            tracing::info!(address, "is listened at no longer as soon as the process before ends");
        }
        Ok(Self { listen, admin })
    }

    /// Enters them in what a successor gets.
    pub(super) fn enter(&self, settings: &Settings, estate: &Estate) -> Result<(), StartError> {
        let listen = settings.listen.iter().zip(&self.listen);
        let listen = listen.map(|(listener, socket)| ("server.listen", &listener.address, socket));
        for (room, address, socket) in listen.chain([("admin.listen", &settings.admin_listen, &self.admin)]) {
            estate.add(room, address, &socket.descriptor).map_err(StartError::Descriptors)?;
        }
        Ok(())
    }
}

/// `server.listen` of `server.listen[1]`: the position may change from one configuration to the next.
fn room(key: &str) -> &str {
    key.split('[').next().unwrap_or(key)
}

/// Opens the listeners that `server.listen` asks for, in its order.
fn bind_all(addresses: &[&ListenAddress], inherited: &mut Inherited) -> Result<Vec<Socket>, StartError> {
    let open = |(n, address): (usize, &&ListenAddress)| {
        bind(&format!("server.listen[{n}]"), address, serves_ipv6_alone(address, addresses), inherited)
    };
    addresses.iter().enumerate().map(open).collect()
}

/// Opens the listener that `key` asks for, or takes it over from the process before. `ipv6_alone`: on an IPv6 address
/// IPv4 is not served as well.
pub(super) fn bind(
    key: &str,
    address: &ListenAddress,
    ipv6_alone: bool,
    inherited: &mut Inherited,
) -> Result<Socket, StartError> {
    let opened = match (address, inherited.take(room(key), &address.to_string())) {
        (ListenAddress::Inet(_), Some(socket)) => inherited_inet(socket),
        (ListenAddress::Inet(address), None) => inet(*address, ipv6_alone),
        (ListenAddress::Unix { path, mode }, Some(socket)) => inherited_unix(socket, path, *mode),
        (ListenAddress::Unix { path, mode }, None) => unix(path, *mode),
    };
    opened.map_err(|source| StartError::Listen { key: key.to_owned(), address: address.clone(), source })
}

/// `[::]` takes IPv4 in, unless another listener has its port there.
fn serves_ipv6_alone(address: &ListenAddress, all: &[&ListenAddress]) -> bool {
    let ListenAddress::Inet(SocketAddr::V6(own)) = address else { return false };
    let has_ipv4 = |other: &&ListenAddress| match other {
        ListenAddress::Inet(SocketAddr::V4(other)) => other.port() == own.port() && own.port() != 0,
        ListenAddress::Inet(SocketAddr::V6(_)) | ListenAddress::Unix { .. } => false,
    };
    all.iter().any(has_ipv4)
}

fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(net::socket_with(family, SocketType::STREAM, flags, None)?)
}

fn inet(address: SocketAddr, ipv6_alone: bool) -> io::Result<Socket> {
    let socket = stream_socket(if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 })?;
    // Connections of a predecessor that are still winding down must not keep its successor from the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, ipv6_alone)?; // whatever `net.ipv6.bindv6only` says
    }
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
    let address = LocalAddress::Inet(listener.local_addr()?);
    Ok(Socket { address, descriptor: listener.into(), file: None })
}

/// As it listens already.
fn inherited_inet(socket: OwnedFd) -> io::Result<Socket> {
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    let address = LocalAddress::Inet(listener.local_addr()?);
    Ok(Socket { address, descriptor: listener.into(), file: None })
}

/// As it listens already; its mode may be another one from now on.
fn inherited_unix(socket: OwnedFd, path: &Path, mode: u32) -> io::Result<Socket> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    let file = SocketFile::at(path, mode)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(Socket { address: LocalAddress::Unix(Arc::from(path)), descriptor: socket, file: Some(file) })
}

fn unix(path: &Path, mode: u32) -> io::Result<Socket> {
    make_room(path)?;
    let socket = stream_socket(AddressFamily::UNIX)?;
    net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let file = SocketFile::at(path, mode)?;
    // Nobody can connect before this: not before the mode is what it shall be.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    net::listen(&socket, BACKLOG)?;
    Ok(Socket { address: LocalAddress::Unix(Arc::from(path)), descriptor: socket, file: Some(file) })
}

/// Removes the file of a socket that nobody listens on any more: its process had no time to do so.
fn make_room(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) => {}
    }
    match net::connect(stream_socket(AddressFamily::UNIX)?, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path),
        // One that is too busy to take us in lives, too.
        Ok(()) | Err(Errno::AGAIN) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error.into()),
    }
}

/// What a person can do about it.
pub(super) fn advice(address: &ListenAddress, error: &io::Error) -> &'static str {
    match (address, error.kind()) {
        (ListenAddress::Inet(_), io::ErrorKind::AddrInUse) => {
            "something listens there already: stop it, or choose another port"
        }
        (ListenAddress::Inet(_), io::ErrorKind::PermissionDenied) => {
            "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE): grant it, or choose a higher port"
        }
        (ListenAddress::Inet(_), io::ErrorKind::AddrNotAvailable) => {
            "this machine does not have the address: choose one of its own"
        }
        (ListenAddress::Inet(_), _) => "choose another address",
        (ListenAddress::Unix { .. }, io::ErrorKind::AddrInUse) => {
            "something listens there already: stop it, or choose another path"
        }
        (ListenAddress::Unix { .. }, io::ErrorKind::AlreadyExists) => "remove it, or choose another path",
        (ListenAddress::Unix { .. }, io::ErrorKind::NotFound) => "create its directory, or choose another path",
        (ListenAddress::Unix { .. }, io::ErrorKind::PermissionDenied) => {
            "let the gateway's user write in its directory, or choose another path"
        }
        (ListenAddress::Unix { .. }, _) => "choose another path",
    }
}

/// The file of a Unix socket that this process has made: removed when this is dropped, unless another one took its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// For the engine, which sets it again.
    pub(super) mode: u32,
    /// None: it is somebody else's by now.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn at(path: &Path, mode: u32) -> io::Result<Self> {
        let identity = Some(identity(path)?);
        Ok(Self { path: path.to_owned(), mode, identity })
    }

    /// Leaves it to a successor.
    pub(super) fn leave(mut self) {
        self.identity = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some()
            && identity(&self.path).ok() == self.identity
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the file of a Unix socket cannot be removed");
        }
    }
}

/// Device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;
    use std::os::unix::net::{UnixListener, UnixStream};

    use tempfile::TempDir;

    use super::*;

    fn inet_at(address: &str) -> ListenAddress {
        ListenAddress::from(address.parse::<SocketAddr>().unwrap())
    }

    fn unix_at(directory: &TempDir, name: &str) -> ListenAddress {
        ListenAddress::Unix { path: directory.path().join(name), mode: 0o640 }
    }

    fn refusal(address: &ListenAddress) -> String {
        bind("server.listen[1]", address, false, &mut Inherited::default()).unwrap_err().to_string()
    }

    #[test]
    fn a_port_that_is_taken_is_told_with_its_key_and_what_to_do() {
        let first = bind("server.listen[0]", &inet_at("127.0.0.1:0"), false, &mut Inherited::default()).unwrap();
        let address = first.address.inet().unwrap();
        assert_ne!(address.port(), 0);
        let error = refusal(&address.into());
        assert!(error.starts_with(&format!("server.listen[1]: cannot listen on {address}: ")), "{error}");
        assert!(error.ends_with("something listens there already: stop it, or choose another port"), "{error}");
    }

    #[test]
    fn every_address_of_ipv6_takes_ipv4_in_unless_its_port_is_listened_on_there() {
        let whole = bind("x", &inet_at("[::]:0"), false, &mut Inherited::default()).unwrap();
        assert!(TcpStream::connect(("127.0.0.1", whole.address.inet().unwrap().port())).is_ok());
        drop(whole);

        let free = bind("x", &inet_at("127.0.0.1:0"), false, &mut Inherited::default())
            .unwrap()
            .address
            .inet()
            .unwrap()
            .port();
        for ipv4 in ["0.0.0.0", "127.0.0.1"] {
            let both = [inet_at(&format!("[::]:{free}")), inet_at(&format!("{ipv4}:{free}"))];
            let sockets = bind_all(&[&both[0], &both[1]], &mut Inherited::default()).unwrap();
            assert_eq!(sockets.len(), 2);
            let listener = TcpListener::from(sockets.into_iter().next_back().unwrap().descriptor);
            let _client = TcpStream::connect(("127.0.0.1", free)).unwrap();
            listener.set_nonblocking(false).unwrap();
            assert!(listener.accept().unwrap().1.is_ipv4());
        }
    }

    #[test]
    fn the_file_of_a_unix_socket_has_its_mode_and_goes_with_it() {
        let directory = TempDir::new().unwrap();
        let address = unix_at(&directory, "s");
        let socket = bind("x", &address, false, &mut Inherited::default()).unwrap();
        let path = directory.path().join("s");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(socket.address.to_string(), address.to_string());
        assert!(UnixStream::connect(&path).is_ok());
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn the_file_of_another_socket_in_its_place_stays() {
        let directory = TempDir::new().unwrap();
        let socket = bind("x", &unix_at(&directory, "s"), false, &mut Inherited::default()).unwrap();
        let path = directory.path().join("s");
        fs::rename(&path, directory.path().join("moved")).unwrap(); // its inode is not free for the next one
        let _other = UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }

    #[test]
    fn what_a_dead_process_left_is_replaced_and_nothing_else_is() {
        let directory = TempDir::new().unwrap();
        let (address, path) = (unix_at(&directory, "s"), directory.path().join("s"));
        drop(UnixListener::bind(&path).unwrap()); // leaves its file
        let socket = bind("x", &address, false, &mut Inherited::default()).unwrap();
        let error = refusal(&address);
        assert!(error.starts_with(&format!("server.listen[1]: cannot listen on {address}: ")), "{error}");
        assert!(error.ends_with("something listens there already: stop it, or choose another path"), "{error}");
        assert!(UnixStream::connect(&path).is_ok(), "the refused one has left it alone");
        drop(socket);

        fs::write(&path, "precious").unwrap();
        let error = refusal(&address);
        assert!(error.ends_with("there is a file that is no socket; remove it, or choose another path"), "{error}");
        let mut text = String::new();
        fs::File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "precious");
        fs::remove_file(&path).unwrap();

        drop(UnixListener::bind(directory.path().join("elsewhere")).unwrap());
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &path).unwrap();
        assert!(refusal(&address).contains("there is a file that is no socket"));
        assert!(refusal(&unix_at(&directory, "none/s")).ends_with("create its directory, or choose another path"));
    }
}
