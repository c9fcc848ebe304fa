//! A hand-over with every kind of listener at once, under a little load.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use portcullis::clock::Stopwatch;

use super::calls::{Client, head};
use super::{TLS, Vouched};
use crate::support::caller::Caller;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::scripted::Scripted;
use crate::support::tls::TlsCaller;

const FILE: &str = "portcullis.sock";

/// An application that says `ok`, and of `…/held` the second half not before it is released.
fn application(released: &Arc<AtomicBool>) -> Scripted {
    let released = Arc::clone(released);
    Scripted::start(move |line, _| {
        while let Some(head) = line.request() {
            if head.starts_with("GET /public/held ") {
                line.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
                let begun = Stopwatch::start();
                while !released.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_secs(60) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                line.send("later");
            } else {
                line.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        }
    })
}

/// What clients of one listener have seen.
#[derive(Debug, Default)]
struct Seen {
    answered: AtomicUsize,
    failed: AtomicUsize,
}

impl Seen {
    fn note(&self, answered: bool) {
        (if answered { &self.answered } else { &self.failed }).fetch_add(1, Ordering::SeqCst);
    }

    fn counts(&self) -> (usize, usize) {
        (self.answered.load(Ordering::SeqCst), self.failed.load(Ordering::SeqCst))
    }
}

fn over_tls(caller: &TlsCaller) -> bool {
    caller.get("api.test", "api.test", "/public/x").is_ok_and(|status| status == 200)
}

fn over_unix(socket: &Path) -> bool {
    let asked = UnixStream::connect(socket).and_then(|mut stream| {
        stream.write_all(b"GET /public/x HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    asked.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"))
}

fn behind_a_header(caller: &Caller) -> bool {
    let Ok(mut connection) = caller.try_connect() else { return false };
    let header = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n".to_vec();
    let reply = connection.try_send_raw([header, caller.get("/public/x").bytes()].concat());
    reply.is_some_and(|reply| reply.status == 200)
}

/// Asks on one connection until it is told to go, then on the next.
async fn over_http_2(address: std::net::SocketAddr, seen: &Seen, stop: &AtomicBool) {
    let mut client = Client::plain(address).await;
    while !stop.load(Ordering::Relaxed) {
        match client.get("/public/x", &[]).await {
            Ok(answer) => seen.note(answer.status == 200),
            // RFC 9113 section 6.8: nothing was done with it.
            Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => {
                client = Client::plain(address).await;
            }
            Err(error) => {
                println!("over HTTP/2: {error:?}");
                seen.note(false);
                client = Client::plain(address).await;
            }
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

#[test]
fn every_kind_of_listener_is_handed_over_and_nobody_notices() {
    let (vouched, released) = (Vouched::new(), Arc::new(AtomicBool::new(false)));
    let application = application(&released);
    let builder = Gateway::builder()
        .listen(&format!("{{ address = \"127.0.0.1:0\", tls = {{ {TLS} }} }}"))
        .listen(&format!("{{ address = \"unix:{FILE}\" }}"))
        .listen("{ address = \"127.0.0.1:0\", http2 = true }")
        .listen("{ address = \"127.0.0.1:0\", proxy_protocol = true }")
        .server_toml("trusted_proxies = [\"127.0.0.1\"]\nshutdown_grace = \"60s\"\nthreads = 2")
        .standard(&Standard::new())
        .place("upstream", application.addr());
    let builder = vouched.with_files(builder);
    let env = builder.environment().clone();
    let mut served = builder.serve();
    let [tls, http2, proxied] = served.addrs[..] else { panic!("{:?}", served.addrs) };
    let socket = served.directory().join(FILE);
    let (runtime, stop) = (runtime(), AtomicBool::new(false));
    let seen: [Seen; 4] = Default::default();
    let load_goes_on = || {
        let before = seen.each_ref().map(Seen::counts);
        eventually("all are answered", || {
            let goes_on = seen.iter().zip(before).all(|(seen, (answered, _))| seen.counts().0 > answered + 3);
            goes_on.then_some(())
        });
    };

    let visitor = TlsCaller::new(tls);
    let resumes = || {
        let mut connection = visitor.connect("api.test").expect("a connection");
        assert_eq!(connection.get("api.test", "/public/x").expect("an answer").status, 200);
        connection.resumed()
    };
    assert!(!resumes() && resumes(), "there are tickets");

    let served = std::thread::scope(|scope| {
        let (seen, stop, socket, runtime) = (&seen, &stop, &socket, &runtime);
        let until_stop = move |seen: &Seen, ask: &dyn Fn() -> bool| {
            while !stop.load(Ordering::Relaxed) {
                seen.note(ask());
            }
        };
        let stopping = Stopping(stop);
        scope.spawn(move || until_stop(&seen[0], &|| over_tls(&TlsCaller::new(tls))));
        scope.spawn(move || until_stop(&seen[1], &|| over_unix(socket)));
        scope.spawn(move || until_stop(&seen[2], &|| behind_a_header(&Caller::new(proxied))));
        scope.spawn(move || runtime.handle().block_on(over_http_2(http2, &seen[3], stop)));
        load_goes_on();

        let mut open = runtime.block_on(Client::plain(http2));
        let mut held = runtime.block_on(async {
            let request = open.request("GET", "/public/held", &[]);
            let (answer, _) = open.begin(request, true).await.expect("the connection lasts");
            let mut answer = head(answer).await.expect("an answer");
            assert_eq!(answer.next().await.expect("it lasts").as_deref(), Some(&b"first"[..]));
            answer
        });

        let successor = served.successor(&env);
        served.process.signal("QUIT");
        runtime.block_on(open.is_told_to_go());
        successor.err.line_where("it serves", |line| {
            line["message"].as_str().is_some_and(|message| message.starts_with("took over from the process before"))
        });
        load_goes_on();
        assert!(served.process.runs(), "it has an answer to finish");
        released.store(true, Ordering::SeqCst);
        let rest = runtime.block_on(async {
            let next = held.next().await.expect("a running stream is finished").expect("the second half");
            (next, held.rest().await.expect("its end").body.len())
        });
        assert_eq!((&rest.0[..], rest.1), (&b"later"[..], 0));
        assert_eq!(served.process.wait(), 0, "{}", served.process.err.text());
        let served = served.succeeded_by(successor);

        assert!(socket.exists(), "the process before leaves the socket's file alone");
        load_goes_on();
        assert!(!resumes(), "a ticket of the process before");
        assert!(resumes(), "one of its own");
        drop(stopping);
        served
    });

    let counts = seen.each_ref().map(Seen::counts);
    println!("SIGQUIT, TLS, Unix, PROXY, HTTP/2: (answered, failed) {counts:?}");
    assert!(counts.iter().all(|(_, failed)| *failed == 0), "{counts:?}");
    let mut served = served;
    served.process.signal("TERM");
    assert_eq!(served.process.wait(), 0);
    assert!(!socket.exists(), "its file goes with the last one");
}

/// Ends the load, also when a test fails.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
