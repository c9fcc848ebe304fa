//! Who is let in, and to what: for every endpoint that there is.

use super::*;
use portcullis::store::AuditOutcome;

const ALL: &[&str] = &["admin:read", "admin:clients", "admin:keys", "admin:sessions", "admin:signing", "admin:reload"];

/// A request that fits the endpoint's path.
fn some_request(endpoint: &Endpoint) -> Ask {
    let path: Vec<_> = endpoint.path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
    ask(endpoint.method.clone(), &path.join("/"), &Value::Null)
}

#[test]
fn a_token_without_the_scope_of_an_endpoint_is_refused_there() {
    on_sqlite(async |desk| {
        for endpoint in endpoints() {
            let others: Vec<_> = ALL.iter().copied().filter(|scope| Some(*scope) != endpoint.scope).collect();
            let actor = Actor { scopes: others.iter().map(|scope| (*scope).to_owned()).collect(), ..desk.root.clone() };
            let actor = Actor { kind: portcullis::admin::api::ActorKind::AdminToken, ..actor };
            let answer = desk.ask(&actor, some_request(endpoint)).await;
            assert_eq!((answer.status, code_of(&answer)), (403, "insufficient_scope"), "{endpoint:?}");
            if let Some(scope) = endpoint.scope {
                let challenge = answer.challenge.unwrap_or_default();
                assert!(challenge.contains(&format!("scope=\"{scope}\"")), "{endpoint:?}: {challenge}");
            }
        }
    });
}

#[test]
fn no_token_may_do_what_belongs_to_the_machine() {
    on_sqlite(async |desk| {
        let everything = desk.actor(ALL, None).await;
        let machine_only: Vec<_> = endpoints().filter(|endpoint| endpoint.scope.is_none()).collect();
        assert!(machine_only.iter().all(|endpoint| endpoint.path.contains("admin-tokens")) && machine_only.len() >= 3);
        for endpoint in machine_only {
            let answer = desk.ask(&everything, some_request(endpoint)).await;
            assert_eq!((answer.status, code_of(&answer)), (403, "insufficient_scope"), "{endpoint:?}");
        }
    });
}

#[test]
fn every_endpoint_wants_one_of_the_known_scopes_and_reading_never_more_than_reading() {
    for endpoint in endpoints() {
        match endpoint.scope {
            None => {}
            Some(scope) => assert!(ALL.contains(&scope), "{endpoint:?}"),
        }
        if endpoint.method == Method::GET && endpoint.scope.is_some() {
            assert_eq!(endpoint.scope, Some("admin:read"), "{endpoint:?}");
        }
    }
}

#[test]
fn who_is_not_known_is_not_let_in_and_learns_nothing() {
    on_sqlite(async |desk| {
        let good = desk.token(&["admin:read"], None).await;
        let revoked = desk.token(&["admin:read"], None).await;
        desk.revoke(&revoked).await;
        let unknown = desk.token(&["admin:read"], None).await.replace("pca_", "pcb_");

        let refuse = async |authorization: Option<&str>| {
            let answer = desk.admin.authenticate(authorization, None, "r").await.expect_err("refused");
            assert_eq!(answer.status, 401);
            let challenge = answer.challenge.clone().unwrap();
            assert!(challenge.starts_with("Bearer realm=\"portcullis-admin\""), "{challenge}");
            answer
        };
        assert_eq!(code_of(&refuse(None).await), "missing_credentials");
        assert_eq!(code_of(&refuse(Some("")).await), "missing_credentials");
        let bearer = |text: &str| format!("Bearer {text}");
        let invalid = refuse(Some(&bearer(&revoked))).await;
        assert_eq!(code_of(&invalid), "token_invalid");
        let typo = format!("{}x", &good[..good.len() - 1]);
        let others = [
            bearer(&unknown),
            bearer(&typo),
            bearer(""),
            format!("Basic {good}"),
            good.clone(),
            bearer(&format!("{good} ")).trim_end().to_owned() + "\u{a0}",
            bearer(&"x".repeat(100_000)),
            "?".to_owned(),
        ];
        for authorization in others {
            let shown: String = authorization.chars().take(40).collect();
            assert_eq!(refuse(Some(&authorization)).await, invalid, "{shown}");
        }
        let actor = desk.admin.authenticate(Some(&format!("bearer  {good}")), None, "r").await.expect("let in");
        assert_eq!((actor.scopes, actor.realms), (vec!["admin:read".to_owned()], None));
    });
}

#[test]
fn a_token_ends_at_its_end() {
    on_sqlite(async |desk| {
        let body = json!({ "name": "short", "scopes": ["admin:read"], "expires_at": later(60).to_string() });
        let made = desk.ask(&desk.root, post("/admin/v1/admin-tokens", &body)).await;
        let bearer = format!("Bearer {}", body_of(&made)["secret"].as_str().unwrap());
        desk.clock.set(UnixMillis(later(60).0 - 1));
        assert!(desk.admin.authenticate(Some(&bearer), None, "r").await.is_ok());
        desk.clock.set(later(60));
        let refused = desk.admin.authenticate(Some(&bearer), None, "r").await.expect_err("refused");
        assert_eq!((refused.status, code_of(&refused)), (401, "token_expired"));
    });
}

#[test]
fn a_token_of_one_realm_enters_no_other_and_does_nothing_that_concerns_all() {
    on_sqlite(async |desk| {
        let actor = desk.actor(ALL, Some(&["links"])).await;
        for target in ["/admin/v1/routes?realm=shop", "/admin/v1/scopes?realm=nowhere", "/admin/v1/audit?realm=shop"] {
            let answer = desk.ask(&actor, get(target)).await;
            assert_eq!((answer.status, code_of(&answer)), (403, "realm_denied"), "{target}");
        }
        for path in ["/admin/v1/reload", "/admin/v1/audit/verify"] {
            let answer = desk.ask(&actor, post(path, &Value::Null)).await;
            assert_eq!((answer.status, code_of(&answer)), (403, "realm_denied"), "{path}");
        }
        for target in ["/admin/v1/routes", "/admin/v1/realms", "/admin/v1/scopes", "/admin/v1/roles"] {
            let answer = desk.ask(&actor, get(target)).await;
            assert_eq!(answer.status, 200, "{target}");
            assert!(!body_of(&answer).to_string().contains("shop"), "{target}: {answer:?}");
        }
        let body = json!({ "url": "https://shop.test/orders/1" });
        assert_eq!(code_of(&desk.ask(&actor, post("/admin/v1/explain", &body)).await), "realm_denied");
    });
}

#[test]
fn refused_administration_is_in_the_trail_and_a_flood_of_it_is_counted() {
    on_sqlite(async |desk| {
        let reader = desk.actor(&["admin:read"], None).await;
        desk.ask(&reader, post("/admin/v1/reload", &Value::Null)).await;
        let event = desk.last_event().await.entry;
        assert_eq!((event.action.as_str(), event.outcome), ("admin.denied", AuditOutcome::Denied));
        assert_eq!(
            (event.actor_id.as_str(), event.reason.as_deref()),
            (reader.id.as_str(), Some("insufficient_scope"))
        );
        assert_eq!(event.detail["endpoint"], "POST /admin/v1/reload");

        let token = format!("Bearer pca_{}", "x".repeat(36));
        for _ in 0..200 {
            desk.admin
                .authenticate(Some(&token), Some("203.0.113.7".parse().unwrap()), "r")
                .await
                .expect_err("refused");
        }
        let event = desk.last_event().await.entry;
        assert_eq!((event.reason.as_deref(), event.actor_id.as_str()), (Some("token_malformed"), "unknown"));
        assert_eq!(event.actor_ip, Some("203.0.113.7".parse().unwrap()));
        assert!(!format!("{event:?}").contains("xxxx"), "{event:?}");
        assert!(desk.trail().await.len() < 70);
        desk.clock.set(later(61));
        desk.admin.authenticate(Some(&token), None, "r").await.expect_err("refused");
        assert_eq!(desk.last_event().await.entry.detail["suppressed"], 140);
    });
}

#[test]
fn what_is_not_offered_is_told_apart_from_what_is_not_there() {
    on_sqlite(async |desk| {
        let answer = desk.ask(&desk.root, ask(Method::PUT, "/admin/v1/clients", &Value::Null)).await;
        assert_eq!(
            (answer.status, code_of(&answer), answer.allow.as_deref()),
            (405, "method_not_allowed", Some("GET, POST"))
        );
        for path in ["/admin/v1/nothing", "/admin/v1/clients/", "/admin/v1/clients//disable", "/admin/v1/CLIENTS", "x"]
        {
            assert_eq!(code_of(&desk.ask(&desk.root, get(path)).await), "not_found", "{path}");
        }
        let answer = desk.ask(&desk.root, ask(Method::GET, "/admin/v1/routes?reaml=x", &json!({}))).await;
        let fields: Vec<_> = body_of(&answer)["errors"].as_array().unwrap().iter().map(|e| &e["field"]).collect();
        assert_eq!(fields, ["reaml", "body"], "{answer:?}");
    });
}

#[test]
fn a_store_out_of_reach_is_an_outage_and_no_wrong_token() {
    on_sqlite(async |desk| {
        let token = format!("Bearer {}", desk.token(&["admin:read"], None).await);
        let actor = desk.admin.authenticate(Some(&token), None, "r").await.expect("let in");
        desk.store.close().await;
        let refused = desk.admin.authenticate(Some(&token), None, "r").await.expect_err("refused");
        let body = json!({ "realm": "shop", "kind": "owner", "identifier": "team_1" });
        let not_made = desk.ask(&desk.root, post("/admin/v1/clients", &body)).await;
        for answer in [refused, desk.ask(&actor, get("/admin/v1/audit")).await, not_made] {
            assert_eq!((answer.status, code_of(&answer)), (503, "store_unavailable"), "{answer:?}");
            assert!(answer.retry_after.is_some());
            assert!(!body_of(&answer).to_string().contains("portcullis.db"), "{answer:?}");
        }
        // What needs no store is answered without one.
        assert_eq!(desk.ask(&actor, get("/admin/v1/routes")).await.status, 200);
    });
}
