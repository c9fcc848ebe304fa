//! Handing the listening sockets over to a successor, so that a new version of the program takes the place of this one
//! and no connection is refused.
//!
//! The successor (`serve --upgrade`) builds everything first, then waits at a Unix socket. SIGQUIT makes the running
//! process connect to it and send its listening sockets; it goes on serving until the successor says over the same
//! connection that it serves, and ends as with SIGTERM then. Whatever happens to the successor before that changes
//! nothing: the connection breaks, and the running process stays. Both must belong to one user: the sockets are a
//! privilege, and whoever could answer in the successor's place would receive every request.

use std::fmt::Display;
use std::fs::{self, DirBuilder};
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_acceptconn, socket_peercred, socket_type};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrAny, SocketAddrUnix, SocketType, getsockname, recvmsg, sendmsg,
};
use rustix::process::geteuid;
use tokio::io::AsyncReadExt;

use crate::clock::Stopwatch;

/// What the first line says, before the number of sockets. Another way of handing over gets another number.
const GREETING: &str = "portcullis-handover 1 ";

/// What a successor says when it serves.
const SERVING: [u8; 8] = *b"serving\n";

/// More sockets are not taken.
const MOST_SOCKETS: usize = 1024;

/// For each message of the other process.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why sockets did not change hands.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The place of the socket is not safe, or cannot be used.
    #[error("server.upgrade_socket: {}: {what}", path.display())]
    Place {
        /// The directory, or the socket.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// Two successors at once.
    #[error("server.upgrade_socket: {}: another successor waits there already: end it, or let it finish", .0.display())]
    Occupied(PathBuf),
    /// Nothing came.
    #[error(
        "no process handed its sockets over within {waited:?}: send SIGQUIT to the running one while this one waits; \
         both need the same `server.upgrade_socket` ({})", path.display()
    )]
    Nobody {
        /// Where was waited.
        path: PathBuf,
        /// For how long.
        waited: Duration,
    },
    /// Nobody waits.
    #[error("no successor waits at {}: start `portcullis serve --upgrade` first", .0.display())]
    NoSuccessor(PathBuf),
    /// The process at the other end belongs to somebody else.
    #[error("the process at the other end belongs to another user (uid {0})")]
    Stranger(u32),
    /// The other process says something else than is agreed.
    #[error("the process at the other end {0}")]
    Garbled(&'static str),
    /// The system did not play along.
    #[error("the sockets could not be handed over: {0}")]
    System(#[from] io::Error),
}

impl From<rustix::io::Errno> for HandoverError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::System(error.into())
    }
}

/// The listening sockets of this process, ready to be left to a successor.
#[derive(Debug)]
pub(super) struct Estate {
    place: PathBuf,
    sockets: Mutex<Vec<(String, OwnedFd)>>,
}

impl Estate {
    /// Nothing yet; a successor will wait at `place`.
    pub(super) fn new(place: PathBuf) -> Self {
        Self { place, sockets: Mutex::default() }
    }

    /// Adds a listener of `room` (`server.listen`) whose address is configured as `address`.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub(super) fn add(&self, room: &str, address: &impl Display, socket: impl AsFd) -> io::Result<()> {
        let copy = socket.as_fd().try_clone_to_owned()?;
        self.lock().push((label(room, &address.to_string()), copy));
        Ok(())
    }

    /// Lets go of the sockets: from now on a listener that closes is closed.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Sends the sockets to the successor that waits; blocks for as long as that takes.
    ///
    /// # Errors
    /// None waits, or it cannot be trusted.
    pub(super) fn send(&self) -> Result<Successor, HandoverError> {
        if matches!(fs::symlink_metadata(&self.place), Err(error) if error.kind() == io::ErrorKind::NotFound) {
            return Err(HandoverError::NoSuccessor(self.place.clone()));
        }
        check_directory(&self.place, false)?;
        let stream = UnixStream::connect(&self.place).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                HandoverError::NoSuccessor(self.place.clone())
            }
            _ => error.into(),
        })?;
        let pid = same_user(&stream)?;
        stream.set_write_timeout(Some(MESSAGE_TIMEOUT))?;
        let sockets = self.lock();
        put(&stream, &format!("{GREETING}{}\n", sockets.len()), None)?;
        for (label, socket) in &*sockets {
            put(&stream, &format!("{label}\n"), Some(socket.as_fd()))?;
        }
        Ok(Successor { stream, pid })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, OwnedFd)>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The process that was sent the sockets.
#[derive(Debug)]
pub(super) struct Successor {
    stream: UnixStream,
    pub(super) pid: i32,
}

impl Successor {
    /// Waits until it serves; false when it ended before. Must be called within a runtime.
    pub(super) async fn serves(self) -> bool {
        let answer = async {
            self.stream.set_nonblocking(true)?;
            let mut stream = tokio::net::UnixStream::from_std(self.stream)?;
            let mut answer = [0; SERVING.len()];
            stream.read_exact(&mut answer).await?;
            io::Result::Ok(answer == SERVING)
        };
        answer.await.unwrap_or(false)
    }
}

/// Sockets of the process before, to be taken by who listens where they do.
#[derive(Debug, Default)]
pub(super) struct Inherited(Vec<Heirloom>);

#[derive(Debug)]
struct Heirloom {
    label: String,
    /// Where it really listens: `127.0.0.1:8080`, `unix:/run/portcullis/http.sock`.
    address: String,
    socket: OwnedFd,
}

impl Inherited {
    /// The socket that listens at `address`, as it is configured for `room`. Port 0 takes over the port that was given
    /// for it before.
    pub(super) fn take(&mut self, room: &str, address: &str) -> Option<OwnedFd> {
        let label = label(room, address);
        let fits = |heirloom: &Heirloom| heirloom.address == address || heirloom.label == label;
        let at = self.0.iter().position(fits)?;
        Some(self.0.remove(at).socket)
    }

    /// Where is listened no longer.
    pub(super) fn left(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|heirloom| heirloom.address.as_str())
    }
}

/// The process that handed its sockets over, and serves until it is told.
#[derive(Debug)]
pub(super) struct Predecessor {
    stream: UnixStream,
    pid: i32,
}

impl Predecessor {
    /// Tells it that this process serves.
    pub(super) fn acknowledge(mut self) {
        let pid = self.pid;
        match self.stream.write_all(&SERVING) {
            Ok(()) => tracing::info!(predecessor = pid, "took over from the process before"),
            Err(_) => tracing::warn!(predecessor = pid, "the process before ended before it was told; this one serves"),
        }
    }
}

/// Waits at `place` until a process hands its sockets over.
///
/// # Errors
/// None did for as long as `patience`, or `place` cannot be used.
pub(super) fn wait(place: &Path, patience: Duration) -> Result<(Inherited, Predecessor), HandoverError> {
    let waiting = Waiting::open(place)?;
    let path = place.display();
    tracing::info!(%path, ?patience, "waiting for the sockets of the running process: send SIGQUIT to it");
    let watch = Stopwatch::start();
    loop {
        let left = patience.saturating_sub(watch.elapsed());
        if left.is_zero() {
            return Err(HandoverError::Nobody { path: place.to_owned(), waited: patience });
        }
        set_socket_timeout(&waiting.listener, Timeout::Recv, Some(left))?;
        let stream = match waiting.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(error) => return Err(error.into()),
        };
        match same_user(&stream).and_then(|pid| Ok((pid, receive(&stream)?))) {
            Ok((pid, inherited)) => return Ok((inherited, Predecessor { stream, pid })),
            Err(error) => tracing::warn!(%error, "a hand-over failed; still waiting"),
        }
    }
}

/// A socket at which a process that is to be replaced is waited for; its file goes when it does.
#[derive(Debug)]
struct Waiting {
    listener: UnixListener,
    path: PathBuf,
}

impl Waiting {
    fn open(path: &Path) -> Result<Self, HandoverError> {
        check_directory(path, true)?;
        if UnixStream::connect(path).is_ok() {
            return Err(HandoverError::Occupied(path.to_owned()));
        }
        let fault =
            |error: io::Error| HandoverError::Place { path: path.to_owned(), what: format!("cannot be made: {error}") };
        match fs::remove_file(path) {
            Ok(()) => {} // of one that was killed while it waited
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fault(error)),
        }
        let listener = UnixListener::bind(path).map_err(fault)?;
        let waiting = Self { listener, path: path.to_owned() };
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fault)?;
        Ok(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

/// The directory of `path` must be ours alone: whoever could put a socket of his own there would be handed ours.
fn check_directory(path: &Path, make: bool) -> Result<(), HandoverError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fault = |what: String| HandoverError::Place { path: directory.to_owned(), what };
    if make {
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fault(format!("cannot be made: {error}; name a place that this user may write"))),
        }
    }
    let about = fs::symlink_metadata(directory).map_err(|error| fault(error.to_string()))?;
    let us = geteuid().as_raw();
    if !about.is_dir() {
        return Err(fault("must be a directory, and not a link to one".to_owned()));
    }
    if about.uid() != us {
        return Err(fault(format!("belongs to another user (uid {}): it must belong to uid {us}", about.uid())));
    }
    if about.mode() & 0o077 != 0 {
        let mode = about.mode() & 0o777;
        return Err(fault(format!("is open to others (mode {mode:04o}): it must be a directory of mode 0700")));
    }
    Ok(())
}

/// The process at the other end, if it belongs to the same user.
fn same_user(stream: &UnixStream) -> Result<i32, HandoverError> {
    let peer = socket_peercred(stream)?;
    if peer.uid == geteuid() { Ok(peer.pid.as_raw_pid()) } else { Err(HandoverError::Stranger(peer.uid.as_raw())) }
}

fn label(room: &str, address: &str) -> String {
    format!("{room} {address}").replace('\n', " ")
}

/// Sends a line, and a socket with it.
fn put(stream: &UnixStream, line: &str, socket: Option<BorrowedFd<'_>>) -> Result<(), HandoverError> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets: Vec<_> = socket.into_iter().collect();
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::from(io::ErrorKind::OutOfMemory).into());
    }
    let sent = sendmsg(stream, &[IoSlice::new(line.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    if sent == line.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero).into()) }
}

/// Reads what [`Estate::send`] sends.
fn receive(stream: &UnixStream) -> Result<Inherited, HandoverError> {
    stream.set_read_timeout(Some(MESSAGE_TIMEOUT))?;
    let (mut text, mut sockets) = (Vec::new(), Vec::new());
    loop {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                sockets.extend(received);
            }
        }
        if got.bytes == 0 || got.flags.contains(ReturnFlags::CTRUNC) {
            return Err(HandoverError::Garbled("ended before it had sent all of its sockets"));
        }
        text.extend_from_slice(bytes.get(..got.bytes).unwrap_or_default());
        if let Some(labels) = labels(&text)? {
            if labels.len() != sockets.len() {
                return Err(HandoverError::Garbled("sent other sockets than it said"));
            }
            let inherited: Result<_, _> = labels.into_iter().zip(sockets).map(heirloom).collect();
            return Ok(Inherited(inherited?));
        }
    }
}

/// The lines after the greeting, when all are there.
fn labels(text: &[u8]) -> Result<Option<Vec<String>>, HandoverError> {
    let Some(complete) = text.strip_suffix(b"\n") else { return Ok(None) };
    let complete = std::str::from_utf8(complete).map_err(|_| HandoverError::Garbled("does not send text"))?;
    let mut lines = complete.split('\n');
    let greeting = lines.next().and_then(|line| line.strip_prefix(GREETING));
    let Some(count) = greeting.and_then(|count| count.parse::<usize>().ok()) else {
        return Err(HandoverError::Garbled("is not a version of this program that hands over in the same way"));
    };
    let labels: Vec<_> = lines.map(str::to_owned).collect();
    if count > MOST_SOCKETS || labels.len() > count {
        return Err(HandoverError::Garbled("sends more sockets than can be taken"));
    }
    Ok((labels.len() == count).then_some(labels))
}

fn heirloom((label, socket): (String, OwnedFd)) -> Result<Heirloom, HandoverError> {
    if socket_type(&socket)? != SocketType::STREAM || !socket_acceptconn(&socket)? {
        return Err(HandoverError::Garbled("sent something that is not a listening socket"));
    }
    let address = address(getsockname(&socket)?).unwrap_or_default();
    Ok(Heirloom { label, address, socket })
}

/// As it is configured.
fn address(address: SocketAddrAny) -> Option<String> {
    if let Ok(address) = std::net::SocketAddr::try_from(address.clone()) {
        return Some(address.to_string());
    }
    let address = SocketAddrUnix::try_from(address).ok()?;
    Some(format!("unix:{}", address.path()?.to_str().ok()?))
}

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
