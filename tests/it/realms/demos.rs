//! The demos of the documented APIs: every line that they print does what the comment above it says.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::eventually;
use crate::support::process::{Process, Run};

/// The shipped configuration with addresses that nobody else has.
fn directory() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config"));
    fs::create_dir(directory.path().join("realms")).expect("a directory");
    let main = fs::read_to_string(shipped.join("portcullis.toml")).expect("shipped");
    let main = main.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9901", "127.0.0.1:0");
    fs::write(directory.path().join("portcullis.toml"), main).expect("written");
    for (number, realm) in ["affilync", "convertly", "affonso", "giftcards"].iter().enumerate() {
        let file = format!("realms/{realm}.toml");
        let text = fs::read_to_string(shipped.join(&file)).expect("shipped");
        let from = format!("127.0.0.1:{}", 9000 + number);
        assert!(text.contains(&from), "{from} is not in {file}");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a port");
        fs::write(directory.path().join(&file), text.replace(&from, &free.to_string())).expect("written");
    }
    directory
}

/// A demo that has told what to try.
fn demo(realm: &str) -> (Process, TempDir) {
    let directory = directory();
    let process = Run::new(["demo", "--realm", realm]).config(directory.path()).start();
    eventually("the demo tells what to try", || process.out.text().contains("Ctrl-C").then_some(()));
    (process, directory)
}

/// Does everything that the demo of this realm prints, in one shell.
fn does_what_it_says(realm: &str, least: usize) {
    let (mut process, _directory) = demo(realm);
    let printed = process.out.text();
    let script = &printed[printed.find("# ").expect("a request")..printed.find("Ctrl-C").expect("the end")];
    let ended = Command::new("sh").args(["-e", "-c", script]).output().expect("sh can be run");
    let out = String::from_utf8(ended.stdout).expect("UTF-8");
    assert!(ended.status.success(), "{script}\n{out}");
    let said: Vec<_> = script.lines().filter_map(|line| line.strip_prefix("# ")?.rsplit_once(": ")).collect();
    // A body may end without the end of a line.
    let codes: Vec<_> = out.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)).collect();
    assert_eq!(codes.len(), said.len(), "{script}\n{out}");
    for ((what, says), code) in said.iter().zip(&codes) {
        assert_eq!(says, code, "{what}\n{out}");
    }
    assert!(said.len() >= least, "{script}");
    process.signal("INT");
    assert_eq!(process.wait(), 0, "{}", process.err.text());
}

#[test]
fn the_demo_of_affilync_does_what_it_says() {
    does_what_it_says("affilync", 7);
}

#[test]
fn the_demo_of_convertly_does_what_it_says() {
    does_what_it_says("convertly", 4);
}

#[test]
fn the_demo_of_affonso_does_what_it_says() {
    does_what_it_says("affonso", 8);
}

#[test]
fn the_demo_of_gift_cards_does_what_it_says() {
    does_what_it_says("giftcards", 5);
}

#[test]
fn a_demo_that_is_not_there_names_those_that_are() {
    let directory = directory();
    let ended = Run::new(["demo", "--realm", "nonsense"]).config(directory.path()).end();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("affilync") && ended.err.contains("giftcards"), "{}", ended.err);
}
