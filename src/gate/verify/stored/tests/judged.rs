//! What a key proves, and when it proves nothing.

use serde_json::json;

use super::*;

const LATER: UnixMillis = UnixMillis(NOW.0 + 1000);

#[tokio::test]
async fn a_key_proves_its_owner_and_is_read_once() {
    let stage = Stage::new();
    let key = stage.key(|record| {
        let object = |value: serde_json::Value| value.as_object().unwrap().clone();
        record.owner.attributes = object(json!({ "seats": 3, "region": "eu" }));
        record.key.attributes = object(json!({ "seats": 1, "tags": ["a"] }));
        record.key.scopes = Some(vec!["*:read".into(), "links:write".into()]);
    });
    for hit in [false, true] {
        let mut trail = Trail::default();
        let permit = stage.decide("shop", "/orders", key.expose(), &mut trail).await.unwrap();
        let principal = &permit.identity().unwrap().principal;
        assert_eq!((&*principal.subject, principal.client.as_deref()), ("team_42", Some("team_42")));
        assert_eq!(principal.credential_id.as_deref(), Some("key_1"));
        assert_eq!((principal.plan.as_deref(), principal.tenant.as_deref()), (Some("growth"), Some("acme")));
        assert_eq!(principal.scopes.iter().collect::<Vec<_>>(), ["orders:read"]);
        let attributes = json!({ "seats": 1, "region": "eu", "tags": ["a"] });
        assert_eq!(serde_json::Value::Object((*principal.attributes).clone()), attributes);
        assert_eq!(trail.key_cache, Some(hit));
    }
    assert_eq!(stage.reads(), 1);
    assert_eq!(stage.keys.cached(), (1, 0));
}

#[tokio::test]
async fn without_a_store_every_key_is_unknown_and_no_cache_is_asked() {
    let stage = Stage::new();
    let key = stage.key(|_| {});
    let gate = Gate::new(0, Arc::new(StoredKeys::none()));
    let stage = Stage { gate, ..stage };
    let mut trail = Trail::default();
    let decision = stage.decide("shop", "/orders", key.expose(), &mut trail).await;
    assert_eq!(told(decision), "key_unknown: unknown");
    assert_eq!((trail.key_cache, trail.unknown_key_cache), (None, None));
}

#[tokio::test]
async fn what_cannot_be_a_key_reaches_no_cache_and_no_store() {
    let stage = Stage::new();
    let mut typed = text().expose().to_owned();
    typed.replace_range(5..6, if &typed[5..6] == "a" { "b" } else { "a" });
    for (text, cause) in [(typed.as_str(), "checksum"), ("sk_", "format")] {
        let mut trail = Trail::default();
        let decision = stage.decide("shop", "/orders", text, &mut trail).await;
        assert_eq!(told(decision), format!("key_malformed: {cause}"));
        assert_eq!((trail.key_cache, trail.unknown_key_cache), (None, None));
    }
    assert_eq!(stage.reads(), 0);
}

#[tokio::test]
async fn each_state_has_its_reason_first_read_and_remembered() {
    type Change = fn(&mut KeyInForce);
    let cases: [(&str, Change); 9] = [
        ("key_revoked: revoked", |record| record.key.status = KeyStatus::Revoked),
        ("key_revoked: revoked", |record| {
            record.key.status = KeyStatus::Revoked;
            record.owner.status = ClientStatus::Disabled;
            record.key.expires_at = Some(NOW);
        }),
        ("key_disabled: disabled", |record| record.key.status = KeyStatus::Disabled),
        ("key_disabled: disabled", |record| record.owner.status = ClientStatus::Disabled),
        ("key_expired: expired", |record| record.key.expires_at = Some(NOW)),
        ("key_expired: rotated", |record| record.not_after = Some(NOW)),
        ("insufficient_scope: ", |record| record.key.scopes = Some(vec!["orders:write".into()])),
        ("insufficient_scope: ", |record| record.owner.scopes = Some(vec![])),
        ("ip_denied: client_list", |record| record.key_addresses = vec![address("10.0.0.0/8", None)]),
    ];
    let stage = Stage::new();
    for (expected, change) in cases {
        let key = stage.key(change);
        let before = stage.reads();
        assert_eq!(stage.ask(&key).await, expected);
        assert_eq!(stage.ask(&key).await, expected);
        assert_eq!(stage.reads(), before + 1, "{expected}");
    }
}

#[tokio::test]
async fn a_cached_key_ends_at_its_very_millisecond_without_another_read() {
    let stage = Stage::new();
    let keys = [
        (stage.key(|record| record.key.expires_at = Some(LATER)), "key_expired: expired"),
        (stage.key(|record| record.not_after = Some(LATER)), "key_expired: rotated"),
    ];
    for (key, expected) in &keys {
        assert_eq!(stage.at(NOW).ask(key).await, "ok");
        assert_eq!(stage.at(UnixMillis(LATER.0 - 1)).ask(key).await, "ok");
        assert_eq!(stage.at(LATER).ask(key).await, *expected);
    }
    assert_eq!(stage.reads(), 2);
    assert_eq!(stage.at(NOW).permit(&keys[0].0).await.unwrap().identity().unwrap().expires, Some(LATER));
}

#[tokio::test]
async fn a_role_that_is_gone_grants_nothing_and_still_limits() {
    let stage = Stage::new();
    let with_role = |role: &str| {
        let role = role.to_owned();
        move |record: &mut KeyInForce| {
            record.owner.scopes = None;
            record.owner.roles = vec![role];
            record.key.scopes = Some(vec!["orders:read".into()]);
        }
    };
    assert_eq!(stage.ask(&stage.key(with_role("clerk"))).await, "ok");
    assert_eq!(stage.ask(&stage.key(with_role("gone"))).await, "insufficient_scope: ");
    let free = stage.key(|record| {
        record.owner.scopes = None;
        record.key.scopes = Some(vec!["orders:read".into()]);
    });
    assert_eq!(stage.ask(&free).await, "ok");
}

#[tokio::test]
async fn an_address_that_runs_out_counts_no_longer_and_opens_nothing() {
    let stage = Stage::new();
    let key = stage.key(|record| {
        record.key_addresses = vec![address("10.0.0.0/8", None), address("203.0.113.0/24", Some(LATER))];
    });
    let only = stage.key(|record| record.owner_addresses = vec![address("203.0.113.9/32", Some(LATER))]);
    for key in [&key, &only] {
        assert_eq!(stage.at(NOW).ask(key).await, "ok");
        assert_eq!(stage.at(UnixMillis(LATER.0 - 1)).ask(key).await, "ok");
        assert_eq!(stage.at(LATER).ask(key).await, "ip_denied: client_list");
    }
    assert_eq!(stage.reads(), 2);
}

#[tokio::test]
async fn both_lists_must_hold_the_address() {
    let stage = Stage::new();
    let key = stage.key(|record| {
        record.key_addresses = vec![address("203.0.113.9/32", None)];
        record.owner_addresses = vec![address("203.0.113.0/29", None)];
    });
    assert_eq!(stage.ask(&key).await, "ip_denied: client_list");
}

#[tokio::test]
async fn k08_the_same_text_in_two_realms_is_two_keys() {
    let stage = Stage::new();
    let (both, one) = (text(), text());
    stage.put("shop", &both, |record| record.key.id = "key_shop".into());
    stage.put("bank", &both, |record| record.key.id = "key_bank".into());
    stage.put("shop", &one, |_| {});
    for _ in 0..2 {
        for realm in ["shop", "bank"] {
            let permit = stage.decide(realm, "/orders", both.expose(), &mut Trail::default()).await.unwrap();
            let id = permit.identity().unwrap().principal.credential_id.clone();
            assert_eq!(id.as_deref(), Some(&*format!("key_{realm}")));
        }
        assert_eq!(stage.ask(&one).await, "ok");
        let other = stage.decide("bank", "/orders", one.expose(), &mut Trail::default()).await;
        assert_eq!(told(other), "key_unknown: unknown");
    }
    assert_eq!(stage.reads(), 4);
}

#[tokio::test]
async fn k08_a_record_of_another_realm_is_an_outage_and_never_a_key() {
    let stage = Stage::new();
    let key = stage.key(|record| record.key.realm = "bank".into());
    assert_eq!(stage.ask(&key).await, "store_unavailable: store_failing");
    let key = stage.key(|record| record.owner.realm = "bank".into());
    assert_eq!(stage.ask(&key).await, "store_unavailable: store_failing");
}

#[tokio::test]
async fn a_reload_compiles_anew_what_is_in_memory_and_reads_nothing() {
    let mut stage = Stage::new();
    let key = stage.key(|record| {
        record.owner.scopes = None;
        record.owner.roles = vec!["clerk".into()];
    });
    assert_eq!(stage.ask(&key).await, "ok");
    stage.snapshot = snapshot(&["bank", "shop"], None); // other positions, other realms, the same generation even
    assert_eq!(stage.ask(&key).await, "ok");
    let mut realm = realm(1, "shop");
    Arc::get_mut(&mut realm).unwrap().roles = Roles::default();
    stage.snapshot.realms[1] = realm;
    assert_eq!(stage.ask(&key).await, "insufficient_scope: ");
    assert_eq!(stage.reads(), 1);
}

#[tokio::test]
async fn explain_names_the_key_its_owner_and_its_state() {
    let stage = Stage::new();
    let key = stage.key(|record| record.owner.status = ClientStatus::Disabled);
    let mut trail = Trail::explaining();
    assert!(stage.decide("shop", "/orders", key.expose(), &mut trail).await.is_err());
    let step = trail.steps.unwrap().into_iter().find(|step| step.name == "key").unwrap();
    assert_eq!(step.saw, "a key of the store: key_1 of owner \"team_42\", active, its owner disabled");
}
