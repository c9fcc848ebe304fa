//! Sessions: how they begin, how they end, and what ends with them.

use portcullis::password::Phc;
use portcullis::store::{
    ChangeKind, Client, ClientChange, ClientStatus, Expected, Fault, Holder, NewClient, NewIssued, NewSession, Page,
    RefreshState, SessionFilter, Store,
};

use super::records::{
    HOUR, REALM, add_address, add_client, add_issued, add_key, address, at_once, begin, digest, issued, key, later,
    refresh, session, sign_in, sign_in_again, texts, user,
};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(
    a_session_is_read_as_it_began,
    a_session_is_read_with_whose_it_is_and_what_ended_in_it,
    a_session_of_a_principal_that_may_not_sign_in_does_not_begin,
    a_session_does_not_begin_on_a_password_that_was_changed_meanwhile,
    no_session_outlives_a_disabled_principal_however_they_race,
    no_session_outlives_a_deleted_principal_however_they_race,
    no_login_slips_through_while_all_sessions_are_ended,
    what_is_ended_with_a_session_stays_so_and_the_others_go_on,
    all_sessions_but_one_are_ended,
    a_new_password_ends_every_session_and_what_the_keys_were_given,
    of_twenty_renewals_with_one_token_one_is_made,
    a_session_is_renewed_only_while_it_is_in_force,
    a_token_that_was_ended_twice_is_ended_once,
    a_list_holds_what_the_filter_asks_for,
);

/// What the feed has told since.
async fn told(store: &Store, seq: i64) -> Vec<(ChangeKind, String)> {
    let changes = store.changes_after(seq, 100).await.unwrap();
    changes.into_iter().map(|change| (change.kind, change.value)).collect()
}

/// Begins this session; tells whether it was allowed.
async fn begun(store: &Store, session: &NewSession, expected: &Expected) -> bool {
    let mut write = begin(store).await;
    let allowed = write.begin_session(session, None, expected, Some("192.0.2.7")).await.unwrap();
    write.commit().await.unwrap();
    allowed
}

async fn change(store: &Store, id: &str, change: ClientChange) {
    let mut write = begin(store).await;
    assert!(write.update_client(id, None, &change, later(5)).await.unwrap());
    write.commit().await.unwrap();
}

fn disabled() -> ClientChange {
    ClientChange { status: Some(ClientStatus::Disabled), ..ClientChange::default() }
}

async fn a_session_is_read_as_it_began(ground: Ground) {
    let store = ground.open().await;
    let ann = add_client(&store, user("ann")).await;
    let new = NewSession { current_jti: Some("j1".to_owned()), ..session(&ann) };
    assert!(begun(&store, &new, &Expected::default()).await);
    let read = store.session(&new.id).await.unwrap().unwrap();
    assert_eq!(
        (read.id, read.realm, read.subject_id, read.grant, read.client_ip, read.user_agent),
        (new.id.clone(), new.realm, ann.clone(), new.grant, new.client_ip, new.user_agent)
    );
    assert_eq!(
        (read.created_at, read.last_seen_at, read.expires_at, read.revoked_at, read.revoke_reason, read.current_jti),
        (NOW, NOW, later(HOUR), None, None, new.current_jti)
    );
    let client = store.client(&ann).await.unwrap().unwrap();
    assert_eq!((client.last_login_at, client.version), (Some(NOW), 1), "a login is no change by somebody");
    assert_eq!(store.feed_span().await.unwrap().newest, 0, "no node can know anything of it yet");
    assert_eq!(store.session("ses_none").await.unwrap(), None);
    assert_eq!(store.session_in_force("blog", &new.id).await.unwrap(), None, "another realm's");
}

async fn a_session_is_read_with_whose_it_is_and_what_ended_in_it(ground: Ground) {
    let store = ground.open().await;
    let (ann, sid, _) = sign_in(&store, "ann").await;
    let (bob, other, _) = sign_in(&store, "bob").await;
    let found = store.session_in_force(REALM, &sid).await.unwrap().unwrap();
    assert_eq!((found.subject, found.addresses, found.revoked_tokens), (client(&store, &ann).await, vec![], vec![]));
    let mut entries =
        vec![address(Holder::Client, &ann, "192.0.2.0/24"), address(Holder::Client, &ann, "2001:db8::/32")];
    for entry in entries.iter().chain([&address(Holder::Client, &bob, "198.51.100.0/24")]) {
        add_address(&store, entry.clone()).await;
    }
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    let mut write = begin(&store).await;
    for (sid, jti) in [(&sid, "j2"), (&sid, "j1"), (&other, "j3")] {
        write.revoke_jti(REALM, sid, jti, later(5), NOW).await.unwrap();
    }
    write.commit().await.unwrap();
    let found = store.session_in_force(REALM, &sid).await.unwrap().unwrap();
    assert_eq!(found.session, store.session(&sid).await.unwrap().unwrap());
    assert_eq!(found.subject, client(&store, &ann).await);
    assert_eq!((found.addresses, found.revoked_tokens), (entries, texts(&["j1", "j2"])));
}

async fn client(store: &Store, id: &str) -> Client {
    store.client(id).await.unwrap().unwrap()
}

async fn a_session_of_a_principal_that_may_not_sign_in_does_not_begin(ground: Ground) {
    let store = ground.open().await;
    let ann = add_client(&store, user("ann")).await;
    change(&store, &ann, disabled()).await;
    assert!(!begun(&store, &session(&ann), &Expected::default()).await);
    change(&store, &ann, ClientChange { status: Some(ClientStatus::Active), ..ClientChange::default() }).await;
    assert!(!begun(&store, &session("usr_nobody"), &Expected::default()).await);
    assert!(!begun(&store, &NewSession { realm: "blog".to_owned(), ..session(&ann) }, &Expected::default()).await);
    assert_eq!(ground.number("SELECT count(*) FROM sessions").await, 0);
    assert_eq!(client(&store, &ann).await.last_login_at, None);
    assert!(begun(&store, &session(&ann), &Expected::default()).await);
}

async fn a_session_does_not_begin_on_a_password_that_was_changed_meanwhile(ground: Ground) {
    let store = ground.open().await;
    let ann = add_client(&store, user("ann")).await;
    let password = |text: &str| Expected { password_phc: Some(text.to_owned()) };
    assert!(!format!("{:?}", password("$argon2id$x")).contains("argon2id"), "no hash in logs");
    assert!(!begun(&store, &session(&ann), &password("$argon2id$old")).await, "it has none");
    let set = |text: &str| ClientChange { password_phc: Some(Some(Phc::stored(text))), ..ClientChange::default() };
    change(&store, &ann, set("$argon2id$old")).await;
    assert!(begun(&store, &session(&ann), &password("$argon2id$old")).await);
    change(&store, &ann, set("$argon2id$new")).await;
    assert!(!begun(&store, &session(&ann), &password("$argon2id$old")).await);
}

/// Sessions of a principal that are in force, in whatever way one looks.
async fn in_force(ground: &Ground, subject_id: &str) -> i64 {
    ground
        .number(&format!(
            "SELECT count(*) FROM sessions s LEFT JOIN refresh_tokens r ON r.sid = s.id \
             WHERE s.subject_id = '{subject_id}' AND (s.revoked_at IS NULL OR r.state = 'active')"
        ))
        .await
}

async fn no_session_outlives_a_disabled_principal_however_they_race(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    for round in 0..20 {
        let ann = add_client(&store, user(&format!("ann {round}"))).await;
        let allowed = at_once([&store, &other], 6, |store, n| {
            let ann = ann.clone();
            async move {
                if n == 3 {
                    change(&store, &ann, disabled()).await;
                    return true;
                }
                let (session, mut write) = (session(&ann), begin(&store).await);
                let refresh = refresh(&session.id, 0);
                let begun = write.begin_session(&session, Some(&refresh), &Expected::default(), None).await.unwrap();
                write.commit().await.unwrap();
                begun
            }
        });
        let allowed = allowed.await.into_iter().filter(|allowed| *allowed).count();
        assert_eq!(in_force(&ground, &ann).await, 0, "round {round}");
        let made = ground.number(&format!("SELECT count(*) FROM sessions WHERE subject_id = '{ann}'")).await;
        assert_eq!(usize::try_from(made).unwrap(), allowed - 1, "what was allowed is there, and nothing else");
    }
}

async fn no_session_outlives_a_deleted_principal_however_they_race(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    for round in 0..10 {
        let ann = add_client(&store, user("ann")).await;
        let answers = at_once([&store, &other], 6, |store, n| {
            let ann = ann.clone();
            async move {
                let mut write = begin(&store).await;
                if n == 3 {
                    assert!(write.delete_client(&ann, None, NOW).await.unwrap().is_some());
                } else {
                    write.begin_session(&session(&ann), None, &Expected::default(), None).await.unwrap();
                }
                write.commit().await.unwrap();
            }
        });
        answers.await;
        assert_eq!(ground.number("SELECT count(*) FROM sessions").await, 0, "round {round}");
    }
}

async fn no_login_slips_through_while_all_sessions_are_ended(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    for round in 0..10 {
        let ann = add_client(&store, user(&format!("ann {round}"))).await;
        for _ in 0..3 {
            sign_in_again(&store, &ann).await;
        }
        let ended = at_once([&store, &other], 6, |store, n| {
            let ann = ann.clone();
            async move {
                let mut write = begin(&store).await;
                let ended = if n == 3 {
                    write.revoke_sessions_of(&ann, "logout", None, later(1)).await.unwrap()
                } else {
                    write.begin_session(&session(&ann), None, &Expected::default(), None).await.unwrap();
                    0
                };
                write.commit().await.unwrap();
                ended
            }
        });
        let ended: u64 = ended.await.into_iter().sum();
        // Each of the five came before and was ended, or came after and is in force.
        let left = u64::try_from(in_force(&ground, &ann).await).unwrap();
        assert_eq!(ended + left, 8, "round {round}: {ended} were ended, {left} are left");
    }
}

async fn what_is_ended_with_a_session_stays_so_and_the_others_go_on(ground: Ground) {
    let store = ground.open().await;
    let (ann, sid, jti) = sign_in(&store, "ann").await;
    let (other, other_jti) = sign_in_again(&store, &ann).await;
    let tokens = [issued("one"), issued("two")];
    for (token, sid) in tokens.iter().zip([&sid, &other]) {
        add_issued(&store, NewIssued { sid: Some(sid.clone()), ..token.clone() }).await;
    }
    let newest = store.feed_span().await.unwrap().newest;
    let mut write = begin(&store).await;
    assert!(write.revoke_session(&sid, "logout", later(5)).await.unwrap());
    assert!(!write.revoke_session(&sid, "again", later(6)).await.unwrap());
    assert!(!write.revoke_session("ses_none", "logout", later(6)).await.unwrap());
    write.commit().await.unwrap();
    assert_eq!(told(&store, newest).await, [(ChangeKind::Session, sid.clone())]);

    let ended = store.session_in_force(REALM, &sid).await.unwrap().unwrap().session;
    assert_eq!((ended.revoked_at, ended.revoke_reason.as_deref()), (Some(later(5)), Some("logout")));
    let state = async |jti: &str| store.refresh_in_force(REALM, jti).await.unwrap().unwrap().token.state;
    assert_eq!((state(&jti).await, state(&other_jti).await), (RefreshState::Revoked, RefreshState::Active));
    let revoked_at =
        async |text: &str| store.issued_in_force(REALM, &digest(text)).await.unwrap().unwrap().token.revoked_at;
    assert_eq!((revoked_at("one").await, revoked_at("two").await), (Some(later(5)), None));
    // Nothing more is issued in it.
    let mut write = begin(&store).await;
    let late = NewIssued { sid: Some(sid), ..issued("three") };
    assert_eq!(write.issue_token(&late).await.unwrap_err().fault, Fault::Conflict);
}

async fn all_sessions_but_one_are_ended(ground: Ground) {
    let store = ground.open().await;
    let (ann, kept, _) = sign_in(&store, "ann").await;
    for _ in 0..3 {
        sign_in_again(&store, &ann).await;
    }
    let (_, bobs, _) = sign_in(&store, "bob").await;
    let over = NewSession { expires_at: later(1), ..session(&ann) };
    assert!(begun(&store, &over, &Expected::default()).await);
    let newest = store.feed_span().await.unwrap().newest;
    let mut write = begin(&store).await;
    let ended = write.revoke_sessions_of(&ann, "single_session", Some(&kept), later(5)).await.unwrap();
    assert_eq!(ended, 3, "one was over already");
    assert_eq!(write.revoke_sessions_of(&ann, "single_session", Some(&kept), later(5)).await.unwrap(), 0);
    assert_eq!(write.revoke_sessions_of("usr_nobody", "logout", None, later(5)).await.unwrap(), 0);
    write.commit().await.unwrap();
    assert_eq!(told(&store, newest).await, vec![(ChangeKind::Client, ann.clone()); 2]);
    let mut left = Vec::new();
    for session in store.sessions(&SessionFilter::default(), &Page { after: None, limit: 10 }).await.unwrap() {
        left.extend(session.revoked_at.is_none().then_some(session.id));
    }
    let mut expected = vec![kept, bobs];
    expected.sort();
    assert_eq!(left, expected);
    assert_eq!(client(&store, &ann).await.version, 1);

    // More than are ended with one statement.
    for _ in 0..2 {
        let mut write = begin(&store).await;
        for _ in 0..300 {
            assert!(write.begin_session(&session(&ann), None, &Expected::default(), None).await.unwrap());
        }
        write.commit().await.unwrap();
    }
    let mut write = begin(&store).await;
    assert_eq!(write.revoke_sessions_of(&ann, "logout", None, later(5)).await.unwrap(), 601);
    write.commit().await.unwrap();
    assert_eq!(in_force(&ground, &ann).await, 0);
}

async fn a_new_password_ends_every_session_and_what_the_keys_were_given(ground: Ground) {
    let store = ground.open().await;
    for what in [
        ClientChange { password_phc: Some(Some(Phc::stored("$argon2id$x"))), ..ClientChange::default() },
        ClientChange { password_phc: Some(None), ..ClientChange::default() },
        disabled(),
    ] {
        let (ann, sid, _) = sign_in(&store, &format!("ann {what:?}")).await;
        let key = add_key(&store, key(&ann, &format!("{what:?}"))).await;
        let text = format!("token {what:?}");
        let token = NewIssued { issued_by: Some(key), owner_id: Some(ann.clone()), ..issued(&text) };
        add_issued(&store, token).await;
        change(&store, &ann, ClientChange { plan: Some(None), ..ClientChange::default() }).await;
        assert_eq!(store.session(&sid).await.unwrap().unwrap().revoked_at, None, "another change ends nothing");

        change(&store, &ann, what.clone()).await;
        assert_eq!(in_force(&ground, &ann).await, 0, "{what:?}");
        let token = store.issued_in_force(REALM, &digest(&text)).await.unwrap().unwrap().token;
        assert_eq!(token.revoked_at, Some(later(5)), "{what:?}");
    }
}

async fn of_twenty_renewals_with_one_token_one_is_made(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let ann = add_client(&store, user("ann")).await;
    let new = NewSession { current_jti: Some("first".to_owned()), ..session(&ann) };
    assert!(begun(&store, &new, &Expected::default()).await);
    let newest = store.feed_span().await.unwrap().newest;
    let answers = at_once([&store, &other], 20, |store, n| {
        let sid = new.id.clone();
        async move {
            let mut write = begin(&store).await;
            let jti = format!("next {n}");
            let won = write.renew_session(&sid, "first", &jti, later(2 * HOUR), later(7)).await.unwrap();
            write.commit().await.unwrap();
            won.then_some(jti)
        }
    });
    let winners: Vec<_> = answers.await.into_iter().flatten().collect();
    let [winner] = &winners[..] else { panic!("{winners:?}") };
    let session = store.session(&new.id).await.unwrap().unwrap();
    assert_eq!(session.current_jti.as_deref(), Some(winner.as_str()));
    assert_eq!((session.last_seen_at, session.expires_at), (later(7), later(2 * HOUR)));
    assert_eq!(told(&store, newest).await, [(ChangeKind::Session, new.id)]);
}

async fn a_session_is_renewed_only_while_it_is_in_force(ground: Ground) {
    let store = ground.open().await;
    let renewed = async |sid: &str, at| {
        let mut write = begin(&store).await;
        let done = write.renew_session(sid, "now", "now", later(HOUR), at).await.unwrap();
        write.commit().await.unwrap();
        done
    };
    let ann = add_client(&store, user("ann")).await;
    let new = NewSession { current_jti: Some("now".to_owned()), ..session(&ann) };
    assert!(begun(&store, &new, &Expected::default()).await);
    assert!(renewed(&new.id, later(1)).await);
    assert!(!renewed(&new.id, later(HOUR)).await, "it is over");
    assert!(!renewed("ses_none", later(1)).await);
    // A version that knows of no sessions disables a principal and leaves them as they are.
    ground.sql("UPDATE principals SET status = 'disabled'").await;
    assert!(!renewed(&new.id, later(1)).await);
    ground.sql("UPDATE principals SET status = 'active'").await;
    let mut write = begin(&store).await;
    assert!(write.revoke_session(&new.id, "logout", later(2)).await.unwrap());
    write.commit().await.unwrap();
    assert!(!renewed(&new.id, later(3)).await);
    let (_, unbound, _) = sign_in(&store, "bob").await;
    assert!(!renewed(&unbound, later(1)).await, "it has no such token");
}

async fn a_token_that_was_ended_twice_is_ended_once(ground: Ground) {
    let store = ground.open().await;
    let (_, sid, _) = sign_in(&store, "ann").await;
    for _ in 0..2 {
        let newest = store.feed_span().await.unwrap().newest;
        let mut write = begin(&store).await;
        write.revoke_jti(REALM, &sid, "j1", later(HOUR), NOW).await.unwrap();
        write.commit().await.unwrap();
        assert_eq!(told(&store, newest).await, [(ChangeKind::Session, sid.clone())]);
    }
    assert_eq!(store.session_in_force(REALM, &sid).await.unwrap().unwrap().revoked_tokens, ["j1"]);
}

async fn a_list_holds_what_the_filter_asks_for(ground: Ground) {
    let store = ground.open().await;
    let (ann, first, _) = sign_in(&store, "ann").await;
    let (second, _) = sign_in_again(&store, &ann).await;
    let (_, bobs, _) = sign_in(&store, "bob").await;
    let cyd = add_client(&store, NewClient { realm: "blog".to_owned(), ..user("cyd") }).await;
    let blogs = NewSession { realm: "blog".to_owned(), expires_at: later(10), ..session(&cyd) };
    assert!(begun(&store, &blogs, &Expected::default()).await);
    let mut write = begin(&store).await;
    assert!(write.revoke_session(&second, "logout", later(5)).await.unwrap());
    write.commit().await.unwrap();

    let all = SessionFilter::default();
    let realms = |realms: &[&str]| SessionFilter { realms: Some(texts(realms)), ..SessionFilter::default() };
    let cases = [
        ("all", all.clone(), vec![&first, &second, &bobs, &blogs.id]),
        ("one realm", realms(&["blog"]), vec![&blogs.id]),
        ("no realm", realms(&[]), vec![]),
        ("a principal's", SessionFilter { subject_id: Some(ann), ..all.clone() }, vec![&first, &second]),
        ("live", SessionFilter { live_at: Some(later(9)), ..all.clone() }, vec![&first, &bobs, &blogs.id]),
        ("live later", SessionFilter { live_at: Some(later(10)), ..all.clone() }, vec![&first, &bobs]),
    ];
    for (what, filter, mut expected) in cases {
        expected.sort();
        let mut found = Vec::new();
        let mut page = Page { after: None, limit: 2 };
        loop {
            let part = store.sessions(&filter, &page).await.unwrap();
            let Some(last) = part.last() else { break };
            page.after = Some(last.id.clone());
            found.extend(part.into_iter().map(|session| session.id));
        }
        assert_eq!(store.session_count(&filter).await.unwrap(), found.len() as u64, "{what}");
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{what}");
    }
}
