//! F-01: the store is out of reach. An outage is never 401 and never «allowed»; whoever has nothing to do with the store
//! does not notice; and all is well again by itself.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::clock::{Clock, Stopwatch};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::{End, House, with_key};
use crate::support::administrator::Made;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::postgres::Postgres;
use crate::support::realms::{api_key, key_prefix};

const STALENESS: &str = "max_staleness = \"1s\"";

/// Recovery is to take no longer.
const RECOVERY: Duration = Duration::from_secs(5);

/// A house with keys in every state of being known.
struct Outage {
    house: House,
    remembered: Made,
    revoked: Made,
    unseen: Made,
    bad: String,
    token: String,
}

impl Outage {
    fn prepare(house: House) -> Self {
        let (remembered, revoked, unseen) = (house.key(), house.key(), house.key());
        let bad = api_key(&key_prefix());
        house.call(&remembered.secret).send().ok();
        house.admin().order(format!("/keys/{}/revoke", revoked.id)).is(200);
        house.call(&revoked.secret).send().denied("key_revoked");
        house.call(&bad).send().denied("key_unknown");
        let token = house.token();
        house.gw.until_ready();
        Self { house, remembered, revoked, unseen, bad, token }
    }

    /// What has nothing to do with the store is as it was.
    #[track_caller]
    fn others_go_on(&self) {
        let House { gw, standard, .. } = &self.house;
        let watch = Stopwatch::start();
        gw.get("/me/x").bearer(&self.token).send().ok();
        gw.get("/jwt/x").bearer(&self.token).send().ok();
        gw.get("/public/x").send().ok();
        gw.get("/campaigns/x").header("X-API-Key", &standard.partner_key).send().ok();
        gw.get("/me/x").send().denied("missing_credentials");
        gw.get("/me/x").bearer("rubbish").send().denied("token_invalid");
        gw.get("/me/x").header("X-API-Key", format!("{}x", key_prefix())).send().denied("key_malformed");
        assert!(watch.elapsed() < Duration::from_secs(2), "{:?}", watch.elapsed());
    }

    /// From the moment on at which the store is away, until it is noticed that nothing is known any more.
    #[track_caller]
    fn unfolds(&self, away: Stopwatch) {
        let House { gw, .. } = &self.house;
        self.others_go_on();
        self.house.call(&self.unseen.secret).send().denied("store_unavailable");
        self.house.call(&api_key(&key_prefix())).send().denied("store_unavailable");
        eventually("nothing is believed any more", || {
            let (at, reply) = (away.elapsed(), self.house.call(&self.remembered.secret).send());
            match reply.status {
                200 => assert!(at < Duration::from_millis(1500), "let in {at:?} after the store had gone"),
                503 => return Some(reply.denied("store_unavailable")),
                _ => panic!("{reply:?}"),
            }
            None
        });
        for key in [&self.revoked.secret, &self.bad, &self.unseen.secret, &self.remembered.secret] {
            self.house.call(key).send().denied("store_unavailable");
        }
        let ready = gw.admin_get("/readyz").is(503).json();
        assert_eq!((&ready["ready"], &ready["store"]["reachable"]), (&json!(false), &json!(false)), "{ready}");
        assert!(ready["store"]["last_error"].is_string(), "{ready}");
        gw.admin_get("/livez").is(200);
        self.others_go_on();
        for reply in [
            self.house.admin().get("/keys"),
            self.house.admin().order(format!("/keys/{}/revoke", self.unseen.id)),
            self.house.admin().post("/keys", &json!({ "realm": "api", "owner_id": self.house.team, "name": "x" })),
        ] {
            assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("store_unavailable")), "{reply:?}");
            assert!(reply.header("retry-after").is_some(), "{reply:?}");
        }
        assert!(gw.metric("portcullis_denials_total", &[("reason", "store_unavailable")]) > 4.0);
    }

    /// Everything is as before, without anybody's doing.
    #[track_caller]
    fn is_over(&self, back: Stopwatch) {
        let first = eventually("keys are answered for again", || {
            let reply = self.house.call(&self.remembered.secret).send();
            assert!(matches!(reply.status, 200 | 503), "{reply:?}");
            (reply.status == 200).then(|| back.elapsed())
        });
        assert!(first < RECOVERY, "{first:?}");
        self.house.call(&self.unseen.secret).send().ok();
        self.house.call(&self.bad).send().denied("key_unknown");
        self.house.call(&self.revoked.secret).send().denied("key_revoked");
        self.house.gw.until_ready();
        let key = eventually("keys can be made again", || {
            let asked = json!({ "realm": "api", "owner_id": self.house.team, "name": "after" });
            let reply = self.house.admin().post("/keys", &asked);
            (reply.status == 201).then(|| Made::of(&reply.json()))
        });
        self.house.call(&key.secret).send().ok();
        assert!(back.elapsed() < RECOVERY * 2, "{:?}", back.elapsed());
    }
}

#[test]
fn f01_a_file_that_is_moved_away_is_an_outage_and_its_return_the_end_of_it() {
    let outage = Outage::prepare(House::with(|builder| builder.store_toml(STALENESS)));
    let (here, there) =
        (outage.house.gw.directory().join("portcullis.db"), outage.house.gw.directory().join("elsewhere"));
    fs::rename(&here, &there).expect("moved");
    outage.unfolds(Stopwatch::start());
    fs::rename(&there, &here).expect("moved");
    outage.is_over(Stopwatch::start());
}

#[test]
fn f01_a_directory_that_is_moved_away_is_an_outage_and_its_return_the_end_of_it() {
    let root = tempfile::TempDir::new().expect("a directory");
    let (here, there) = (root.path().join("state"), root.path().join("elsewhere"));
    fs::create_dir(&here).expect("a directory");
    let state = here.to_str().expect("UTF-8").to_owned();
    let outage = Outage::prepare(House::with(|builder| builder.store_toml(STALENESS).env("STATE_DIRECTORY", &state)));
    fs::rename(&here, &there).expect("moved");
    outage.unfolds(Stopwatch::start());
    // Another one in its place is not ours, and is neither used nor changed.
    fs::create_dir(&here).expect("a directory");
    fs::write(here.join("portcullis.db"), "").expect("a file");
    outage.house.call(&outage.remembered.secret).send().denied("store_unavailable");
    assert_eq!(fs::read(here.join("portcullis.db")).expect("a file"), b"");
    fs::remove_dir_all(&here).expect("removed");
    fs::rename(&there, &here).expect("moved");
    outage.is_over(Stopwatch::start());
}

#[test]
fn f01_a_file_that_somebody_else_writes_for_long_refuses_changes_and_requests_go_on() {
    let outage = Outage::prepare(House::with(|builder| builder.store_toml(STALENESS)));
    let path = outage.house.gw.directory().join("portcullis.db");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let connection = runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.expect("SQLite");
        sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut connection).await.expect("the only writer");
        connection
    });
    let watch = Stopwatch::start();
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| outage.house.admin().order(format!("/keys/{}/disable", outage.unseen.id)));
        while watch.elapsed() < Duration::from_secs(2) {
            // Longer than max_staleness: reading goes on, so that nothing is stale.
            outage.house.call(&outage.remembered.secret).send().ok();
            outage.house.call(&api_key(&key_prefix())).send().denied("key_unknown");
            outage.others_go_on();
        }
        let reply = refused.join().expect("an answer");
        assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("store_unavailable")), "{reply:?}");
    });
    assert!(watch.elapsed() < Duration::from_secs(9), "{:?}", watch.elapsed());
    assert_eq!(outage.house.gw.admin_get("/readyz").status, 200);
    runtime.block_on(connection.close()).expect("SQLite");
    outage.is_over(Stopwatch::start());
    assert_eq!(outage.house.admin().get(format!("/keys/{}", outage.unseen.id)).is(200).json()["status"], "active");
}

#[test]
fn f01_a_database_that_is_killed_is_an_outage_and_its_return_the_end_of_it() {
    let mut server = Postgres::durable(); // one that forgets what it has promised would be another fault
    let outage = Outage::prepare(House::with(|builder| builder.postgres(&server).store_toml(STALENESS)));
    let away = Stopwatch::start();
    server.kill();
    outage.unfolds(away);
    server.restart();
    outage.is_over(Stopwatch::start());
}

#[test]
fn f01_a_database_that_hangs_is_an_outage_and_its_return_the_end_of_it() {
    let server = Postgres::private();
    let outage = Outage::prepare(House::with(|builder| builder.postgres(&server).store_toml(STALENESS)));
    server.freeze();
    let away = Stopwatch::start();
    outage.others_go_on();
    // Who has to wait for the store waits for a bounded time.
    let watch = Stopwatch::start();
    outage.house.call(&outage.unseen.secret).send().denied("store_unavailable");
    assert!(watch.elapsed() < Duration::from_secs(4), "{:?}", watch.elapsed());
    eventually("nothing is believed any more", || {
        (outage.house.call(&outage.remembered.secret).send().status == 503).then_some(())
    });
    assert!(away.elapsed() < Duration::from_secs(9), "{:?}", away.elapsed());
    eventually("that is told", || (outage.house.gw.admin_get("/readyz").status == 503).then_some(()));
    outage.others_go_on();
    server.thaw();
    outage.is_over(Stopwatch::start());
}

/// 500 requests a second are more than the tests' machine has for this; as many as four callers make are there.
#[test]
fn f01_under_mixed_traffic_an_outage_makes_errors_of_its_own_kind_only() {
    let mut server = Postgres::durable();
    let house = House::with(|builder| builder.postgres(&server).store_toml(STALENESS));
    let (good, revoked) = (house.key().secret, house.key());
    house.admin().order(format!("/keys/{}/revoke", revoked.id)).is(200);
    let (token, over) = (house.token(), AtomicBool::new(false));
    let statuses = std::sync::Mutex::new(std::collections::BTreeMap::<(&str, u16), usize>::new());
    std::thread::scope(|scope| {
        for who in ["good", "revoked", "unknown", "token"] {
            let (house, statuses, over, token) = (&house, &statuses, &over, &token);
            let (good, revoked) = (&good, &revoked.secret);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let caller = house.gw.caller();
                    let call = match who {
                        "good" => with_key(&caller, good),
                        "revoked" => with_key(&caller, revoked),
                        "unknown" => with_key(&caller, &api_key(&key_prefix())),
                        _ => caller.get("/me/x").bearer(token),
                    };
                    let status = call.send().status;
                    *statuses.lock().expect("no panic").entry((who, status)).or_default() += 1;
                }
            });
        }
        let _end = End(&over);
        let count = |who, status| statuses.lock().expect("no panic").get(&(who, status)).copied().unwrap_or_default();
        let grows = |who: &'static str, status| {
            let before = count(who, status);
            eventually(&format!("{who} {status}"), || (count(who, status) > before + 2).then_some(()));
        };
        grows("good", 200);
        server.kill();
        for who in ["good", "revoked", "unknown"] {
            grows(who, 503);
        }
        grows("token", 200);
        server.restart();
        grows("good", 200);
        grows("revoked", 401);
        grows("unknown", 401);
    });
    let statuses = statuses.into_inner().expect("no panic");
    for (who, status) in statuses.keys() {
        let fits = match *who {
            "good" => matches!(status, 200 | 503),
            "token" => *status == 200,
            _ => matches!(status, 401 | 503),
        };
        assert!(fits, "{statuses:?}");
    }
}

/// The time of keys goes on while the store is away: what expires meanwhile is not let in.
#[test]
fn f01_a_key_that_expires_during_an_outage_is_refused_although_it_is_remembered() {
    let house = House::with(|builder| builder.store_toml("max_staleness = \"1h\""));
    let at = house.gw.clock.now().plus(Duration::from_secs(60));
    let key = house.key_with(&json!({ "expires_at": at.to_string() }));
    house.call(&key.secret).send().ok();
    let path = house.gw.directory().join("portcullis.db");
    fs::rename(&path, path.with_extension("away")).expect("moved");
    eventually("the outage is noticed", || {
        (house.gw.admin_get("/readyz").json()["store"]["reachable"] == json!(false)).then_some(())
    });
    house.call(&key.secret).send().ok();
    house.gw.pass(Duration::from_secs(60));
    house.call(&key.secret).send().denied("key_expired");
    fs::rename(path.with_extension("away"), &path).expect("moved");
    let other: &Gateway = &house.gw;
    eventually("it is over", || (other.admin_get("/readyz").json()["store"]["reachable"] == json!(true)).then_some(()));
}
