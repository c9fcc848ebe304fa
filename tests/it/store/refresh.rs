//! Refresh tokens: of one session, one at most is in force, and each is used once.

use portcullis::clock::UnixMillis;
use portcullis::store::{ClientChange, ClientStatus, Expected, Fault, Holder, NewRefresh, RefreshState, Store};

use super::records::{
    HOUR, REALM, add_address, add_client, address, at_once, begin, digest, later, refresh, session, sign_in,
    sign_in_again, user,
};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(
    a_refresh_token_is_read_with_everything_that_decides_about_it,
    a_refresh_token_is_found_by_its_text,
    of_twenty_uses_of_one_token_one_is_made,
    a_token_that_was_used_has_a_successor_and_the_session_goes_on,
    a_token_is_used_only_while_everything_is_in_force,
    a_token_of_another_session_is_not_used,
    no_token_is_in_force_after_its_session_was_ended_however_they_race,
    no_token_is_in_force_after_its_principal_was_disabled_however_they_race,
    a_session_has_one_token_in_force,
);

/// Uses `jti` for the next; tells which that is.
async fn rotated(store: &Store, jti: &str, new: NewRefresh, at: UnixMillis) -> Option<String> {
    let mut write = begin(store).await;
    let done = write.rotate_refresh(jti, &new, later(2 * HOUR), at).await.unwrap();
    write.commit().await.unwrap();
    done.then_some(new.jti)
}

async fn a_refresh_token_is_read_with_everything_that_decides_about_it(ground: Ground) {
    let store = ground.open().await;
    let (ann, sid, jti) = sign_in(&store, "ann").await;
    let entry = address(Holder::Client, &ann, "192.0.2.0/24");
    add_address(&store, entry.clone()).await;
    let found = store.refresh_in_force(REALM, &jti).await.unwrap().unwrap();
    assert_eq!(found.session, store.session(&sid).await.unwrap().unwrap());
    assert_eq!(found.subject, store.client(&ann).await.unwrap().unwrap());
    assert_eq!(found.addresses, [entry]);
    let token = found.token;
    assert_eq!((token.jti.as_str(), token.sid.as_str(), token.generation), (jti.as_str(), sid.as_str(), 0));
    assert_eq!((token.state, token.rotated_at, token.successor.as_deref()), (RefreshState::Active, None, None));
    assert_eq!((token.issued_at, token.expires_at), (NOW, later(HOUR)));
    let mut write = begin(&store).await;
    assert_eq!(write.refresh_token(&jti).await.unwrap().unwrap().jti, jti);
    assert_eq!(write.refresh_token("none").await.unwrap(), None);
    assert_eq!(store.refresh_in_force("blog", &jti).await.unwrap(), None, "another realm's");
    assert_eq!(store.refresh_in_force(REALM, "none").await.unwrap(), None);
}

async fn a_refresh_token_is_found_by_its_text(ground: Ground) {
    let store = ground.open().await;
    let ann = add_client(&store, user("ann")).await;
    let session = session(&ann);
    let opaque = NewRefresh { digest: Some(digest("opaque text")), ..refresh(&session.id, 0) };
    let mut write = begin(&store).await;
    assert!(write.begin_session(&session, Some(&opaque), &Expected::default(), None).await.unwrap());
    write.commit().await.unwrap();
    let found = store.refresh_by_digest(REALM, &digest("opaque text")).await.unwrap().unwrap();
    assert_eq!((found.token.jti, found.session.id), (opaque.jti, session.id));
    assert_eq!(store.refresh_by_digest(REALM, &digest("another")).await.unwrap(), None);
    assert_eq!(store.refresh_by_digest("blog", &digest("opaque text")).await.unwrap(), None);
    // What lies there is no plain digest of the text.
    let plain = digest("opaque text").to_hex();
    let plain = if ground.is_sqlite() { format!("x'{plain}'") } else { format!("'\\x{plain}'") };
    assert_eq!(ground.number(&format!("SELECT count(*) FROM refresh_tokens WHERE digest = {plain}")).await, 0);
}

async fn of_twenty_uses_of_one_token_one_is_made(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let (_, sid, jti) = sign_in(&store, "ann").await;
    let answers = at_once([&store, &other], 20, |store, _| {
        let (jti, new) = (jti.clone(), refresh(&sid, 1));
        async move { rotated(&store, &jti, new, later(5)).await }
    });
    let winners: Vec<_> = answers.await.into_iter().flatten().collect();
    let [winner] = &winners[..] else { panic!("{winners:?}") };
    let used = store.refresh_in_force(REALM, &jti).await.unwrap().unwrap().token;
    assert_eq!((used.state, used.successor.as_deref()), (RefreshState::Rotated, Some(winner.as_str())));
    assert_eq!(ground.number("SELECT count(*) FROM refresh_tokens").await, 2);
    assert_eq!(ground.number("SELECT count(*) FROM refresh_tokens WHERE state = 'active'").await, 1);
}

async fn a_token_that_was_used_has_a_successor_and_the_session_goes_on(ground: Ground) {
    let store = ground.open().await;
    let (ann, sid, first) = sign_in(&store, "ann").await;
    let second = rotated(&store, &first, refresh(&sid, 1), later(5)).await.unwrap();
    let used = store.refresh_in_force(REALM, &first).await.unwrap().unwrap();
    assert_eq!((used.token.state, used.token.rotated_at), (RefreshState::Rotated, Some(later(5))));
    assert_eq!(used.token.successor.as_deref(), Some(second.as_str()));
    assert_eq!((used.session.last_seen_at, used.session.expires_at), (later(5), later(2 * HOUR)));
    assert_eq!(rotated(&store, &first, refresh(&sid, 2), later(6)).await, None);
    let third = rotated(&store, &second, refresh(&sid, 2), later(6)).await.unwrap();
    assert_eq!(store.refresh_in_force(REALM, &third).await.unwrap().unwrap().token.generation, 2);
    assert_eq!(store.client(&ann).await.unwrap().unwrap().version, 1);

    // What was used is not what was ended.
    let mut write = begin(&store).await;
    assert!(write.revoke_session(&sid, "refresh_reused", later(7)).await.unwrap());
    write.commit().await.unwrap();
    let state = async |jti: &str| store.refresh_in_force(REALM, jti).await.unwrap().unwrap().token.state;
    let states = [state(&first).await, state(&second).await, state(&third).await];
    assert_eq!(states, [RefreshState::Rotated, RefreshState::Rotated, RefreshState::Revoked]);
    assert_eq!(rotated(&store, &third, refresh(&sid, 3), later(8)).await, None);
}

async fn a_token_is_used_only_while_everything_is_in_force(ground: Ground) {
    let store = ground.open().await;
    let (_, sid, jti) = sign_in(&store, "ann").await;
    let before = store.session(&sid).await.unwrap();
    assert_eq!(rotated(&store, "none", refresh(&sid, 1), later(1)).await, None);
    assert_eq!(rotated(&store, &jti, refresh("ses_none", 1), later(1)).await, None);
    assert_eq!(rotated(&store, &jti, refresh(&sid, 1), later(HOUR)).await, None, "it has expired");
    for (off, on) in [
        ("UPDATE principals SET status = 'disabled'", "UPDATE principals SET status = 'active'"),
        ("UPDATE sessions SET revoked_at = 1", "UPDATE sessions SET revoked_at = NULL"),
        ("UPDATE refresh_tokens SET state = 'revoked'", "UPDATE refresh_tokens SET state = 'active'"),
    ] {
        ground.sql(off).await;
        assert_eq!(rotated(&store, &jti, refresh(&sid, 1), later(1)).await, None, "{off}");
        ground.sql(on).await;
    }
    ground.sql(&format!("UPDATE sessions SET expires_at = {}", later(5).0)).await;
    assert_eq!(rotated(&store, &jti, refresh(&sid, 1), later(5)).await, None, "the session is over");
    ground.sql(&format!("UPDATE sessions SET expires_at = {}", later(HOUR).0)).await;
    assert_eq!(store.session(&sid).await.unwrap(), before, "what was refused has left no trace");
    assert!(rotated(&store, &jti, refresh(&sid, 1), later(1)).await.is_some());
}

async fn a_token_of_another_session_is_not_used(ground: Ground) {
    let store = ground.open().await;
    let (ann, _, jti) = sign_in(&store, "ann").await;
    let (other, _) = sign_in_again(&store, &ann).await;
    let before = store.session(&other).await.unwrap();
    assert_eq!(rotated(&store, &jti, refresh(&other, 1), later(1)).await, None);
    assert_eq!(store.session(&other).await.unwrap(), before);
}

async fn no_token_is_in_force_after_its_session_was_ended_however_they_race(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let ann = add_client(&store, user("ann")).await;
    let mut won = 0;
    for round in 0..50 {
        let (sid, jti) = sign_in_again(&store, &ann).await;
        let answers = at_once([&store, &other], 2, |store, n| {
            let (sid, jti) = (sid.clone(), jti.clone());
            async move {
                if n == round % 2 {
                    return rotated(&store, &jti, refresh(&sid, 1), later(1)).await.is_some();
                }
                let mut write = begin(&store).await;
                assert!(write.revoke_session(&sid, "logout", later(1)).await.unwrap());
                write.commit().await.unwrap();
                false
            }
        });
        won += answers.await.into_iter().filter(|won| *won).count();
        assert!(store.session(&sid).await.unwrap().unwrap().revoked_at.is_some(), "round {round}");
        let active = "SELECT count(*) FROM refresh_tokens WHERE state = 'active'";
        assert_eq!(ground.number(active).await, 0, "round {round}");
    }
    assert!(store.check().await.unwrap().problems.is_empty(), "{won} of 50 were used before the end");
}

async fn no_token_is_in_force_after_its_principal_was_disabled_however_they_race(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    for round in 0..20 {
        let (ann, sid, jti) = sign_in(&store, &format!("ann {round}")).await;
        let answers = at_once([&store, &other], 2, |store, n| {
            let (ann, sid, jti) = (ann.clone(), sid.clone(), jti.clone());
            async move {
                if n == round % 2 {
                    rotated(&store, &jti, refresh(&sid, 1), later(1)).await;
                    return;
                }
                let off = ClientChange { status: Some(ClientStatus::Disabled), ..ClientChange::default() };
                let mut write = begin(&store).await;
                assert!(write.update_client(&ann, None, &off, later(1)).await.unwrap());
                write.commit().await.unwrap();
            }
        });
        answers.await;
        let active = "SELECT count(*) FROM refresh_tokens WHERE state = 'active'";
        assert_eq!(ground.number(active).await, 0, "round {round}");
    }
}

async fn a_session_has_one_token_in_force(ground: Ground) {
    let store = ground.open().await;
    let (_, sid, jti) = sign_in(&store, "ann").await;
    let another = |generation, state: &str| {
        format!(
            "INSERT INTO refresh_tokens (jti, sid, generation, state, issued_at, expires_at) \
             VALUES ('{generation}{state}', '{sid}', {generation}, '{state}', 0, 0)"
        )
    };
    ground.sql(&another(1, "rotated")).await;
    for refused in [another(2, "active"), another(1, "revoked")] {
        assert!(ground.try_sql(&refused).await.is_err(), "{refused}");
    }
    let (_, _, bobs) = sign_in(&store, "bob").await;
    let mut write = begin(&store).await;
    let taken = NewRefresh { jti: bobs, ..refresh(&sid, 2) };
    let error = write.rotate_refresh(&jti, &taken, later(HOUR), later(1)).await.unwrap_err();
    assert_eq!(error.fault, Fault::Conflict);
    drop(write);
    assert!(rotated(&store, &jti, refresh(&sid, 2), later(1)).await.is_some(), "nothing of it was written");
}
