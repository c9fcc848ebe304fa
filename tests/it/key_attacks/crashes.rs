//! Crashes: what was answered is true after one (K-10), and what is left of the files opens (F-07).

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis::clock::{Clock, SystemClock};
use portcullis::store::Page;
use serde_json::json;
use tempfile::TempDir;

use super::{End, postgres_at, sqlite_in, with_key};
use crate::support::administrator::{Administrator, Made, on_store};
use crate::support::eventually;
use crate::support::gateway::{Builder, Gateway};
use crate::support::postgres::Postgres;
use crate::support::process::Served;
use crate::support::realms::{HOUSE_SECRET, Standard};
use crate::support::upstream::Upstream;

/// What ends a key, and how it is refused afterwards.
const ENDS: &[(&str, &str)] = &[
    ("revoke the key", "key_revoked"),
    ("disable the key", "key_disabled"),
    ("give it another text", "key_expired"),
    ("close its address list", "ip_denied"),
    ("disable the owner", "key_disabled"),
    ("delete the owner", "key_unknown"),
];

/// Ends a key; returns when that was answered.
#[track_caller]
fn end(admin: &Administrator, what: &str, owner: &str, key: &Made) {
    let id = &key.id;
    match what {
        "revoke the key" => admin.order(format!("/keys/{id}/revoke")).is(200),
        "disable the key" => admin.order(format!("/keys/{id}/disable")).is(200),
        "give it another text" => admin.post(format!("/keys/{id}/rotate"), &json!({ "overlap_seconds": 0 })).is(200),
        "close its address list" => {
            admin.post(format!("/keys/{id}/ip-allowlist"), &json!({ "network": "203.0.113.0/24" })).is(201)
        }
        "disable the owner" => admin.order(format!("/clients/{owner}/disable")).is(200),
        "delete the owner" => admin.delete(format!("/clients/{owner}")).is(200),
        _ => panic!("{what}"),
    };
}

fn environment(standard: &Standard) -> HashMap<String, String> {
    HashMap::from([(HOUSE_SECRET.to_owned(), standard.secret())])
}

fn builder(standard: &Standard, upstream: &Upstream) -> Builder {
    Gateway::builder().standard(standard).upstream(upstream)
}

#[test]
fn k10_what_was_answered_is_true_after_a_crash_right_behind_the_answer() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let mut served = builder(&standard, &upstream).serve();
    let mut admin = Administrator::of_process(served.admin, &sqlite_in(served.directory()));
    let pairs: Vec<_> = ENDS
        .iter()
        .enumerate()
        .map(|(n, _)| {
            let owner = admin.owner(&format!("team {n}"), &json!({}));
            let key = admin.key(&owner, &json!({}));
            with_key(&served.caller(), &key.secret).send().ok();
            (owner, key)
        })
        .collect();
    for ((what, reason), (owner, key)) in ENDS.iter().zip(&pairs) {
        let fresh = admin.owner(&format!("made before: {what}"), &json!({}));
        let made = admin.key(&fresh, &json!({}));
        end(&admin, what, owner, key);
        served = served.crash_and_restart(&environment(&standard));
        admin = admin.at(served.admin);
        with_key(&served.caller(), &key.secret).send().denied(reason);
        // What was made is there as well.
        with_key(&served.caller(), &made.secret).send().ok();
    }
    assert_eq!(admin.order("/audit/verify").is(200).json()["intact"], true);
}

#[test]
fn k10_what_was_answered_outlives_a_crash_of_gateway_and_database_together() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let mut server = Postgres::durable();
    let url = server.new_database();
    let starting = builder(&standard, &upstream).database(&url);
    let mut served = starting.serve();
    let admin = Administrator::of_process(served.admin, &postgres_at(&url));
    let team = admin.owner("team", &json!({}));
    let (ended, kept) = (admin.key(&team, &json!({})), admin.key(&team, &json!({})));
    with_key(&served.caller(), &ended.secret).send().ok();
    end(&admin, "revoke the key", &team, &ended);
    server.kill();
    served.process.kill();
    server.restart();
    let served = builder(&standard, &upstream).database(&url).serve();
    with_key(&served.caller(), &ended.secret).send().denied("key_revoked");
    with_key(&served.caller(), &kept.secret).send().ok();
}

#[test]
fn k10_another_node_learns_of_what_a_node_has_answered_and_died() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let url = Postgres::shared().new_database();
    let other = builder(&standard, &upstream).clock(SystemClock.now()).database(&url).start();
    let (admin, standard_too) = (other.admin(), &standard);
    for (what, reason) in ENDS.iter().take(3) {
        let mut served = builder(standard_too, &upstream).database(&url).serve();
        let owner = admin.owner(what, &json!({}));
        let key = admin.key(&owner, &json!({}));
        with_key(&other.caller(), &key.secret).send().ok();
        end(&admin.at(served.admin), what, &owner, &key);
        served.process.kill();
        eventually(&format!("the other node knows: {what}"), || {
            let reply = with_key(&other.caller(), &key.secret).send();
            assert!(reply.status == 200 || reply.json()["code"] == *reason, "{reply:?}");
            (reply.status == 401).then_some(())
        });
    }
}

/// Copies a store as it stands on the disk at one moment: whoever writes is stopped meanwhile.
fn image(served: &Served, to: &Path) {
    served.process.stop();
    for entry in fs::read_dir(served.directory()).expect("a directory").flatten() {
        let name = entry.file_name();
        // The index of the log of changes is memory: it does not outlive a power cut.
        let wanted = name.to_str().is_some_and(|name| name.starts_with("portcullis.db") && !name.ends_with("-shm"));
        if wanted {
            fs::copy(entry.path(), to.join(name)).expect("a copy");
        }
    }
    served.process.signal("CONT");
}

#[test]
fn f07_what_lies_on_the_disk_at_any_moment_under_writes_opens_and_holds_what_was_answered() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let served = builder(&standard, &upstream).serve();
    let admin = Administrator::of_process(served.admin, &sqlite_in(served.directory()));
    let owners: Vec<_> = (0..2).map(|n| admin.owner(&format!("team {n}"), &json!({}))).collect();
    let images: Vec<_> = (0..12).map(|_| TempDir::new().expect("a directory")).collect();
    let answered = std::sync::Mutex::new((Vec::new(), Vec::new()));
    let over = AtomicBool::new(false);
    let mut promised = Vec::new();
    std::thread::scope(|scope| {
        for owner in &owners {
            let (admin, answered, over) = (&admin, &answered, &over);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let key = admin.key(owner, &json!({ "name": "x".repeat(150) }));
                    answered.lock().expect("no panic").0.push(key.id.clone());
                    admin.order(format!("/keys/{}/revoke", key.id)).is(200);
                    answered.lock().expect("no panic").1.push(key.id);
                }
            });
        }
        let _end = End(&over);
        for image_of in &images {
            let random = u64::from(crate::support::keys::random(1)[0]);
            let before = answered.lock().expect("no panic").0.len();
            // At a moment that differs every time, and with something new in it.
            eventually("work goes on", || (answered.lock().expect("no panic").0.len() > before).then_some(()));
            let watch = portcullis::clock::Stopwatch::start();
            eventually("a moment comes", || (watch.elapsed().as_millis() as u64 * 4 > random).then_some(()));
            promised.push(answered.lock().expect("no panic").clone());
            image(&served, image_of.path());
        }
    });
    for (directory, (made, revoked)) in images.iter().zip(&promised) {
        let (health, verdict, keys) = on_store(&sqlite_in(directory.path()), async |store| {
            let mut keys = HashMap::new();
            let mut page = Page { after: None, limit: 200 };
            loop {
                let part = store.keys(&portcullis::store::KeyFilter::default(), &page).await.expect("keys");
                let Some(last) = part.last() else { break };
                page.after = Some(last.id.clone());
                keys.extend(part.into_iter().map(|key| (key.id, key.status)));
            }
            (store.check().await.expect("a check"), store.verify_audit().await.expect("a walk"), keys)
        });
        assert!(health.problems.is_empty(), "{health:?}");
        assert!(verdict.broken.is_none(), "{verdict:?}");
        assert!(made.iter().all(|id| keys.contains_key(id)), "a key is lost that was answered");
        let is_revoked = |id: &String| keys.get(id) == Some(&portcullis::store::KeyStatus::Revoked);
        assert!(revoked.iter().all(is_revoked), "a key lives again that was revoked");
    }
    assert!(promised.last().is_some_and(|(made, _)| made.len() > 10), "{promised:?}");
    // One of them serves, too.
    let last = images.into_iter().next_back().expect("an image");
    let (_, revoked) = promised.pop().expect("a promise");
    for (name, content) in read_configuration(served.directory()) {
        fs::create_dir_all(last.path().join(&name).parent().expect("a directory")).expect("a directory");
        fs::write(last.path().join(&name), content).expect("a file");
    }
    let again = Served::start(last, &environment(&standard));
    let admin = admin.at(again.admin);
    assert_eq!(admin.get(format!("/keys/{}", revoked[0])).is(200).json()["status"], "revoked");
}

#[test]
fn f07_a_backup_that_is_made_under_writes_opens_and_is_whole() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let gw = builder(&standard, &upstream).start();
    let (admin, team) = (gw.admin(), gw.admin().owner("team", &json!({})));
    let directory = TempDir::new().expect("a directory");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let key = admin.key(&team, &json!({}));
                admin.order(format!("/keys/{}/revoke", key.id)).is(200);
            }
        });
        let _end = End(&over);
        for n in 0..5 {
            let path = directory.path().join(format!("{n}.db"));
            gw.with_store(move |store| async move { store.backup(&path).await }).expect("a backup");
        }
    });
    for n in 0..5 {
        let settings = sqlite_in(directory.path());
        fs::rename(directory.path().join(format!("{n}.db")), directory.path().join("portcullis.db")).expect("a file");
        for ending in ["pepper", "seal"] {
            let name = format!("portcullis.db.{ending}");
            fs::copy(gw.directory().join(&name), directory.path().join(&name)).expect("a secret");
        }
        on_store(&settings, async |store| {
            let health = store.check().await.expect("a check");
            assert!(health.problems.is_empty(), "{health:?}");
            assert!(store.verify_audit().await.expect("a walk").broken.is_none());
        });
        for ending in ["", "-wal", "-shm"] {
            drop(fs::remove_file(directory.path().join(format!("portcullis.db{ending}"))));
        }
    }
}

fn read_configuration(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let names = ["portcullis.toml", "realms/realm0.toml"];
    names.iter().map(|name| ((*name).to_owned(), fs::read(directory.join(name)).expect("a file"))).collect()
}
