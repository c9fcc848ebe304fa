//! `portcullis health`: what a probe that is a command learns of a running gateway.

use std::net::{SocketAddr, TcpListener};

use super::support::eventually;
use super::support::gateway::Gateway;
use super::support::process::{Ended, Run};
use super::support::realms::Standard;
use super::support::upstream::{Respond, Upstream};

fn health(admin: SocketAddr, more: &[&str]) -> Ended {
    let url = format!("http://{admin}");
    Run::new(["health", "--admin", &url].iter().chain(more)).end()
}

#[test]
fn a_gateway_that_serves_is_ready_and_alive() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let gw = Gateway::standard(&standard, &upstream);
    gw.until_ready();
    for (more, said) in [(&[][..], "ready\n"), (&["--live"], "alive\n")] {
        let ended = health(gw.admin_addr(), more);
        assert_eq!((ended.code, &*ended.out, &*ended.err), (0, said, ""));
    }
}

#[test]
fn a_gateway_that_has_lost_its_store_is_alive_and_not_ready() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let builder = Gateway::builder().store_toml("max_staleness = \"1s\"").standard(&standard).upstream(&upstream);
    let gw = builder.start();
    gw.until_ready();
    let (here, away) = (gw.directory().join("portcullis.db"), gw.directory().join("away"));
    std::fs::rename(&here, &away).expect("renamed");
    let ended = eventually("it is not ready", || Some(health(gw.admin_addr(), &[])).filter(|ended| ended.code != 0));
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("not ready: ") && ended.err.contains("/readyz: status 503"), "{}", ended.err);
    assert_eq!(health(gw.admin_addr(), &["--live"]).code, 0);
    std::fs::rename(&away, &here).expect("renamed");
    eventually("it is ready again", || (health(gw.admin_addr(), &[]).code == 0).then_some(()));
}

#[test]
fn nobody_and_silence_are_not_healthy() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let ended = health(nobody, &[]);
    assert_eq!(ended.code, 1, "{}", ended.err);

    let silent = Upstream::start();
    silent.respond(Respond::Hold);
    let ended = health(silent.addr(), &["--live", "--timeout", "1"]);
    silent.release();
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("not alive: ") && ended.err.contains("1s"), "{}", ended.err);
}

#[test]
fn a_question_that_cannot_be_asked_is_wrong_usage() {
    for arguments in [
        &["--admin", "http://gateway.example:9901"][..],
        &["--admin", "127.0.0.1:9901"],
        &["--admin", "http://127.0.0.1:9901/?x"],
        &["--admin-ca", "/nowhere/ca.pem"],
        &["--timeout", "0"],
    ] {
        let ended = Run::new(["health"].iter().chain(arguments)).end();
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.err);
    }
}
