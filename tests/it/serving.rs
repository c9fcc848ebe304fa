//! `serve` and `demo`: the real binary as a process, with real signals, its own clock and its own log.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis::clock::{Clock, SystemClock};
use tempfile::TempDir;

use super::support::eventually;
use super::support::gateway::{Builder, Gateway};
use super::support::issuer::Issuer;
use super::support::process::{Process, Run, Served};
use super::support::realms::{HOUSE_SECRET, Standard};
use super::support::upstream::{Respond, Upstream};

fn gateway(server: &str, standard: &Standard, upstream: &Upstream) -> Builder {
    Gateway::builder().server_toml(server).standard(standard).upstream(upstream)
}

/// A token of now: the process has the time of this machine.
fn token(standard: &Standard) -> String {
    standard.alice().at(SystemClock.now()).sign()
}

/// What was printed, a request each.
fn access_lines(served: &Served) -> usize {
    served.process.out.lines().len()
}

#[test]
fn the_process_serves_with_curl_as_its_client() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let served = gateway("", &standard, &upstream).serve();
    let address = served.addrs[0];
    let bearer = format!("Authorization: Bearer {}", token(&standard));
    let large = served.directory().join("large");
    fs::write(&large, vec![b'x'; 200_000]).expect("written");
    let data = format!("@{}", large.display());
    let url = |path: &str| format!("http://{address}{path}");
    for (arguments, expected) in [
        (vec!["-H", &bearer, &url("/me/a")], "200 1.1"),
        (vec![&url("/me/a")], "401 1.1"),
        (vec!["-u", "alice:secret", &url("/me/a")], "401 1.1"),
        (vec!["--http1.0", "-H", &bearer, &url("/me/a")], "200 1.1"),
        (vec!["-I", "-H", &bearer, &url("/me/a")], "200 1.1"),
        (vec!["--data-binary", &data, "-H", &bearer, "-H", "Expect: 100-continue", &url("/me/a")], "200 1.1"),
        (vec!["--data-binary", &data, "-H", "Transfer-Encoding: chunked", "-H", &bearer, &url("/me/a")], "200 1.1"),
        (vec!["-X", "TRACE", &url("/me/a")], "405 1.1"),
        (vec!["--path-as-is", "-H", &bearer, &url("/me/../a")], "400 1.1"),
        (vec!["-H", &bearer, &url("/me/a"), "-o", "/dev/null", &url("/me/b")], "200 1.1\n200 1.1"),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code} %{http_version}\n"]);
        let ended = curl.args(["-H", "Host: api.test"]).args(&arguments).output().expect("curl can be run");
        let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!((out.trim_end(), err.as_ref()), (expected, ""), "{arguments:?}");
    }
    assert_eq!(upstream.requests().iter().filter(|request| request.body.len() == 200_000).count(), 2);
    assert!(upstream.requests().iter().all(|request| request.header("x-auth-subject") == Some("alice")));
    eventually("a line a request", || (access_lines(&served) == 11).then_some(()));
}

#[test]
fn sigterm_finishes_what_runs_takes_nothing_new_and_ends_with_0() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let mut served = gateway("shutdown_grace = \"60s\"", &standard, &upstream).serve();
    let idle = &mut served.caller().connect();
    served.get("/public/idle").send_on(idle).ok();
    upstream.respond(Respond::Hold);
    let mut held: Vec<_> = (0..5).map(|_| served.caller().connect()).collect();
    for connection in &mut held {
        connection.write(served.get("/me/held").bearer(&token(&standard)).bytes());
    }
    eventually("all are held", || (upstream.requests().len() == 6).then_some(()));

    served.process.signal("TERM");
    eventually("readiness flips", || (served.admin_get("/readyz").status == 503).then_some(()));
    served.admin_get("/livez").ok();
    eventually("nothing new is taken", || served.caller().try_connect().is_err().then_some(()));
    idle.assert_closed();
    assert!(served.process.runs());
    upstream.release();
    for connection in &mut held {
        connection.read_reply(false).expect("what was asked before is answered").ok();
        connection.assert_closed();
    }
    assert_eq!(served.process.wait(), 0);
    assert_eq!(access_lines(&served), 6, "the log is complete at the end");
    assert!(!served.process.err.text().contains("ERROR"), "{}", served.process.err.text());
}

#[test]
fn sigterm_with_a_delay_goes_on_accepting_for_it() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let mut served = gateway("shutdown_delay = \"1s\"", &standard, &upstream).serve();
    served.process.signal("TERM");
    eventually("readiness flips", || (served.admin_get("/readyz").status == 503).then_some(()));
    served.get("/public/late").send().ok();
    assert_eq!(served.process.wait(), 0);
}

#[test]
fn sigterm_under_load_loses_no_request_that_the_upstream_has_seen() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let mut served = gateway("", &standard, &upstream).serve();
    let (stop, caller) = (AtomicBool::new(false), served.caller());
    let token = token(&standard);
    // On a connection that is kept, and on one of its own for each request; unanswered is what the gateway never took.
    let load = |name: &str, keep: bool| {
        let (mut answered, mut unanswered) = (0, Vec::new());
        let mut kept = None;
        while !stop.load(Ordering::Relaxed) {
            let Some(mut connection) = kept.take().or_else(|| caller.try_connect().ok()) else { break };
            let target = format!("/me/{name}/{answered}/{}", unanswered.len());
            match connection.try_send_raw(caller.get(&target).bearer(&token).bytes()) {
                Some(reply) => {
                    kept = (keep && !reply.says_close()).then_some(connection);
                    reply.ok();
                    answered += 1;
                }
                None => unanswered.push(target),
            }
        }
        (answered, unanswered)
    };
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..6).map(|n| scope.spawn(move || load(&n.to_string(), n % 2 == 0))).collect();
        eventually("the load is on", || (upstream.requests().len() > 200).then_some(()));
        served.process.signal("TERM");
        assert_eq!(served.process.wait(), 0);
        stop.store(true, Ordering::Relaxed);
        let seen: std::collections::HashSet<_> = upstream.requests().into_iter().map(|r| r.target).collect();
        for load in loads {
            let (answered, unanswered) = load.join().expect("no answer was wrong");
            assert!(answered > 0);
            let lost: Vec<_> = unanswered.iter().filter(|target| seen.contains(*target)).collect();
            assert!(lost.is_empty(), "{lost:?}");
        }
    });
}

#[test]
fn a_second_sigterm_and_sigint_end_at_once_and_write_down_what_they_break_off() {
    for signals in [&["TERM", "TERM"][..], &["INT"], &["TERM", "INT"]] {
        let (standard, upstream) = (Standard::new(), Upstream::start());
        let mut served = gateway("shutdown_grace = \"60s\"", &standard, &upstream).serve();
        upstream.respond(Respond::Hold);
        let mut held = served.caller().connect();
        held.write(served.get("/public/held").bytes());
        eventually("it is held", || (upstream.requests().len() == 1).then_some(()));
        for signal in signals {
            assert!(served.process.runs(), "{signals:?}");
            served.process.signal(signal);
            if *signal == "TERM" && served.process.runs() {
                eventually("it is heard", || served.process.err.text().contains("stopping when").then_some(()));
            }
        }
        assert_eq!(served.process.wait(), 0, "{signals:?}");
        assert!(held.read_reply(false).is_none(), "{signals:?}");
        let line = served.process.out.line_where("the broken request", |_| true);
        assert_eq!((&line["outcome"], &line["status"]), (&"error".into(), &0.into()), "{line}");
        assert!(!served.process.err.text().contains("ERROR"), "{}", served.process.err.text());
        upstream.release();
    }
}

#[test]
fn sigquit_is_ignored_and_said_so() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let mut served = gateway("", &standard, &upstream).serve();
    served.process.signal("QUIT");
    served.says("SIGQUIT is ignored");
    served.get("/public/x").send().ok();
    served.process.signal("PIPE");
    served.get("/public/x").send().ok();
    assert!(served.process.runs());
}

#[test]
fn sighup_puts_changed_files_in_force_and_refuses_bad_ones() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let served = gateway("", &standard, &upstream).serve();
    let realm = served.directory().join("realms/realm0.toml");
    let good = fs::read_to_string(&realm).expect("the realm");
    served.get("/added/x").send().denied("no_route");
    fs::write(&realm, format!("{good}\n[[routes]]\npath = \"/added/**\"\nauth = [\"public\"]\n")).expect("written");
    served.process.signal("HUP");
    eventually("the route is there", || (served.get("/added/x").send().status == 200).then_some(()));
    served.says("the configuration was reloaded");

    fs::write(&realm, good.replace("[\"api.test\"]", "\"api.test\"")).expect("written");
    served.process.signal("HUP");
    let line = served.says("the configuration was refused");
    let problems = line["problems"].as_str().expect("problems");
    assert!(problems.starts_with(&format!("{}:3:9: hosts: ", realm.display())), "{line}");
    assert_eq!((&line["level"], &line["generation"]), (&"ERROR".into(), &2.into()));
    served.get("/added/x").send().ok();
    assert_eq!(served.metric("portcullis_config_last_reload_success "), Some(0.0));
    assert_eq!(served.admin_get("/readyz").ok().json()["generation"], 2);
}

#[test]
fn a_process_that_was_killed_is_followed_by_another_on_the_same_port() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let mut served = gateway("", &standard, &upstream).serve();
    let main = served.directory().join("portcullis.toml");
    let text = fs::read_to_string(&main).expect("the file");
    let text = text.replacen("127.0.0.1:0", &served.admin.to_string(), 1);
    let text = text.replacen("127.0.0.1:0", &served.addrs[0].to_string(), 1);
    let mut kept = served.caller().connect();
    served.get("/public/x").send_on(&mut kept).ok();
    served.process.signal("KILL");
    assert_eq!(served.process.wait(), -9);
    fs::write(&main, text).expect("written");
    let run = Run::new(["serve"]).config(served.directory()).env(HOUSE_SECRET, &standard.secret());
    let again = Served::of(run.start(), TempDir::new().expect("a directory"));
    assert_eq!((&again.addrs, again.admin), (&served.addrs, served.admin));
    again.get("/public/x").send().ok();
}

#[test]
fn a_port_that_is_taken_ends_the_start_with_1_and_names_the_key() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let directory = gateway("", &standard, &upstream).listen("127.0.0.1:0").listen(&address).write();
    let run = || Run::new(["serve"]).config(directory.path()).env(HOUSE_SECRET, &standard.secret()).end();
    let ended = run();
    assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{ended:?}");
    let text = format!("portcullis: server.listen[1]: cannot listen on {address}: ");
    assert!(ended.err.lines().any(|line| line.starts_with(&text)), "{}", ended.err);
    assert!(!ended.err.contains("\"serving\""), "{}", ended.err);

    let main = directory.path().join("portcullis.toml");
    let text = fs::read_to_string(&main).expect("the file").replace(&format!("\"{address}\""), "\"127.0.0.2:0\"");
    fs::write(&main, text.replacen("127.0.0.1:0", &address, 1)).expect("written");
    let ended = run();
    assert!(ended.code == 1 && ended.err.contains(&format!("admin.listen: cannot listen on {address}")), "{ended:?}");
}

#[test]
fn a_bad_configuration_serves_nothing() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let port =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("an address").to_string();
    let directory = gateway("max_bdy = \"1KiB\"", &standard, &upstream).listen(&port).write();
    let ended = Run::new(["serve"]).config(directory.path()).env(HOUSE_SECRET, &standard.secret()).end();
    assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{ended:?}");
    assert!(ended.err.contains("server.max_bdy: unknown key; did you mean `max_body`?"), "{}", ended.err);
    TcpListener::bind(&port).expect("nothing listens");
}

#[test]
fn a_machine_without_usable_authorities_serves_all_that_needs_none() {
    const ELSEWHERE: &str = "[upstreams.tls]\nservers = [\"{issuer}\"]\ntls = { sni = \"127.0.0.1\" }\n\n\
        [[issuers]]\nname = \"far\"\nissuer = \"https://far.test\"\naudience = [\"api\"]\nalgorithms = [\"RS256\"]\n\
        keys = { jwks_url = \"https://{issuer}/jwks\" }\n\n\
        [[routes]]\npath = \"/tls/**\"\nauth = [\"public\"]\nupstream = \"tls\"\n";
    let (standard, upstream, issuer) = (Standard::new(), Upstream::start(), Issuer::start());
    let broken = TempDir::new().expect("a directory");
    let certificate = broken.path().join("0a1b2c3d.0"); // named as the system looks them up
    fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("written");
    let (file, directory) = (certificate.to_str().expect("UTF-8"), broken.path().to_str().expect("UTF-8"));
    for env in [
        [("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")],
        [("SSL_CERT_FILE", file), ("SSL_CERT_DIR", directory)],
    ] {
        let builder = Gateway::builder().standard_with(&standard, ELSEWHERE).upstream(&upstream);
        let builder = builder.place("issuer", issuer.addr());
        let served = env.into_iter().fold(builder, |builder, (name, value)| builder.env(name, value)).serve();
        let warning = served.says("the system's certificate authorities cannot be used");
        assert_eq!(warning["level"], "WARN", "{warning}");
        served.get("/me/x").bearer(&token(&standard)).send().ok();
        served.get("/tls/x").send().denied("upstream_unavailable");
        let far = standard.alice().claim("iss", "https://far.test").header("alg", "RS256").header("kid", "k1");
        served.get("/me/x").bearer(&far.at(SystemClock.now()).sign()).send().denied("keys_unavailable");
        assert!(!served.process.err.text().contains("a part of the gateway failed"), "{}", served.process.err.text());
    }
}

/// The shipped configuration of the demo with addresses that nobody else has.
fn demo_directory(upstream: &str) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/quickstart"));
    for beside in ["realms", "state"] {
        fs::create_dir(directory.path().join(beside)).expect("a directory");
    }
    for (file, replaced) in [
        ("portcullis.toml", &[("127.0.0.1:8080", "127.0.0.1:0"), ("127.0.0.1:9901", "127.0.0.1:0")][..]),
        ("realms/quickstart.toml", &[("127.0.0.1:9000", upstream)]),
    ] {
        let mut text = fs::read_to_string(shipped.join(file)).expect("shipped");
        for (from, to) in replaced {
            assert!(text.contains(from), "{from} is not in {file}");
            text = text.replace(from, to);
        }
        fs::write(directory.path().join(file), text).expect("written");
    }
    directory
}

/// A demo that has told what to try. Its upstream is at this port, of an address that only this run has.
fn demo(port: u16) -> (Process, TempDir) {
    let pid = std::process::id();
    let upstream = format!("127.{}.{}.{}:{port}", 1 + pid % 250, 1 + pid / 250 % 250, 1 + pid / 62_500 % 250);
    let directory = demo_directory(&upstream);
    let process = Run::new(["demo"]).config(directory.path()).start();
    eventually("the demo tells what to try", || process.out.text().contains("Ctrl-C").then_some(()));
    (process, directory)
}

#[test]
fn the_lines_that_the_demo_prints_do_what_they_say() {
    let (mut process, _directory) = demo(9000);
    let printed = process.out.text();
    let printed = &printed[..printed.find("Ctrl-C").expect("the end")];
    let sh = |line: &str| {
        let ended = Command::new("sh").args(["-c", line]).output().expect("sh can be run");
        assert!(ended.status.success(), "{line}: {ended:?}");
        String::from_utf8(ended.stdout).expect("UTF-8")
    };
    let (mut codes, mut last) = (Vec::new(), String::new());
    for line in printed.lines().filter(|line| line.starts_with("curl -i ")) {
        last = sh(line);
        codes.push(last["HTTP/1.1 ".len()..][..3].to_owned());
    }
    assert_eq!(codes, ["401", "200", "200", "403", "403", "200"], "{printed}");
    let said: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(": ")).collect();
    for ((what, says), code) in said.iter().zip(&codes) {
        assert!(says.starts_with(code.as_str()), "{what} says {says} and is {code}");
    }
    let seen: serde_json::Value = serde_json::from_str(last.split_once("\r\n\r\n").expect("a body").1).expect("JSON");
    assert_eq!(seen["headers"]["x-auth-subject"], "acme", "{seen}");
    assert!(!seen.to_string().contains("root"), "{seen}");
    let metrics = printed.lines().find(|line| line.ends_with("/metrics")).expect("a line about metrics");
    assert!(sh(metrics).contains("portcullis_requests_total{code=\"403\""), "{metrics}");

    process.signal("INT");
    assert_eq!(process.wait(), 0);
}

#[test]
fn the_key_of_the_readme_lives_as_it_says_while_the_demo_runs() {
    let (mut process, directory) = demo(9001);
    let printed = process.out.text();
    let place = printed.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).expect("where it stands");
    let readme = include_str!("../../README.md");
    let block = readme.split("## A key in two minutes").nth(1).expect("the example");
    let block = block.split("```console\n").nth(1).and_then(|rest| rest.split("```").next()).expect("its commands");

    // The tree that its paths are in.
    let tree = TempDir::new().expect("a directory");
    for (beside, there) in [
        ("config/quickstart", directory.path()),
        ("target/release/portcullis", Path::new(env!("CARGO_BIN_EXE_portcullis"))),
    ] {
        let path = tree.path().join(beside);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::os::unix::fs::symlink(there, path).expect("a link");
    }
    let (mut script, mut promised) = ("set -e\n".to_owned(), Vec::new());
    for line in block.lines() {
        let line = line.strip_prefix("$ ").unwrap_or_else(|| panic!("no command: {line}"));
        let (command, comment) = line.split_once(" # ").unwrap_or((line, ""));
        let command = command.replace("127.0.0.1:8080", place);
        if command.starts_with("curl ") {
            // Asked again, because a change by another process is known a moment later.
            let status = &comment[..3];
            promised.push(status.to_owned());
            script += &format!(
                "for _ in $(seq 100); do said=$({command} -s -w '=%{{http_code}}'); [ \"${{said##*=}}\" = {status} ] && \
                 break; sleep 0.05; done; printf 'answer%s\\n' \"$said\"\n"
            );
        } else {
            script += &command;
            script.push('\n');
        }
    }
    let ended = Command::new("bash").args(["-c", &script]).current_dir(tree.path()).output().expect("bash can be run");
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{script}\n{out}{err}");
    let answers: Vec<_> = out.split("answer").skip(1).collect();
    assert_eq!(promised, ["200", "403", "401"], "{script}");
    for (answer, status) in answers.iter().zip(&promised) {
        assert!(answer.contains(&format!("={status}\n")), "{out}{err}");
    }
    assert!(answers[0].contains("\"x-auth-subject\": \"team_42\""), "{out}");
    assert!(answers[1].contains("CRM sync") && answers[1].contains("last used ip"), "{out}");
    assert!(answers[2].contains("key_revoked"), "{out}");
    for action in ["client.created", "key.created", "key.revoked"] {
        assert!(answers[2].contains(action), "{out}");
    }

    process.signal("INT");
    assert_eq!(process.wait(), 0);
}

#[test]
fn a_demo_whose_upstream_has_no_place_says_so() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = Run::new(["demo"]).config(demo_directory(&address).path()).envs(&HashMap::new()).end();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains(&format!("the demo's upstream cannot listen on {address}")), "{}", ended.err);
}
