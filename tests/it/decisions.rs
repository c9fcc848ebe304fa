//! The order of decisions (docs/configuration.md): every row with both outcomes, and which row wins when two refuse.

use std::time::Duration;

use serde_json::json;

use super::support::gateway::Gateway;
use super::support::realms::{Standard, api_key, key_digest, key_prefix};
use super::support::upstream::Upstream;

/// A realm with one rule of each kind, each on a route of its own.
const RULES: &str = r#"
[clients.idle]
disabled = true
scopes = ["campaigns:read"]
keys = [{ id = "k-idle", sha256 = "{idle}" }]

[clients.mixed]
roles = ["editor"]
scopes = ["links:read"]
plan = "Scale"
attributes = { region = "eu", level = 3, beta = true }
ip_allowlist = ["127.0.0.1", "192.0.2.0/24"]
keys = [
    { id = "k-wide", sha256 = "{wide}" },
    { id = "k-narrow", sha256 = "{narrow}", scopes = ["campaigns:read"], ip_allowlist = ["127.0.0.0/8"] },
    { id = "k-late", sha256 = "{late}", expires = 2001-01-01T00:00:00Z },
    { id = "k-off", sha256 = "{off}", disabled = true },
    { id = "k-away", sha256 = "{away}", ip_allowlist = ["198.51.100.0/24"] },
    { id = "k-none", sha256 = "{none}", scopes = [] },
]

[limits.by_plan]
by = "client"
rate = { Growth = "2/m", Scale = "4/m" }
headers = "both"

[limits.by_key]
by = "key"
rate = "2/m"

[[routes]]
path = "/exact"
methods = ["GET", "PUT"]
auth = ["api_key"]

[[routes]]
path = "/exact"
methods = ["DELETE"]
auth = ["jwt"]

[[routes]]
path = "/denied/**"
auth = ["public"]
deny_ips = ["127.0.0.3"]
allow_ips = ["127.0.0.0/8"]

[[routes]]
path = "/plan/**"
auth = ["jwt", "api_key"]
plan = ["Scale"]

[[routes]]
path = "/role/**"
auth = ["jwt", "api_key"]
roles = ["editor", "root"]

[[routes]]
path = "/all/{resource}/**"
auth = ["jwt", "api_key"]
scopes = ["{resource}:{access}", "links:read"]

[[routes]]
path = "/any/{resource}/**"
auth = ["jwt", "api_key"]
scopes_any = ["{resource}:admin", "{resource}:{access}"]

[[routes]]
path = "/attributes/**"
auth = ["jwt", "api_key"]
attributes = { region = ["eu", "us"], level = 3, beta = true }

[[routes]]
path = "/by-plan/**"
auth = ["jwt", "api_key"]
limits = ["by_plan"]

[[routes]]
path = "/by-key/**"
auth = ["jwt", "api_key"]
limits = ["by_key"]

[[routes]]
path = "/api/v1/**"
auth = ["jwt"]
strip_prefix = "/api/v1"

[[routes]]
path = "/small/**"
auth = ["public"]
max_body = "10B"
"#;

const KEYS: [&str; 7] = ["idle", "wide", "narrow", "late", "off", "away", "none"];

struct House {
    gw: Gateway,
    upstream: Upstream,
    standard: Standard,
    keys: Vec<(&'static str, String)>,
}

impl House {
    fn start() -> Self {
        Self::start_with("")
    }

    fn start_with(server: &str) -> Self {
        let (upstream, standard) = (Upstream::start(), Standard::new());
        let keys: Vec<_> = KEYS.iter().map(|name| (*name, api_key(&key_prefix()))).collect();
        let rules = keys.iter().fold(RULES.to_owned(), |text, (name, key)| {
            text.replace(&format!("\"{{{name}}}\""), &format!("\"{}\"", key_digest(key)))
        });
        let builder = Gateway::builder().server_toml(server).standard_with(&standard, &rules).upstream(&upstream);
        Self { gw: builder.start(), upstream, standard, keys }
    }

    fn key(&self, name: &str) -> &str {
        &self.keys.iter().find(|(n, _)| *n == name).expect("a key of the list").1
    }

    fn token(&self, scope: &str) -> String {
        self.standard.alice().scope(scope).sign()
    }
}

#[test]
fn a_host_of_nobody_is_not_found_and_a_malformed_one_is_refused() {
    let house = House::start();
    house.gw.get("/public/x").host("nobody.test").send().denied("unknown_host");
    house.gw.get("/public/x").host("a,b").send().is(400);
    house.upstream.assert_untouched();
    house.gw.get("/public/x").host("API.test.:80").send().ok();
}

#[test]
fn a_path_without_a_route_is_not_found_and_a_wrong_method_names_the_right_ones() {
    let house = House::start();
    house.gw.get("/nowhere").send().denied("no_route");
    house.gw.get("/exact/").send().denied("no_route");
    let reply = house.gw.call("PATCH", "/exact").send().denied("method_not_allowed");
    assert_eq!(reply.header("allow"), Some("DELETE, GET, PUT"));
    house.gw.call("TRACE", "/public/x").send().denied("method_not_allowed");
    house.gw.call("TRACE", "/nowhere").send().denied("method_not_allowed");
    house.upstream.assert_untouched();
    house.gw.get("/exact").header("x-api-key", house.key("wide")).send().ok();
    house.gw.call("DELETE", "/exact").bearer(&house.token("")).send().ok();
}

#[test]
fn the_method_decides_which_credential_counts_on_equal_paths() {
    let house = House::start();
    house.gw.call("DELETE", "/exact").header("x-api-key", house.key("wide")).send().denied("missing_credentials");
    house.gw.get("/exact").bearer(&house.token("")).send().denied("key_malformed");
}

#[test]
fn a_denied_address_is_refused_before_an_allowed_one_passes() {
    let house = House::start();
    let reply = house.gw.caller().from("127.0.0.3").get("/denied/x").send().denied("ip_denied");
    assert_eq!(house.gw.why(&reply), "ip_denied:denied");
    let reply = house.gw.get("/near/x").bearer(&house.token("")).send().denied("ip_denied");
    assert_eq!(house.gw.why(&reply), "ip_denied:not_listed");
    house.upstream.assert_untouched();
    house.gw.caller().from("127.0.0.4").get("/denied/x").send().ok();
    house.gw.caller().from("127.0.0.2").get("/near/x").bearer(&house.token("")).send().ok();
}

#[test]
fn an_address_outside_the_list_is_told_so_before_its_credential_is_looked_at() {
    let house = House::start();
    house.gw.get("/near/x").send().denied("ip_denied");
    house.gw.get("/near/x").bearer("rubbish").send().denied("ip_denied");
}

#[test]
fn a_credential_is_needed_unless_the_route_says_otherwise() {
    let house = House::start();
    let reply = house.gw.get("/me/x").send().denied("missing_credentials");
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"api\""), "no error code without a credential");
    house.gw.get("/optional/x").bearer("rubbish").send().denied("token_invalid");
    house.gw.get("/optional/x").header("x-api-key", "rubbish").send().denied("key_malformed");
    house.upstream.assert_untouched();
    house.gw.get("/optional/x").send().ok();
    assert_eq!(house.upstream.last().header("x-auth-subject"), None);
    house.gw.get("/public/x").bearer("anything at all").send().ok();
    assert_eq!(house.upstream.last().header("authorization"), Some("Bearer anything at all"));
}

#[test]
fn api_keys_are_told_apart_by_state() {
    let house = House::start();
    for (name, reason) in [("idle", "key_disabled"), ("late", "key_expired"), ("off", "key_disabled")] {
        house.gw.get("/me/x").header("x-api-key", house.key(name)).send().denied(reason);
    }
    house.gw.get("/me/x").header("x-api-key", api_key(&key_prefix())).send().denied("key_unknown");
    house.gw.get("/me/x").header("apikey", format!("{}x", house.key("wide"))).send().denied("key_malformed");
    house.upstream.assert_untouched();
    for place in ["x-api-key", "apikey"] {
        house.gw.get("/me/x").header(place, house.key("wide")).send().ok();
    }
    house.gw.get("/me/x").bearer(house.key("wide")).send().ok();
    let seen = house.upstream.last();
    assert_eq!(seen.header("x-auth-subject"), Some("mixed"));
    assert_eq!(seen.header("x-auth-client"), Some("mixed"));
    assert_eq!(seen.header("x-auth-method"), Some("api_key"));
    assert_eq!(seen.header("x-auth-credential-id"), Some("k-wide"));
    assert_eq!(seen.header("x-auth-plan"), Some("Scale"));
    assert_eq!(seen.header("authorization"), None);
}

#[test]
fn the_lists_of_client_and_key_must_both_hold_the_address() {
    let house = House::start();
    let reply = house.gw.get("/me/x").header("x-api-key", house.key("away")).send().denied("ip_denied");
    assert_eq!(house.gw.why(&reply), "ip_denied:client_list");
    let narrow = house.key("narrow");
    house.gw.caller().from("127.0.0.2").get("/me/x").header("x-api-key", narrow).send().denied("ip_denied");
    house.upstream.assert_untouched();
    house.gw.get("/me/x").header("x-api-key", narrow).send().ok();
}

#[test]
fn a_plan_is_needed_where_one_is_stated() {
    let house = House::start();
    house.gw.get("/plan/x").bearer(&house.token("")).send().denied("plan_denied");
    house.gw.get("/plan/x").bearer(&house.standard.alice().claim("plan", "scale").sign()).send().denied("plan_denied");
    house.gw.get("/plan/x").header("x-api-key", &house.standard.partner_key).send().denied("plan_denied");
    house.upstream.assert_untouched();
    house.gw.get("/plan/x").bearer(&house.standard.alice().claim("plan", "Scale").sign()).send().ok();
    house.gw.get("/plan/x").header("x-api-key", house.key("wide")).send().ok();
}

#[test]
fn a_role_is_needed_where_one_is_stated_and_grants_its_scopes() {
    let house = House::start();
    let with = |roles: serde_json::Value| house.standard.alice().claim("roles", roles).sign();
    house.gw.get("/role/x").bearer(&with(json!(["viewer"]))).send().denied("role_denied");
    house.gw.get("/campaigns/x").bearer(&with(json!(["viewer"]))).send().denied("insufficient_scope");
    house.upstream.assert_untouched();
    house.gw.get("/role/x").bearer(&with(json!(["viewer", "editor"]))).send().ok();
    house.gw.get("/campaigns/x").bearer(&with(json!("editor"))).send().ok();
    house.gw.call("DELETE", "/campaigns/x").bearer(&with(json!(["root"]))).send().ok();
    house.gw.get("/role/x").header("x-api-key", house.key("wide")).send().ok();
}

#[test]
fn all_scopes_of_a_list_are_needed_and_one_of_the_other() {
    let house = House::start();
    let reply = house.gw.get("/all/links/7").bearer(&house.token("campaigns:read")).send().denied("insufficient_scope");
    let challenge = reply.header("www-authenticate").expect("a challenge");
    assert!(
        challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"links:read links:read\""),
        "{challenge}"
    );
    house.gw.get("/all/campaigns/7").bearer(&house.token("links:read")).send().denied("insufficient_scope");
    house.gw.call("POST", "/any/links/7").bearer(&house.token("links:read")).send().denied("insufficient_scope");
    house.gw.call("HEAD", "/any/links/7").bearer(&house.token("links:write")).send().is(403);
    house.upstream.assert_untouched();
    house.gw.get("/all/campaigns/7").bearer(&house.token("links:read campaigns:read")).send().ok();
    house.gw.call("HEAD", "/any/links/7").bearer(&house.token("links:read")).send().is(200);
    house.gw.call("POST", "/any/links/7").bearer(&house.token("links:admin")).send().ok();
}

#[test]
fn a_key_may_do_what_both_it_and_its_client_may() {
    let house = House::start();
    let narrow = house.key("narrow");
    house.gw.call("POST", "/campaigns/x").header("x-api-key", narrow).send().denied("insufficient_scope");
    house.gw.get("/campaigns/x").header("x-api-key", house.key("none")).send().denied("insufficient_scope");
    house.upstream.assert_untouched();
    house.gw.get("/campaigns/x").header("x-api-key", narrow).send().ok();
    assert_eq!(house.upstream.last().header("x-auth-scopes"), Some("campaigns:read"));
    house.gw.call("POST", "/campaigns/x").header("x-api-key", house.key("wide")).send().ok();
}

#[test]
fn every_attribute_must_have_one_of_its_values_of_the_exact_type() {
    let house = House::start();
    let with = |region: &str, level: serde_json::Value, beta: serde_json::Value| {
        house.standard.alice().claim("region", region).claim("level", level).claim("beta", beta).sign()
    };
    for spoilt in [
        with("asia", json!(3), json!(true)),
        with("eu", json!("3"), json!(true)),
        with("eu", json!(3.0), json!(true)),
        with("eu", json!(3), json!("true")),
        house.token(""),
    ] {
        house.gw.get("/attributes/x").bearer(&spoilt).send().denied("attribute_denied");
    }
    house.upstream.assert_untouched();
    house.gw.get("/attributes/x").bearer(&with("us", json!(3), json!(true))).send().ok();
    house.gw.get("/attributes/x").header("x-api-key", house.key("wide")).send().ok();
}

#[test]
fn a_limit_counts_per_client_tells_its_state_and_lets_go_in_time() {
    let house = House::start();
    let call = || house.gw.get("/limited/x").header("x-api-key", &house.standard.partner_key).send();
    let first = call().is(200);
    assert_eq!(first.header("ratelimit-limit"), Some("3"));
    assert_eq!(first.header("ratelimit-remaining"), Some("2"));
    call().ok();
    call().ok();
    let refused = call().denied("rate_limited");
    assert_eq!(refused.header("ratelimit-remaining"), Some("0"));
    assert_eq!(refused.header("retry-after"), Some("20"), "a third of a minute for one of three");
    assert_eq!(house.upstream.requests().len(), 3);
    house.gw.get("/limited/x").header("x-api-key", house.key("wide")).send().ok();
    house.gw.pass(Duration::from_secs(20));
    call().ok();
    call().denied("rate_limited");
    house.gw.metric_becomes("portcullis_rate_limited_total", &[("limit", "tight")], 2.0);
}

#[test]
fn a_limit_by_plan_gives_each_plan_its_rate_and_the_lowest_to_others() {
    let house = House::start();
    let count = |send: &dyn Fn() -> u16| (0..6).take_while(|_| send() == 200).count();
    let by_key = |key: &str| count(&|| house.gw.get("/by-plan/x").header("x-api-key", key).send().status);
    assert_eq!(by_key(&house.standard.partner_key), 2, "Growth");
    assert_eq!(by_key(house.key("wide")), 4, "Scale");
    let token = house.standard.alice().claim("client_id", "c9").claim("plan", "Unheard").sign();
    assert_eq!(count(&|| house.gw.get("/by-plan/x").bearer(&token).send().status), 2, "lowest");
    let reply = house.gw.get("/by-plan/x").bearer(&token).send().denied("rate_limited");
    assert!(reply.header("x-ratelimit-limit").is_some() && reply.header("ratelimit-limit").is_some());
}

#[test]
fn a_request_that_lacks_what_a_limit_counts_by_is_counted_by_its_address() {
    let house = House::start();
    for _ in 0..2 {
        house.gw.get("/by-key/x").bearer(&house.token("")).send().ok();
    }
    house.gw.get("/by-key/x").bearer(&house.token("")).send().denied("rate_limited");
    house.gw.caller().from("127.0.0.2").get("/by-key/x").bearer(&house.token("")).send().ok();
    house.gw.get("/by-key/x").header("x-api-key", house.key("wide")).send().ok();
}

#[test]
fn failures_of_an_address_are_limited_but_never_a_credential_that_was_verified() {
    let house = House::start_with("failure_limit = \"3/m\"");
    let (known, fresh) = (house.token(""), house.standard.alice().subject("bob").sign());
    house.gw.get("/me/x").bearer(&known).send().ok();
    for _ in 0..3 {
        house.gw.get("/me/x").bearer("rubbish").send().denied("token_invalid");
    }
    let refused = house.gw.get("/me/x").bearer("rubbish").send().denied("rate_limited");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(house.gw.why(&refused), "rate_limited:failure_limit");
    house.gw.get("/me/x").bearer(&fresh).send().denied("rate_limited");
    house.gw.get("/me/x").bearer(&known).send().ok();
    house.gw.get("/me/x").header("x-api-key", house.key("wide")).send().ok();
    house.gw.get("/public/x").send().ok();
    house.gw.caller().from("127.0.0.2").get("/me/x").bearer(&fresh).send().ok();
    house.gw.pass(Duration::from_secs(60));
    house.gw.get("/me/x").bearer(&fresh).send().ok();
}

#[test]
fn two_refusals_at_once_are_answered_in_the_documented_order() {
    let house = House::start();
    // Address before credential, plan before scope, 401 before 403, path before method.
    house.gw.call("PATCH", "/exact").host("nobody.test").send().denied("unknown_host");
    house.gw.call("PATCH", "/exact//").send().denied("path_ambiguous");
    house.gw.get("/admin/x").bearer("rubbish").send().denied("token_invalid");
    house.gw.get("/plan/x").send().denied("missing_credentials");
    let two = house.gw.get("/plan/x").bearer(&house.token("")).header("x-api-key", house.key("wide"));
    two.send().denied("ambiguous_credential");
    house.upstream.assert_untouched();
}

#[test]
fn a_prefix_is_stripped_after_the_decision() {
    let house = House::start();
    for (sent, seen) in
        [("/api/v1/orders/7?a=1", "/orders/7?a=1"), ("/api/v1", "/"), ("/api/v1/", "/"), ("/api/v1/%7Ex", "/~x")]
    {
        house.gw.get(sent).bearer(&house.token("")).send().ok();
        assert_eq!(house.upstream.last().target, seen, "{sent}");
    }
    house.gw.get("/api/v1/../admin").bearer(&house.token("")).send().denied("path_ambiguous");
}

#[test]
fn a_body_over_the_limit_is_refused_declared_or_not() {
    let house = House::start();
    house.gw.call("POST", "/small/x").body("12345678901").send().denied("payload_too_large");
    house.upstream.assert_untouched();
    house.gw.call("POST", "/small/x").chunked(&["123456", "78901"], &[]).send().is(413);
    house.gw.call("POST", "/small/x").body("1234567890").send().ok();
}
