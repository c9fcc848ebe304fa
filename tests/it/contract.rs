//! The contract of the configuration, sentence by sentence, in the running gateway, where no other suite has it: realms
//! and hosts, routes side by side, optional proof, identity headers, limits, the failure limit, the order of decisions.

use std::time::Duration;

use serde_json::json;

use super::support::caller::Call;
use super::support::gateway::Gateway;
use super::support::realms::{Standard, api_key, key_digest, key_prefix};
use super::support::upstream::Upstream;

struct House {
    gw: Gateway,
    upstream: Upstream,
    standard: Standard,
}

impl House {
    /// The standard realm with more at its end, and more in `[server]`.
    fn with(realm: &str, server: &str) -> Self {
        let (upstream, standard) = (Upstream::start(), Standard::new());
        let gw = Gateway::builder().standard_with(&standard, realm).server_toml(server).upstream(&upstream).start();
        Self { gw, upstream, standard }
    }

    fn token(&self) -> String {
        self.standard.alice().sign()
    }
}

/// Every default of the contract, as it is written there: a second list, so that a slip in the table of keys shows.
const DEFAULTS: &[(&str, &str)] = &[
    ("server.listen", r#"[{ address = "0.0.0.0:8080" }]"#),
    ("server.threads", "0"),
    ("server.trusted_proxies", "-"),
    ("server.max_target", r#""8KiB""#),
    ("server.max_headers", r#""32KiB""#),
    ("server.max_body", r#""10MiB""#),
    ("server.max_token", r#""8KiB""#),
    ("server.max_connections_per_address", "0"),
    ("server.header_timeout", r#""10s""#),
    ("server.handshake_timeout", r#""10s""#),
    ("server.idle_timeout", r#""75s""#),
    ("server.shutdown_delay", r#""0s""#),
    ("server.shutdown_grace", r#""10s""#),
    ("server.clock_skew", r#""60s""#),
    ("server.failure_limit", r#""off""#),
    ("admin.listen", r#"{ address = "127.0.0.1:9901" }"#),
    ("log.format", r#""json""#),
    ("log.level", r#""info""#),
    ("log.access", "true"),
    ("cache.tokens", r#""64MiB""#),
    ("hosts", "required"),
    ("upstream", "-"),
    ("allow_encoded_slash", "false"),
    ("allow_path_parameters", "false"),
    ("profile", "-"),
    ("assertion.header", r#""X-Auth-Assertion""#),
    ("assertion.ttl", r#""60s""#),
    ("assertion.key", "required"),
    ("assertion.jwks_path", "-"),
    ("servers", "required"),
    ("host", r#""preserve""#),
    ("timeouts.connect", r#""1s""#),
    ("timeouts.read", r#""30s""#),
    ("timeouts.write", r#""30s""#),
    ("timeouts.idle", r#""60s""#),
    ("issuer", "required"),
    ("audience", "required"),
    ("algorithms", "required"),
    ("keys", "required"),
    ("keys.refresh", r#""10m""#),
    ("keys.cooldown", r#""30s""#),
    ("keys.max_stale", r#""24h""#),
    ("keys.timeout", r#""5s""#),
    ("keys.max_size", r#""512KiB""#),
    ("leeway", r#""0s""#),
    ("max_ttl", r#""24h""#),
    ("typ", r#"["JWT", "at+jwt"]"#),
    ("required_claims", r#"["exp", "iss", "aud", "sub"]"#),
    ("claims.subject", r#""sub""#),
    ("claims.client", r#""client_id""#),
    ("claims.scopes", r#""scope""#),
    ("claims.roles", r#""roles""#),
    ("claims.tenant", r#""tenant""#),
    ("claims.plan", r#""plan""#),
    ("prefix", "required"),
    ("checksum", "true"),
    ("from", r#"["header:authorization", "header:x-api-key", "header:apikey"]"#),
    ("path", "required"),
    ("auth", "required"),
    ("forward_credential", "false"),
    ("by", "required"),
    ("rate", "required"),
    ("headers", r#""ratelimit""#),
    ("origins", "required"),
    ("credentials", "false"),
    ("max_age", r#""10m""#),
    ("subject", r#""X-Auth-Subject""#),
    ("client", r#""X-Auth-Client""#),
    ("realm", r#""X-Auth-Realm""#),
    ("method", r#""X-Auth-Method""#),
    ("credential", r#""X-Auth-Credential-Id""#),
    ("issuer", r#""X-Auth-Issuer""#),
    ("scopes", r#""X-Auth-Scopes""#),
    ("roles", r#""X-Auth-Roles""#),
    ("plan", r#""X-Auth-Plan""#),
    ("tenant", r#""X-Auth-Tenant""#),
];

#[test]
fn every_default_is_that_of_the_contract() {
    let reference = portcullis::config::reference();
    let rows: Vec<(&str, &str)> = reference
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").collect();
            let [key, _, default, _] = cells.as_slice() else { return None };
            Some((key.trim().trim_matches('`'), default.trim()))
        })
        .collect();
    for (key, default) in DEFAULTS {
        let found: Vec<_> = rows.iter().filter(|(its, _)| its == key).map(|(_, d)| d.trim_matches('`')).collect();
        assert!(found.contains(default), "{key} = {default}, found {found:?}");
    }
}

#[test]
fn each_host_has_its_realm_and_each_realm_its_name() {
    let upstream = Upstream::start();
    let realm = |name: &str, hosts: &str| {
        format!(
            "realm = \"{name}\"\nhosts = [{hosts}]\nupstream = \"http://{{upstream}}\"\n\
             [[api_keys]]\nprefix = \"rk_\"\n[[routes]]\npath = \"/{name}/**\"\nauth = [\"api_key\"]\n"
        )
    };
    let gw = Gateway::builder()
        .realm_toml(&realm("exact", "\"api.example.com\", \"[2001:db8::1]\""))
        .realm_toml(&realm("wild", "\"*.example.com\""))
        .realm_toml(&realm("rest", "\"*\""))
        .upstream(&upstream)
        .start();
    for (host, name) in [
        ("api.example.com", "exact"),
        ("API.example.com.", "exact"),
        ("api.example.com:8443", "exact"),
        ("[2001:DB8:0::1]:80", "exact"),
        ("shop.example.com", "wild"),
        ("Shop.Example.Com:1", "wild"),
        ("a.b.example.com", "rest"),
        ("example.com", "rest"),
        ("127.0.0.1", "rest"),
    ] {
        let reply = gw.get(&format!("/{name}/x")).host(host).send().denied("missing_credentials");
        assert_eq!(reply.header("www-authenticate"), Some(&*format!("Bearer realm=\"{name}\"")), "{host}");
        assert_eq!(gw.line_of(&reply)["realm"], name, "{host}");
        gw.metric_becomes("portcullis_requests_total", &[("realm", name), ("code", "404")], 0.0);
    }
    // No realm answers for another one's host.
    gw.get("/wild/x").host("api.example.com").send().denied("no_route");
}

#[test]
fn a_literal_route_beside_a_name_keeps_its_paths_whatever_the_method() {
    let house = House::with(
        r#"
[[routes]]
path = "/v1/{resource}/**"
auth = ["public"]

[[routes]]
path = "/v1/admin/**"
methods = ["GET"]
auth = ["jwt"]
scopes = ["admin"]

[[routes]]
path = "/v1/admin/open"
methods = ["POST"]
auth = ["public"]
"#,
        "",
    );
    let token = house.token();
    house.gw.get("/v1/links/7").send().ok();
    for path in ["/v1/admin", "/v1/admin/", "/v1/admin/x", "/v1/%61dmin/x", "/v1/admi%6e"] {
        house.gw.get(path).send().denied("missing_credentials");
        house.gw.get(path).bearer(&token).send().denied("insufficient_scope");
        let allow = house.gw.call("POST", path).send().denied("method_not_allowed");
        assert_eq!(allow.header("allow"), Some("GET"), "{path}");
        house.gw.call("HEAD", path).send().is(405);
    }
    // The path is chosen first: a longer literal is no second chance for the other's methods.
    let allow = house.gw.get("/v1/admin/open").bearer(&token).send().denied("method_not_allowed");
    assert_eq!(allow.header("allow"), Some("POST"));
    house.gw.call("POST", "/v1/admin/open").send().ok();
}

#[test]
fn optional_proof_must_be_good_and_nothing_counts_as_nothing() {
    let house = House::with("", "");
    let get = || house.gw.get("/optional/x");
    let expired = house.standard.alice().expires_in(-1).sign();
    get().bearer(&expired).send().denied("token_expired");
    get().bearer("x").send().denied("token_invalid");
    get().header("Authorization", "DPoP x").send().denied("token_invalid");
    get().header("apikey", api_key(&key_prefix())).send().denied("key_unknown");
    get().bearer(&house.token()).header("apikey", "x").send().denied("ambiguous_credential");
    house.upstream.assert_untouched();
    for call in [get(), get().header("Authorization", "Basic YTpi"), get().header("Authorization", "bearer  ")] {
        let call = call.header("X-Auth-Subject", "mallory");
        call.send().ok();
        let seen = house.upstream.only();
        assert_eq!((seen.header("x-auth-subject"), seen.header("authorization")), (None, None));
        house.upstream.forget();
    }
    get().bearer(&house.token()).send().ok();
    assert_eq!(house.upstream.last().header("x-auth-subject"), Some("alice"));
}

#[test]
fn x05_a_token_in_the_url_counts_for_nothing_and_is_not_logged() {
    let house = House::with("", "");
    let token = house.token();
    for target in [format!("/jwt/x?access_token={token}&token={token}"), format!("/jwt/{token}")] {
        let reply = house.gw.get(&target).send().denied("missing_credentials");
        house.gw.line_of(&reply);
    }
    house.upstream.assert_untouched();
    let signature = token.rsplit('.').next().expect("three parts");
    assert!(!house.gw.log().text().contains(signature));
}

#[test]
fn x19_head_needs_what_get_needs_and_every_other_method_needs_more() {
    let house = House::with("", "");
    let with = |scope: &str| house.standard.alice().scope(scope).sign();
    let (read, write) = (with("campaigns:read"), with("campaigns:write"));
    for (method, good, bad) in [
        ("GET", &read, &write),
        ("HEAD", &read, &write),
        ("POST", &write, &read),
        ("OPTIONS", &write, &read),
        ("PROPFIND", &write, &read),
        ("get", &write, &read),
    ] {
        let call = |token: &str| house.gw.call(method, "/campaigns/x").bearer(token).send();
        assert_eq!((call(bad).status, call(good).status), (403, 200), "{method}");
    }
}

#[test]
fn x20_every_refusal_has_its_reason_in_log_and_metric_and_an_id_that_finds_it() {
    let house = House::with("", "");
    let id = "01981c3e-0000-7000-8000-000000000001";
    for (call, reason, status) in [
        (house.gw.get("/jwt/x"), "missing_credentials", 401),
        (house.gw.get("/jwt/x").bearer("x"), "token_invalid", 401),
        (house.gw.get("/near/x"), "ip_denied", 403),
        (house.gw.get("/nowhere"), "no_route", 404),
        (house.gw.get("/jwt//x"), "path_ambiguous", 400),
        (house.gw.get("/jwt/x").host("nobody.test"), "unknown_host", 404),
    ] {
        let reply = call.header("X-Request-Id", id).send().denied(reason);
        assert_ne!(reply.request_id(), id, "a stranger does not name requests");
        let line = house.gw.line_of(&reply);
        assert_eq!((line["reason"].as_str(), line["status"].as_u64()), (Some(reason), Some(status)));
        assert_eq!(line["outcome"], "denied");
        house.gw.metric_becomes("portcullis_denials_total", &[("reason", reason)], 1.0);
    }
}

#[test]
fn identity_headers_can_be_renamed_left_out_and_added() {
    let house = House::with(
        r#"
[identity_headers]
subject = "X-User"
client = ""
method = ""
scopes = "X-Scopes"
roles = "X-Roles"

[identity_headers.extra]
email = "X-Email"
"/org/units" = "X-Units"
age = "X-Age"
"#,
        "",
    );
    let token = house
        .standard
        .alice()
        .subject("älice %")
        .scope("a:read b:write")
        .claim("client_id", "app")
        .claim("roles", json!(["x y", "editor", "z"]))
        .claim("email", "a@b.test")
        .claim("org", json!({ "units": ["n 1", 2, true] }))
        .claim("age", json!({ "years": 3 }))
        .sign();
    house.gw.get("/jwt/x").bearer(&token).header("X-Auth-Client", "m").header("X-Age", "9").send().ok();
    let seen = house.upstream.only();
    for (name, value) in [
        ("X-User", Some("%C3%A4lice%20%25")),
        ("X-Scopes", Some("a:read b:write campaigns:read campaigns:write")),
        ("X-Roles", Some("x%20y editor z")),
        ("X-Email", Some("a@b.test")),
        ("X-Units", Some("n%201 2 true")),
        ("X-Auth-Issuer", Some("house")),
        ("X-Auth-Realm", Some("api")),
        ("X-Age", None),
        ("X-Auth-Subject", None),
        ("X-Auth-Client", None),
        ("X-Auth-Method", None),
        ("X-Auth-Scopes", None),
        ("X-Auth-Plan", None),
        ("X-Auth-Tenant", None),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
}

#[test]
fn what_a_route_sets_or_removes_is_set_and_removed_under_every_alias() {
    let house = House::with(
        r#"
[[routes]]
path = "/tier/**"
auth = ["public"]
headers = { add = { X-Tier = "gold", Authorization = "Basic dXA6c3RyZWFt" }, remove = ["X-Debug"] }
"#,
        "",
    );
    let mut call = house.gw.get("/tier/x").bearer("mine");
    for name in ["X-Tier", "X_Tier", "x.tier", "X-Debug", "X_Debug", "x~debug"] {
        call = call.header(name, "mine");
    }
    call.header("X-Other", "mine").send().ok();
    let seen = house.upstream.only();
    let values = |name: &str| seen.aliases(name).into_iter().map(|(_, value)| value.to_owned()).collect::<Vec<_>>();
    assert_eq!(values("X-Tier"), ["gold"]);
    assert_eq!(values("Authorization"), ["Basic dXA6c3RyZWFt"]);
    assert_eq!(values("X-Debug"), Vec::<String>::new());
    assert_eq!(values("X-Other"), ["mine"]);
}

#[test]
fn rate_limit_headers_tell_the_state_on_answers_and_refusals() {
    let house = House::with(
        r#"
[limits.wide]
by = "address"
rate = "100/h"

[limits.bursty]
by = "subject"
rate = "60/m"
burst = 2
headers = "both"

[[routes]]
path = "/two/**"
auth = ["jwt"]
limits = ["wide", "bursty"]
"#,
        "",
    );
    let token = house.token();
    let call = || house.gw.get("/two/x").bearer(&token).send();
    let told = |reply: &super::support::caller::Reply, prefix: &str| {
        ["limit", "remaining", "reset"].map(|name| reply.header(&format!("{prefix}{name}")).map(str::to_owned))
    };
    let some = |values: [&str; 3]| values.map(|value| Some(value.to_owned()));
    // The tightest tells: 1 left of a burst of 2, which is whole again in a second.
    let first = call().ok();
    assert_eq!(told(&first, "ratelimit-"), some(["60", "1", "1"]));
    assert_eq!(told(&first, "x-ratelimit-"), some(["60", "1", "1"]));
    call().ok();
    let refused = call().denied("rate_limited");
    assert_eq!(told(&refused, "x-ratelimit-"), some(["60", "0", "2"]));
    assert_eq!(refused.header("retry-after"), Some("1"));
    house.gw.pass(Duration::from_secs(1));
    assert_eq!(told(&call().ok(), "ratelimit-"), some(["60", "0", "2"]));
    // A refusal by one limit is not counted by the other: three of a hundred are gone, and four were asked for.
    let other = house.gw.get("/two/x").bearer(&house.standard.alice().subject("bob").sign()).send().ok();
    assert_eq!(told(&other, "ratelimit-")[1].as_deref(), Some("1"));
    house.gw.metric_becomes("portcullis_rate_limited_total", &[("limit", "bursty")], 1.0);
}

#[test]
fn failures_are_counted_by_address_a_64_for_ipv6_and_only_failures() {
    let house = House::with("", "failure_limit = \"2/m\"\ntrusted_proxies = [\"127.0.0.1\"]");
    let from = |ip: &str, call: Call| call.header("X-Forwarded-For", ip);
    let bad = |ip: &str| from(ip, house.gw.get("/me/x").bearer("x")).send();
    bad("2001:db8:1:2::1").denied("token_invalid");
    bad("2001:db8:1:2:ffff::2").denied("token_invalid");
    bad("2001:db8:1:2::3").denied("rate_limited");
    bad("2001:db8:1:3::3").denied("token_invalid");
    bad("203.0.113.9").denied("token_invalid");
    // Nothing that was not a failed verification counts.
    for _ in 0..4 {
        from("203.0.113.9", house.gw.get("/me/x")).send().denied("missing_credentials");
        from("203.0.113.9", house.gw.get("/admin/x").bearer(&house.token())).send().denied("insufficient_scope");
        from("203.0.113.9", house.gw.get("/nowhere").bearer("x")).send().denied("no_route");
        from("203.0.113.9", house.gw.get("/near/x").bearer("x")).send().denied("ip_denied");
        from("203.0.113.9", house.gw.get("/me/x").header("apikey", &house.standard.partner_key)).send().ok();
    }
    bad("::ffff:203.0.113.9").denied("token_invalid");
    bad("203.0.113.9").denied("rate_limited");
    // Who is not known yet has to wait, who says nothing is only asked to, and nobody waits elsewhere.
    from("203.0.113.9", house.gw.get("/me/x")).send().denied("missing_credentials");
    from("203.0.113.9", house.gw.get("/optional/x")).send().ok();
    from("203.0.113.9", house.gw.get("/me/x").bearer("a").header("apikey", "b")).send().denied("rate_limited");
    from("203.0.113.9", house.gw.get("/near/x").bearer("x")).send().denied("ip_denied");
    from("203.0.113.9", house.gw.get("/me/x").header("apikey", &house.standard.partner_key)).send().ok();
    bad("203.0.113.10").denied("token_invalid");
}

#[test]
fn of_two_faults_the_earlier_one_is_told() {
    let locked = api_key(&key_prefix());
    let house = House::with(
        &r#"
[clients.locked]
ip_allowlist = ["203.0.113.0/24"]
keys = [{ id = "k-locked", sha256 = "{locked}" }]

[limits.none]
by = "address"
rate = "1/d"

[[routes]]
path = "/all/**"
methods = ["GET"]
auth = ["jwt", "api_key"]
plan = ["Scale"]
roles = ["editor"]
scopes = ["all"]
attributes = { "/where/region" = "eu" }
limits = ["none"]
"#
        .replace("{locked}", &key_digest(&locked)),
        "max_target = \"200B\"",
    );
    let get = |target: &str| house.gw.get(target);
    let long = format!("/all//{}", "x".repeat(200));
    get(&long).host("nobody.test").send().denied("uri_too_long");
    get("/all//x").host("nobody.test").send().denied("unknown_host");
    get("/nowhere/../x").send().denied("path_ambiguous");
    house.gw.call("PUT", "/nowhere").bearer("x").send().denied("no_route");
    house.gw.call("PUT", "/all/x").bearer("x").send().denied("method_not_allowed");
    get("/near/x").bearer("a").header("Authorization", "Bearer b").send().denied("ip_denied");
    get("/all/x").bearer("a").header("X-API-Key", "b").send().denied("ambiguous_credential");
    get("/all/x").header("X-API-Key", &locked).send().denied("ip_denied");
    let token = house.standard.alice();
    get("/all/x").bearer(&token.clone().expires_in(-1).sign()).send().denied("token_expired");
    get("/all/x").bearer(&token.sign()).send().denied("plan_denied");
    let token = token.claim("plan", "Scale");
    get("/all/x").bearer(&token.sign()).send().denied("role_denied");
    let token = token.claim("roles", json!(["editor"]));
    get("/all/x").bearer(&token.sign()).send().denied("insufficient_scope");
    let token = token.scope("all");
    get("/all/x").bearer(&token.sign()).send().denied("attribute_denied");
    house.upstream.assert_untouched();
    let token = token.claim("where", json!({ "region": "eu" }));
    get("/all/x").bearer(&token.sign()).send().ok();
    get("/all/x").bearer(&token.sign()).send().denied("rate_limited");
    get("/all/x").bearer(&token.claim("where", json!({ "region": "us" })).sign()).send().denied("attribute_denied");
}
