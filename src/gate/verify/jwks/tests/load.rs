//! What many look-ups at once, and look-ups of nonsense, may cost.

use super::*;
use crate::gate::verify::jwks::state::MOST_WAITERS;

#[tokio::test]
async fn a_flood_of_unknown_key_ids_costs_one_fetch_per_cool_down() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    for round in 1..=3 {
        for n in 0..2000 {
            found!(stage, &format!("bogus-{round}-{n}"), "unknown");
        }
        found!(stage, "k1", "k1");
        assert_eq!(stage.calls(), round);
        stage.pass(COOLDOWN).await;
    }
}

#[tokio::test]
async fn an_empty_set_holds_the_cool_down_too() {
    let stage = Stage::new(at_url(), |_| Ok(br#"{"keys":[]}"#.to_vec())).await;
    for round in 1..=3 {
        for n in 0..500 {
            found!(stage, &format!("bogus-{round}-{n}"), "unknown");
        }
        assert_eq!(stage.calls(), round);
        stage.pass(COOLDOWN).await;
    }
}

#[tokio::test]
async fn a_set_that_was_never_loaded_is_not_fetched_more_often_because_many_ask() {
    let stage = Stage::new(at_url(), down).await;
    for n in 0..500 {
        found!(stage, &format!("kid-{n}"), "key_set_never_loaded");
    }
    assert_eq!(stage.calls(), 1);
}

#[tokio::test]
async fn a_hundred_first_look_ups_share_one_fetch_and_are_all_released_when_it_fails() {
    let stage = Stage::held(at_url(), true, down).await;
    let lookups = stage.find_many((0..100).map(|n| format!("kid-{n}")));
    settle().await;
    assert_eq!(stage.calls(), 1);
    stage.hold(false);
    assert_eq!(all(lookups).await, vec!["key_set_never_loaded"; 100]);
    assert_eq!(stage.calls(), 1);
}

#[tokio::test]
async fn a_hundred_first_look_ups_share_one_fetch_and_find_their_key() {
    let stage = Stage::held(at_url(), true, serves(&[&key("k1")])).await;
    let lookups = stage.find_many((0..100).map(|_| "k1".to_owned()));
    settle().await;
    stage.hold(false);
    assert_eq!(all(lookups).await, vec!["k1"; 100]);
    assert_eq!(stage.calls(), 1);
}

#[tokio::test]
async fn known_keys_are_answered_while_a_fetch_hangs() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    stage.hold(true);
    stage.clock.advance(COOLDOWN);
    let lookups = stage.find_many(["bogus".to_owned()]);
    settle().await;
    assert_eq!(stage.calls(), 2);
    // Ready at the first poll: nothing of it waits.
    let now = stage.clock.now();
    let mut known = std::pin::pin!(stage.set.find(Some("k1"), Algorithm::EdDSA, now));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(known.as_mut().poll(&mut context).is_ready());
    stage.hold(false);
    assert_eq!(all(lookups).await, ["unknown"]);
}

#[tokio::test]
async fn those_who_wait_are_bounded_and_the_rest_is_turned_away_at_once() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    stage.hold(true);
    stage.clock.advance(COOLDOWN);
    let mut lookups = stage.find_many((0..MOST_WAITERS + 44).map(|n| format!("bogus-{n}")));
    settle().await;
    let mut turned_away = Vec::new();
    while let Some(lookup) = lookups.try_join_next() {
        turned_away.push(short(&lookup.unwrap()));
    }
    assert_eq!(turned_away, vec!["key_set_failing"; 44]);
    stage.hold(false);
    assert_eq!(all(lookups).await, vec!["unknown"; MOST_WAITERS]);
    assert_eq!(stage.calls(), 2);

    stage.pass(COOLDOWN).await;
    stage.hold(true);
    let again = stage.find_many((0..MOST_WAITERS).map(|n| format!("other-{n}")));
    settle().await;
    stage.hold(false);
    assert_eq!(all(again).await, vec!["unknown"; MOST_WAITERS], "every seat was given back");
}

#[tokio::test]
async fn a_key_id_that_proved_to_be_unknown_asks_again_after_four_cool_downs_or_a_change_of_keys() {
    let k1 = key("k1");
    let stage = Stage::new(at_url(), serves(&[&k1])).await;
    stage.clock.advance(COOLDOWN);
    found!(stage, "k2", "unknown");
    assert_eq!(stage.calls(), 2);
    stage.clock.advance(COOLDOWN * 2);
    found!(stage, "k2", "unknown");
    assert_eq!(stage.calls(), 2);

    stage.clock.advance(COOLDOWN * 2);
    found!(stage, "k2", "unknown");
    assert_eq!(stage.calls(), 3);

    // Nobody has to wait four cool-downs for a key that comes after others have changed.
    stage.answers(serves(&[&k1, &key("k3")]));
    stage.clock.advance(COOLDOWN);
    found!(stage, "k3", "k3");
    stage.answers(serves(&[&k1, &key("k2")]));
    stage.clock.advance(COOLDOWN);
    found!(stage, "k2", "k2");
    assert_eq!(stage.calls(), 5);
}

#[tokio::test]
async fn a_look_up_during_a_fetch_proves_nothing_about_a_key_that_is_published_after_it() {
    let k1 = key("k1");
    let stage = Stage::new(at_url(), serves(&[&k1])).await;
    stage.hold(true);
    stage.pass(REFRESH).await;
    let early = stage.find_many(["k2".to_owned()]);
    settle().await;
    stage.hold(false);
    assert_eq!(all(early).await, ["unknown"]);
    stage.answers(serves(&[&k1, &key("k2")]));
    stage.clock.advance(COOLDOWN);
    found!(stage, "k2", "k2");
}

#[tokio::test]
async fn an_oversized_key_id_is_unknown_without_any_effort() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    stage.clock.advance(COOLDOWN);
    found!(stage, &"k".repeat(257), "unknown");
    assert_eq!(stage.calls(), 1);
}
