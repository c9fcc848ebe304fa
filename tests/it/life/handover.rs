//! SIGQUIT: a successor takes the place of the running process, and whoever asks does not notice.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};

use super::House;
use super::load::{Seen, ask};
use crate::support::caller::Caller;
use crate::support::process::{Run, Served};
use crate::support::upstream::Respond;
use crate::support::{DEADLINE, eventually};

/// Clients; every other one keeps its connection.
const CLIENTS: usize = 16;

/// Changes the main file.
fn edit(served: &Served, change: impl FnOnce(String) -> String) {
    let main = served.directory().join("portcullis.toml");
    fs::write(&main, change(fs::read_to_string(&main).expect("the file"))).expect("written");
}

#[test]
fn two_hand_overs_under_load_fail_no_request() {
    let (house, served) = House::new("shutdown_grace = \"60s\"");
    let stop = AtomicBool::new(false);
    let (caller, admin) = (served.caller(), served.admin);
    let answered = || house.upstream.requests().len();
    let (seen, probes, places) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|name| {
                let (caller, token, stop) = (&caller, &house.token, &stop);
                scope.spawn(move || ask(caller, token, name, name % 2 == 0, stop))
            })
            .collect();
        let probes = scope.spawn(|| {
            let mut probes = 0;
            while !stop.load(Ordering::Relaxed) {
                Caller::new(admin).host(&admin.to_string()).get("/readyz").send().ok();
                probes += 1;
            }
            probes
        });
        let mut served = served;
        let mut places = vec![(served.process.id(), served.addrs.clone(), served.admin)];
        for _ in 0..2 {
            let before = answered();
            let successor = served.successor(&house.env);
            eventually("the load is on", || (answered() > before + 500).then_some(()));
            served = served.hand_over_to(successor);
            served.says("took over from the process before");
            places.push((served.process.id(), served.addrs.clone(), served.admin));
            let before = answered();
            eventually("the load goes on", || (answered() > before + 500).then_some(()));
        }
        stop.store(true, Ordering::Relaxed);
        let seen: Vec<_> = clients.into_iter().map(|client| client.join().expect("every answer was right")).collect();
        (seen, probes.join().expect("the place was ready all the time"), places)
    });
    let count = |count: fn(&Seen) -> usize| Seen::sum(&seen, count);
    println!(
        "SIGQUIT twice, {CLIENTS} clients: {} answered, {} kept connections told to close, {} raced, {} failed; {probes} probes ready",
        count(|seen| seen.answered),
        count(|seen| seen.ended),
        count(|seen| seen.raced),
        count(|seen| seen.failed.len()),
    );
    let failed: Vec<_> = seen.iter().flat_map(|seen| &seen.failed).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(seen.iter().all(|seen| !seen.refused && seen.answered > 0));
    assert!(count(|seen| seen.ended) > 0, "who keeps a connection is told");
    let targets: HashSet<_> = house.upstream.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets.len(), count(|seen| seen.answered));
    assert_eq!(house.upstream.requests().len(), targets.len(), "nothing was asked twice");
    let [(_, addrs, admin), rest @ ..] = &*places else { panic!("three processes") };
    assert!(rest.iter().all(|place| (&place.1, &place.2) == (addrs, admin)), "{places:?}");
}

#[test]
fn generations_do_not_grow() {
    const GENERATIONS: usize = 6;
    let (house, mut served) = House::new("");
    let mut sizes = Vec::new();
    for _ in 0..GENERATIONS {
        let successor = served.successor(&house.env);
        served = served.hand_over_to(successor);
        served.says("took over from the process before");
        served.get("/me/x").bearer(&house.token).send().ok();
        sizes.push(served.process.descriptors());
    }
    // The store opens one connection more or less; whatever is left over is left over each time.
    assert!(sizes[GENERATIONS - 1] < sizes[0] + GENERATIONS - 1, "{sizes:?}");
    let place = served.directory().join("portcullis-handover");
    assert_eq!(fs::read_dir(place).expect("the directory").count(), 0, "nothing lies about");
}

#[test]
fn what_runs_is_finished_and_what_does_not_end_is_broken_off() {
    let (house, mut served) = House::new("shutdown_grace = \"2s\"");
    house.upstream.respond(Respond::Hold);
    let ask = || {
        let mut connection = served.caller().connect();
        connection.write(served.get("/me/held").bearer(&house.token).bytes());
        connection
    };
    let mut held = ask();
    let mut tunnel = TcpStream::connect(served.addrs[0]).expect("connected");
    std::io::Write::write_all(&mut tunnel, b"POST /me/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 9\r\n")
        .expect("sent");
    eventually("it is held", || (house.upstream.requests().len() == 1).then_some(()));

    let successor = served.successor(&house.env);
    served.process.signal("QUIT");
    served.says("stopping when running requests are finished");
    house.upstream.release();
    held.read_reply(false).expect("what was asked before is answered").ok();
    let text = served.says("are broken off");
    assert_eq!(text["open"], 1, "a head that does not end: {text}");
    assert_eq!(served.process.wait(), 0);
    let served = served.succeeded_by(successor);
    served.get("/me/x").bearer(&house.token).send().ok();
}

#[test]
fn a_successor_that_cannot_start_changes_nothing() {
    let (house, served) = House::new("");
    let good = fs::read_to_string(served.directory().join("portcullis.toml")).expect("the file");
    let upgrade = || Run::new(["serve", "--upgrade"]).config(served.directory()).envs(&house.env);

    // It does not even wait.
    edit(&served, |text| text.replacen("[server]", "[server]\nnonsense = 1", 1));
    let ended = upgrade().end();
    assert_eq!(ended.code, 2, "{ended:?}");
    served.process.signal("QUIT");
    served.says("SIGQUIT is ignored: no successor waits at ");

    // It has the sockets, and cannot have another one that its configuration asks for.
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = taken.local_addr().expect("an address");
    edit(&served, |_| good.replacen("listen = [", &format!("listen = [{{ address = \"{address}\" }}, "), 1));
    let mut successor = served.successor(&house.env);
    served.process.signal("QUIT");
    assert_eq!(successor.wait(), 1);
    let text = format!("portcullis: server.listen[0]: cannot listen on {address}: ");
    assert!(successor.err.text().contains(&text), "{}", successor.err.text());
    served.says("the successor ended before it served");
    served.get("/me/x").bearer(&house.token).send().ok();
    assert_eq!(served.admin_get("/readyz").status, 200);

    // It is killed while it starts. It is stopped first: then it cannot say that it serves.
    edit(&served, |_| good);
    let mut successor = served.successor(&house.env);
    successor.stop();
    served.process.signal("QUIT");
    served.says("the listening sockets were handed over; serving until the successor does");
    served.get("/me/x").bearer(&house.token).send().ok();
    served.process.signal("QUIT");
    served.says("SIGQUIT is ignored: a successor starts already");
    successor.kill();
    eventually("it is noticed", || {
        let lines = served.process.err.lines();
        let ends =
            |line: &&serde_json::Value| line["message"].as_str().is_some_and(|m| m.contains("ended before it served"));
        (lines.iter().filter(ends).count() == 2).then_some(())
    });
    served.get("/me/x").bearer(&house.token).send().ok();

    // The next one does it.
    let successor = served.successor(&house.env);
    let served = served.hand_over_to(successor);
    served.get("/me/x").bearer(&house.token).send().ok();
}

#[test]
fn sigterm_ends_a_process_that_waits_for_its_successor_and_nobody_is_refused_meanwhile() {
    let (house, mut served) = House::new("");
    let successor = served.successor(&house.env);
    successor.stop();
    served.process.signal("QUIT");
    served.says("the listening sockets were handed over; serving until the successor does");
    served.process.signal("TERM");
    assert_eq!(served.process.wait(), 0);
    // The sockets are on their way: whoever connects now waits for the successor.
    let mut early = served.caller().connect();
    early.write(served.get("/me/early").bearer(&house.token).bytes());
    successor.signal("CONT");
    let served = served.succeeded_by(successor);
    early.read_reply(false).expect("an answer").ok();
    served.says("the process before ended before it was told");
}

#[test]
fn a_successor_for_whom_nobody_ends_gives_up_and_sigquit_to_it_does_nothing() {
    let (house, mut served) = House::new("");
    let words = ["serve", "--upgrade", "--upgrade-timeout", "1"];
    let mut successor = Run::new(words).config(served.directory()).envs(&house.env).start();
    successor.err.line_where("waiting", |line| line["path"].is_string());
    successor.signal("QUIT");
    assert_eq!(successor.wait(), 1);
    let text = successor.err.text();
    assert!(text.contains("portcullis: no process handed its sockets over within 1s: send SIGQUIT"), "{text}");
    assert!(served.process.runs());
    served.get("/me/x").bearer(&house.token).send().ok();
}

#[test]
fn listeners_may_come_and_go_with_a_successor() {
    let (house, served) = House::new("");
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().expect("an address");
    let (kept, gone, new) = (free(), free(), free());
    let listen = |places: &[std::net::SocketAddr]| {
        let places: Vec<_> = places.iter().map(|place| format!("{{ address = \"{place}\" }}")).collect();
        format!("listen = [{}]", places.join(", "))
    };
    let before = "listen = [{ address = \"127.0.0.1:0\" }]";
    edit(&served, |text| text.replace(before, &listen(&[gone, kept])));
    let successor = served.successor(&house.env);
    let served = served.hand_over_to(successor);
    assert_eq!(served.addrs, [gone, kept]);
    // By their addresses, not by their positions.
    edit(&served, |text| text.replace(&listen(&[gone, kept]), &listen(&[kept, new])));
    let successor = served.successor(&house.env);
    let served = served.hand_over_to(successor);
    assert_eq!(served.addrs, [kept, new]);
    for address in [kept, new] {
        Caller::new(address).get("/me/x").bearer(&house.token).send().ok();
    }
    eventually("it is closed", || TcpStream::connect(gone).is_err().then_some(()));
}

#[test]
fn a_supervisor_is_told_who_serves_before_the_process_before_ends() {
    let (house, served) = House::new("");
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let heard = || {
        let mut text = [0; 128];
        let count = socket.recv(&mut text).expect("something is told");
        String::from_utf8_lossy(&text[..count]).into_owned()
    };
    let mut env = house.env.clone();
    env.insert("NOTIFY_SOCKET".to_owned(), path.display().to_string());
    let successor = served.successor(&env);
    let mut served = served.hand_over_to(successor);
    assert_eq!(heard(), format!("READY=1\nMAINPID={}\n", served.process.id()));
    let successor = served.successor(&env);
    let next = successor.id();
    served = served.hand_over_to(successor);
    assert_eq!(heard(), format!("READY=1\nMAINPID={next}\n"), "and not that anything stops");
    served.process.signal("TERM");
    assert_eq!(served.process.wait(), 0);
    assert_eq!(heard(), "STOPPING=1\n");
}
