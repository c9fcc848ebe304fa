//! Tokens for administration.

use portcullis::store::{AdminToken, Fault, IdKind, NewAdminToken};

use super::records::{at_once, begin, digest, later, texts};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(a_token_is_found_by_its_text_alone, a_token_is_ended_once, a_use_is_noted_once_a_minute,);

fn token(text: &str) -> NewAdminToken {
    NewAdminToken {
        id: IdKind::AdminToken.generate(NOW).unwrap(),
        name: "deploy".to_owned(),
        hint: "wxyz".to_owned(),
        digest: digest(text),
        scopes: texts(&["admin:read"]),
        realms: Some(texts(&["shop"])),
        expires_at: Some(later(1000)),
        created_by: "cli:root".to_owned(),
        at: NOW,
    }
}

async fn a_token_is_found_by_its_text_alone(ground: Ground) {
    let store = ground.open().await;
    let (one, two) = (token("pca_1"), NewAdminToken { realms: None, expires_at: None, ..token("pca_2") });
    let mut write = begin(&store).await;
    write.create_admin_token(&one).await.unwrap();
    write.create_admin_token(&two).await.unwrap();
    write.commit().await.unwrap();
    let expected = |new: &NewAdminToken| AdminToken {
        id: new.id.clone(),
        name: new.name.clone(),
        hint: new.hint.clone(),
        scopes: new.scopes.clone(),
        realms: new.realms.clone(),
        expires_at: new.expires_at,
        revoked_at: None,
        last_used_at: None,
        created_by: new.created_by.clone(),
        created_at: new.at,
    };
    assert_eq!(store.admin_token(&digest("pca_1")).await.unwrap(), Some(expected(&one)));
    assert_eq!(store.admin_token(&digest("pca_2")).await.unwrap(), Some(expected(&two)));
    assert_eq!(store.admin_token(&digest("pca_3")).await.unwrap(), None);
    let mut all = vec![expected(&one), expected(&two)];
    all.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(store.admin_tokens().await.unwrap(), all);
    let mut write = begin(&store).await;
    assert_eq!(write.create_admin_token(&token("pca_1")).await.unwrap_err().fault, Fault::Conflict);
}

async fn a_token_is_ended_once(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let new = token("pca_1");
    let mut write = begin(&store).await;
    write.create_admin_token(&new).await.unwrap();
    write.commit().await.unwrap();
    let answers = at_once([&store, &other], 20, |store, _| {
        let id = new.id.clone();
        async move {
            let mut write = begin(&store).await;
            let ended = write.revoke_admin_token(&id, later(1)).await.unwrap();
            write.commit().await.unwrap();
            ended
        }
    });
    assert_eq!(answers.await.into_iter().filter(|&ended| ended).count(), 1);
    assert_eq!(store.admin_token(&new.digest).await.unwrap().unwrap().revoked_at, Some(later(1)));
    let mut write = begin(&store).await;
    assert!(!write.revoke_admin_token("adm_nobody", NOW).await.unwrap());
}

async fn a_use_is_noted_once_a_minute(ground: Ground) {
    let store = ground.open().await;
    let new = token("pca_1");
    let mut write = begin(&store).await;
    write.create_admin_token(&new).await.unwrap();
    write.commit().await.unwrap();
    for (at, noted) in [(0, 0), (60_000, 0), (60_001, 60_001), (0, 60_001), (60_002, 60_001)] {
        store.note_admin_token(&new.id, later(at)).await.unwrap();
        let last = store.admin_token(&new.digest).await.unwrap().unwrap().last_used_at;
        assert_eq!(last, Some(later(noted)), "at {at}");
    }
    store.note_admin_token("adm_nobody", NOW).await.unwrap();
}
