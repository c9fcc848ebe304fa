//! PostgreSQL lets two transactions run at the same time. Here they are made to, in both orders: one has done its work
//! and is not committed yet when the other comes. SQLite lets one write at a time.

use portcullis::store::{ClientChange, ClientStatus, Expected, Fault, NewIssued, Store, Write};

use super::records::{
    HOUR, REALM, add_client, begin, digest, issued, later, refresh, session, sign_in, sign_in_again, user,
};
use super::{Ground, at_last};

/// Lets `second` run until it waits for `first`, then makes `first` last. Returns what `second` answers.
async fn meanwhile<T: Send + 'static>(
    ground: &Ground,
    first: Write,
    second: impl Future<Output = T> + Send + 'static,
) -> T {
    let second = tokio::spawn(second);
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    at_last("the second waits for the first", async || (ground.number(waiting).await > 0).then_some(())).await;
    first.commit().await.unwrap();
    second.await.unwrap()
}

async fn disable(write: &mut Write, id: &str) {
    let off = ClientChange { status: Some(ClientStatus::Disabled), ..ClientChange::default() };
    assert!(write.update_client(id, None, &off, later(2)).await.unwrap());
}

async fn begin_session(write: &mut Write, user: &str) -> bool {
    let session = session(user);
    let refresh = refresh(&session.id, 0);
    write.begin_session(&session, Some(&refresh), &Expected::default(), None).await.unwrap()
}

async fn rotate(write: &mut Write, sid: &str, jti: &str) -> bool {
    write.rotate_refresh(jti, &refresh(sid, 1), later(HOUR), later(1)).await.unwrap()
}

/// Sessions and refresh tokens that are in force.
async fn in_force(ground: &Ground) -> (i64, i64) {
    (
        ground.number("SELECT count(*) FROM sessions WHERE revoked_at IS NULL").await,
        ground.number("SELECT count(*) FROM refresh_tokens WHERE state = 'active'").await,
    )
}

/// Runs `case` on a ground of its own.
fn on_postgres(case: impl AsyncFnOnce(&Ground, Store)) {
    super::run(async {
        let ground = Ground::postgres();
        let store = ground.open().await;
        case(&ground, store).await;
    });
}

#[test]
fn a_refresh_and_the_end_of_its_session() {
    on_postgres(async |ground, store| {
        let (user, sid, jti) = sign_in(&store, "ann").await;
        let mut first = begin(&store).await;
        assert!(rotate(&mut first, &sid, &jti).await);
        let second = store.clone();
        meanwhile(ground, first, async move {
            let mut write = begin(&second).await;
            assert!(write.revoke_session(&sid, "logout", later(2)).await.unwrap());
            write.commit().await.unwrap();
        })
        .await;
        assert_eq!(in_force(ground).await, (0, 0));

        let (sid, jti) = sign_in_again(&store, &user).await;
        let mut first = begin(&store).await;
        assert!(first.revoke_session(&sid, "logout", later(2)).await.unwrap());
        let second = store.clone();
        let rotated = meanwhile(ground, first, async move {
            let mut write = begin(&second).await;
            let done = rotate(&mut write, &sid, &jti).await;
            write.commit().await.unwrap();
            done
        });
        assert!(!rotated.await);
        assert_eq!(in_force(ground).await, (0, 0));
    });
}

#[test]
fn a_refresh_and_the_end_of_all_sessions() {
    on_postgres(async |ground, store| {
        let (user, sid, jti) = sign_in(&store, "ann").await;
        let mut first = begin(&store).await;
        assert!(rotate(&mut first, &sid, &jti).await);
        let second = store.clone();
        let ending = user.clone();
        let ended = meanwhile(ground, first, async move {
            let mut write = begin(&second).await;
            let ended = write.revoke_sessions_of(&ending, "logout", None, later(2)).await.unwrap();
            write.commit().await.unwrap();
            ended
        });
        assert_eq!(ended.await, 1);
        assert_eq!(in_force(ground).await, (0, 0));

        let (sid, jti) = sign_in_again(&store, &user).await;
        let mut first = begin(&store).await;
        disable(&mut first, &user).await;
        let second = store.clone();
        let rotated = meanwhile(ground, first, async move {
            let mut write = begin(&second).await;
            let done = rotate(&mut write, &sid, &jti).await;
            write.commit().await.unwrap();
            done
        });
        assert!(!rotated.await);
        assert_eq!(in_force(ground).await, (0, 0));
    });
}

#[test]
fn two_refreshes_with_one_token() {
    on_postgres(async |ground, store| {
        let (_, sid, jti) = sign_in(&store, "ann").await;
        let mut first = begin(&store).await;
        assert!(rotate(&mut first, &sid, &jti).await);
        let second = store.clone();
        let rotated = meanwhile(ground, first, async move {
            let mut write = begin(&second).await;
            let done = rotate(&mut write, &sid, &jti).await;
            // What it finds out about the token is the state of now.
            let found = write.refresh_token(&jti).await.unwrap().unwrap();
            write.commit().await.unwrap();
            (done, found.successor.is_some())
        });
        assert_eq!(rotated.await, (false, true));
        assert_eq!(in_force(ground).await, (1, 1));
    });
}

#[test]
fn a_login_and_whoever_forbids_it() {
    on_postgres(async |ground, store| {
        let user = add_client(&store, user("ann")).await;
        let mut first = begin(&store).await;
        assert!(begin_session(&mut first, &user).await);
        let (second, id) = (store.clone(), user.clone());
        let ended = meanwhile(ground, first, async move {
            let mut write = begin(&second).await;
            let ended = write.revoke_sessions_of(&id, "logout", None, later(2)).await.unwrap();
            write.commit().await.unwrap();
            ended
        });
        assert_eq!(ended.await, 1);

        let mut first = begin(&store).await;
        assert!(begin_session(&mut first, &user).await);
        let (second, id) = (store.clone(), user.clone());
        meanwhile(ground, first, async move {
            let mut write = begin(&second).await;
            disable(&mut write, &id).await;
            write.commit().await.unwrap();
        })
        .await;
        assert_eq!(in_force(ground).await, (0, 0));
    });
}

#[test]
fn whoever_forbids_a_login_and_the_login() {
    on_postgres(async |ground, store| {
        for deleted in [false, true] {
            let user = add_client(&store, user(&format!("ann {deleted}"))).await;
            let mut first = begin(&store).await;
            match deleted {
                true => assert!(first.delete_client(&user, None, later(2)).await.unwrap().is_some()),
                false => disable(&mut first, &user).await,
            }
            let second = store.clone();
            let begun = meanwhile(ground, first, async move {
                let mut write = begin(&second).await;
                let begun = begin_session(&mut write, &user).await;
                write.commit().await.unwrap();
                begun
            });
            assert!(!begun.await, "{deleted}");
        }
        assert_eq!(ground.number("SELECT count(*) FROM sessions").await, 0);
    });
}

#[test]
fn a_token_of_a_session_and_the_end_of_the_session() {
    on_postgres(async |ground, store| {
        let (user, sid, _) = sign_in(&store, "ann").await;
        let mut first = begin(&store).await;
        first.issue_token(&NewIssued { sid: Some(sid.clone()), ..issued("x") }).await.unwrap();
        let second = store.clone();
        meanwhile(ground, first, async move {
            let mut write = begin(&second).await;
            assert!(write.revoke_session(&sid, "logout", later(2)).await.unwrap());
            write.commit().await.unwrap();
        })
        .await;
        let token = store.issued_in_force(REALM, &digest("x")).await.unwrap().unwrap().token;
        assert_eq!(token.revoked_at, Some(later(2)));

        let (sid, _) = sign_in_again(&store, &user).await;
        let mut first = begin(&store).await;
        assert!(first.revoke_session(&sid, "logout", later(2)).await.unwrap());
        let second = store.clone();
        let fault = meanwhile(ground, first, async move {
            let late = NewIssued { sid: Some(sid), ..issued("y") };
            begin(&second).await.issue_token(&late).await.unwrap_err().fault
        });
        assert_eq!(fault.await, Fault::Conflict);
    });
}
