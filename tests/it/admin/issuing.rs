//! Sessions, single tokens, and the keys that realms sign with.

use portcullis::jwt;
use portcullis::password::Hasher;
use portcullis::secret::CredentialDigest;
use portcullis::store::{
    AttemptRule, Expected, IdKind, NewClient, NewIssued, NewRefresh, NewSession, SigningKeyState, random_id,
};
use portcullis::tokens::policy::RealmTokens;
use portcullis::tokens::signing;

use super::*;
use crate::store::on_both;

/// `shop` signs by secrets that its tokens do not name, `notes` by key pairs and has an opaque kind, `plain` not at all.
const ISSUING: &str = r#"
[realms.shop]
hosts = ["shop.test"]
upstream = "http://127.0.0.1:9"
directory = { type = "local", identifier = "email", default_role = "member" }
roles = { member = ["orders:*"] }
tokens.access = { alg = "HS256", typ = "JWT", kid = false, ttl = "1h" }
tokens.refresh = { alg = "HS256", typ = "JWT", kid = false, ttl = "30d" }
api_keys = [{ prefix = "shop_test_" }]

[[realms.shop.grants]]
type = "password"
path = "/login"
request = { identifier = "email", password = "password" }
schema = { email = "email!", password = "string!" }

[[realms.shop.routes]]
path = "/orders/**"
auth = ["jwt", "api_key"]

[realms.notes]
hosts = ["notes.test"]
upstream = "http://127.0.0.1:9"
directory = { type = "local", identifier = "email" }
tokens.access = { ttl = "15m" }
tokens.machine = { format = "opaque", encoding = "hex", ttl = "1h" }

[[realms.notes.grants]]
type = "password"
path = "/login"
request = { identifier = "email", password = "password" }
schema = { email = "email!", password = "string!" }

[[realms.notes.routes]]
path = "/notes/**"
auth = ["jwt"]

[realms.plain]
hosts = ["plain.test"]
upstream = "http://127.0.0.1:9"

[[realms.plain.routes]]
path = "/**"
auth = ["public"]
"#;

const KEYS: &str = "/admin/v1/signing-keys";
const SESSIONS: &str = "/admin/v1/sessions";
const DAY: i64 = 86_400;

on_both!(
    sessions_are_found_by_whose_they_are_and_ended_once,
    every_session_of_somebody_ends_at_once_and_they_are_counted,
    no_realm_is_left_without_a_key_that_signs,
    a_token_is_ended_as_far_as_it_reaches,
    opaque_tokens_and_keys_are_known_by_their_texts,
);

/// An administration whose realms have keys, as a gateway makes them when it starts.
async fn issuing(ground: Ground) -> Desk {
    let desk = Desk::with(ground, ISSUING).await;
    signing::ensure(&desk.store, &desk.around.issuing, NOW).await.unwrap();
    desk
}

fn on_issuing<F: Future<Output = ()>>(case: impl FnOnce(Desk) -> F) {
    run(async { case(issuing(Ground::sqlite()).await).await });
}

impl Desk {
    #[track_caller]
    fn good(answer: &Answer) -> Value {
        assert_eq!(answer.status, 200, "{answer:?}");
        body_of(answer).clone()
    }

    async fn get_good(&self, target: &str) -> Value {
        Self::good(&self.ask(&self.root, get(target)).await)
    }

    async fn post_good(&self, target: &str, body: &Value) -> Value {
        Self::good(&self.ask(&self.root, post(target, body)).await)
    }

    /// Status and code of a refusal.
    async fn post_refused(&self, target: &str, body: &Value) -> (u16, String, Value) {
        let answer = self.ask(&self.root, post(target, body)).await;
        (answer.status, code_of(&answer).to_owned(), body_of(&answer).clone())
    }

    fn tokens_of(&self, realm: &str) -> Arc<RealmTokens> {
        let mut realms = self.around.issuing.realms.iter().flatten();
        Arc::clone(realms.find(|tokens| *tokens.realm == *realm).expect("it issues"))
    }

    /// Makes a user; returns its id.
    async fn user(&self, realm: &str, identifier: &str) -> String {
        let new = NewClient {
            id: IdKind::User.generate(NOW).unwrap(),
            realm: realm.to_owned(),
            kind: portcullis::store::ClientKind::User,
            identifier: identifier.to_owned(),
            roles: Vec::new(),
            plan: None,
            tenant: None,
            scopes: None,
            attributes: serde_json::Map::new(),
            password_phc: None,
            created_by: "test".to_owned(),
            at: NOW,
        };
        let mut write = self.store.begin().await.unwrap();
        write.create_client(&new).await.unwrap();
        write.commit().await.unwrap();
        new.id
    }

    /// Signs somebody in; returns the ids of the session and of its refresh token.
    async fn sign_in(&self, realm: &str, client: &str) -> (String, String) {
        let now = portcullis::clock::Clock::now(&*self.clock);
        let session = NewSession {
            id: IdKind::Session.generate(now).unwrap(),
            realm: realm.to_owned(),
            subject_id: client.to_owned(),
            grant: "password".to_owned(),
            client_ip: Some("192.0.2.7".to_owned()),
            user_agent: Some("curl/8".to_owned()),
            at: now,
            expires_at: UnixMillis(now.0 + 3_600_000),
            current_jti: None,
        };
        let refresh = NewRefresh {
            jti: random_id().unwrap(),
            sid: session.id.clone(),
            generation: 0,
            digest: None,
            issued_at: now,
            expires_at: session.expires_at,
        };
        let mut write = self.store.begin().await.unwrap();
        let begun = write.begin_session(&session, Some(&refresh), &Expected::default(), None).await;
        assert!(begun.unwrap());
        write.commit().await.unwrap();
        (session.id, refresh.jti)
    }

    /// A token as the realm signs it.
    async fn signed(&self, realm: &str, token_use: &str, jti: &str, sid: &str, client: &str) -> String {
        let tokens = self.tokens_of(realm);
        signing::load(&self.store, &self.around.issuing).await.unwrap();
        let now = portcullis::clock::Clock::now(&*self.clock);
        let algorithm = tokens.algorithms()[0];
        let key = tokens.keys.signing(algorithm, now).expect("a key that signs");
        let header = json!({ "alg": algorithm.as_str(), "typ": "JWT", "kid": &*key.kid });
        let claims = json!({
            "iss": &*tokens.issuer, "sub": client, "aud": realm, "exp": now.secs() + 3600, "iat": now.secs(), "jti": jti,
            "client_id": client, "sid": sid, "token_use": token_use, "scope": "orders:read",
        });
        jwt::sign(&header.to_string(), &claims.to_string(), &key.signing, algorithm).expect("a token")
    }

    async fn keys_of(&self, realm: &str) -> Vec<Value> {
        let list = self.get_good(&format!("{KEYS}?realm={realm}")).await;
        assert!(!list.to_string().contains("private"), "{list}");
        list["data"].as_array().unwrap().clone()
    }

    /// Names and states of a realm's keys.
    async fn states(&self, realm: &str) -> Vec<(String, String)> {
        let keys = self.keys_of(realm).await;
        keys.iter().map(|key| (text(&key["kid"]), text(&key["state"]))).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn key_path(kid: &str, verb: &str) -> String {
    format!("{KEYS}/{kid}/{verb}")
}

async fn sessions_are_found_by_whose_they_are_and_ended_once(ground: Ground) {
    let desk = issuing(ground).await;
    let (ann, bob) = (desk.user("shop", "ann@shop.test").await, desk.user("shop", "bob@shop.test").await);
    let (first, _) = desk.sign_in("shop", &ann).await;
    desk.clock.advance(Duration::from_secs(1));
    let (second, refresh) = desk.sign_in("shop", &ann).await;
    let (of_bob, _) = desk.sign_in("shop", &bob).await;
    let ids = async |query: &str| -> Vec<String> {
        let list = desk.get_good(&format!("{SESSIONS}{query}")).await;
        list["data"].as_array().unwrap().iter().map(|session| text(&session["id"])).collect()
    };
    assert_eq!(ids("").await.len(), 3);
    assert_eq!(ids(&format!("?client={ann}")).await, [first.clone(), second.clone()]);
    assert_eq!(ids("?client=BOB@shop.test&realm=shop").await, [of_bob]);
    assert_eq!(ids("?client=nobody&realm=shop").await, [""; 0]);
    assert_eq!(ids("?realm=notes").await, [""; 0]);
    let part = desk.get_good(&format!("{SESSIONS}?limit=2")).await;
    assert_eq!(ids(&format!("?limit=2&cursor={}", text(&part["next_cursor"]))).await.len(), 1);

    let shown = desk.get_good(&format!("{SESSIONS}/{second}")).await;
    assert_eq!((&shown["client"], &shown["client_id"]), (&json!("ann@shop.test"), &json!(ann)));
    assert_eq!(
        (&shown["state"], &shown["grant"], &shown["client_ip"]),
        (&json!("live"), &json!("password"), &json!("192.0.2.7"))
    );

    let delete = |query: &str| ask(Method::DELETE, &format!("{SESSIONS}/{second}{query}"), &Value::Null);
    let ended = Desk::good(&desk.ask(&desk.root, delete("?reason=lost+laptop")).await);
    assert_eq!((&ended["ended"], &ended["state"]), (&json!(true), &json!("revoked")));
    assert_eq!(
        (&ended["revoke_reason"], &ended["effective"]["other_nodes_within_ms"]),
        (&json!("lost laptop"), &json!(1500))
    );
    assert_eq!(desk.around.applied.lock().unwrap().len(), 1, "the answer waits until it counts");
    let event = desk.last_event().await.entry;
    assert_eq!((event.action.as_str(), event.target_id.as_deref()), ("session.revoked", Some(&*second)));
    assert_eq!((event.reason.as_deref(), &event.detail["client"]), (Some("lost laptop"), &json!("ann@shop.test")));
    let dead = desk.store.refresh_in_force("shop", &refresh).await.unwrap().expect("its refresh token");
    assert_eq!(dead.token.state, portcullis::store::RefreshState::Revoked);

    desk.clock.advance(Duration::from_secs(9));
    let events = desk.trail().await.len();
    let again = Desk::good(&desk.ask(&desk.root, delete("?reason=other")).await);
    assert_eq!((&again["ended"], &again["revoked_at"]), (&json!(false), &ended["revoked_at"]));
    assert_eq!(desk.trail().await.len(), events, "what did not happen is not told");
    assert_eq!(ids("?live=true").await.len(), 2);
    desk.clock.advance(Duration::from_secs(3600));
    assert_eq!(ids("?live=true").await, [""; 0]);
    assert_eq!(desk.get_good(&format!("{SESSIONS}/{first}")).await["state"], "expired");
    for id in ["ses_x", "ses_01J9ZK8Q6D7V3W2X1Y0ZABCDEF"] {
        assert_eq!(desk.ask(&desk.root, get(&format!("{SESSIONS}/{id}"))).await.status, 404);
    }
}

async fn every_session_of_somebody_ends_at_once_and_they_are_counted(ground: Ground) {
    let desk = issuing(ground).await;
    let (ann, bob) = (desk.user("shop", "ann@shop.test").await, desk.user("shop", "bob@shop.test").await);
    for client in [&ann, &ann, &bob] {
        desk.sign_in("shop", client).await;
    }
    let path = |client: &str| format!("/admin/v1/clients/{client}/revoke-sessions");
    let ended = desk.post_good(&path(&ann), &json!({ "reason": "leak" })).await;
    assert_eq!((&ended["sessions_ended"], &ended["client"]), (&json!(2), &json!("ann@shop.test")));
    let event = desk.last_event().await.entry;
    assert_eq!((event.action.as_str(), &event.detail["sessions_ended"]), ("session.revoked", &json!(2)));
    assert_eq!(desk.post_good(&path(&ann), &Value::Null).await["sessions_ended"], 0);
    let left = desk.get_good(&format!("{SESSIONS}?live=true")).await;
    assert_eq!((left["data"].as_array().unwrap().len(), &left["data"][0]["client_id"]), (1, &json!(bob)));
    assert_eq!(desk.post_refused(&path("usr_01J9ZK8Q6D7V3W2X1Y0ZABCDEF"), &Value::Null).await.0, 404);
}

#[test]
fn a_token_of_one_realm_sees_and_ends_nothing_of_another() {
    on_issuing(async |desk| {
        let ann = desk.user("shop", "ann@shop.test").await;
        let (session, _) = desk.sign_in("shop", &ann).await;
        let token = desk.signed("shop", "access", "jti-1", &session, &ann).await;
        let kid = desk.states("shop").await[0].0.clone();
        let scopes = ["admin:read", "admin:sessions", "admin:signing"];
        let foreign = desk.actor(&scopes, Some(&["notes"])).await;
        let own = desk.actor(&scopes, Some(&["shop"])).await;
        for asked in [
            get(&format!("{SESSIONS}/{session}")),
            ask(Method::DELETE, &format!("{SESSIONS}/{session}"), &Value::Null),
            post(&format!("/admin/v1/clients/{ann}/revoke-sessions"), &Value::Null),
            post(&key_path(&kid, "activate"), &Value::Null),
            post(&key_path(&kid, "retire"), &Value::Null),
            post(&key_path(&kid, "disable"), &json!({ "force": true })),
        ] {
            assert_eq!(desk.ask(&foreign, asked.clone()).await.status, 404, "{asked:?}");
        }
        for asked in [
            get(&format!("{SESSIONS}?realm=shop")),
            get(&format!("{KEYS}?realm=shop")),
            post(&format!("{KEYS}/rotate"), &json!({ "realm": "shop" })),
            post("/admin/v1/tokens/introspect", &json!({ "realm": "shop", "token": token })),
            post("/admin/v1/tokens/revoke", &json!({ "realm": "shop", "token": token })),
        ] {
            let answer = desk.ask(&foreign, asked.clone()).await;
            assert_eq!((answer.status, code_of(&answer)), (403, "realm_denied"), "{asked:?}");
        }
        let unnamed = json!({ "token": token });
        let told = Desk::good(&desk.ask(&foreign, post("/admin/v1/tokens/introspect", &unnamed)).await);
        assert_eq!((&told["what"], &told["claims"]), (&json!("unknown"), &Value::Null));
        for (target, count) in [(SESSIONS, 0), (KEYS, 1)] {
            let list = Desk::good(&desk.ask(&foreign, get(target)).await);
            assert_eq!(list["data"].as_array().unwrap().len(), count, "{list}");
            assert!(!list.to_string().contains("shop"), "{list}");
        }
        assert_eq!(desk.ask(&own, get(&format!("{SESSIONS}/{session}"))).await.status, 200);
    });
}

#[test]
fn a_key_follows_another_and_the_old_one_lives_as_long_as_its_last_token() {
    on_issuing(async |desk| {
        let old = desk.states("shop").await[0].0.clone();
        let new = desk.post_good(&format!("{KEYS}/rotate"), &json!({ "realm": "shop" })).await;
        let kid = text(&new["kid"]);
        assert_eq!((&new["alg"], &new["state"], &new["public_jwk"]), (&json!("HS256"), &json!("next"), &Value::Null));
        assert_eq!((&new["replaces"], &new["activate_at"]), (&json!(old), &json!(later(60).to_string())));
        let end = later(60 + 30 * DAY + 300);
        assert_eq!(new["old_retire_at"], end.to_string());
        assert_eq!(desk.around.signing_keys.lock().unwrap().len(), 1, "the answer waits until the keys count");
        let event = desk.last_event().await.entry;
        assert_eq!((event.action.as_str(), event.target_id.as_deref()), ("signing_key.rotated", Some(&*kid)));
        assert_eq!((&event.detail["replaces"], event.realm.as_deref()), (&json!(old), Some("shop")));

        let states = async |at: UnixMillis| {
            desk.clock.set(at);
            desk.states("shop").await.into_iter().map(|(_, state)| state).collect::<Vec<_>>()
        };
        assert_eq!(states(NOW).await, ["active", "next"]);
        assert_eq!(states(later(60)).await, ["passive", "active"]);
        assert_eq!(states(UnixMillis(end.0 - 1)).await, ["passive", "active"]);
        assert_eq!(states(end).await, ["retired", "active"]);
        let (tokens, hs256) = (desk.tokens_of("shop"), jwt::Algorithm::HS256);
        signing::load(&desk.store, &desk.around.issuing).await.unwrap();
        for (at, signer) in [(later(59), &old), (later(60), &kid)] {
            assert_eq!(&*tokens.keys.signing(hs256, at).unwrap().kid, signer.as_str(), "what is told is what is so");
        }
    });
}

#[test]
fn a_rotation_at_once_signs_at_once_even_in_the_same_millisecond() {
    on_issuing(async |desk| {
        for _ in 0..3 {
            let ask = json!({ "realm": "shop", "activate_in_seconds": 0 });
            let new = desk.post_good(&format!("{KEYS}/rotate"), &ask).await;
            assert_eq!((&new["state"], new.get("warnings")), (&json!("active"), None));
            signing::load(&desk.store, &desk.around.issuing).await.unwrap();
            let signer = desk.tokens_of("shop").keys.signing(jwt::Algorithm::HS256, NOW).unwrap();
            assert_eq!(&*signer.kid, text(&new["kid"]));
        }
        // Tokens do not name their key: with a fifth none could be verified.
        let (status, code, told) = desk.post_refused(&format!("{KEYS}/rotate"), &json!({ "realm": "shop" })).await;
        assert_eq!((status, code.as_str()), (409, "wrong_state"));
        assert!(told["detail"].as_str().unwrap().contains("do not name theirs"), "{told}");
        let oldest = desk.states("shop").await[0].0.clone();
        desk.post_good(&key_path(&oldest, "retire"), &Value::Null).await;
        desk.post_good(&format!("{KEYS}/rotate"), &json!({ "realm": "shop" })).await;
    });
}

#[test]
fn a_public_half_is_published_before_its_key_signs() {
    on_issuing(async |desk| {
        let new = desk.post_good(&format!("{KEYS}/rotate"), &json!({ "realm": "notes" })).await;
        assert_eq!((&new["alg"], &new["activate_at"]), (&json!("EdDSA"), &json!(later(600).to_string())));
        assert_eq!((&new["public_jwk"]["kty"], new.get("warnings")), (&json!("OKP"), None));
        assert!(new["public_jwk"].get("d").is_none(), "{new}");
        assert_eq!(desk.keys_of("notes").await[1]["public_jwk"]["kid"], new["kid"]);
        let early = desk.post_good(&key_path(&text(&new["kid"]), "activate"), &Value::Null).await;
        assert_eq!((&early["state"], &early["activate_at"]), (&json!("active"), &json!(NOW.to_string())));
        assert!(early["warnings"][0].as_str().unwrap().contains("5 minutes"), "{early}");
        let end = later(3600 + 300).to_string();
        assert_eq!(early["old_retire_at"], end, "the opaque kind lives longest");
        assert_eq!(desk.last_event().await.entry.action, "signing_key.activated");
    });
}

#[test]
fn a_rotation_that_cannot_be_meant_is_refused_with_what_could() {
    on_issuing(async |desk| {
        let rotate = format!("{KEYS}/rotate");
        for (body, field) in [
            (json!({}), "realm"),
            (json!({ "realm": "plain" }), "realm"),
            (json!({ "realm": "nowhere" }), "realm"),
            (json!({ "realm": "shop", "alg": "EdDSA" }), "alg"),
            (json!({ "realm": "shop", "alg": "none" }), "alg"),
            (json!({ "realm": "shop", "activate_in_seconds": -1 }), "activate_in_seconds"),
        ] {
            let (status, code, told) = desk.post_refused(&rotate, &body).await;
            assert_eq!((status, code.as_str()), (400, "validation_failed"), "{body}");
            assert_eq!(told["errors"][0]["field"], field, "{told}");
        }
        let next = desk.post_good(&rotate, &json!({ "realm": "shop" })).await;
        let (status, code, told) = desk.post_refused(&rotate, &json!({ "realm": "shop" })).await;
        assert_eq!((status, code.as_str(), &told["target"]), (409, "wrong_state", &next["kid"]));
        assert_eq!(desk.states("shop").await.len(), 2);
        assert_eq!(desk.post_refused(&key_path("nothing", "retire"), &Value::Null).await.0, 404);
    });
}

#[test]
fn a_rotation_asked_for_twice_is_done_once() {
    on_issuing(async |desk| {
        let once = || Ask {
            idempotency_key: Some("once".to_owned()),
            ..post(&format!("{KEYS}/rotate"), &json!({ "realm": "shop" }))
        };
        let first = Desk::good(&desk.ask(&desk.root, once()).await);
        assert_eq!(Desk::good(&desk.ask(&desk.root, once()).await), first);
        assert_eq!(desk.states("shop").await.len(), 2);
    });
}

async fn no_realm_is_left_without_a_key_that_signs(ground: Ground) {
    let desk = issuing(ground).await;
    let only = desk.states("shop").await[0].0.clone();
    for (verb, body, code) in [
        ("retire", Value::Null, "wrong_state"),
        ("retire", json!({ "at": later(3600).to_string() }), "wrong_state"),
        ("disable", Value::Null, "confirmation_required"),
    ] {
        let (status, told, problem) = desk.post_refused(&key_path(&only, verb), &body).await;
        assert_eq!((status, told.as_str()), (409, code), "{verb}: {problem}");
    }
    let next = text(&desk.post_good(&format!("{KEYS}/rotate"), &json!({ "realm": "shop" })).await["kid"]);
    assert_eq!(desk.post_refused(&key_path(&only, "retire"), &Value::Null).await.0, 409, "the next signs later");
    assert_eq!(desk.post_refused(&key_path(&next, "disable"), &Value::Null).await.0, 409, "the old one ends");

    let at = later(3600);
    let past = json!({ "at": UnixMillis(NOW.0 - 1).to_string() });
    assert_eq!(desk.post_refused(&key_path(&only, "retire"), &past).await.0, 400);
    let planned = desk.post_good(&key_path(&only, "retire"), &json!({ "at": at.to_string() })).await;
    assert_eq!((&planned["state"], &planned["retire_at"]), (&json!("active"), &json!(at.to_string())));
    desk.clock.set(later(60));
    let retired = desk.post_good(&key_path(&only, "retire"), &Value::Null).await;
    assert_eq!((&retired["state"], &retired["retire_at"]), (&json!("retired"), &json!(later(60).to_string())));
    assert_eq!(desk.last_event().await.entry.action, "signing_key.retired");
    let events = desk.trail().await.len();
    assert_eq!(desk.post_good(&key_path(&only, "retire"), &Value::Null).await["state"], "retired");
    assert_eq!(desk.trail().await.len(), events);
    assert_eq!(desk.post_refused(&key_path(&only, "activate"), &Value::Null).await.1, "wrong_state");
    assert_eq!(desk.states("shop").await, [(only, "retired".to_owned()), (next, "active".to_owned())]);
}

#[test]
fn a_stolen_key_is_switched_off_and_another_one_signs_from_the_same_moment() {
    on_issuing(async |desk| {
        let ann = desk.user("shop", "ann@shop.test").await;
        let (session, _) = desk.sign_in("shop", &ann).await;
        let token = desk.signed("shop", "access", "jti-1", &session, &ann).await;
        let stolen = desk.states("shop").await[0].0.clone();
        let (_, _, asks) = desk.post_refused(&key_path(&stolen, "disable"), &json!({ "force": false })).await;
        assert!(asks["detail"].as_str().unwrap().contains("1 live sessions"), "{asks}");
        let off = desk.post_good(&key_path(&stolen, "disable"), &json!({ "force": true })).await;
        assert_eq!((&off["state"], &off["live_sessions"]), (&json!("disabled"), &json!(1)));
        let fresh = text(&off["replaced_by"]);
        let states = desk.states("shop").await;
        assert!(states.contains(&(stolen.clone(), "disabled".to_owned())), "{states:?}");
        assert!(states.contains(&(fresh.clone(), "active".to_owned())) && states.len() == 2, "{states:?}");
        let event = desk.last_event().await.entry;
        assert_eq!((event.action.as_str(), &event.detail["replaced_by"]), ("signing_key.disabled", &json!(fresh)));
        signing::load(&desk.store, &desk.around.issuing).await.unwrap();
        let told = desk.post_good("/admin/v1/tokens/introspect", &json!({ "realm": "shop", "token": token })).await;
        assert_eq!((&told["active"], &told["what"]), (&json!(false), &json!("unknown")));

        let again = desk.post_good(&key_path(&stolen, "disable"), &json!({ "force": true })).await;
        assert!(again.get("replaced_by").is_none() && desk.states("shop").await.len() == 2, "{again}");
        assert_eq!(desk.post_refused(&key_path(&stolen, "activate"), &Value::Null).await.1, "wrong_state");
        assert_eq!(desk.post_refused(&key_path(&stolen, "retire"), &Value::Null).await.1, "wrong_state");
    });
}

#[test]
fn a_rotation_can_be_taken_back() {
    on_issuing(async |desk| {
        let old = desk.states("shop").await[0].0.clone();
        let next = text(&desk.post_good(&format!("{KEYS}/rotate"), &json!({ "realm": "shop" })).await["kid"]);
        let kept = desk.post_good(&key_path(&old, "activate"), &Value::Null).await;
        assert_eq!((&kept["state"], &kept["retire_at"]), (&json!("active"), &Value::Null));
        desk.post_good(&key_path(&next, "disable"), &Value::Null).await;
        desk.clock.set(later(120));
        let expected = [(old.clone(), "active".to_owned()), (next, "disabled".to_owned())];
        assert_eq!(desk.states("shop").await, expected);
        // And what was rotated away signs again, if that is wanted.
        let ask = json!({ "realm": "shop", "activate_in_seconds": 0 });
        let third = text(&desk.post_good(&format!("{KEYS}/rotate"), &ask).await["kid"]);
        let back = desk.post_good(&key_path(&old, "activate"), &Value::Null).await;
        assert_eq!((&back["state"], &back["replaces"]), (&json!("active"), &json!(third)));
        let records = desk.store.signing_keys(Some("shop")).await.unwrap();
        let ends = |kid: &str| records.iter().find(|key| key.kid == kid).unwrap().retire_at.is_some();
        assert!(ends(&third) && !ends(&old));
    });
}

#[test]
fn a_token_is_told_for_what_it_is_and_never_repeated() {
    on_issuing(async |desk| {
        let ann = desk.user("shop", "ann@shop.test").await;
        let (session, refresh) = desk.sign_in("shop", &ann).await;
        let access = desk.signed("shop", "access", "jti-1", &session, &ann).await;
        let refresh = desk.signed("shop", "refresh", &refresh, &session, &ann).await;
        let told = async |token: &str| {
            let told = desk.post_good("/admin/v1/tokens/introspect", &json!({ "token": token, "realm": "shop" })).await;
            assert!(!told.to_string().contains(token), "{told}");
            told
        };
        let good = told(&access).await;
        assert_eq!(
            (&good["active"], &good["what"], &good["code"]),
            (&json!(true), &json!("access_token"), &json!("VALID"))
        );
        assert_eq!(
            (&good["client"], &good["id"], &good["kind"]),
            (&json!("ann@shop.test"), &json!("jti-1"), &json!("access"))
        );
        assert_eq!((&good["session"]["id"], &good["claims"]["sid"]), (&json!(session), &json!(session)));
        assert_eq!(good["scopes"], json!(["orders:read"]), "as its principal has them, narrowed by the token");
        let good = told(&refresh).await;
        assert_eq!((&good["active"], &good["what"]), (&json!(true), &json!("refresh_token")));
        assert_eq!(good["claims"]["token_use"], "refresh");

        let forged = format!("{}{}", &access[..access.len() - 1], if access.ends_with('A') { 'Q' } else { 'A' });
        for unknown in [forged.as_str(), "rubbish", "a.b.c"] {
            let told = told(unknown).await;
            assert_eq!(
                (&told["active"], &told["what"], &told["claims"]),
                (&json!(false), &json!("unknown"), &Value::Null)
            );
        }
        let (_, code, _) = desk.post_refused("/admin/v1/tokens/introspect", &json!({ "token": "rubbish" })).await;
        assert_eq!(code, "validation_failed", "a text that names no realm");
        let by_issuer = desk.post_good("/admin/v1/tokens/introspect", &json!({ "token": access })).await;
        assert_eq!(by_issuer["active"], true);

        desk.clock.advance(Duration::from_secs(3600));
        assert_eq!(told(&access).await["code"], "EXPIRED");
        assert!(!format!("{:?}", desk.trail().await).contains(&access));
    });
}

async fn a_token_is_ended_as_far_as_it_reaches(ground: Ground) {
    let desk = issuing(ground).await;
    let ann = desk.user("shop", "ann@shop.test").await;
    let (session, refresh) = desk.sign_in("shop", &ann).await;
    let access = desk.signed("shop", "access", "jti-1", &session, &ann).await;
    let other = desk.signed("shop", "access", "jti-2", &session, &ann).await;
    let refresh_text = desk.signed("shop", "refresh", &refresh, &session, &ann).await;
    let code = async |token: &str| {
        text(&desk.post_good("/admin/v1/tokens/introspect", &json!({ "token": token })).await["code"])
    };
    let revoke = async |token: &str| {
        let body = json!({ "token": token, "reason": "found in a log" });
        desk.post_good("/admin/v1/tokens/revoke", &body).await
    };
    let ended = revoke(&access).await;
    assert_eq!((&ended["ended"], &ended["session_ended"]), (&json!(true), &json!(false)));
    assert_eq!((code(&access).await.as_str(), code(&other).await.as_str()), ("REVOKED", "VALID"));
    let event = desk.last_event().await.entry;
    assert_eq!((event.action.as_str(), event.target_id.as_deref()), ("token.revoked", Some("jti-1")));
    assert_eq!(event.reason.as_deref(), Some("found in a log"));
    assert_eq!(revoke(&access).await["ended"], false);

    let ended = revoke(&refresh_text).await;
    assert_eq!((&ended["ended"], &ended["session_ended"]), (&json!(true), &json!(true)));
    assert_eq!((code(&refresh_text).await.as_str(), code(&other).await.as_str()), ("REVOKED", "REVOKED"));
    assert_eq!(desk.last_event().await.entry.target_id.as_deref(), Some(&*session));
    assert_eq!(revoke(&refresh_text).await["ended"], false);
    let nothing = json!({ "token": "rubbish", "realm": "shop" });
    assert_eq!(desk.post_refused("/admin/v1/tokens/revoke", &nothing).await.0, 404);
    assert!(!format!("{:?}", desk.trail().await).contains(&access));
}

async fn opaque_tokens_and_keys_are_known_by_their_texts(ground: Ground) {
    let desk = issuing(ground).await;
    let ann = desk.user("notes", "ann@notes.test").await;
    let (session, _) = desk.sign_in("notes", &ann).await;
    let text_of_it = "ab".repeat(32);
    let issued = NewIssued {
        id: IdKind::Token.generate(NOW).unwrap(),
        realm: "notes".to_owned(),
        kind: "machine".to_owned(),
        digest: Some(CredentialDigest::of(text_of_it.as_bytes())),
        slot: None,
        subject: ann.clone(),
        issued_by: None,
        owner_id: Some(ann.clone()),
        sid: Some(session.clone()),
        claims: serde_json::Map::new(),
        issued_at: NOW,
        expires_at: later(3600),
    };
    let mut write = desk.store.begin().await.unwrap();
    write.issue_token(&issued).await.unwrap();
    write.commit().await.unwrap();
    let body = json!({ "realm": "notes", "token": text_of_it });
    let told = desk.post_good("/admin/v1/tokens/introspect", &body).await;
    assert_eq!(
        (&told["what"], &told["code"], &told["kind"]),
        (&json!("issued_token"), &json!("VALID"), &json!("machine"))
    );
    assert_eq!((&told["session"]["id"], &told["id"]), (&json!(session), &json!(issued.id)));
    assert_eq!(desk.post_good("/admin/v1/tokens/revoke", &body).await["ended"], true);
    assert_eq!(desk.post_good("/admin/v1/tokens/introspect", &body).await["code"], "REVOKED");
    assert_eq!(desk.post_good("/admin/v1/tokens/revoke", &body).await["ended"], false);

    let client = json!({ "realm": "shop", "identifier": "team_42" });
    let owner = desk.ask(&desk.root, post("/admin/v1/clients", &client)).await;
    let new = json!({ "owner_id": body_of(&owner)["id"], "name": "CRM" });
    let made = desk.ask(&desk.root, post("/admin/v1/keys", &new)).await;
    let key = body_of(&made);
    let body = json!({ "realm": "shop", "token": key["secret"] });
    let told = desk.post_good("/admin/v1/tokens/introspect", &body).await;
    assert_eq!((&told["what"], &told["code"], &told["id"]), (&json!("api_key"), &json!("VALID"), &key["id"]));
    assert!(!told.to_string().contains(&text(&key["secret"])));
    let (status, code, problem) = desk.post_refused("/admin/v1/tokens/revoke", &body).await;
    assert_eq!((status, code.as_str(), &problem["target"]), (409, "wrong_state", &key["id"]));
}

#[test]
fn a_lock_is_shown_and_forgiven_with_every_count_of_failures() {
    on_issuing(async |desk| {
        let ann = desk.user("shop", "ann@shop.test").await;
        let rule = AttemptRule {
            free: 1,
            first_lock: Duration::from_secs(60),
            longest_lock: Duration::from_secs(900),
            window: Duration::from_secs(3600),
        };
        let known = "account:ann@shop.test@192.0.2.7/32";
        let mut write = desk.store.begin().await.unwrap();
        write.know_address("shop", "account:ann@shop.test", "192.0.2.7/32", NOW).await.unwrap();
        for key in ["account:ann@shop.test", known] {
            write.note_failure("shop", key, &rule, NOW).await.unwrap();
            let seen = write.note_failure("shop", key, &rule, NOW).await.unwrap();
            write.mirror_lock(&ann, seen.locked_until, seen.failed, NOW).await.unwrap();
        }
        write.commit().await.unwrap();
        let path = format!("/admin/v1/clients/{ann}");
        assert!(desk.get_good(&path).await["locked_until"].is_string());
        assert_eq!(desk.post_good(&format!("{path}/unlock"), &Value::Null).await["locked_until"], Value::Null);
        let keys = ["account:ann@shop.test", known];
        let left = desk.store.attempts("shop", &keys, ("account:ann@shop.test", "192.0.2.7/32"), UnixMillis(0)).await;
        let left = left.unwrap();
        assert!(left.attempts.is_empty() && left.known_address, "{left:?}");
    });
}

#[test]
fn a_process_that_has_read_no_keys_yet_reads_them_to_tell_of_a_token() {
    on_issuing(async |desk| {
        let ann = desk.user("shop", "ann@shop.test").await;
        let (session, _) = desk.sign_in("shop", &ann).await;
        let token = desk.signed("shop", "access", "jti-1", &session, &ann).await;
        // As a command on the machine: the same store, the configuration loaded anew.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portcullis.toml");
        std::fs::write(&path, ISSUING).unwrap();
        let config = load_whole(&path);
        assert!(config.issuing.realms.iter().flatten().all(|tokens| !tokens.keys.is_loaded()));
        let (realms, issuing) = (config.snapshot.realms, Arc::new(config.issuing));
        let around = Arc::new(Around { realms, issuing, ..Around::default() });
        let admin = Admin::new(desk.store.clone(), around, Arc::clone(&desk.clock) as _, Hasher::new());
        let told = admin.dispatch(post("/admin/v1/tokens/introspect", &json!({ "token": token })), &desk.root).await;
        assert_eq!(body_of(&told)["active"], true, "{told:?}");
    });
}

#[test]
fn a_word_in_the_row_decides_nothing_but_that_a_key_is_off() {
    on_issuing(async |desk| {
        let only = desk.states("shop").await[0].0.clone();
        for (word, state) in [
            (SigningKeyState::Passive, "active"),
            (SigningKeyState::Next, "active"),
            (SigningKeyState::Disabled, "disabled"),
        ] {
            let change = portcullis::store::SigningKeyChange { state: Some(word), ..Default::default() };
            let mut write = desk.store.begin().await.unwrap();
            write.change_signing_key(&only, &change, NOW).await.unwrap();
            write.commit().await.unwrap();
            assert_eq!(desk.states("shop").await[0].1, state);
        }
        // A realm whose only key is off gets one that signs at once.
        let new = desk.post_good(&format!("{KEYS}/rotate"), &json!({ "realm": "shop" })).await;
        assert_eq!((&new["state"], &new["replaces"]), (&json!("active"), &Value::Null));
    });
}
