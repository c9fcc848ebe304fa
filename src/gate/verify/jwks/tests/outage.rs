//! What happens while an issuer is out of reach, and after.

use super::*;

#[tokio::test]
async fn a_failed_fetch_arms_the_cool_down_and_unknown_key_ids_are_an_outage() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    stage.answers(down);
    stage.clock.advance(COOLDOWN);
    for n in 0..500 {
        found!(stage, &format!("bogus-{n}"), "key_set_failing");
    }
    found!(stage, "k1", "k1");
    assert_eq!(stage.calls(), 2);
}

#[tokio::test]
async fn a_wait_ends_with_the_timeout_of_the_set() {
    let timeout = Duration::from_millis(20);
    let stage = Stage::held(RemoteSpec { timeout, ..at_url() }, true, down).await;
    found!(stage, "k1", "key_set_never_loaded");
    let status = stage.set.status();
    assert!(status.failed <= 1, "{status:?}");
}

#[tokio::test]
async fn keys_outlive_an_outage_up_to_max_stale_and_the_set_recovers_by_itself() {
    let k1 = key("k1");
    let stage = Stage::new(at_url(), serves(&[&k1])).await;
    let generation = stage.set.generation();
    stage.answers(down);
    stage.pass(REFRESH).await;
    assert_eq!(stage.set.status().failed, 1);
    stage.pass(MAX_STALE - REFRESH - Duration::from_millis(1)).await;
    found!(stage, "k1", "k1");
    stage.pass(Duration::from_millis(1)).await;
    assert!(!stage.set.usable(stage.clock.now()));
    found!(stage, "k1", "key_set_stale");
    found!(stage, "bogus", "key_set_stale");

    stage.answers(serves(&[&k1]));
    stage.pass(COOLDOWN * 2).await;
    found!(stage, "k1", "k1");
    assert_eq!(stage.set.generation(), generation);
    assert_eq!(stage.set.status().last_error, None);
}

#[tokio::test]
async fn a_set_that_was_down_at_the_start_is_there_seconds_after_it_came_back() {
    let stage = Stage::new(at_url(), down).await;
    found!(stage, "k1", "key_set_never_loaded");
    assert_eq!(stage.set.status().last_error.as_deref(), Some("connection refused"));
    stage.answers(serves(&[&key("k1")]));
    stage.pass(Duration::from_secs(1)).await;
    found!(stage, "k1", "k1");
}

#[tokio::test]
async fn a_document_that_is_no_key_set_is_a_failure_and_the_keys_stay() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    stage.answers(|_| Ok(b"<html>maintenance</html>".to_vec()));
    stage.pass(REFRESH).await;
    found!(stage, "k1", "k1");
    let status = stage.set.status();
    assert_eq!((status.refreshed, status.failed, status.keys), (1, 1, 1));
    assert!(!status.last_error.unwrap().contains("maintenance"));
}

#[tokio::test]
async fn a_panicking_fetch_is_a_failure_that_releases_all_and_is_tried_again() {
    let stage = Stage::held(at_url(), true, |_| panic!("a fault of the fetcher")).await;
    let lookups = stage.find_many((0..10).map(|n| format!("kid-{n}")));
    settle().await;
    stage.hold(false);
    assert_eq!(all(lookups).await, vec!["key_set_never_loaded"; 10]);
    assert_eq!(stage.set.status().failed, 1);
    *stage.network.answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Box::new(serves(&[&key("k1")]));
    stage.pass(Duration::from_secs(1)).await;
    found!(stage, "k1", "k1");
}

#[tokio::test]
async fn the_end_of_the_engine_releases_all() {
    let stage = Stage::held(at_url(), true, down).await;
    let lookups = stage.find_many((0..10).map(|n| format!("kid-{n}")));
    settle().await;
    stage.engine.abort();
    assert_eq!(all(lookups).await, vec!["key_set_never_loaded"; 10]);
    assert_eq!(stage.set.status().failed, 1, "released by the end of the attempt, not by their patience");
}
