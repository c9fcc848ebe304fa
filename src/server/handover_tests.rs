use std::net::TcpListener;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A place that is fit for it.
fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("own/upgrade.sock");
    (directory, path)
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Sends until a successor waits.
fn hand_over(estate: &Estate) -> Successor {
    loop {
        match estate.send() {
            Ok(successor) => return successor,
            Err(HandoverError::NoSuccessor(_)) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn sockets_change_hands_and_the_successor_says_when_it_serves() {
    let (_directory, path) = place();
    let sockets: Vec<_> = (0..20).map(|_| listener()).collect();
    let estate = Estate::new(path.clone());
    for (n, socket) in sockets.iter().enumerate() {
        let configured = if n == 0 { "127.0.0.1:0".to_owned() } else { socket.local_addr().unwrap().to_string() };
        estate.add("server.listen", &configured, socket).unwrap();
    }
    let unix = path.with_file_name("http.sock");
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    estate.add("admin.listen", &"anything", UnixListener::bind(&unix).unwrap()).unwrap();

    let waiting = std::thread::spawn({
        let path = path.clone();
        move || wait(&path, PATIENCE).unwrap()
    });
    let successor = hand_over(&estate);
    let (mut inherited, predecessor) = waiting.join().unwrap();
    assert_eq!(successor.pid, i32::try_from(std::process::id()).unwrap());
    assert!(!path.exists(), "the file is gone");

    assert!(inherited.take("admin.listen", "127.0.0.1:0").is_none(), "it is another listener's");
    for (n, socket) in sockets.iter().enumerate() {
        let address = socket.local_addr().unwrap();
        let configured = if n == 0 { "127.0.0.1:0".to_owned() } else { address.to_string() };
        let taken = TcpListener::from(inherited.take("server.listen", &configured).unwrap());
        assert_eq!(taken.local_addr().unwrap(), address);
        assert!(inherited.take("server.listen", &configured).is_none(), "there is one of each");
    }
    assert_eq!(inherited.left().collect::<Vec<_>>(), [format!("unix:{}", unix.display())]);
    assert!(inherited.take("admin.listen", &format!("unix:{}", unix.display())).is_some());

    predecessor.acknowledge();
    assert!(successor.serves().await);
}

#[tokio::test]
async fn a_successor_that_ends_before_it_serves_is_noticed() {
    let (_directory, path) = place();
    let estate = Estate::new(path.clone());
    estate.add("server.listen", &"127.0.0.1:0", listener()).unwrap();
    let waiting = std::thread::spawn(move || drop(wait(&path, PATIENCE).unwrap()));
    let successor = hand_over(&estate);
    waiting.join().unwrap();
    assert!(!successor.serves().await);
}

#[test]
fn without_a_successor_nothing_is_sent_and_without_a_predecessor_nothing_comes() {
    let (_directory, path) = place();
    let estate = Estate::new(path.clone());
    assert!(matches!(estate.send(), Err(HandoverError::NoSuccessor(_))), "there is no directory");
    let error = wait(&path, Duration::from_millis(20)).unwrap_err();
    assert!(error.to_string().starts_with("no process handed its sockets over within 20ms: send SIGQUIT"), "{error}");
    assert!(matches!(estate.send(), Err(HandoverError::NoSuccessor(_))), "there is no socket");
    // One that was killed while it waited leaves its socket there.
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(estate.send(), Err(HandoverError::NoSuccessor(_))), "there is nobody at the socket");
    assert!(matches!(wait(&path, Duration::from_millis(20)), Err(HandoverError::Nobody { .. })), "it is cleared away");
}

#[test]
fn only_one_successor_waits() {
    let (_directory, path) = place();
    let first = Waiting::open(&path).unwrap();
    assert!(matches!(wait(&path, PATIENCE), Err(HandoverError::Occupied(_))));
    drop(first);
    assert!(Waiting::open(&path).is_ok());
}

#[test]
fn a_directory_that_is_not_ours_alone_is_refused() {
    let (directory, path) = place();
    let own = path.parent().unwrap();
    let error = |path: &Path| wait(path, Duration::ZERO).unwrap_err().to_string();
    for mode in [0o755, 0o770, 0o701] {
        fs::remove_dir_all(own).ok();
        fs::create_dir(own).unwrap();
        fs::set_permissions(own, fs::Permissions::from_mode(mode)).unwrap();
        let expected = format!(
            "server.upgrade_socket: {}: is open to others (mode {mode:04o}): it must be a directory of mode 0700",
            own.display()
        );
        assert_eq!(error(&path), expected);
    }
    fs::set_permissions(own, fs::Permissions::from_mode(0o700)).unwrap();
    let link = directory.path().join("link");
    symlink(own, &link).unwrap();
    assert!(error(&link.join("upgrade.sock")).ends_with("must be a directory, and not a link to one"));
    assert!(error(&directory.path().join("a/b/upgrade.sock")).contains("cannot be made: "));
    if geteuid().as_raw() != 0 {
        assert!(error(Path::new("/upgrade.sock")).contains("belongs to another user (uid 0)"));
    }
    // The one who sends looks, too.
    fs::write(&path, "").unwrap();
    fs::set_permissions(own, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(Estate::new(path).send(), Err(HandoverError::Place { .. })));
}

#[test]
fn what_is_not_a_hand_over_is_refused_and_waited_on() {
    let lines = |text: &str| labels(text.as_bytes()).map_err(|error| error.to_string());
    assert_eq!(lines(""), Ok(None));
    assert_eq!(lines("portcullis-handover 1 2\na\n"), Ok(None));
    assert_eq!(lines("portcullis-handover 1 1\na\n"), Ok(Some(vec!["a".to_owned()])));
    assert_eq!(lines("portcullis-handover 1 0\n"), Ok(Some(Vec::new())));
    for bad in ["portcullis-handover 2 1\na\n", "GET / HTTP/1.1\n", "portcullis-handover 1 x\n"] {
        assert!(lines(bad).unwrap_err().contains("is not a version"), "{bad}");
    }
    for many in ["portcullis-handover 1 1\na\nb\n", "portcullis-handover 1 1025\n"] {
        assert!(lines(many).unwrap_err().contains("more sockets"), "{many}");
    }

    let (_directory, path) = place();
    let (sender, receiver) = UnixStream::pair().unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    put(&sender, &format!("{GREETING}1\n"), None).unwrap();
    put(&sender, "server.listen 127.0.0.1:1\n", Some(file.as_fd())).unwrap();
    assert!(receive(&receiver).is_err(), "that is no socket");
    put(&sender, &format!("{GREETING}1\nserver.listen 127.0.0.1:1\n"), None).unwrap();
    assert!(receive(&receiver).unwrap_err().to_string().contains("other sockets than it said"));
    let connected = std::net::TcpStream::connect(listener().local_addr().unwrap());
    put(&sender, &format!("{GREETING}1\nx\n"), connected.ok().as_ref().map(AsFd::as_fd)).unwrap();
    assert!(receive(&receiver).is_err(), "that one does not listen");

    let waiting = std::thread::spawn({
        let path = path.clone();
        move || wait(&path, PATIENCE).unwrap().0
    });
    while UnixStream::connect(&path).is_err() {
        std::thread::yield_now();
    }
    let estate = Estate::new(path);
    estate.add("server.listen", &"127.0.0.1:0", listener()).unwrap();
    drop(hand_over(&estate));
    assert!(waiting.join().unwrap().take("server.listen", "127.0.0.1:0").is_some());
}
