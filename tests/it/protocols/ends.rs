//! What is open ends when its request would be refused by now: within five seconds, and the time of one look.

use std::time::Duration;

use portcullis::clock::Stopwatch;
use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use super::{application, closed, lives, socket};
use crate::support::caller::Connection;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::issuer::Issuer;
use crate::support::realms::Standard;
use crate::support::scripted::Scripted;
use crate::support::token::Token;

/// Five seconds, and what a busy machine takes.
const SOON: Duration = Duration::from_secs(14);

const PASSWORD: &str = "correct horse battery staple";

/// A realm that issues tokens.
const TOKENS: &str = r#"
realm = "tokens"
hosts = ["tokens.test"]
upstream = "http://{upstream}"

[directory]
type = "local"
identifier = "email"

[tokens.access]
ttl = "1h"

[[grants]]
type = "password"
path = "/login"

[[grants]]
type = "logout"
path = "/logout"
revokes = "session"

[[routes]]
path = "/me/**"
auth = ["jwt"]
"#;

struct House {
    gw: Gateway,
    standard: Standard,
    application: Scripted,
}

fn house(server: &str, more: &str) -> House {
    let (application, standard) = (application(), Standard::new());
    let builder = Gateway::builder().server_toml(server).standard_with(&standard, more).realm_toml(TOKENS);
    let gw = builder.place("upstream", application.addr()).start();
    House { gw, standard, application }
}

impl House {
    /// An answer that goes on, its head read already.
    fn stream(&self, target: &str, token: &str) -> Connection {
        let mut connection = self.gw.caller().connect();
        connection.write(self.gw.get(target).bearer(token).bytes());
        let head = connection.read_head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        connection
    }

    fn ended(&self, target: &str) -> Value {
        self.gw.log().line_where(target, |line| line["path"] == target)
    }

    #[track_caller]
    fn tells(&self, target: &str, status: u16, reason: &str) {
        let line = self.ended(target);
        let told = (&line["outcome"], &line["status"], &line["reason"]);
        assert_eq!(told, (&"ended".into(), &status.into(), &reason.into()), "{line}");
    }

    fn signed_in(&self) -> String {
        let user = json!({ "realm": "tokens", "kind": "user", "identifier": "ann@api.test" });
        let user = self.gw.admin().post("/clients", &user).is(201).json();
        let path = format!("/clients/{}/password", user["id"].as_str().expect("an id"));
        self.gw.admin().post(path, &json!({ "password": PASSWORD })).is(200);
        let body = json!({ "email": "ann@api.test", "password": PASSWORD }).to_string();
        let call = self.gw.call("POST", "/login").host("tokens.test").header("Content-Type", "application/json");
        call.body(body).send().is(200).json()["access_token"].as_str().expect("a token").to_owned()
    }
}

#[test]
fn an_expired_token_ends_what_it_has_opened_and_nothing_else() {
    let house = house("", "");
    let (token, bearer) = {
        let token = house.standard.alice().expires_in(60).sign();
        (token.clone(), format!("Bearer {token}"))
    };
    let address = house.gw.addr();
    let tunnel = socket(address, "api.test", "/jwt/ws", &[("Authorization", &bearer)]);
    let mut anonymous = socket(address, "api.test", "/optional/ws", &[]);
    let mut public = socket(address, "api.test", "/public/ws", &[("Authorization", &bearer)]);
    let lasting = format!("Bearer {}", house.standard.alice().expires_in(3600).sign());
    let mut other = socket(address, "api.test", "/me/ws", &[("Authorization", &lasting)]);
    let mut events = house.stream("/jwt/events", &token);
    let mut slow = house.stream("/jwt/slow", &token);
    let mut upload = house.gw.caller().connect();
    upload.write(house.gw.call("POST", "/jwt/up").bearer(&token).header("Content-Length", "1000000").bytes());

    let mut late = house.gw.caller().connect();
    late.write(house.gw.get("/jwt/late").bearer(&token).bytes());
    let mut in_time = house.gw.caller().connect();
    in_time.write(house.gw.get("/me/late").header("Authorization", &lasting).bytes());
    eventually("all are open", || (house.application.connections() == 9).then_some(()));

    let begun = Stopwatch::start();
    house.gw.pass(Duration::from_secs(61));
    let feeding = std::thread::spawn({
        let mut upload = upload.split();
        move || {
            while begun.elapsed() < Duration::from_secs(8) {
                upload.write("y");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    });
    let frame = closed(tunnel).expect("a reason");
    assert_eq!((frame.code, &*frame.reason), (CloseCode::Policy, ""));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let rest = events.read_to_end();
    assert_eq!(rest, b"9\r\ndata: 1\n\n\r\n", "no end of the body: the client is to see that it was broken off");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let rest = slow.read_to_end();
    assert!(rest.len() < 1000, "{}", rest.len());
    // Whoever begins late is looked at late: it had its first five seconds, too.
    assert!(begun.elapsed() < SOON + Duration::from_secs(5), "{:?}", begun.elapsed());
    // An upload that nobody has answered yet gets the answer of a refusal.
    upload.read_reply(false).expect("an answer").denied("token_expired");
    feeding.join().expect("fed");
    // Nor does an answer come that somebody else may have by now.
    late.read_reply(false).expect("an answer").denied("token_expired");
    in_time.read_reply(false).expect("an answer").ok();

    house.tells("/jwt/ws", 101, "token_expired");
    house.tells("/jwt/events", 200, "token_expired");
    house.tells("/jwt/slow", 200, "token_expired");
    house.tells("/jwt/up", 401, "token_expired");
    house.tells("/jwt/late", 401, "token_expired");
    assert_eq!(house.ended("/jwt/ws")["why"], "expired");
    house.gw.metric_becomes("portcullis_requests_total", &[("outcome", "ended")], 5.0);
    house.gw.metric_becomes("portcullis_denials_total", &[], 0.0);
    // These have been looked at at least once by now: more than five seconds have passed.
    assert!(begun.elapsed() > Duration::from_secs(5));
    for socket in [&mut anonymous, &mut public, &mut other] {
        assert!(lives(socket));
    }
    // And who comes back is told.
    house.gw.get("/jwt/events").bearer(&token).send().denied("token_expired");
}

#[test]
fn what_is_withdrawn_ends_what_it_has_opened() {
    let house = house("failure_limit = \"3/h\"", "");
    let admin = house.gw.admin();
    let address = house.gw.addr();
    let owner = |name: &str| admin.owner(name, &json!({}));
    let open = |target: &str, key: &str| socket(address, "api.test", target, &[("X-API-Key", key)]);
    let [revoked, disabled, orphan, expiring, sound] = ["a", "b", "c", "d", "e"].map(|name| {
        let owner = owner(name);
        (admin.key(&owner, &json!({})), owner)
    });
    let session = format!("Bearer {}", house.signed_in());
    let mut sockets = vec![
        ("/me/revoked", "key_revoked", open("/me/revoked", &revoked.0.secret)),
        ("/me/disabled", "key_disabled", open("/me/disabled", &disabled.0.secret)),
        ("/me/orphan", "key_disabled", open("/me/orphan", &orphan.0.secret)),
        ("/me/expiring", "key_expired", open("/me/expiring", &expiring.0.secret)),
    ];
    sockets.push((
        "/me/session",
        "token_revoked",
        socket(address, "tokens.test", "/me/session", &[("Authorization", &session)]),
    ));
    let mut sound = open("/me/sound", &sound.0.secret);

    // Somebody who hopes not to be looked at has used up the failures of his address.
    for _ in 0..4 {
        house.gw.get("/me/x").bearer("rubbish").send();
    }
    house.gw.get("/me/x").bearer("rubbish").send().denied("rate_limited");
    let begun = Stopwatch::start();
    admin.order(format!("/keys/{}/revoke", revoked.0.id)).is(200);
    admin.order(format!("/keys/{}/disable", disabled.0.id)).is(200);
    admin.order(format!("/clients/{}/disable", orphan.1)).is(200);
    admin.patch(format!("/keys/{}", expiring.0.id), &json!({ "expires_at": "2025-11-20T23:45:55Z" })).is(200);
    house.gw.call("POST", "/logout").host("tokens.test").header("Authorization", &session).send().is(200);
    house.gw.pass(Duration::from_secs(2));
    for (target, reason, socket) in sockets {
        assert_eq!(closed(socket).map(|frame| frame.code), Some(CloseCode::Policy), "{target}");
        house.tells(target, 101, reason);
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    while begun.elapsed() < Duration::from_secs(6) {
        assert!(lives(&mut sound));
        std::thread::sleep(Duration::from_millis(250));
    }
}

#[test]
fn a_new_configuration_ends_what_it_does_not_allow() {
    let route = |name: &str, more: &str| format!("[[routes]]\npath = \"/{name}/**\"\nauth = [\"public\"]\n{more}\n");
    let more = ["gone", "far", "moved", "stays"].map(|name| format!("\n{}", route(name, ""))).concat();
    let house = house("", &more);
    let address = house.gw.addr();
    let [gone, far, moved] =
        ["/gone/ws", "/far/ws", "/moved/ws"].map(|target| socket(address, "api.test", target, &[]));
    let mut stays = socket(address, "api.test", "/stays/ws", &[]);
    let changed = house.gw.realm_file().replace(&route("gone", ""), "");
    let changed = changed.replace(&route("far", ""), &route("far", "allow_ips = [\"127.0.0.2\"]"));
    // Whoever asks for it is let in as before, but by another route.
    let changed = changed.replace(&route("moved", ""), &route("moved", "name = \"elsewhere\""));
    house.gw.rewrite("realms/realm0.toml", &changed);
    house.gw.reload().expect("a good configuration");
    let begun = Stopwatch::start();
    for (target, reason, socket) in
        [("/gone/ws", "no_route", gone), ("/far/ws", "ip_denied", far), ("/moved/ws", "no_route", moved)]
    {
        assert_eq!(closed(socket).map(|frame| frame.code), Some(CloseCode::Policy), "{target}");
        house.tells(target, 101, reason);
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    while begun.elapsed() < Duration::from_secs(6) {
        assert!(lives(&mut stays));
        std::thread::sleep(Duration::from_millis(250));
    }
}

#[test]
fn an_outage_ends_nothing_but_what_is_over_by_its_own_word() {
    let (application, standard, issuer) = (application(), Standard::new(), Issuer::start());
    let foreign = format!(
        "\n[[issuers]]\nname = \"far\"\nissuer = \"{}\"\naudience = [\"api\"]\nalgorithms = [\"RS256\"]\n\
         keys = {{ jwks_url = \"{}\", ca = \"ca.pem\", max_stale = \"15m\" }}\n",
        issuer.issuer_url(),
        issuer.jwks_url()
    );
    let builder = Gateway::builder().standard_with(&standard, &foreign).file("realms/ca.pem", issuer.ca_pem());
    let gw = builder.place("upstream", application.addr()).start();
    gw.until_ready();
    let bearer = format!("Bearer {}", Token::for_issuer(&issuer).expires_in(3600).sign());
    let mut open = socket(gw.addr(), "api.test", "/me/ws", &[("Authorization", &bearer)]);
    issuer.down();
    gw.pass(Duration::from_secs(1800));
    gw.get("/me/x").header("Authorization", &bearer).send().denied("keys_unavailable");
    let begun = Stopwatch::start();
    while begun.elapsed() < Duration::from_secs(6) {
        assert!(lives(&mut open));
        std::thread::sleep(Duration::from_millis(250));
    }
    gw.pass(Duration::from_secs(1801));
    assert_eq!(closed(open).map(|frame| frame.code), Some(CloseCode::Policy));
    let line = gw.log().line_where("the tunnel", |line| line["status"] == 101);
    assert_eq!((&line["outcome"], &line["reason"]), (&"ended".into(), &"token_expired".into()));
}

#[test]
fn a_vigil_leaves_no_trace() {
    let house = house("", "");
    let key = house.standard.partner_key.clone();
    let mut open = socket(house.gw.addr(), "api.test", "/limited/ws", &[("X-API-Key", &key)]);
    let begun = Stopwatch::start();
    while begun.elapsed() < Duration::from_secs(11) {
        assert!(lives(&mut open));
        std::thread::sleep(Duration::from_millis(250));
    }
    // Three a minute: one was the tunnel's, however often it was looked at.
    for _ in 0..2 {
        house.gw.get("/limited/x").header("X-API-Key", &key).send().ok();
    }
    house.gw.get("/limited/x").header("X-API-Key", &key).send().denied("rate_limited");
    // And a limit that is used up ends nothing.
    let begun = Stopwatch::start();
    while begun.elapsed() < Duration::from_secs(6) {
        assert!(lives(&mut open));
        std::thread::sleep(Duration::from_millis(250));
    }
    open.close(None).expect("sent");
    assert!(matches!(open.read(), Ok(Message::Close(_))));
    let line = house.gw.log().line_where("the tunnel", |line| line["status"] == 101);
    assert_eq!(line["outcome"], "forwarded");
    eventually("it is one request", || {
        (house.gw.log().lines().iter().filter(|line| line["path"] == "/limited/ws").count() == 1).then_some(())
    });
}

#[test]
fn an_orderly_end_waits_for_a_tunnel_for_its_grace_and_for_an_idle_connection_for_one_more_request() {
    let (application, standard) = (application(), Standard::new());
    let builder = Gateway::builder().server_toml("shutdown_grace = \"5s\"").standard(&standard);
    let mut served = builder.place("upstream", application.addr()).serve();
    let mut tunnel = socket(served.addrs[0], "api.test", "/public/ws", &[]);
    let mut idle = served.caller().connect();
    idle.send_raw("GET /public/x HTTP/1.1\r\nHost: api.test\r\n\r\n").ok();
    let begun = Stopwatch::start();
    served.process.signal("TERM");
    idle.assert_closed();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(lives(&mut tunnel), "there is grace left");
    assert!(tunnel.read().is_err());
    assert!(begun.elapsed() >= Duration::from_millis(4900), "{:?}", begun.elapsed());
    assert_eq!(served.process.wait(), 0);
}
