//! As whom it runs: an ordinary user with one capability, or with none.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use tempfile::TempDir;

use super::House;
use crate::support::gateway::Gateway;
use crate::support::process::{Process, Run, Served, can_be_nobody};
use crate::support::realms::Standard;
use crate::support::upstream::Upstream;

/// A port that only the privileged may open.
fn privileged_port() -> Option<u16> {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok()?.trim().parse().ok()?;
    (600..first).find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
}

/// The line of `/proc/PID/status`.
fn status(process: &Process, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("a line");
    line.trim().to_owned()
}

#[test]
fn an_ordinary_user_serves_at_a_low_port_with_one_capability_and_a_successor_needs_none() {
    let Some(port) = privileged_port() else {
        eprintln!("SKIPPED: no port of this machine needs a privilege, or this user may not open one");
        return;
    };
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let builder = Gateway::builder().standard(&standard).upstream(&upstream).listen(&format!("127.0.0.1:{port}"));
    let env = builder.environment().clone();
    let directory = builder.write();
    if !can_be_nobody(directory.path()) {
        eprintln!("SKIPPED: this machine does not let us run a process as another user");
        return;
    }
    let run = |words: &[&str], capabilities: &str| {
        Run::new(words).config(directory.path()).envs(&env).for_nobody(capabilities)
    };
    let ended = run(&["serve"], "-all").end();
    assert_eq!(ended.code, 1, "{ended:?}");
    let text = format!(
        "portcullis: server.listen[0]: cannot listen on 127.0.0.1:{port}: Permission denied (os error 13); ports below 1024 \
         need a privilege (CAP_NET_BIND_SERVICE): grant it, or choose a higher port"
    );
    assert!(ended.err.lines().any(|line| line == text), "{}", ended.err);

    let first = run(&["serve"], "-all,+net_bind_service").start();
    let served = Served::of(first, TempDir::new().expect("a directory"));
    assert_eq!(served.addrs[0].port(), port);
    assert!(status(&served.process, "Uid").starts_with("65534\t65534"), "an ordinary user");
    assert_eq!(status(&served.process, "CapEff"), "0000000000000400", "CAP_NET_BIND_SERVICE, and nothing else");
    assert!(!served.process.err.text().contains("runs as root"));
    served.get("/public/x").send().ok();

    let second = run(&["serve", "--upgrade"], "-all").start();
    second.err.line_where("waiting", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("waiting for the sockets"))
    });
    let served = served.hand_over_to(second);
    assert_eq!(status(&served.process, "CapEff"), "0000000000000000");
    assert_eq!(served.addrs[0].port(), port);
    served.get("/public/x").send().ok();
}

#[test]
fn whoever_runs_it_as_root_is_told() {
    let (house, served) = House::new("");
    let root = status(&served.process, "Uid").starts_with("0\t");
    if root {
        served.says("runs as root");
    }
    assert_eq!(served.process.err.text().contains("runs as root"), root);
    served.get("/me/x").bearer(&house.token).send().ok();
}
