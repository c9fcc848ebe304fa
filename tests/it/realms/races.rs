//! Two nodes on one database, as processes of their own, asked for the same thing at the same moment: it is given once.

use std::collections::HashMap;
use std::thread::Scope;

use serde_json::{Value, json};

use super::affonso_portal::{AFFILIATE, PORTAL, TEAM, signed_in};
use super::application::Application;
use super::{PASSWORD, granted, host_of, merged, text};
use crate::support::caller::{Call, Caller, Reply};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::postgres::Postgres;
use crate::support::process::{Run, Served};

/// So often each race is run.
const ROUNDS: usize = 200;

const EMAIL: &str = "you@yourbrand.com";

/// Two nodes with all the realms, in front of one application.
struct Pair {
    nodes: [Served; 2],
    token: String,
    app: Application,
}

impl Pair {
    fn start() -> Self {
        let app = Application::start();
        let url = Postgres::shared().new_database();
        let node = |name: &str| {
            let builder = ["affilync", "convertly", "affonso", "giftcards"]
                .iter()
                .fold(Gateway::builder(), |builder, realm| builder.shipped_realm(realm));
            let builder = super::secrets(builder).upstream(&app).database(&url);
            builder.store_toml(&format!("node = \"{name}\""))
        };
        let env: HashMap<String, String> = node("a").environment().clone();
        let nodes = ["a", "b"].map(|name| node(name).serve());
        let words = ["admin-token", "create", "tests", "--scope", "admin:clients", "--scope", "admin:keys"];
        let asked = Run::new(words.iter().chain(&["--output", "secret"])).config(nodes[0].directory()).envs(&env);
        let made = asked.end();
        assert_eq!(made.code, 0, "{}", made.err);
        app.person(EMAIL, PASSWORD, |_| {});
        app.affiliate(TEAM, AFFILIATE, "ACTIVE");
        Self { nodes, token: made.out.trim().to_owned(), app }
    }

    #[track_caller]
    fn admin(&self, path: &str, body: &Value) -> Value {
        let caller = Caller::new(self.nodes[0].admin).host("127.0.0.1");
        let call = caller.call("POST", &format!("/admin/v1{path}")).bearer(&self.token);
        let reply = call.header("Content-Type", "application/json").body(body.to_string()).send();
        assert!(reply.status < 300, "{path}: {reply:?}");
        reply.json()
    }

    #[track_caller]
    fn client(&self, realm: &str, kind: &str, identifier: &str, more: &Value) -> String {
        let asked = merged(json!({ "realm": realm, "kind": kind, "identifier": identifier }), more);
        text(&self.admin("/clients", &asked)["id"])
    }

    #[track_caller]
    fn with_password(&self, realm: &str, kind: &str, identifier: &str, more: &Value) {
        let id = self.client(realm, kind, identifier, more);
        self.admin(&format!("/clients/{id}/password"), &json!({ "password": PASSWORD }));
    }

    /// A key of a team of affonso.
    fn key(&self) -> String {
        let owner = self.client("affonso", "owner", TEAM, &json!({ "attributes": { "subdomain": "yourcompany" } }));
        let asked = json!({ "realm": "affonso", "owner_id": owner, "name": "x", "scopes": ["write:affiliates"] });
        text(&self.admin("/keys", &asked)["secret"])
    }

    fn call(&self, node: usize, realm: &str, method: &str, target: &str) -> Call {
        self.nodes[node].caller().host(host_of(realm)).call(method, target)
    }

    fn post(&self, node: usize, realm: &str, target: &str, body: &Value) -> Call {
        self.call(node, realm, "POST", target).header("Content-Type", "application/json").body(body.to_string())
    }
}

/// Sends both at the same moment.
fn both(calls: [Call; 2]) -> [Reply; 2] {
    let barrier = std::sync::Barrier::new(2);
    let barrier = &barrier;
    std::thread::scope(|scope: &Scope<'_, '_>| {
        let threads = calls.map(|call| {
            scope.spawn(move || {
                barrier.wait();
                call.send()
            })
        });
        threads.map(|thread| thread.join().expect("it ran"))
    })
}

/// The one that succeeded; there must be exactly one, and the other refused.
#[track_caller]
fn winner(round: usize, replies: &[Reply; 2], status: u16) -> &Reply {
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    let won: Vec<_> = replies.iter().filter(|reply| reply.status == status).collect();
    assert_eq!(won.len(), 1, "round {round}: {statuses:?}");
    assert!(statuses.iter().all(|s| *s == status || *s == 401), "round {round}: {statuses:?}");
    won[0]
}

#[test]
fn t01_of_two_refreshes_on_two_nodes_one_succeeds() {
    let pair = Pair::start();
    pair.with_password("affilync", "user", EMAIL, &json!({}));
    let login = json!({ "email": EMAIL, "password": PASSWORD });
    let mut token = text(&granted(&pair.post(0, "affilync", "/api/auth/login", &login).send())["refresh_token"]);
    let mut access = String::new();
    for round in 0..ROUNDS {
        let body = json!({ "refresh_token": token });
        let replies = both([0, 1].map(|node| pair.post(node, "affilync", "/api/auth/refresh", &body)));
        let won = granted(winner(round, &replies, 200));
        (token, access) = (text(&won["refresh_token"]), text(&won["access_token"]));
    }
    for node in [0, 1] {
        pair.call(node, "affilync", "GET", "/api/campaigns").bearer(&access).send().ok();
    }
}

#[test]
fn t01_of_two_renewals_on_two_nodes_one_succeeds() {
    let pair = Pair::start();
    let login = json!({ "email": EMAIL, "password": PASSWORD });
    let token_of = |reply: &Reply| text(&granted(reply)["data"]["accessToken"]);
    let mut token = token_of(&pair.post(0, "convertly", "/v1/auth/brand/login", &login).send());
    let mut before = String::new();
    for round in 0..ROUNDS {
        let renew = |node| pair.call(node, "convertly", "POST", "/v1/auth/refresh").bearer(&token);
        let next = token_of(winner(round, &both([renew(0), renew(1)]), 200));
        (before, token) = (token, next);
    }
    for node in [0, 1] {
        let status = |token: &str| pair.call(node, "convertly", "GET", "/v1/affiliates").bearer(token).send().status;
        assert_eq!(status(&token), 200);
        eventually("the old one is dead everywhere", || (status(&before) == 401).then_some(()));
    }
}

#[test]
fn t01_a_portal_token_is_spent_on_one_of_two_nodes() {
    let pair = Pair::start();
    let key = pair.key();
    let ask = format!("/v1/affiliates/{AFFILIATE}/portal-token");
    for round in 0..ROUNDS {
        let made = pair.call(round % 2, "affonso", "POST", &ask).bearer(&key).send();
        let token = text(&granted(&made)["data"]["token"]);
        let open =
            |node: usize| pair.nodes[node].caller().host(PORTAL).call("GET", &format!("/auth/token?token={token}"));
        let replies = both([open(0), open(1)]);
        signed_in(winner(round, &replies, 303));
        assert_eq!(replies.iter().flat_map(|reply| reply.all("set-cookie")).count(), 1);
    }
}

#[test]
fn t01_of_two_embed_tokens_made_at_once_one_lives() {
    let pair = Pair::start();
    let key = pair.key();
    pair.app.programme("programme", TEAM, true, false);
    let body = json!({ "programId": "programme", "partner": { "email": "john@example.com" } });
    let data = |node: usize, token: &str| {
        pair.call(node, "affonso", "GET", &format!("/v1/embed/data?token={token}")).send().status
    };
    let mut last: Option<(usize, String)> = None;
    for round in 0..ROUNDS {
        let ask = |node| pair.post(node, "affonso", "/v1/embed/token", &body).bearer(&key);
        let replies = both([ask(0), ask(1)]);
        let tokens = replies.each_ref().map(|reply| text(&granted(reply)["data"]["publicToken"]));
        // Nobody has seen them before: the store decides.
        let node = round % 2;
        let alive: Vec<_> = tokens.iter().filter(|token| data(node, token) == 200).collect();
        assert_eq!(alive.len(), 1, "round {round}");
        if let Some((node, old)) = last.replace((node, alive[0].clone())) {
            eventually("the one before is dead", || (data(node, &old) == 401).then_some(()));
        }
    }
    assert_eq!(pair.app.partners(), 1);
}

#[test]
fn t02_after_a_logout_nothing_works_that_a_refresh_made_meanwhile() {
    let pair = Pair::start();
    pair.with_password("giftcards", "client", "acme_api", &json!({ "attributes": { "client_id": 1 } }));
    let login = json!({ "username": "acme_api", "password": PASSWORD });
    let (mut both_won, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let first = granted(&pair.post(0, "giftcards", "/auth/login", &login).send())["data"].clone();
        let (access, token) = (text(&first["access_token"]), text(&first["refresh_token"]));
        let (a, b) = (round % 2, 1 - round % 2);
        let body = json!({ "refresh_token": token });
        let refresh = pair.post(a, "giftcards", "/auth/refresh", &body);
        let logout = pair.call(b, "giftcards", "POST", "/auth/logout").bearer(&access);
        // Both orders, and neither.
        let [refreshed, ended] = both([refresh, logout]);
        assert_eq!(ended.status, 200, "round {round}: {ended:?}");
        let products = |node: usize, token: &str| {
            pair.call(node, "giftcards", "GET", "/api/v1/products").bearer(token).send().status
        };
        if refreshed.status == 200 {
            both_won += 1;
            let made = granted(&refreshed)["data"].clone();
            let (access, token) = (text(&made["access_token"]), text(&made["refresh_token"]));
            assert_eq!(products(b, &access), 401, "round {round}: where the logout was, at once");
            eventually("and on the other node", || (products(a, &access) == 401).then_some(()));
            for node in [a, b] {
                let body = json!({ "refresh_token": token });
                assert_eq!(pair.post(node, "giftcards", "/auth/refresh", &body).send().status, 401, "round {round}");
            }
        } else {
            assert_eq!(refreshed.status, 401, "round {round}: {refreshed:?}");
            refused += 1;
        }
        assert_eq!(products(b, &access), 401, "round {round}");
    }
    println!("{both_won} refreshes came before the logout, {refused} after it");
}
