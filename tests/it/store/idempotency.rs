//! Answers kept for those who ask twice.

use portcullis::store::{Fault, Remembered};
use serde_json::json;

use super::records::{at_once, begin, client, later};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(
    an_answer_is_remembered_for_a_day,
    an_answer_is_remembered_together_with_what_it_answers,
    of_twenty_with_the_same_key_one_is_the_first,
);

const DAY: i64 = 24 * 3600 * 1000;

fn answer(target: &str) -> Remembered {
    let body = Some(json!({ "id": target }));
    Remembered { fingerprint: [7; 32], target_id: target.to_owned(), status: 201, body }
}

async fn an_answer_is_remembered_for_a_day(ground: Ground) {
    let store = ground.open().await;
    let mut write = begin(&store).await;
    write.remember("adm_1", "again", &answer("key_1"), NOW).await.unwrap();
    let secret = Remembered { body: None, ..answer("key_2") };
    write.remember("adm_2", "again", &secret, NOW).await.unwrap();
    write.commit().await.unwrap();
    let read = async |actor, key, at| store.remembered(actor, key, later(at)).await.unwrap();
    assert_eq!(read("adm_1", "again", DAY - 1).await, Some(answer("key_1")));
    assert_eq!(read("adm_2", "again", 0).await, Some(secret));
    assert_eq!(read("adm_1", "Again", 0).await, None);
    assert_eq!(read("adm_1", "again", DAY).await, None);

    let mut write = begin(&store).await;
    let early = write.remember("adm_1", "again", &answer("key_3"), later(DAY - 1)).await;
    assert_eq!(early.unwrap_err().fault, Fault::Conflict);
    drop(write);
    let mut write = begin(&store).await;
    write.remember("adm_1", "again", &answer("key_3"), later(DAY)).await.unwrap();
    write.commit().await.unwrap();
    assert_eq!(read("adm_1", "again", DAY).await, Some(answer("key_3")));

    assert_eq!(store.forget(later(DAY)).await.unwrap(), 1, "the other one has run out");
    assert_eq!(store.forget(later(2 * DAY)).await.unwrap(), 1);
}

async fn an_answer_is_remembered_together_with_what_it_answers(ground: Ground) {
    let store = ground.open().await;
    let made = client("bob");
    let mut write = begin(&store).await;
    write.create_client(&made).await.unwrap();
    write.remember("adm_1", "again", &answer(&made.id), NOW).await.unwrap();
    drop(write);
    assert_eq!(store.remembered("adm_1", "again", NOW).await.unwrap(), None);
    assert_eq!(store.client(&made.id).await.unwrap(), None);
}

async fn of_twenty_with_the_same_key_one_is_the_first(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    for at in [NOW, later(DAY)] {
        let answers = at_once([&store, &other], 20, |store, n| async move {
            let mut write = begin(&store).await;
            write.create_client(&client(&format!("bob {n} {at}"))).await.unwrap();
            match write.remember("adm_1", "again", &answer(&n.to_string()), at).await {
                Ok(()) => write.commit().await.map(|_| n),
                Err(error) => Err(error),
            }
        });
        let (won, lost): (Vec<_>, Vec<_>) = answers.await.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 19));
        assert!(lost.into_iter().all(|one| one.unwrap_err().fault == Fault::Conflict));
        let kept = store.remembered("adm_1", "again", at).await.unwrap().unwrap();
        assert_eq!(kept.target_id, won[0].as_ref().unwrap().to_string());
    }
    assert_eq!(ground.number("SELECT COUNT(*) FROM principals").await, 2, "what the others made is gone");
}
