//! Old and new HTTP/1 clients, curl above all.

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use super::field;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::scripted::{Line, Scripted};
use crate::support::upstream::Upstream;

fn before(upstream: &Scripted) -> (Gateway, Standard) {
    let standard = Standard::new();
    let server = "max_body = \"128MiB\"";
    let builder = Gateway::builder().server_toml(server).standard(&standard);
    (builder.place("upstream", upstream.addr()).start(), standard)
}

/// curl, which asks for this target and reads this from its standard input.
fn curl(gateway: &Gateway, target: &str, arguments: &[&str], input: Vec<u8>) -> Output {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "--max-time", "20", "-H", "Host: api.test"]).args(arguments);
    curl.arg(format!("http://{}{target}", gateway.addr()));
    let mut curl =
        curl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("curl can be run");
    let mut stdin = curl.stdin.take().expect("a pipe");
    let feeding = std::thread::spawn(move || drop(std::io::Write::write_all(&mut stdin, &input)));
    let ended = curl.wait_with_output().expect("curl ends");
    feeding.join().expect("fed");
    ended
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads a body however it is framed, and returns its length.
fn body(line: &mut Line, head: &str) -> usize {
    if let Some(length) = field(head, "content-length") {
        let length = length.parse().expect("a number");
        return line.take(length).map_or(0, |bytes| bytes.len());
    }
    let mut count = 0;
    while field(head, "transfer-encoding").is_some() {
        let mut size = String::new();
        while !size.ends_with("\r\n") {
            size.push(char::from(line.take(1).expect("a chunk")[0]));
        }
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a size");
        line.take(size + 2).expect("a chunk");
        if size == 0 {
            break;
        }
        count += size;
    }
    count
}

#[test]
fn an_old_curl_gets_every_kind_of_answer() {
    let upstream = Scripted::start(|line, _| {
        while let Some(head) = line.request() {
            let answer = match head.split(' ').nth(1).unwrap_or_default() {
                "/public/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                "/public/length" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                "/public/none" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/public/same" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 9\r\n\r\n",
                "/public/hints" => {
                    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                }
                _ => {
                    line.send("HTTP/1.0 200 OK\r\n\r\nok");
                    return;
                }
            };
            line.send(answer);
        }
    });
    let (gateway, _) = before(&upstream);
    let written = ["-w", " %{http_code} %{num_connects}"];
    for version in ["--http1.0", "--http1.1"] {
        for (target, expected) in [
            ("chunked", "ok 200 1"),
            ("length", "ok 200 1"),
            ("none", " 204 1"),
            ("same", " 304 1"),
            ("hints", "ok 200 1"),
            ("until-the-end", "ok 200 1"),
        ] {
            let target = format!("/public/{target}");
            let ended = curl(&gateway, &target, &[version, written[0], written[1]], Vec::new());
            assert_eq!((text(&ended.stdout).as_str(), text(&ended.stderr).as_str()), (expected, ""), "{target}");
        }
        // A connection that the client wants to keep is kept where the answer has a length, and whatever was asked.
        for target in ["/public/length", "/public/none", "/public/same"] {
            for method in [["-X", "GET"].as_slice(), &["-I"]] {
                let second = format!("http://{}{target}", gateway.addr());
                let mut arguments = vec![version, "-H", "Connection: keep-alive", "-o", "/dev/null", "-o", "/dev/null"];
                arguments.extend(["-w", "%{num_connects} "].iter().chain(method));
                arguments.push(&second);
                let ended = curl(&gateway, target, &arguments, Vec::new());
                assert_eq!((text(&ended.stdout).as_str(), text(&ended.stderr).as_str()), ("1 0 ", ""), "{target}");
            }
        }
    }
}

#[test]
fn the_beginning_of_an_answer_arrives_before_the_rest_whether_its_length_is_known_or_not() {
    for framing in ["Content-Length: 6\r\n\r\none", "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n", "X: y\r\n\r\none"]
    {
        let heard = Arc::new(Barrier::new(2));
        let upstream = Scripted::start({
            let heard = Arc::clone(&heard);
            move |line, _| {
                line.request();
                line.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
                heard.wait();
                line.send(if framing.starts_with('T') { "3\r\ntwo\r\n0\r\n\r\n" } else { "two" });
            }
        });
        let (gateway, _) = before(&upstream);
        let mut connection = gateway.caller().connect();
        connection.write(gateway.get("/public/x").bytes());
        let head = connection.read_head();
        let chunked = head.to_ascii_lowercase().contains("chunked");
        let one = if chunked { "3\r\none\r\n" } else { "one" };
        assert_eq!(text(&connection.read_exactly(one.len())), one, "{framing}");
        heard.wait();
        let two = if chunked { "3\r\ntwo\r\n0\r\n\r\n" } else { "two" };
        assert_eq!(text(&connection.read_exactly(two.len())), two, "{framing}");
    }
}

#[test]
fn whoever_asks_first_sends_nothing_that_is_refused() {
    const SIZE: usize = 1 << 20;
    let upstream = Scripted::start(|line, _| {
        while let Some(head) = line.request() {
            let answer = match head.split(' ').nth(1).unwrap_or_default() {
                "/public/417" => "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
                "/public/401" => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
                _ => {
                    line.send("HTTP/1.1 100 Continue\r\n\r\n");
                    let count = body(line, &head);
                    line.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{count:7}"));
                    continue;
                }
            };
            line.send(answer);
            return;
        }
    });
    let (gateway, _) = before(&upstream);
    // The body is sent when it is asked for, or a minute later; the test does not take a minute.
    let expect =
        ["--expect100-timeout", "60", "-H", "Expect: 100-continue", "--data-binary", "@-", "-w", " %{http_code}"];
    let sent = |target: &str, more: &[&str]| {
        let ended = curl(&gateway, target, &[&expect, more].concat(), vec![b'x'; SIZE]);
        assert_eq!(text(&ended.stderr), "", "{target}");
        text(&ended.stdout)
    };
    assert_eq!(sent("/public/x", &[]), "1048576 200");
    assert_eq!(sent("/public/x", &["-H", "Transfer-Encoding: chunked"]), "1048576 200");
    assert_eq!(sent("/public/417", &[]).trim(), "417");
    assert_eq!(sent("/public/401", &[]).trim(), "401");
    assert!(sent("/jwt/refused", &[]).ends_with(" 401"));
    let line = gateway.log().line_where("the refusal", |line| line["path"] == "/jwt/refused");
    assert_eq!((&line["bytes_in"], &line["reason"]), (&0.into(), &"missing_credentials".into()), "{line}");
    // (On a 417 curl tries again and does not ask.)
    let line = gateway.log().line_where("the upstream's refusal", |line| line["path"] == "/public/401");
    assert_eq!((&line["bytes_in"], &line["status"]), (&0.into(), &401.into()), "{line}");
}

#[test]
fn an_upload_of_unknown_length_reaches_the_upstream_before_the_client_has_sent_all() {
    const SIZE: usize = 64 << 20;
    let count = Arc::new(AtomicU64::new(0));
    let upstream = Scripted::start({
        let count = Arc::clone(&count);
        move |line, _| {
            let Some(head) = line.request() else { return };
            assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
            line.take(1).expect("a first byte");
            count.store(1, Ordering::SeqCst);
            let mut stream = line.stream();
            let mut tail = Vec::new();
            let mut piece = vec![0; 64 * 1024];
            while !tail.ends_with(b"0\r\n\r\n") {
                let read = std::io::Read::read(&mut stream, &mut piece).expect("the body");
                count.fetch_add(u64::try_from(read).expect("few"), Ordering::SeqCst);
                tail.extend_from_slice(&piece[..read]);
                tail.drain(..tail.len().saturating_sub(5));
            }
            line.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let (gateway, _) = before(&upstream);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "--max-time", "20", "-H", "Host: api.test", "-T", "-", "-H", "Expect:"]);
    curl.arg(format!("http://{}/public/up", gateway.addr()));
    let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl can be run");
    let mut stdin = curl.stdin.take().expect("a pipe");
    let piece = vec![b'x'; 64 * 1024];
    std::io::Write::write_all(&mut stdin, &piece).expect("sent");
    eventually("the first piece has arrived", || (count.load(Ordering::SeqCst) >= 64 * 1024).then_some(()));
    for _ in 1..SIZE / piece.len() {
        std::io::Write::write_all(&mut stdin, &piece).expect("sent");
    }
    drop(stdin);
    assert_eq!(text(&curl.wait_with_output().expect("curl ends").stdout), "ok");
    assert!(count.load(Ordering::SeqCst) >= u64::try_from(SIZE).expect("few"));
}

#[test]
fn the_process_grows_by_little_while_much_passes() {
    const SIZE: usize = 64 << 20;
    let standard = Standard::new();
    let upstream = Scripted::start(|line, _| {
        let Some(head) = line.request() else { return };
        assert_eq!(body(line, &head), SIZE);
        line.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let served = Gateway::builder()
        .server_toml("max_body = \"128MiB\"")
        .standard(&standard)
        .place("upstream", upstream.addr())
        .serve();
    let before = served.process.status("VmHWM");
    let mut connection = served.caller().connect();
    connection.write(format!("POST /public/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: {SIZE}\r\n\r\n"));
    for _ in 0..SIZE / (1 << 20) {
        connection.write(vec![b'x'; 1 << 20]);
    }
    connection.read_reply(false).expect("an answer").ok();
    let grown = served.process.status("VmHWM") - before;
    assert!(grown < 8 << 10, "{grown} KiB");
}

#[test]
fn head_tells_the_length_and_keeps_the_connection() {
    let upstream = Upstream::start();
    let standard = Standard::new();
    let gateway = Gateway::standard(&standard, &upstream);
    let mut connection = gateway.caller().connect();
    for _ in 0..3 {
        connection.write("HEAD /public/x HTTP/1.1\r\nHost: api.test\r\n\r\n");
        let reply = connection.read_reply(true).expect("an answer").ok();
        assert!(reply.header("content-length").is_some_and(|length| length != "0") && reply.body.is_empty());
        connection.write("HEAD /jwt/x HTTP/1.1\r\nHost: api.test\r\n\r\n");
        connection.read_reply(true).expect("an answer").is(401);
        connection.send_raw("GET /public/x HTTP/1.1\r\nHost: api.test\r\n\r\n").ok();
    }
}
