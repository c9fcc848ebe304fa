//! What has run out goes, some time later, and nothing else does.

use std::time::Duration;

use portcullis::clock::UnixMillis;
use portcullis::store::{AttemptRule, Expected, NewIssued, NewRefresh, NewSession};

use super::records::{HOUR, REALM, add_client, begin, issued, later, refresh, session, user};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(what_has_expired_goes_after_a_day_and_not_before, what_is_removed_is_removed_whole_however_much_it_is);

const DAY: i64 = 24 * HOUR;

const TABLES: [&str; 6] =
    ["sessions", "refresh_tokens", "issued_tokens", "revoked_tokens", "attempts", "known_addresses"];

async fn counts(ground: &Ground) -> [i64; 6] {
    let mut counts = [0; 6];
    for (count, table) in counts.iter_mut().zip(TABLES) {
        *count = ground.number(&format!("SELECT count(*) FROM {table}")).await;
    }
    counts
}

async fn what_has_expired_goes_after_a_day_and_not_before(ground: Ground) {
    let store = ground.open().await;
    let ann = add_client(&store, user("ann")).await;
    let rule = AttemptRule {
        free: 1,
        first_lock: Duration::from_secs(2 * 3600),
        longest_lock: Duration::from_secs(2 * 3600),
        window: Duration::from_secs(3600),
    };
    let mut write = begin(&store).await;
    // Ends after one hour, and after ten days.
    for end in [HOUR, 10 * DAY] {
        let session = NewSession { expires_at: later(end), ..session(&ann) };
        let token = NewRefresh { expires_at: later(end), ..refresh(&session.id, 0) };
        assert!(write.begin_session(&session, Some(&token), &Expected::default(), None).await.unwrap());
        write.revoke_jti(REALM, &session.id, &format!("j{end}"), later(end), NOW).await.unwrap();
        let of_the_session =
            NewIssued { sid: Some(session.id.clone()), expires_at: later(20 * DAY), ..issued(&format!("a{end}")) };
        write.issue_token(&of_the_session).await.unwrap();
        write.issue_token(&NewIssued { expires_at: later(end), ..issued(&format!("b{end}")) }).await.unwrap();
    }
    write.note_failure(REALM, "account:ann", &rule, NOW).await.unwrap();
    write.know_address(REALM, "account:ann", "192.0.2.0/24", NOW).await.unwrap();
    write.commit().await.unwrap();

    let pruned = async |at: UnixMillis| {
        let removed = store.prune_tokens(at).await.unwrap();
        (removed, counts(&ground).await)
    };
    assert_eq!(pruned(later(2 * HOUR - 1)).await, (0, [2, 2, 4, 2, 1, 1]), "a lock is in force");
    assert_eq!(pruned(later(2 * HOUR)).await, (1, [2, 2, 4, 2, 0, 1]));
    assert_eq!(
        pruned(later(HOUR + DAY - 1)).await,
        (0, [2, 2, 4, 2, 0, 1]),
        "a clock that is set back revives nothing"
    );
    assert_eq!(pruned(later(HOUR + DAY)).await, (4, [1, 1, 2, 1, 0, 1]), "and what was issued in the session");
    assert_eq!(pruned(later(30 * DAY - 1)).await, (5, [0, 0, 0, 0, 0, 1]));
    assert_eq!(pruned(later(30 * DAY)).await, (1, [0; 6]));
    assert!(store.client(&ann).await.unwrap().is_some());
    assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
}

async fn what_is_removed_is_removed_whole_however_much_it_is(ground: Ground) {
    let store = ground.open().await;
    let ann = add_client(&store, user("ann")).await;
    let mut write = begin(&store).await;
    for n in 0..450 {
        let session = NewSession { expires_at: later(n), ..session(&ann) };
        let token = NewRefresh { expires_at: later(100 * DAY), ..refresh(&session.id, 0) };
        assert!(write.begin_session(&session, Some(&token), &Expected::default(), None).await.unwrap());
    }
    for n in 0..2100 {
        write.revoke_jti(REALM, "ses_gone", &format!("j{n}"), NOW, NOW).await.unwrap();
    }
    write.commit().await.unwrap();
    assert_eq!(store.prune_tokens(later(2 * DAY)).await.unwrap(), 450 + 2100);
    assert_eq!(counts(&ground).await, [0; 6]);
}
