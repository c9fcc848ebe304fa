//! Trouble while a store is open: what is reported, within which time, and that it passes by itself.

use std::fs;
use std::time::Duration;

use portcullis::clock::Stopwatch;
use portcullis::store::{Fault, Opening, Store, StoreError};

use super::{Ground, at_last, on_both};
use crate::support::NOW;
use crate::support::postgres::{PASSWORD, Postgres};

on_both!(a_write_that_is_let_go_changes_nothing, a_write_with_a_failure_in_it_cannot_be_committed, writers_take_turns);

/// No caller waits longer for an answer, whatever happens.
const BOUND: Duration = Duration::from_secs(8);

async fn a_write_that_is_let_go_changes_nothing(ground: Ground) {
    let store = ground.open().await;
    ground.principal("a", "acme").await;
    for _ in 0..10 {
        let mut write = store.begin().await.unwrap();
        assert_eq!(write.rename_realm("acme", "other", NOW).await.unwrap(), (1, 0));
    }
    assert_eq!(store.realms().await.unwrap().keys().collect::<Vec<_>>(), ["acme"]);
    store.begin().await.unwrap().commit().await.unwrap();
}

async fn a_write_with_a_failure_in_it_cannot_be_committed(ground: Ground) {
    let store = ground.open().await;
    ground.principal("a", "acme").await;
    ground.principal("a", "taken").await;
    ground.principal("b", "free").await;
    let mut write = store.begin().await.unwrap();
    write.rename_realm("free", "acme", NOW).await.unwrap();
    let error = write.rename_realm("acme", "taken", NOW).await.unwrap_err();
    assert_eq!(error.fault, Fault::Conflict, "{error}");
    assert!(!error.text.contains("acme"), "values are not told: {error}");
    assert_eq!(write.commit().await.unwrap_err().fault, Fault::Conflict);
    assert_eq!(store.realms().await.unwrap().keys().collect::<Vec<_>>(), ["acme", "free", "taken"]);
}

async fn writers_take_turns(ground: Ground) {
    let stores = [ground.open().await, ground.open_as("node-b").await];
    ground.principal("a", "realm-0").await;
    let mut tasks = Vec::new();
    for task in 0..8 {
        let store = stores[task % 2].clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                let mut write = store.begin().await.unwrap();
                write.rename_realm("nowhere", "elsewhere", NOW).await.unwrap();
                drop(write);
                store.begin().await.unwrap().commit().await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn a_write_may_outlive_its_runtime() {
    for ground in [Ground::sqlite(), Ground::postgres()] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let write = runtime.block_on(async { ground.open().await.begin().await.unwrap() });
        drop(runtime);
        drop(write);
        super::run(async { drop(ground.open().await.begin().await.unwrap()) });
    }
}

#[test]
fn a_writer_that_never_ends_is_reported_as_a_lock() {
    super::run(async {
        let ground = Ground::sqlite();
        let (store, other) = (ground.open().await, ground.open_as("node-b").await);
        let held = other.begin().await.unwrap();
        let watch = Stopwatch::start();
        let (here, elsewhere) = tokio::join!(other.begin(), store.begin());
        assert_eq!((here.unwrap_err().fault, elsewhere.unwrap_err().fault), (Fault::Locked, Fault::Locked));
        assert!(watch.elapsed() < BOUND, "{:?}", watch.elapsed());
        store.realms().await.unwrap();
        drop(held);
        at_last("the lock is free", async || store.begin().await.ok()).await;
    });
}

#[test]
fn a_database_file_that_is_gone_or_replaced_is_not_used_any_more() {
    super::run(async {
        let ground = Ground::sqlite();
        let file = ground.directory.path().join("portcullis.db");
        let store = ground.open().await;
        store.realms().await.unwrap();
        fs::rename(&file, file.with_extension("old")).unwrap();
        assert_eq!(store.realms().await.unwrap_err().fault, Fault::Unreachable);
        fs::copy(file.with_extension("old"), &file).unwrap();
        assert_eq!(store.begin().await.unwrap_err().fault, Fault::Unreachable);
        fs::rename(file.with_extension("old"), &file).unwrap();
        store.realms().await.unwrap();
    });
}

#[test]
fn a_server_that_may_only_be_read_says_so() {
    super::run(async {
        let ground = Ground::postgres();
        ground.open().await.close().await;
        let store = ground.open().await;
        ground
            .sql("DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = on'; END $$")
            .await;
        let store = {
            store.close().await;
            ground.try_open(Opening::Existing).await.unwrap()
        };
        store.realms().await.unwrap();
        let mut write = store.begin().await.unwrap();
        let error = write.rename_realm("a", "b", NOW).await.unwrap_err();
        assert_eq!(error.fault, Fault::ReadOnly, "{error}");
    });
}

/// Every way to use a store, and what came of it.
async fn every_use(store: &Store) -> [Result<(), StoreError>; 2] {
    let read = async { store.realms().await.map(|_| ()) };
    let write = async {
        let mut write = store.begin().await?;
        write.rename_realm("nowhere", "elsewhere", NOW).await.map(|_| ())
    };
    let (read, write) = tokio::join!(read, write);
    [read, write]
}

async fn assert_unreachable(store: &Store) {
    let watch = Stopwatch::start();
    for result in every_use(store).await {
        let error = result.unwrap_err();
        assert_eq!(error.fault, Fault::Unreachable, "{error}");
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }
    assert!(watch.elapsed() < BOUND, "{:?}", watch.elapsed());
}

async fn assert_recovers(store: &Store) {
    at_last("the store is used again", async || every_use(store).await.iter().all(Result::is_ok).then_some(())).await;
}

#[test]
fn a_server_that_was_killed_is_used_again_when_it_is_back() {
    super::run(async {
        let mut server = Postgres::private();
        let store = Ground::at(&server.new_database()).open().await;
        // Many connections, all of which will be dead.
        let uses = (0..16).map(|_| store.clone()).map(|store| tokio::spawn(async move { every_use(&store).await }));
        for one in uses.collect::<Vec<_>>() {
            assert!(one.await.unwrap().iter().all(Result::is_ok));
        }
        let begun = store.begin().await.unwrap();
        server.kill();
        assert_eq!(begun.commit().await.unwrap_err().fault, Fault::Unreachable);
        assert_unreachable(&store).await;
        server.restart();
        assert_recovers(&store).await;
    });
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for_without_end() {
    super::run(async {
        let server = Postgres::private();
        let store = Ground::at(&server.new_database()).open().await;
        let begun = store.begin().await.unwrap();
        server.freeze();
        let (commit, ()) = tokio::join!(begun.commit(), assert_unreachable(&store));
        assert_eq!(commit.unwrap_err().fault, Fault::Unreachable);
        server.thaw();
        assert_recovers(&store).await;
    });
}

#[test]
fn a_standby_is_not_asked_and_used_once_it_is_the_primary() {
    super::run(async {
        let mut server = Postgres::private();
        let store = Ground::at(&server.new_database()).open().await;
        server.kill();
        std::fs::write(server.directory().join("data/standby.signal"), "").unwrap();
        server.restart();
        assert_eq!(server.sql("postgres", "SELECT pg_is_in_recovery()").trim(), "t");
        assert_unreachable(&store).await;
        server.sql("postgres", "SELECT pg_promote()");
        assert_recovers(&store).await;
    });
}

#[test]
fn nodes_are_woken_by_each_other_and_again_after_an_outage() {
    super::run(async {
        let mut server = Postgres::private();
        let ground = Ground::at(&server.new_database());
        let store = ground.open().await;
        // The first connection counts: something may have been said before.
        woken(&store, "it listens").await;
        ground.sql("SELECT pg_notify('portcullis', '')").await;
        woken(&store, "a notification").await;
        server.kill();
        let quiet = tokio::time::timeout(Duration::from_millis(300), store.woken()).await;
        assert!(quiet.is_err(), "an outage is no news");
        server.restart();
        woken(&store, "it listens again").await;
        ground.sql("SELECT pg_notify('portcullis', '')").await;
        woken(&store, "a notification after the outage").await;
    });
}

async fn woken(store: &Store, what: &str) {
    assert!(tokio::time::timeout(crate::support::DEADLINE, store.woken()).await.is_ok(), "not woken: {what}");
}
