//! The audit trail.

use std::collections::BTreeSet;

use portcullis::clock::UnixMillis;
use portcullis::store::{AuditEntry, AuditFilter, AuditOutcome, ClientChange, Location, Store, Verdict};
use serde_json::{Map, json};
use sqlx::Connection;

use super::records::{REALM, add_client, at_once, begin, client, event, later, object, texts};
use super::{Ground, at_last, on_both};
use crate::support::NOW;

on_both!(
    an_event_is_read_as_it_was_written,
    an_event_is_written_with_what_it_tells_of_or_not_at_all,
    a_list_holds_what_the_filter_asks_for,
    chains_hold_however_many_write_and_a_follower_misses_nothing,
    whatever_is_changed_in_a_row_is_found,
    rows_that_are_taken_out_put_in_or_moved_are_found,
    a_row_of_no_chain_is_found,
    an_event_that_was_meddled_with_is_still_shown,
    what_is_old_is_pruned_and_the_rest_still_verifies,
    pruning_hides_nothing_that_is_missing,
    pages_show_each_event_once,
);

async fn append(store: &Store, entries: impl IntoIterator<Item = AuditEntry>) {
    let mut write = begin(store).await;
    for entry in entries {
        write.audit(entry);
    }
    write.commit().await.unwrap();
}

/// Five events in a chain of this name, as they are written: some together, some alone.
async fn five(ground: &Ground, chain: &str) -> Store {
    let store = ground.open_as(chain).await;
    append(&store, ["a.1", "a.2"].map(event)).await;
    append(&store, ["a.3"].map(event)).await;
    append(&store, ["a.4", "a.5"].map(event)).await;
    store
}

async fn broken(store: &Store) -> String {
    store.verify_audit().await.unwrap().broken.expect("something is wrong")
}

async fn an_event_is_read_as_it_was_written(ground: Ground) {
    let store = ground.open().await;
    assert_eq!(store.verify_audit().await.unwrap(), Verdict { events: 0, chains: 0, broken: None });
    let full = AuditEntry {
        actor_ip: Some("2001:db8::1".parse().unwrap()),
        outcome: AuditOutcome::Denied,
        reason: Some("it's \"wrong\"\n".to_owned()),
        detail: object(json!({ "z": [1.5, -0.0, 1e300, null], "a": { "ü": "\u{1F512}\\" } })),
        ..event("key.created")
    };
    let bare = AuditEntry {
        realm: None,
        actor_ip: None,
        target_kind: None,
        target_id: None,
        reason: None,
        request_id: None,
        detail: Map::new(),
        ..event("node.started")
    };
    append(&store, [full.clone(), bare.clone()]).await;
    let events = store.audit_events(&AuditFilter { after: Some(0), ..AuditFilter::default() }, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| &event.entry).collect::<Vec<_>>(), [&full, &bare]);
    let places: Vec<_> = events.iter().map(|event| (event.chain.as_str(), event.position)).collect();
    assert_eq!(places, [("node-a", 1), ("node-a", 2)]);
    assert_ne!(events[0].hash, events[1].hash);
    assert_eq!(store.verify_audit().await.unwrap(), Verdict { events: 2, chains: 1, broken: None });
}

async fn an_event_is_written_with_what_it_tells_of_or_not_at_all(ground: Ground) {
    let store = ground.open().await;
    let bob = client("bob");
    let mut write = begin(&store).await;
    write.create_client(&bob).await.unwrap();
    write.audit(event("client.created"));
    drop(write);
    assert_eq!(store.audit_events(&AuditFilter::default(), 10).await.unwrap(), []);
    let mut write = begin(&store).await;
    write.create_client(&bob).await.unwrap();
    write.audit(event("client.created"));
    write.commit().await.unwrap();
    assert_eq!(store.audit_events(&AuditFilter::default(), 10).await.unwrap().len(), 1);
    assert_eq!(store.verify_audit().await.unwrap(), Verdict { events: 1, chains: 1, broken: None });
}

async fn a_list_holds_what_the_filter_asks_for(ground: Ground) {
    let store = ground.open().await;
    let entries = [
        event("key.created"),
        AuditEntry { realm: Some("blog".to_owned()), ..event("key.revoked") },
        AuditEntry { realm: None, actor_id: "adm_1".to_owned(), ..event("keystore.made") },
        AuditEntry { target_id: Some("key_2".to_owned()), at: later(10), ..event("admin.denied") },
        AuditEntry { outcome: AuditOutcome::Denied, at: later(20), ..event("admin.denied") },
    ];
    append(&store, entries.clone()).await;
    let all = AuditFilter::default();
    let action = |action: &str| AuditFilter { action: Some(action.to_owned()), ..AuditFilter::default() };
    let cases = [
        ("all", all.clone(), vec![4, 3, 2, 1, 0]),
        ("realms", AuditFilter { realms: Some(texts(&["blog", "news"])), ..all.clone() }, vec![1]),
        ("no realm", AuditFilter { realms: Some(Vec::new()), ..all.clone() }, vec![]),
        ("actor", AuditFilter { actor_id: Some("adm_1".to_owned()), ..all.clone() }, vec![2]),
        ("target", AuditFilter { target_id: Some("key_2".to_owned()), ..all.clone() }, vec![3]),
        ("action", action("key.created"), vec![0]),
        ("actions", action("key."), vec![1, 0]),
        ("actions in another case", action("KEY."), vec![]),
        ("a pattern", action("%."), vec![]),
        ("a part of an action", action("key"), vec![]),
        ("outcome", AuditFilter { outcome: Some(AuditOutcome::Denied), ..all.clone() }, vec![4]),
        ("since", AuditFilter { since: Some(later(10)), ..all.clone() }, vec![4, 3]),
        ("until", AuditFilter { until: Some(later(10)), ..all.clone() }, vec![2, 1, 0]),
        ("to follow", AuditFilter { after: Some(0), ..action("key.") }, vec![0, 1]),
    ];
    for (what, filter, expected) in cases {
        let found = store.audit_events(&filter, 10).await.unwrap();
        let expected: Vec<_> = expected.into_iter().map(|index: usize| &entries[index]).collect();
        assert_eq!(found.iter().map(|event| &event.entry).collect::<Vec<_>>(), expected, "{what}");
    }
}

async fn chains_hold_however_many_write_and_a_follower_misses_nothing(ground: Ground) {
    const EACH: usize = 8;
    // Two processes of one name, and another node.
    let (a, twin, b) = (ground.open_as("a").await, ground.open_as("a").await, ground.open_as("b").await);
    let follower = ground.open_as("c").await;
    let follow = tokio::spawn(async move {
        let mut seen = Vec::new();
        let mut after = 0;
        while seen.len() < 8 * EACH * 2 {
            let filter = AuditFilter { after: Some(after), ..AuditFilter::default() };
            for event in follower.audit_events(&filter, 5).await.unwrap() {
                after = event.seq;
                seen.push(event.entry.action);
            }
            assert_eq!(follower.verify_audit().await.unwrap().broken, None, "while others write");
        }
        seen
    });
    let write = |store: Store, n: usize| async move {
        for round in 0..EACH {
            let mut write = begin(&store).await;
            for part in 0..2 {
                write.audit(event(&format!("{n}.{round}.{part}")));
            }
            if round % 3 == 1 {
                // Lost on the way; tried again.
                drop(write);
                write = begin(&store).await;
                for part in 0..2 {
                    write.audit(event(&format!("{n}.{round}.{part}")));
                }
            }
            write.commit().await.unwrap();
        }
    };
    tokio::join!(at_once([&a, &twin], 4, write), at_once([&a, &b], 4, move |store, n| write(store, n + 4)));
    let seen = tokio::time::timeout(crate::support::DEADLINE, follow).await.expect("in time").expect("the follower");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());
    assert_eq!(a.verify_audit().await.unwrap(), Verdict { events: 128, chains: 2, broken: None });
    let ends = ground.number("SELECT CAST(SUM(position) AS BIGINT) FROM audit_chains").await;
    assert_eq!(ends, 128);
}

async fn whatever_is_changed_in_a_row_is_found(ground: Ground) {
    let store = five(&ground, "a").await;
    assert_eq!(store.verify_audit().await.unwrap(), Verdict { events: 5, chains: 1, broken: None });
    ground.sql("CREATE TABLE kept AS SELECT * FROM audit_events").await;
    let zeros = if ground.is_sqlite() { "zeroblob(32)" } else { "decode(repeat('00', 32), 'hex')" };
    let changes = [
        "at = at + 1".to_owned(),
        "realm = 'other'".to_owned(),
        "realm = NULL".to_owned(),
        "actor_kind = 'node'".to_owned(),
        "actor_id = 'Root'".to_owned(),
        "actor_ip = '192.0.2.8'".to_owned(),
        "actor_ip = NULL".to_owned(),
        "action = action || '!'".to_owned(),
        "target_kind = NULL".to_owned(),
        "target_id = 'key_2'".to_owned(),
        "outcome = 'denied'".to_owned(),
        "reason = ''".to_owned(),
        "request_id = ''".to_owned(),
        "detail = detail || ' '".to_owned(),
        "target_kind = 'keykey', target_id = '_1'".to_owned(),
        format!("hash = {zeros}"),
        "prev_hash = hash".to_owned(),
    ];
    let columns = "at, realm, actor_kind, actor_id, actor_ip, action, target_kind, target_id, outcome, reason, \
                   request_id, detail, hash, prev_hash";
    for change in changes {
        for position in [1, 3, 5] {
            ground.sql(&format!("UPDATE audit_events SET {change} WHERE position = {position}")).await;
            let what = broken(&store).await;
            assert!(what.starts_with(&format!("chain a: position {position}, seq ")), "{change}: {what}");
            let verdict = store.verify_audit().await.unwrap();
            assert_eq!(verdict.events, position - 1, "{change}");
            let back = format!(
                "UPDATE audit_events SET ({columns}) = \
                 (SELECT {columns} FROM kept WHERE kept.position = audit_events.position)"
            );
            ground.sql(&back).await;
            assert_eq!(store.verify_audit().await.unwrap().broken, None, "put back after {change}");
        }
    }
}

async fn rows_that_are_taken_out_put_in_or_moved_are_found(ground: Ground) {
    let copied = "chain, at, realm, actor_kind, actor_id, actor_ip, action, target_kind, target_id, outcome, reason, \
                  request_id, detail, prev_hash, hash";
    let copy = |from: i64, to: i64| {
        format!(
            "INSERT INTO audit_events (position, {copied}) SELECT {to}, {copied} FROM audit_events \
             WHERE chain = '$' AND position = {from}"
        )
    };
    let set = |what: &str, which: &str| format!("UPDATE audit_events SET {what} WHERE chain = '$' AND {which}");
    let take_out = |which: &str| format!("DELETE FROM audit_events WHERE chain = '$' AND {which}");
    let end_at = |position: i64| {
        format!(
            "UPDATE audit_chains SET position = {position}, hash = (SELECT e.hash FROM audit_events e \
             WHERE e.chain = '$' AND e.position = {position}) WHERE chain = '$'"
        )
    };
    let moved_seq = if ground.is_sqlite() { "seq = seq + 1000" } else { "seq = DEFAULT" };
    let cases: Vec<(&str, Vec<String>, &str)> = vec![
        ("the first one", vec![take_out("position = 1")], "position 1: missing"),
        ("one in the middle", vec![take_out("position = 3")], "position 3: missing"),
        ("a cut tail", vec![take_out("position = 5")], "position 5: missing"),
        (
            "a cut tail, and its number",
            vec![take_out("position = 5"), "UPDATE audit_chains SET position = 4 WHERE chain = '$'".to_owned()],
            "position 4: its last event is not the one",
        ),
        ("all of them", vec![take_out("1 = 1")], "position 1: missing"),
        ("the end", vec!["DELETE FROM audit_chains WHERE chain = '$'".to_owned()], "was taken out"),
        (
            "one in the middle, and the rest moved up",
            vec![
                take_out("position = 3"),
                set("position = -(position - 1)", "position > 3"),
                set("position = -position", "position < 0"),
                end_at(4),
            ],
            "position 3, seq ",
        ),
        (
            "one put in",
            vec![
                set("position = -(position + 1)", "position > 3"),
                set("position = -position", "position < 0"),
                copy(3, 4),
                end_at(6),
            ],
            "position 4, seq ",
        ),
        ("one put in behind the end", vec![copy(5, 6)], "position 6: put in behind the end"),
        ("one put in before the beginning", vec![copy(1, 0)], "position 0: put in"),
        (
            "two swapped",
            vec![
                set("position = -1", "position = 2"),
                set("position = 2", "position = 3"),
                set("position = 3", "position = -1"),
            ],
            "position 2, seq ",
        ),
        ("one moved in the table", vec![set(moved_seq, "position = 2")], "position 3, seq "),
        ("one carried over to another chain", vec![set("chain = 'zz'", "position = 5")], "position 5: missing"),
    ];
    for (number, (what, steps, expected)) in cases.into_iter().enumerate() {
        let chain = format!("case {number}");
        let store = five(&ground, &chain).await;
        assert_eq!(store.verify_audit().await.unwrap(), Verdict { events: 5, chains: 1, broken: None }, "{what}");
        for step in steps {
            ground.sql(&step.replace('$', &chain)).await;
        }
        let found = broken(&store).await;
        assert!(found.starts_with(&format!("chain {chain}: ")) && found.contains(expected), "{what}: {found}");
        store.close().await;
        ground.sql("DELETE FROM audit_events; DELETE FROM audit_chains").await;
    }
}

async fn a_row_of_no_chain_is_found(ground: Ground) {
    let store = five(&ground, "a").await;
    let other = five(&ground, "b").await;
    other.close().await;
    ground.sql("DELETE FROM audit_chains WHERE chain = 'b'").await;
    assert!(broken(&store).await.starts_with("chain b: "));
    ground.sql("DELETE FROM audit_chains").await;
    assert!(broken(&store).await.starts_with("chain a: "));
}

async fn an_event_that_was_meddled_with_is_still_shown(ground: Ground) {
    let store = five(&ground, "a").await;
    ground.sql("UPDATE audit_events SET detail = 'no JSON', actor_ip = 'nowhere' WHERE position = 2").await;
    let events = store.audit_events(&AuditFilter { after: Some(0), ..AuditFilter::default() }, 10).await.unwrap();
    assert_eq!(events.len(), 5);
    assert_eq!((events[1].entry.action.as_str(), events[1].entry.actor_ip), ("a.2", None));
    assert!(broken(&store).await.starts_with("chain a: position 2, "));
}

async fn prune(store: &Store, before: UnixMillis) -> u64 {
    let mut write = begin(store).await;
    let removed = write.prune_audit(before).await.unwrap();
    write.audit(AuditEntry { at: later(1_000_000), ..event("audit.pruned") });
    write.commit().await.unwrap();
    removed
}

async fn what_is_old_is_pruned_and_the_rest_still_verifies(ground: Ground) {
    let (a, b) = (ground.open_as("a").await, ground.open_as("b").await);
    // The third of them was written by a clock that was late.
    append(&a, [0, 100, 50, 200].map(|at| AuditEntry { at: later(at), ..event("a") })).await;
    append(&b, [0, 10].map(|at| AuditEntry { at: later(at), ..event("b") })).await;
    let verify = async |events, chains| {
        assert_eq!(a.verify_audit().await.unwrap(), Verdict { events, chains, broken: None });
    };
    assert_eq!(prune(&a, later(0)).await, 0);
    verify(7, 2).await;
    // From the beginning of the chain only: the late one stays with the one before it.
    assert_eq!(prune(&a, later(60)).await, 1 + 2);
    verify(3 + 2, 2).await;
    assert_eq!(prune(&b, later(200)).await, 2);
    verify(3 + 1, 2).await;
    append(&b, [event("b")]).await;
    append(&a, [event("a")]).await;
    verify(3 + 1 + 2, 2).await;
    assert_eq!(prune(&a, later(2_000_000)).await, 6);
    verify(1, 2).await;

    let copy = "INSERT INTO audit_events (chain, position, at, actor_kind, actor_id, action, outcome, detail, \
                prev_hash, hash) SELECT chain, 1, at, actor_kind, actor_id, action, outcome, detail, prev_hash, hash \
                FROM audit_events";
    ground.sql(copy).await;
    assert!(broken(&a).await.contains("position 1: put in"), "{}", broken(&a).await);
    ground.sql("DELETE FROM audit_events WHERE position = 1").await;
    ground.sql("UPDATE audit_chains SET pruned_position = position, pruned_hash = hash").await;
    assert!(broken(&a).await.contains("put in"), "a checkpoint that covers what is there");
}

async fn pruning_hides_nothing_that_is_missing(ground: Ground) {
    let store = five(&ground, "a").await;
    ground.sql("DELETE FROM audit_events WHERE position = 5").await;
    let mut write = begin(&store).await;
    assert_eq!(write.prune_audit(later(1)).await.unwrap(), 0);
    write.commit().await.unwrap();
    assert!(broken(&store).await.contains("position 5: missing"));
}

async fn pages_show_each_event_once(ground: Ground) {
    let store = ground.open().await;
    append(&store, (0..10).map(|n| event(&format!("there.{n}")))).await;
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let filter = AuditFilter { before, realms: Some(texts(&[REALM])), ..AuditFilter::default() };
        let part = store.audit_events(&filter, 3).await.unwrap();
        assert!(part.len() <= 3);
        let Some(last) = part.last() else { break };
        before = Some(last.seq);
        seen.extend(part.into_iter().map(|event| event.entry.action));
        append(&store, [event("new.1")]).await;
    }
    assert_eq!(seen, (0..10).rev().map(|n| format!("there.{n}")).collect::<Vec<_>>());
}

/// The window is too narrow for a race to find it: so one is held up where it has numbered its event and not committed.
#[test]
fn an_event_is_never_numbered_before_one_that_was_committed_earlier() {
    super::run(async {
        let ground = Ground::postgres();
        let (a, b) = (ground.open_as("a").await, ground.open_as("b").await);
        let id = add_client(&a, client("bob")).await;
        let Location::Postgres(url) = &ground.settings.location else { panic!("PostgreSQL") };
        let url = std::str::from_utf8(url.expose()).unwrap();
        let mut holding = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql("BEGIN; UPDATE feed_position SET seq = seq").execute(&mut holding).await.unwrap();

        let mut watching = sqlx::PgConnection::connect(url).await.unwrap();
        let mut waiting = async || -> i64 {
            let sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND wait_event_type = 'Lock'";
            sqlx::query_scalar(sql).fetch_one(&mut watching).await.unwrap()
        };
        let first = tokio::spawn(async move {
            let mut write = begin(&a).await;
            write.update_client(&id, None, &ClientChange::default(), NOW).await.unwrap();
            write.audit(event("first"));
            write.commit().await.unwrap();
        });
        at_last("the first one waits", async || (waiting().await == 1).then_some(())).await;
        let reader = b.clone();
        let second = tokio::spawn(async move { append(&b, [event("second")]).await });
        let mut seen = Vec::new();
        let mut after = 0;
        let mut follow = async || {
            let filter = AuditFilter { after: Some(after), ..AuditFilter::default() };
            for event in reader.audit_events(&filter, 5).await.unwrap() {
                after = event.seq;
                seen.push(event.entry.action);
            }
            seen.clone()
        };
        at_last("the second one waits, too, or is done", async || {
            (!follow().await.is_empty() || waiting().await == 2).then_some(())
        })
        .await;
        sqlx::raw_sql("COMMIT").execute(&mut holding).await.unwrap();
        first.await.unwrap();
        second.await.unwrap();
        let mut seen = follow().await;
        seen.sort();
        assert_eq!(seen, ["first", "second"]);
    });
}
