//! What operators do with a store as a whole.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis::clock::UnixMillis;
use portcullis::store::{AttemptRule, Expected, Fault, Location, NewIssued, NewSession, Opening, StoreSettings};

use super::records::{add_issued, begin, digest, issued, refresh, session, sign_in};
use super::{Ground, on_both};
use crate::support::{DEADLINE, NOW};

on_both!(
    a_sound_store_has_no_problems,
    damage_is_found_and_named,
    a_realm_takes_everything_along_to_its_new_name,
    a_realm_is_not_renamed_into_one_with_the_same_principals,
);

async fn a_sound_store_has_no_problems(ground: Ground) {
    let store = ground.open().await;
    ground.key("a", "acme").await;
    let health = store.check().await.unwrap();
    assert_eq!((health.schema, health.problems), (2, Vec::new()));
    assert_eq!((health.rows["principals"], health.rows["api_keys"], health.rows["audit_events"]), (1, 1, 0));
}

async fn damage_is_found_and_named(ground: Ground) {
    let store = ground.open().await;
    ground.key("a", "acme").await;
    ground.sql("UPDATE api_keys SET realm = 'lost'").await;
    let digest = if ground.is_sqlite() { "x'0102'" } else { r"'\x0102'" };
    ground.sql(&format!("UPDATE api_key_secrets SET digest = {digest}, state = 'ended'")).await;
    let (_, sid, _) = sign_in(&store, "ann").await;
    add_issued(&store, NewIssued { sid: Some(sid), ..issued("x") }).await;
    ground.sql("UPDATE sessions SET realm = 'lost', revoked_at = 1").await;
    ground
        .sql(&format!("UPDATE refresh_tokens SET digest = {digest}; UPDATE issued_tokens SET digest = {digest}"))
        .await;
    ground.sql(&orphan_of(&ground)).await;
    let problems = store.check().await.unwrap().problems;
    for problem in [
        "sessions without a principal in their realm: 1",
        "refresh tokens without a session: 1",
        "refresh tokens in force of a session that was ended: 1",
        "issued tokens without their session in their realm: 1",
        "digests of refresh tokens that are not 32 bytes long: 1",
        "digests of issued tokens that are not 32 bytes long: 1",
        "keys without an owner in their realm: 1",
        "texts of keys without a key in their realm: 1",
        "keys in force without a text: 1",
        "address entries without a key: 1",
        "digests of keys that are not 32 bytes long: 1",
    ] {
        assert!(problems.iter().any(|found| found == problem), "{problem} is not in {problems:?}");
    }
}

/// Puts a refresh token there that is of no session, as a restored part of a database may be.
fn orphan_of(ground: &Ground) -> String {
    let insert = "INSERT INTO refresh_tokens (jti, sid, generation, state, issued_at, expires_at) \
                  VALUES ('lost', 'ses_lost', 0, 'rotated', 0, 0)";
    match ground.is_sqlite() {
        true => format!("PRAGMA foreign_keys = OFF; {insert}"),
        false => format!("SET session_replication_role = replica; {insert}"),
    }
}

async fn a_realm_takes_everything_along_to_its_new_name(ground: Ground) {
    let store = ground.open().await;
    ground.key("a", "acme").await;
    ground.key("b", "acme").await;
    ground.key("c", "other").await;
    ground.admin_token("limited", r#"'["acme","other"]'"#).await;
    ground.admin_token("unlimited", "NULL").await;
    let owner = "own_acme_a";
    let session = NewSession { realm: "acme".to_owned(), ..session(owner) };
    let rule = AttemptRule { free: 9, first_lock: DEADLINE, longest_lock: DEADLINE, window: DEADLINE };
    let mut write = begin(&store).await;
    let refresh = refresh(&session.id, 0);
    assert!(write.begin_session(&session, Some(&refresh), &Expected::default(), None).await.unwrap());
    for n in 0..2 {
        write.revoke_jti("acme", &session.id, &format!("j{n}"), NOW, NOW).await.unwrap();
        let token = NewIssued { realm: "acme".to_owned(), sid: Some(session.id.clone()), ..issued(&format!("t{n}")) };
        write.issue_token(&token).await.unwrap();
        write.note_failure("acme", &format!("account:{n}"), &rule, NOW).await.unwrap();
        write.know_address("acme", &format!("account:{n}"), "192.0.2.0/24", NOW).await.unwrap();
    }
    // Counted under both names.
    write.note_failure("acme", "account:1", &rule, NOW).await.unwrap();
    write.note_failure("new", "account:1", &rule, NOW).await.unwrap();
    write.know_address("new", "account:1", "192.0.2.0/24", NOW).await.unwrap();
    write.commit().await.unwrap();

    let mut write = store.begin().await.unwrap();
    assert_eq!(write.rename_realm("acme", "acme", NOW).await.unwrap(), (0, 0));
    assert_eq!(write.rename_realm("acme", "new", NOW).await.unwrap(), (2, 2));
    write.commit().await.unwrap();
    let found = store.session_in_force("new", &session.id).await.unwrap().unwrap();
    assert_eq!((found.subject.id.as_str(), found.revoked_tokens.len()), (owner, 2));
    assert!(store.refresh_in_force("new", &refresh.jti).await.unwrap().is_some());
    assert!(store.issued_in_force("new", &digest("t0")).await.unwrap().unwrap().session.is_some());
    let since = UnixMillis(0);
    let seen = store.attempts("new", &["account:0", "account:1"], ("account:0", "192.0.2.0/24"), since).await.unwrap();
    assert_eq!(seen.attempts.iter().map(|one| one.failed).collect::<Vec<_>>(), [1, 2]);
    assert!(seen.known_address);
    let realms: Vec<_> = store.realms().await.unwrap().into_iter().collect();
    assert_eq!(realms, [(String::from("new"), (2, 2)), (String::from("other"), (1, 1))]);
    for table in ["api_key_secrets", "ip_entries", "revoked_tokens", "issued_tokens", "attempts", "known_addresses"] {
        assert_eq!(ground.number(&format!("SELECT count(*) FROM {table} WHERE realm = 'new'")).await, 2, "{table}");
        assert_eq!(ground.number(&format!("SELECT count(*) FROM {table} WHERE realm = 'acme'")).await, 0, "{table}");
    }
    let limited = r#"SELECT count(*) FROM admin_tokens WHERE realms = '["other","new"]'"#;
    assert_eq!(ground.number(limited).await, 1);
    assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
    // Nodes learn of both names.
    for realm in ["acme", "new"] {
        let told = format!("SELECT count(*) FROM revocations WHERE kind = 'realm' AND realm = '{realm}'");
        assert_eq!(ground.number(&told).await, 1);
    }
}

async fn a_realm_is_not_renamed_into_one_with_the_same_principals(ground: Ground) {
    let store = ground.open().await;
    ground.principal("a", "acme").await;
    ground.principal("a", "new").await;
    let mut write = store.begin().await.unwrap();
    assert_eq!(write.rename_realm("acme", "new", NOW).await.unwrap_err().fault, Fault::Conflict);
}

#[test]
fn a_copy_that_is_made_during_writes_opens_and_holds_whole_transactions() {
    super::run(async {
        let ground = Ground::sqlite();
        let store = ground.open().await;
        ground.key("first", "acme").await;
        let copy = ground.directory.path().join("copy.db");
        let stop = Arc::new(AtomicBool::new(false));
        let writer = async {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                // Two rows or none.
                ground.key(&format!("k{written}"), "acme").await;
                written += 1;
            }
            written
        };
        let copying = async {
            let copied = store.backup(&copy).await;
            stop.store(true, Ordering::Relaxed);
            copied
        };
        let (_, copied) = tokio::join!(writer, copying);
        copied.unwrap();
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);

        for ending in ["pepper", "seal"] {
            let of = |name: &str| ground.directory.path().join(format!("{name}.db.{ending}"));
            fs::copy(of("portcullis"), of("copy")).unwrap();
        }
        let settings = StoreSettings { location: Location::Sqlite(copy), ..ground.settings.clone() };
        let restored = Ground { settings, directory: ground.directory };
        let opened = restored.try_open(Opening::Existing).await.unwrap();
        let health = opened.check().await.unwrap();
        assert_eq!(health.problems, Vec::<String>::new());
        assert!(health.rows["api_keys"] >= 1);
        assert_eq!(health.rows["api_keys"], health.rows["principals"]);
        assert_eq!(restored.open().await.seal_key(), store.seal_key());
    });
}

#[test]
fn a_copy_overwrites_nothing() {
    super::run(async {
        let ground = Ground::sqlite();
        let store = ground.open().await;
        let there = ground.directory.path().join("there.db");
        fs::write(&there, "").unwrap();
        assert_eq!(store.backup(&there).await.unwrap_err().fault, Fault::Conflict);
        assert_eq!(fs::read(&there).unwrap(), b"");
        let nowhere = ground.directory.path().join("nowhere/copy.db");
        assert!(store.backup(&nowhere).await.is_err());
        // What an interrupted copy left behind is not taken for one, and not overwritten either.
        let cut_off = ground.directory.path().join("cut-off.db");
        fs::write(cut_off.with_extension("db.partial"), "half").unwrap();
        let error = store.backup(&cut_off).await.unwrap_err();
        assert!(error.text.contains("cut-off.db.partial"), "{error}");
        assert!(!cut_off.exists());
    });
}

#[test]
fn postgres_is_copied_with_its_own_tools() {
    super::run(async {
        let ground = Ground::postgres();
        let error = ground.open().await.backup(&ground.directory.path().join("copy")).await.unwrap_err();
        assert!(error.text.contains("pg_dump"), "{error}");
    });
}

#[test]
fn a_damaged_file_is_reported_and_not_repaired() {
    super::run(async {
        let ground = Ground::sqlite();
        let file = ground.directory.path().join("portcullis.db");
        let store = ground.open().await;
        for number in 0..50 {
            ground.key(&format!("k{number}"), "acme").await;
        }
        ground.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
        store.close().await;
        let mut bytes = fs::read(&file).unwrap();
        let page = |number: usize| number * 4096..(number + 1) * 4096;
        for number in 3..bytes.len() / 4096 {
            bytes[page(number)].fill(0xa5);
        }
        fs::write(&file, bytes).unwrap();
        let damaged = match ground.try_open(Opening::Existing).await {
            Ok(store) => match store.check().await {
                Ok(health) => !health.problems.is_empty(),
                Err(error) => error.fault == Fault::Corrupt,
            },
            Err(error) => error.to_string().contains("malformed"),
        };
        assert!(damaged);
    });
}
