//! Names of identity headers that other gateways use, and the signed assertion: what a real upstream gets, what a client
//! cannot make it get, and who can verify what.

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use data_encoding::BASE64URL_NOPAD;
use portcullis::clock::UnixMillis;
use serde_json::{Value, json};

use crate::support::NOW;
use crate::support::caller::{Call, Reply};
use crate::support::gateway::Gateway;
use crate::support::keys::{Alg, Key};
use crate::support::realms::Standard;
use crate::support::token::parts;
use crate::support::upstream::{Recorded, Respond, Upstream};
use crate::upstreams::server2::{Act, Server2};

const JWKS: &str = "/.well-known/portcullis-assertion.json";

const KONG: [&str; 10] = [
    "X-Consumer-ID",
    "X-Consumer-Username",
    "X-Consumer-Custom-ID",
    "X-Credential-Identifier",
    "X-Consumer-Groups",
    "X-Authenticated-Scope",
    "X-Authenticated-Userid",
    "X-Anonymous-Consumer",
    // Never sent, but believed by those who know the others.
    "X-Authenticated-Groups",
    "X-Credential-Username",
];

const OAUTH2_PROXY: [&str; 10] = [
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Auth-Request-Access-Token",
];

struct House {
    upstream: Upstream,
    standard: Standard,
    gw: Gateway,
}

/// The standard realm with these identity headers, and files beside it.
fn house_with(identity: &str, server: &str, files: &[(&str, &str)]) -> House {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let more = format!("\n[identity_headers]\n{identity}\n");
    let builder = Gateway::builder().standard_with(&standard, &more).server_toml(server).upstream(&upstream);
    let gw = files.iter().fold(builder, |builder, (name, text)| builder.file(name, text)).start();
    House { upstream, standard, gw }
}

fn house(identity: &str) -> House {
    house_with(identity, "", &[])
}

impl House {
    /// What the upstream gets of a call that is good.
    #[track_caller]
    fn seen(&self, call: &Call) -> Recorded {
        self.upstream.forget();
        call.send().ok();
        self.upstream.only()
    }

    /// Calls on every kind of route, of everybody who may.
    fn calls(&self) -> Vec<(&'static str, Call)> {
        let token = self.standard.alice().sign();
        let key = |call: Call| call.header("X-API-Key", &self.standard.partner_key);
        vec![
            ("public", self.gw.get("/public/x")),
            ("anonymous", self.gw.get("/optional/x")),
            ("optional", self.gw.get("/optional/x").bearer(&token)),
            ("jwt", self.gw.get("/jwt/x").bearer(&token)),
            ("key", key(self.gw.get("/me/x"))),
            ("cookie", self.gw.get("/query/x").header("Cookie", format!("session={token}"))),
            ("passed on", key(self.gw.get("/passed-on/x"))),
        ]
    }
}

/// Values of these headers, by name, under any spelling.
fn told(seen: &Recorded, names: &[&'static str]) -> Vec<(&'static str, String)> {
    let of = |name: &'static str| seen.aliases(name).into_iter().map(move |(_, value)| (name, value.to_owned()));
    names.iter().copied().flat_map(of).collect()
}

fn pairs(expected: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    expected.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[test]
fn an_upstream_behind_kong_gets_the_names_that_it_knows() {
    let house = house("profile = \"kong\"");
    let token = house.standard.alice().scope("a:read b").claim("client_id", "shop app").claim("jti", "t-1");
    let token =
        token.claim("roles", json!(["editor", "a,b"])).claim("custom_id", 42).claim("consumer_id", "u-7").sign();
    assert_eq!(
        told(&house.seen(&house.gw.get("/jwt/x").bearer(&token)), &KONG),
        pairs(&[
            ("X-Consumer-ID", "u-7"),
            ("X-Consumer-Username", "shop%20app"),
            ("X-Consumer-Custom-ID", "42"),
            ("X-Credential-Identifier", "t-1"),
            ("X-Consumer-Groups", "editor, a%2Cb"),
            ("X-Authenticated-Scope", "a:read b campaigns:read campaigns:write"),
            ("X-Authenticated-Userid", "alice"),
        ])
    );
    let key = house.gw.get("/me/x").header("X-API-Key", &house.standard.partner_key);
    // The client of a key is no user.
    assert_eq!(
        told(&house.seen(&key), &KONG),
        pairs(&[
            ("X-Consumer-Username", "partner"),
            ("X-Credential-Identifier", "k-partner"),
            ("X-Authenticated-Scope", "campaigns:read campaigns:write"),
        ])
    );
    let anonymous = house.seen(&house.gw.get("/optional/x"));
    assert_eq!(told(&anonymous, &KONG), pairs(&[("X-Anonymous-Consumer", "true")]));
    assert_eq!(told(&house.seen(&house.gw.get("/public/x")), &KONG), []);
}

#[test]
fn an_upstream_behind_oauth2_proxy_gets_the_names_that_it_knows() {
    let house = house("profile = \"oauth2-proxy\"");
    let token = house.standard.alice().claim("email", "alice+x@shop.example").claim("preferred_username", "älice");
    let token = token.claim("roles", json!(["staff", "a,b", "c d"])).sign();
    assert_eq!(
        told(&house.seen(&house.gw.get("/jwt/x").bearer(&token)), &OAUTH2_PROXY),
        pairs(&[
            ("X-Forwarded-User", "alice"),
            ("X-Forwarded-Email", "alice+x@shop.example"),
            ("X-Forwarded-Groups", "staff,a%2Cb,c%20d"),
            ("X-Forwarded-Preferred-Username", "%C3%A4lice"),
            ("X-Auth-Request-User", "alice"),
            ("X-Auth-Request-Email", "alice+x@shop.example"),
            ("X-Auth-Request-Groups", "staff,a%2Cb,c%20d"),
            ("X-Auth-Request-Preferred-Username", "%C3%A4lice"),
        ])
    );
    assert_eq!(told(&house.seen(&house.gw.get("/optional/x")), &OAUTH2_PROXY), []);
}

#[test]
fn an_address_that_nobody_has_verified_is_told_only_where_somebody_wrote_so() {
    let victim = "boss@shop.example";
    let mail = |house: &House, verified: Option<Value>| {
        let token = house.standard.alice().claim("email", victim);
        let token = verified.into_iter().fold(token, |token, verified| token.claim("email_verified", verified));
        let seen = house.seen(&house.gw.get("/jwt/x").bearer(&token.sign()));
        assert_eq!(seen.header("X-Forwarded-User"), Some("alice"));
        let told = ["X-Forwarded-Email", "X-Auth-Request-Email", "X-Mail"].map(|name| seen.header(name).is_some());
        (told[0], told[1], told[2])
    };
    let house = house("profile = \"oauth2-proxy\"");
    for verified in [None, Some(json!(true)), Some(json!("true"))] {
        assert_eq!(mail(&house, verified.clone()), (true, true, false), "{verified:?}");
    }
    for verified in [json!(false), json!("false"), json!(null), json!(0), json!("")] {
        assert_eq!(mail(&house, Some(verified.clone())), (false, false, false), "{verified:?}");
    }
    let written = self::house("profile = \"oauth2-proxy\"\nextra = { email = \"X-Mail\" }");
    assert_eq!(mail(&written, Some(json!(false))), (false, false, true));
}

#[test]
fn h28_no_client_and_no_trusted_proxy_says_anything_under_a_name_of_a_profile() {
    for (profile, names) in [("kong", KONG), ("oauth2-proxy", OAUTH2_PROXY)] {
        for server in ["", "trusted_proxies = [\"127.0.0.1\"]"] {
            let house = house_with(&format!("profile = \"{profile}\""), server, &[]);
            for (what, call) in house.calls() {
                let honest = house.seen(&call);
                for name in names.iter().chain(&["X-Auth-Subject", "X-Auth-Roles"]) {
                    let aliases =
                        [name.to_string(), name.to_lowercase(), name.replace('-', "_"), name.replace('-', ".")];
                    for alias in aliases {
                        let forged = call.clone().header(&alias, "mallory").header(&alias, "");
                        let seen = house.seen(&forged);
                        assert_eq!(told(&seen, &[name]), told(&honest, &[name]), "{what}: {alias}, {server}");
                    }
                }
            }
        }
    }
}

#[test]
fn names_of_a_profile_do_not_come_back_from_the_upstream() {
    for (profile, names) in [("kong", KONG), ("oauth2-proxy", OAUTH2_PROXY)] {
        let house = house(&format!("profile = \"{profile}\"\nroles = \"\""));
        let lines = names.map(|name| format!("{name}: root\r\n{}: root\r\n", name.replace('-', "_"))).concat();
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}X-Other: 1\r\nContent-Length: 0\r\n\r\n");
        house.upstream.respond(Respond::Raw(answer.into_bytes()));
        let reply = house.gw.get("/public/x").send().ok();
        assert_eq!(reply.header("X-Other"), Some("1"));
        for name in names {
            assert_eq!((reply.all(name), reply.all(&name.replace('-', "_"))), (vec![], vec![]), "{name}");
        }
    }
}

#[test]
fn keys_beside_a_profile_win_and_what_they_replace_stays_owned() {
    let identity = "profile = \"kong\"\nclient = \"X-App\"\nroles = \"\"\nsubject = \"X-User\"\nplan = \"X-Plan\"\n\
                    [identity_headers.extra]\ncustom_id = \"X-Number\"\nteam = \"X-Team\"";
    let house = house(identity);
    let key = house.gw.get("/me/x").header("X-API-Key", &house.standard.partner_key);
    let forged = key.header("X-Consumer-Username", "root").header("x_consumer_groups", "root").header("X-Number", "0");
    let seen = house.seen(&forged.header("X-Consumer-Custom-ID", "1").header("X-Auth-Client", "root"));
    let names =
        ["X-App", "X-User", "X-Plan", "X-Number", "X-Consumer-Username", "X-Consumer-Groups", "X-Consumer-Custom-ID"];
    // A subject that is asked for is told of keys, too.
    assert_eq!(told(&seen, &names), pairs(&[("X-App", "partner"), ("X-User", "partner"), ("X-Plan", "Growth")]));
    assert_eq!(told(&seen, &["X-Auth-Client"]), []);
    let token = house.standard.alice().claim("custom_id", 7).claim("team", json!(["a", "b,c"])).sign();
    let seen = house.seen(&house.gw.get("/jwt/x").bearer(&token));
    assert_eq!(told(&seen, &["X-Number", "X-Team"]), pairs(&[("X-Number", "7"), ("X-Team", "a, b%2Cc")]));
}

/// A key pair for assertions, as files and as what signs.
struct Pair {
    private: String,
    public: String,
    key: Key,
}

fn pair() -> Pair {
    let made = rcgen::KeyPair::generate().expect("a key");
    let key = Key::p256_from_pkcs8(&made.serialize_der());
    Pair { private: made.serialize_pem(), public: made.public_key_pem(), key }
}

const SIGNED: &str = "[identity_headers.assertion]\nkey = { file = \"assertion.pem\" }\n";

fn signing(pair: &Pair, keys: &str) -> House {
    let files = [("realms/assertion.pem", pair.private.as_str()), ("realms/assertion.pub.pem", &pair.public)];
    house_with(&format!("{SIGNED}jwks_path = \"{JWKS}\"\n{keys}"), "", &files)
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url")).expect("JSON")
}

/// The claims of an assertion, verified as an upstream does: by the keys that are published, its audience and its time.
fn verified(keys: &Value, token: &str, audience: &str, now: UnixMillis) -> Result<Value, &'static str> {
    let [header, payload, signature] = parts(token).map(str::to_owned);
    let head = decoded(&header);
    if head["typ"] != "portcullis-assertion+jwt" {
        return Err("typ");
    }
    let keys = keys["keys"].as_array().expect("keys");
    let jwk = keys.iter().find(|jwk| jwk["kid"] == head["kid"]).ok_or("kid")?;
    assert_eq!((&jwk["alg"], &jwk["use"]), (&head["alg"], &json!("sig")));
    let bytes =
        |name: &str| BASE64URL_NOPAD.decode(jwk[name].as_str().unwrap_or_default().as_bytes()).expect("base64url");
    let (message, signature) =
        (format!("{header}.{payload}"), BASE64URL_NOPAD.decode(signature.as_bytes()).expect("base64url"));
    let good = match jwk["kty"].as_str() {
        Some("EC") => {
            let point = [&[4][..], &bytes("x"), &bytes("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message.as_bytes(), &signature)
        }
        _ => UnparsedPublicKey::new(&ED25519, bytes("x")).verify(message.as_bytes(), &signature),
    };
    good.map_err(|_| "signature")?;
    let claims = decoded(&payload);
    if claims["aud"] != audience {
        return Err("aud");
    }
    let secs = now.0 / 1000;
    if claims["exp"].as_i64().is_none_or(|exp| exp <= secs) || claims["iat"].as_i64().is_none_or(|iat| iat > secs) {
        return Err("time");
    }
    Ok(claims)
}

fn assertion_of(seen: &Recorded) -> String {
    seen.header("X-Auth-Assertion").expect("an assertion").to_owned()
}

#[test]
fn an_assertion_is_verified_by_the_keys_that_the_gateway_gives() {
    let house = signing(&pair(), "");
    let keys = house.gw.get(JWKS).send().ok().json();
    let upstream = house.upstream.addr().to_string();
    let token = house.standard.alice().scope("campaigns:read").claim("jti", "t-1").claim("client_id", "app");
    let token = token.claim("roles", json!(["a b"])).sign();
    let reply = house.gw.call("POST", "/jwt/a%20b?page=2").bearer(&token).send().ok();
    let assertion = assertion_of(&house.upstream.only());
    let secs = NOW.0 / 1000;
    assert_eq!(
        verified(&keys, &assertion, &upstream, NOW).expect("good"),
        json!({
            "iss": "https://api.test", "aud": upstream, "sub": "alice", "iat": secs, "exp": secs + 60,
            "jti": reply.request_id(), "htm": "POST", "htu": "/jwt/a%20b", "realm": "api", "method": "jwt",
            "client": "app", "credential_id": "t-1", "credential_issuer": "house", "scope": "campaigns:read",
            "roles": ["a b"],
        })
    );
    assert_eq!(verified(&keys, &assertion, "another", NOW), Err("aud"));
    let later = |secs: i64| UnixMillis(NOW.0 + secs * 1000);
    assert!(verified(&keys, &assertion, &upstream, later(59)).is_ok());
    assert_eq!(verified(&keys, &assertion, &upstream, later(60)), Err("time"));

    let key = house.seen(&house.gw.get("/me/x").header("X-API-Key", &house.standard.partner_key));
    let claims = verified(&keys, &assertion_of(&key), &upstream, NOW).expect("good");
    let facts = ["sub", "client", "method", "credential_id", "plan", "tenant"].map(|name| claims[name].clone());
    assert_eq!(json!(facts), json!(["partner", "partner", "api_key", "k-partner", "Growth", "acme"]));
}

#[test]
fn a_new_assertion_is_made_for_each_request_and_none_outlives_its_time() {
    let house = signing(&pair(), "ttl = \"5s\"\naudience = \"orders\"\nissuer = \"https://gateway.test\"\n");
    let keys = house.gw.get(JWKS).send().ok().json();
    let call = house.gw.get("/jwt/x").bearer(&house.standard.alice().sign());
    let first = assertion_of(&house.seen(&call));
    house.gw.pass(Duration::from_secs(5));
    let now = UnixMillis(NOW.0 + 5000);
    assert_eq!(verified(&keys, &first, "orders", now), Err("time"));
    let second = verified(&keys, &assertion_of(&house.seen(&call)), "orders", now).expect("good");
    assert_eq!((&second["iss"], &second["exp"]), (&json!("https://gateway.test"), &json!(now.0 / 1000 + 5)));
    assert_ne!(second["jti"], verified(&keys, &first, "orders", NOW).expect("good")["jti"]);
}

#[test]
fn an_assertion_says_what_the_upstream_sees_and_to_which_upstream() {
    let (pair, standard, one, other) = (pair(), Standard::new(), Upstream::start(), Upstream::start());
    let more = format!(
        "\n[[routes]]\npath = \"/v1/{{id}}\"\nauth = [\"jwt\"]\nupstream = \"orders\"\nstrip_prefix = \"/v1\"\n\
         from = [\"query:token\"]\n[upstreams.orders]\nservers = [\"{{other}}\"]\n{SIGNED}jwks_path = \"{JWKS}\"\n"
    );
    let builder = Gateway::builder().standard_with(&standard, &more).upstream(&one).place("other", other.addr());
    let gw = builder.file("realms/assertion.pem", &pair.private).start();
    let keys = gw.get(JWKS).send().ok().json();
    let token = standard.alice().sign();
    gw.get("/jwt/x").bearer(&token).send().ok();
    gw.get(&format!("/v1/%37?a=1&token={token}")).send().ok();
    let (seen, there) = (other.only(), assertion_of(&other.only()));
    assert_eq!(seen.target, "/7?a=1");
    let claims = verified(&keys, &there, "orders", NOW).expect("good");
    assert_eq!((&claims["htm"], &claims["htu"]), (&json!("GET"), &json!("/7")));
    assert!(!claims.to_string().contains(&token));
    // What one upstream gets is of no use at another.
    let here = assertion_of(&one.only());
    assert_eq!(verified(&keys, &here, "orders", NOW), Err("aud"));
    assert_eq!(verified(&keys, &there, &one.addr().to_string(), NOW), Err("aud"));
}

#[test]
fn a_proxy_that_asks_gets_the_assertion_for_what_it_forwards() {
    let (pair, standard, upstream) = (pair(), Standard::new(), Upstream::start());
    let more = format!(
        "\n[[routes]]\npath = \"/v1/{{id}}\"\nauth = [\"jwt\", \"anonymous\"]\nstrip_prefix = \"/v1\"\n\
         [identity_headers]\nprofile = \"kong\"\n{SIGNED}jwks_path = \"{JWKS}\"\naudience = \"app\"\n"
    );
    let builder = Gateway::builder().standard_with(&standard, &more).upstream(&upstream);
    let builder = builder.file("realms/assertion.pem", &pair.private);
    let gw = builder.server_toml("trusted_proxies = [\"127.0.0.1\"]\n[decision]").start();
    let ask = |method: &str, target: &str| {
        let call = gw.caller().from("127.0.0.1").get("/_portcullis/decide").header("X-Forwarded-Method", method);
        let call = call.header("X-Forwarded-Host", "api.test").header("X-Forwarded-Uri", target);
        call.header("X-Forwarded-For", "127.0.0.2")
    };
    let keys = gw.get(JWKS).send().ok().json();
    let told = ask("PUT", "/v1/7?a=1").bearer(&standard.alice().sign()).send().ok();
    let assertion = told.header("X-Auth-Assertion").expect("an assertion");
    let claims = verified(&keys, assertion, "app", NOW).expect("good");
    assert_eq!((&claims["htm"], &claims["htu"], &claims["sub"]), (&json!("PUT"), &json!("/v1/7"), &json!("alice")));
    assert_eq!(told.header("X-Authenticated-Userid"), Some("alice"));
    let nobody = ask("PUT", "/v1/7").send().ok();
    assert_eq!((nobody.header("X-Auth-Assertion"), nobody.header("X-Anonymous-Consumer")), (None, Some("true")));
    // What the gateway gives itself is nothing that a proxy forwards.
    assert_eq!(gw.why(&ask("GET", JWKS).send()), "no_route:grant");
    let reply = ask("GET", "/public/x").header("X_Consumer_Groups", "root").send();
    assert_eq!(gw.why(&reply), "bad_request:forged");
    upstream.assert_untouched();
}

#[test]
fn nobody_gets_an_assertion_who_has_proven_nothing_and_nobody_brings_one_along() {
    let house = signing(&pair(), "header = \"X-Proof\"\n");
    let good = assertion_at(&house, "X-Proof");
    for (what, call) in house.calls() {
        let mut forged = call.clone();
        for name in ["X-Proof", "x_proof", "X.Proof", "X-Auth-Assertion", "X_Auth_Assertion"] {
            forged = forged.header(name, &good);
        }
        let seen = house.seen(&forged);
        let proofs = told(&seen, &["X-Proof"]);
        assert_eq!(proofs.len(), usize::from(!matches!(what, "public" | "anonymous")), "{what}: {proofs:?}");
        assert!(proofs.iter().all(|(_, proof)| *proof != good), "{what}");
        assert_eq!(told(&seen, &["X-Auth-Assertion"]), [], "{what}");
    }
    let answer = format!("HTTP/1.1 200 OK\r\nX-Proof: {good}\r\nx_auth_assertion: {good}\r\nContent-Length: 0\r\n\r\n");
    house.upstream.respond(Respond::Raw(answer.into_bytes()));
    let reply = house.gw.get("/public/x").send().ok();
    assert!(reply.header("X-Proof").is_none() && reply.header("x_auth_assertion").is_none());
}

fn assertion_at(house: &House, name: &str) -> String {
    let seen = house.seen(&house.gw.get("/jwt/x").bearer(&house.standard.alice().sign()));
    seen.header(name).expect("an assertion").to_owned()
}

#[test]
fn where_nothing_is_enforced_nothing_is_asserted() {
    let (pair, standard, upstream) = (pair(), Standard::new(), Upstream::start());
    let realm = standard.toml().replacen("upstream =", "enforce = false\nupstream =", 1);
    let realm = format!("{realm}\n[identity_headers]\nprofile = \"kong\"\n{SIGNED}jwks_path = \"{JWKS}\"\n");
    let builder = Gateway::builder().realm_toml(&realm).env("HOUSE_SECRET", &standard.secret()).upstream(&upstream);
    let gw = builder.file("realms/assertion.pem", &pair.private).start();
    for call in [gw.get("/jwt/x").bearer(&standard.alice().sign()), gw.get("/optional/x"), gw.get("/jwt/x")] {
        upstream.forget();
        call.header("X-Auth-Assertion", "a.b.c").header("X-Anonymous-Consumer", "true").send().ok();
        let seen = upstream.only();
        assert_eq!((told(&seen, &["X-Auth-Assertion"]), told(&seen, &KONG)), (vec![], vec![]));
    }
    // The keys are given all the same.
    assert_eq!(gw.get(JWKS).send().ok().json()["keys"].as_array().map(Vec::len), Some(1));
}

#[test]
fn an_assertion_is_no_credential_even_where_its_key_is_believed() {
    let pair = pair();
    let trust = "audience = \"api\"\nissuer = \"https://gateway.test\"\n\n[[issuers]]\nname = \"gateway\"\n\
                 issuer = \"https://gateway.test\"\naudience = [\"api\"]\nalgorithms = [\"ES256\"]\n\
                 keys = { public_key = { file = \"assertion.pub.pem\" } }\n";
    let house = signing(&pair, trust);
    let assertion = assertion_at(&house, "X-Auth-Assertion");
    let claims = decoded(parts(&assertion)[1]);
    house.upstream.forget();
    let call = |token: &str| house.gw.get("/jwt/x").bearer(token).send();
    for typ in ["portcullis-assertion+jwt", "Portcullis-Assertion+JWT", "application/portcullis-assertion+jwt"] {
        let again = pair.key.sign_by(Alg::ES256, json!({ "alg": "ES256", "typ": typ }), claims.clone());
        let reply = call(&again).denied("token_invalid");
        assert_eq!(house.gw.why(&reply), "token_invalid:typ");
    }
    call(&assertion).denied("token_invalid");
    house.gw.get("/query/x").header("Cookie", format!("session={assertion}")).send().denied("token_invalid");
    house.upstream.assert_untouched();
    // The same claims under the type of an access token are one: nothing but the type keeps them apart.
    call(&pair.key.sign_by(Alg::ES256, json!({ "alg": "ES256", "typ": "at+jwt" }), claims)).ok();
}

#[test]
fn an_upstream_over_http_2_gets_the_same() {
    let (pair, standard) = (pair(), Standard::new());
    let server = Server2::start(None, |_, _| Act::Answer(200, &[("content-length", "2")], vec![b"ok".to_vec()], &[]));
    let more = format!(
        "\n[[routes]]\npath = \"/x/**\"\nauth = [\"jwt\"]\nupstream = \"main\"\n\
         [upstreams.main]\nservers = [\"{{main}}\"]\nprotocol = \"http2\"\n\
         [identity_headers]\nprofile = \"oauth2-proxy\"\n{SIGNED}jwks_path = \"{JWKS}\"\n"
    );
    let builder = Gateway::builder().standard_with(&standard, &more).place("main", server.address);
    let gw = builder.place("upstream", server.address).file("realms/assertion.pem", &pair.private).start();
    let call = gw.call("PUT", "/x/a?b=c").body("hello").bearer(&standard.alice().sign());
    call.header("x-auth-assertion", "a.b.c").header("x-forwarded-user", "root").send().ok();
    let seen = server.seen();
    let [stream] = seen.as_slice() else { panic!("{seen:?}") };
    let only = |name: &str| {
        let values: Vec<_> = stream.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect();
        let [value] = values.as_slice() else { panic!("{name}: {values:?}") };
        (*value).to_owned()
    };
    assert_eq!((only("x-forwarded-user"), only("x-auth-request-user")), ("alice".into(), "alice".into()));
    let keys = gw.get(JWKS).send().ok().json();
    let claims = verified(&keys, &only("x-auth-assertion"), "main", NOW).expect("good");
    assert_eq!((&claims["htm"], &claims["htu"]), (&json!("PUT"), &json!("/x/a")));
}

#[test]
fn the_published_keys_are_public_and_cached_and_everybodys() {
    let house = signing(&pair(), "");
    let reply = house.gw.get(JWKS).send().ok();
    assert_eq!(reply.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(reply.header("cache-control"), Some("public, max-age=300"));
    let etag = reply.header("etag").expect("a tag").to_owned();
    let keys = reply.json();
    let [key] = keys["keys"].as_array().expect("a list").as_slice() else { panic!("{keys}") };
    let members: Vec<_> = key.as_object().expect("a key").keys().collect();
    assert_eq!(members, ["kid", "use", "alg", "crv", "kty", "x", "y"]);
    let line = house.gw.line_of(&reply);
    assert_eq!((line["outcome"].as_str(), line["route"].as_str()), (Some("granted"), Some(JWKS)));

    let mut connection = house.gw.caller().connect();
    for tags in [etag.clone(), format!("\"x\", W/{etag}"), "*".into()] {
        let unchanged = house.gw.get(JWKS).header("If-None-Match", &tags).send_on(&mut connection).is(304);
        assert_eq!((unchanged.header("etag"), unchanged.body.len()), (Some(&*etag), 0));
        assert!(unchanged.header("content-length").is_none());
    }
    house.gw.get(JWKS).header("If-None-Match", "\"x\"").send_on(&mut connection).ok();
    let head = house.gw.call("HEAD", JWKS).send().ok();
    assert_eq!((head.header("content-length"), head.body.len()), (Some(&*reply.body.len().to_string()), 0));
    house.gw.call("POST", JWKS).body("x").send().denied("method_not_allowed");
    house.gw.get(JWKS).host("other.test").send().denied("unknown_host");
    house.upstream.assert_untouched();
}

#[test]
fn a_new_key_takes_over_at_a_reload_and_the_old_one_stays_published() {
    let (old, new) = (pair(), pair());
    let house = signing(&old, "");
    let before = assertion_at(&house, "X-Auth-Assertion");
    let audience = house.upstream.addr().to_string();
    let keys = || house.gw.get(JWKS).send().ok().json();
    let bad = ["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "", &new.public];
    for text in bad {
        house.gw.rewrite("realms/assertion.pem", text);
        let told = house.gw.reload_from_source().expect_err("a bad key").to_string();
        assert!(told.contains("identity_headers.assertion.key") && told.contains("assertion.pem"), "{told}");
        assert!(verified(&keys(), &assertion_at(&house, "X-Auth-Assertion"), &audience, NOW).is_ok());
    }
    house.gw.rewrite("realms/assertion.pem", &new.private);
    let realm = house.gw.realm_file().replace("jwks_path", "published = [{ file = \"assertion.pub.pem\" }]\njwks_path");
    house.gw.rewrite("realms/realm0.toml", &realm);
    house.gw.reload_from_source().expect("a good key");
    let (keys, after) = (keys(), assertion_at(&house, "X-Auth-Assertion"));
    assert_ne!(decoded(parts(&before)[0])["kid"], decoded(parts(&after)[0])["kid"]);
    for token in [&before, &after] {
        assert!(verified(&keys, token, &audience, NOW).is_ok());
    }
    house.gw.rewrite("realms/realm0.toml", &realm.replace("published = [{ file = \"assertion.pub.pem\" }]", ""));
    house.gw.reload_from_source().expect("a good key");
    let keys = house.gw.get(JWKS).send().ok().json();
    assert_eq!(verified(&keys, &before, &audience, NOW), Err("kid"));
    assert!(verified(&keys, &after, &audience, NOW).is_ok());
}

#[test]
fn whoever_administers_is_told_what_is_asserted_and_gets_nothing_to_show_for_it() {
    let house = signing(&pair(), "");
    let token = house.standard.alice().sign();
    let question =
        json!({ "url": "https://api.test/jwt/x?a=1", "headers": [format!("Authorization: Bearer {token}")] });
    let verdict = house.gw.admin().post("/explain", &question).json();
    let shown = verdict["identity_headers"]["x-auth-assertion"].as_str().expect("an assertion");
    let claims: Value = serde_json::from_str(shown.strip_prefix("signed: ").expect("signed")).expect("claims");
    assert_eq!((&claims["sub"], &claims["htu"]), (&json!("alice"), &json!("/jwt/x")));
    assert!(!verdict.to_string().contains("eyJ"), "{verdict}");
    let public = json!({ "url": "https://api.test/public/x" });
    let verdict: Reply = house.gw.admin().post("/explain", &public);
    assert_eq!(verdict.json()["identity_headers"], json!({}));
}
