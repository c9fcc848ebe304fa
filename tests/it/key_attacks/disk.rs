//! F-04: the disk of the store is full. Changes are refused whole, reading goes on, and when there is room again
//! everything goes on by itself. The disk is a small one of the process's own.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::{sqlite_in, with_key};
use crate::support::administrator::{Administrator, Made, made_store, on_store};
use crate::support::caller::Caller;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::process::{Run, Served, small_disks};
use crate::support::realms::{HOUSE_SECRET, Standard, api_key, key_prefix};
use crate::support::upstream::Upstream;

/// A gateway whose store is on a disk of three megabytes.
struct Small {
    served: Served,
    admin: Administrator,
    standard: Standard,
    _upstream: Upstream,
    /// The disk, as it can be reached from outside.
    disk: PathBuf,
}

impl Small {
    /// None: this machine gives us no disks.
    fn start() -> Option<Self> {
        if !small_disks() {
            println!("left out: nobody may mount a file system here");
            return None;
        }
        let (standard, upstream) = (Standard::new(), Upstream::start());
        let directory = Gateway::builder().standard(&standard).upstream(&upstream).write();
        let state = directory.path().join("state");
        fs::create_dir(&state).expect("a directory");
        let (token, id) = made_store(&sqlite_in(&state));
        let env = HashMap::from([
            (HOUSE_SECRET.to_owned(), standard.secret()),
            ("STATE_DIRECTORY".to_owned(), state.to_str().expect("UTF-8").to_owned()),
        ]);
        let run = Run::new(["serve"]).config(directory.path()).envs(&env).small_disk(&state, "size=3m,mode=0700");
        let served = Served::of(run.start(), directory);
        let disk = PathBuf::from(format!("/proc/{}/root", served.process.id()))
            .join(state.strip_prefix("/").expect("absolute"));
        let admin = Administrator::new(Caller::new(served.admin).host(&served.admin.to_string()), token, id);
        Some(Self { served, admin, standard, _upstream: upstream, disk })
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut filler = fs::OpenOptions::new().create(true).append(true).open(self.filler()).expect("a file");
        for piece in [64 * 1024, 4096, 512, 1] {
            while filler.write_all(&vec![b'x'; piece]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).expect("a file");
    }

    fn filler(&self) -> PathBuf {
        self.disk.join("filler")
    }
}

fn copied(from: &Path) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        if entry.file_name() != "filler" {
            fs::copy(entry.path(), directory.path().join(entry.file_name())).expect("a copy");
        }
    }
    directory
}

#[test]
fn f04_a_full_disk_refuses_changes_whole_and_everything_goes_on_when_there_is_room() {
    let Some(small) = Small::start() else { return };
    let admin = &small.admin;
    let team = admin.owner("team", &json!({}));
    let (seen, unseen) = (admin.key(&team, &json!({})), admin.key(&team, &json!({})));
    let call = |key: &str| with_key(&small.served.caller(), key);
    small.fill();

    // What is left in files that are there already is used up; then nothing can be written.
    let asked = |n: usize| json!({ "realm": "api", "owner_id": team, "name": format!("{n} {}", "y".repeat(190)) });
    let (mut made, mut number, mut refused) = (Vec::new(), 0, 0);
    while refused < 5 {
        let reply = admin.post("/keys", &asked(number));
        match reply.status {
            201 => made.push(Made::of(&reply.json())),
            507 => {
                assert_eq!(reply.json()["code"], "store_full", "{reply:?}");
                refused += 1;
                small.fill();
            }
            _ => panic!("{reply:?}"),
        }
        number += 1;
        assert!(number < 3000, "the disk does not become full");
    }

    // Reading goes on: what is remembered, what is not, what is no key; and what has nothing to do with it.
    for _ in 0..7 {
        call(&seen.secret).send().ok();
    }
    call(&unseen.secret).send().ok();
    call(&api_key(&key_prefix())).send().denied("key_unknown");
    let token = small.standard.alice().at(portcullis::clock::Clock::now(&portcullis::clock::SystemClock)).sign();
    small.served.get("/jwt/x").bearer(&token).send().ok();
    small.served.admin_get("/readyz").is(200);
    admin.get(format!("/keys/{}", unseen.id)).is(200);
    // What could not be ended is not said to be.
    let reply = admin.order(format!("/keys/{}/revoke", seen.id));
    assert_eq!((reply.status, &reply.json()["code"]), (507, &json!("store_full")), "{reply:?}");
    call(&seen.secret).send().ok();
    small.served.says("uses of keys cannot be written down");

    small.make_room();
    let reply = eventually("keys can be made again", || {
        let reply = admin.post("/keys", &asked(number));
        assert!(matches!(reply.status, 201 | 507), "{reply:?}");
        (reply.status == 201).then_some(reply)
    });
    made.push(Made::of(&reply.json()));
    // Uses that could not be written are not lost.
    eventually("the uses are written", || {
        let key = admin.get(format!("/keys/{}", seen.id)).is(200).json();
        (key["use_count"].as_i64() >= Some(7)).then_some(())
    });
    for key in made.iter().rev().take(20) {
        call(&key.secret).send().ok();
    }
    // Exactly what was answered with 201 is there.
    let mut there = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = admin.get(format!("/keys?limit=200{cursor}")).is(200).json();
        there.extend(
            page["data"].as_array().expect("a list").iter().map(|key| key["id"].as_str().expect("an id").to_owned()),
        );
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let mut promised: Vec<_> = made.iter().chain([&seen, &unseen]).map(|key| key.id.clone()).collect();
    there.retain(|id| !id.starts_with("cfg:"));
    promised.sort();
    there.sort();
    assert_eq!(there, promised);
    assert_eq!(admin.order("/audit/verify").is(200).json()["intact"], true);
    // And nothing is half-written below that.
    small.served.process.stop();
    let copy = copied(&small.disk);
    small.served.process.signal("CONT");
    on_store(&sqlite_in(copy.path()), async |store| {
        let health = store.check().await.expect("a check");
        assert!(health.problems.is_empty(), "{health:?}");
    });
}

#[test]
fn f04_a_disk_that_is_full_at_the_start_ends_it_with_one_clear_line() {
    if !small_disks() {
        println!("left out: nobody may mount a file system here");
        return;
    }
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let directory = Gateway::builder().standard(&standard).upstream(&upstream).write();
    let state = directory.path().join("state");
    fs::create_dir(&state).expect("a directory");
    let run = Run::new(["serve"]).config(directory.path()).env(HOUSE_SECRET, &standard.secret());
    let ended = run.env("STATE_DIRECTORY", state.to_str().expect("UTF-8")).small_disk(&state, "size=16k").end();
    assert_eq!(ended.code, 1, "{ended:?}");
    let told: Vec<_> = ended.err.lines().filter(|line| line.starts_with("portcullis: ")).collect();
    assert!(matches!(told.as_slice(), [line] if line.contains("no room")), "{ended:?}");
}
