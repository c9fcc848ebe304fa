//! How refusals look where a realm says so: the error tables of four documented APIs, each reproducing the documented
//! body byte for byte, and what a dialect may and may not change about a refusal.

use super::support::caller::{Call, Reply};
use super::support::eventually;
use super::support::gateway::Gateway;
use super::support::keys::Key;
use super::support::realms::{HOUSE, HOUSE_SECRET, api_key, key_digest};
use super::support::token::{Signer, Token};
use super::support::upstream::Upstream;

const AFFILYNC: &str = r#"
[[routes]]
path   = "/api/{resource}/**"
auth   = ["api_key", "jwt"]
scopes = ["{resource}:{access}"]

[[routes]]
path   = "/limited"
auth   = ["api_key"]
limits = ["few"]

[limits.few]
by = "key"
rate = "2/m"
headers = "x-ratelimit"

[errors]
body = { detail = "$message", error_code = "$code" }
[errors.on]
token_expired       = { code = "TOKEN_EXPIRED", message = "Token has expired" }
refresh_expired     = { code = "TOKEN_EXPIRED", message = "Token has expired" }
token_invalid       = { code = "TOKEN_INVALID", message = "Invalid token" }
missing_credentials = { code = "TOKEN_INVALID", message = "Authentication required" }
insufficient_scope  = { code = "INSUFFICIENT_SCOPE" }
rate_limited        = { code = "RATE_LIMIT_EXCEEDED" }
validation_failed   = { status = 422, code = "VALIDATION_ERROR", body = { detail = "Validation failed", error_code = "$code", fields = "$fields" } }
"#;

const CONVERTLY: &str = r#"
[[routes]]
path   = "/v1/{resource}/**"
auth   = ["jwt"]
plan   = ["Growth", "Scale"]
scopes = ["{resource}:{access}"]

[roles]
"Brand Admin"  = ["*"]
"Brand Member" = ["*:read", "campaigns:write", "creators:write", "affiliates:write"]

[errors]
body = { statusCode = "$status", message = "$message", error = "$reason_phrase" }
[errors.on]
token_expired = { message = "Token expired" }
"#;

const AFFONSO: &str = r#"
[[routes]]
path   = "/v1/{resource}/**"
auth   = ["api_key"]
scopes = ["{access}:{resource}"]

[errors]
body = { success = false, error = { code = "$code", message = "$message" } }
[errors.on]
missing_credentials = { code = "MISSING_API_KEY" }
key_malformed       = { code = "INVALID_API_KEY_FORMAT" }
token_invalid       = { code = "INVALID_API_KEY" }
key_disabled        = { code = "API_KEY_DISABLED" }
key_expired         = { code = "API_KEY_EXPIRED" }
insufficient_scope  = { code = "INSUFFICIENT_PERMISSIONS" }
subject_inactive    = { code = "FORBIDDEN", message = "Affiliate is not active" }
not_found           = { code = "NOT_FOUND" }
syntax_error        = { code = "VALIDATION_ERROR" }
validation_failed   = { code = "VALIDATION_ERROR", body = { success = false, error = { code = "$code", message = "$message", details = "$fields" } } }
"#;

const GIFT_CARDS: &str = r#"
[[routes]]
path = "/api/v1/**"
auth = ["jwt"]

[[routes]]
path = "/api/v1/near/**"
auth = ["jwt"]
allow_ips = ["203.0.113.0/24"]

[[routes]]
path   = "/api/v1/limited"
auth   = ["jwt"]
limits = ["few"]

[limits.few]
by = "subject"
rate = "1/m"

[errors]
body = { error = { name = "$name", code = "$code", message = "$message" } }
[errors.status]
400 = { name = "ValidationException", code = "VALIDATION_FAILURE" }
401 = { name = "UnauthorizedError", code = "UNAUTHORIZED" }
403 = { name = "ForbiddenError", code = "FORBIDDEN" }
429 = { name = "TooManyRequestsError", code = "TOO_MANY_REQUESTS" }
[errors.on]
syntax_error        = { name = "SyntaxError", code = "SYNTAX_ERROR", message = "Invalid request body" }
invalid_credentials = { message = "Invalid credentials" }
refresh_invalid     = { message = "Invalid refresh token" }
ip_denied           = { message = "IP address not authorized" }
missing_credentials = { message = "Authentication required" }
"#;

const MOVED: &str = r#"
[limits.few]
by = "subject"
rate = "1/m"

[[routes]]
path = "/x"
auth = ["jwt"]
scopes = ["x"]

[[routes]]
path = "/near"
auth = ["jwt"]
allow_ips = ["203.0.113.0/24"]

[[routes]]
path   = "/limited"
auth   = ["jwt"]
limits = ["few"]

[errors.status]
503 = { code = "later" }
[errors.on.unavailable]
code = "down"
[errors.on.no_route]
status = 403
headers = { X-Help = "https://docs.example", Link = "<https://docs.example>; rel=help" }
[errors.on.token_invalid]
status = 404
message = "Nothing is found here."
[errors.on.insufficient_scope]
status = 404
[errors.on.ip_denied]
status = 401
[errors.on.rate_limited]
status = 503
"#;

const KEY_NAMES: [&str; 4] = ["good", "idle", "late", "outside"];

struct House {
    gw: Gateway,
    upstream: Upstream,
    signer: Signer,
    /// By host, then in the order of [`KEY_NAMES`].
    keys: Vec<(&'static str, Vec<String>)>,
}

impl House {
    fn start() -> Self {
        let upstream = Upstream::start();
        let secret = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";
        let mut builder = Gateway::builder().env(HOUSE_SECRET, secret).upstream(&upstream);
        let mut keys = Vec::new();
        for (name, prefix, rest) in [
            ("affilync", ["afk", "_live_"].concat(), AFFILYNC),
            ("convertly", ["cvk", "_live_"].concat(), CONVERTLY),
            ("affonso", ["sk", "_live_"].concat(), AFFONSO),
            ("giftcards", ["gck", "_live_"].concat(), GIFT_CARDS),
            ("moved", ["mvk", "_live_"].concat(), MOVED),
        ] {
            let own: Vec<_> = KEY_NAMES.iter().map(|_| api_key(&prefix)).collect();
            let digest = |n: usize| key_digest(&own[n]);
            builder = builder.realm_toml(&format!(
                r#"
realm = "{name}"
hosts = ["{name}.test"]
upstream = "http://{{upstream}}"
{rest}
[[issuers]]
name = "house"
issuer = "{HOUSE}"
audience = ["api"]
algorithms = ["HS256"]
keys = {{ secret = {{ env = "{HOUSE_SECRET}" }} }}

[[api_keys]]
prefix = "{prefix}"

[clients.team]
scopes = ["campaigns:read", "read:affiliates"]
keys = [
    {{ id = "k-good", sha256 = "{}" }},
    {{ id = "k-idle", sha256 = "{}", disabled = true }},
    {{ id = "k-late", sha256 = "{}", expires = 2001-01-01T00:00:00Z }},
    {{ id = "k-outside", sha256 = "{}", ip_allowlist = ["203.0.113.0/24"] }},
]
"#,
                digest(0),
                digest(1),
                digest(2),
                digest(3),
            ));
            keys.push((name, own));
        }
        Self { gw: builder.start(), upstream, signer: Signer::new(HOUSE, Key::from_secret(secret.as_bytes())), keys }
    }

    fn token(&self) -> Token {
        self.signer.token()
    }

    fn key(&self, realm: &str, name: &str) -> &str {
        let (_, keys) = self.keys.iter().find(|(its, _)| *its == realm).expect("a realm");
        &keys[KEY_NAMES.iter().position(|its| *its == name).expect("a key")]
    }

    fn call(&self, realm: &str, method: &str, target: &str) -> Call {
        self.gw.call(method, target).host(&format!("{realm}.test"))
    }
}

/// Status, body to the byte, and the challenge's parameters after the realm (none = no challenge at all).
#[track_caller]
fn is(reply: &Reply, realm: &str, status: u16, body: &str, challenge: Option<&str>) {
    assert_eq!((reply.status, &*reply.text()), (status, body), "{reply:?}");
    let expected = challenge.map(|parameters| format!("Bearer realm=\"{realm}\"{parameters}"));
    assert_eq!(reply.header("www-authenticate"), expected.as_deref(), "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("content-length"), Some(&*body.len().to_string()));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert!(!reply.request_id().is_empty() && reply.header("server").is_none());
}

const NO_ERROR: Option<&str> = Some("");
const INVALID: Option<&str> = Some(", error=\"invalid_token\"");
const TWO: Option<&str> = Some(", error=\"invalid_request\"");

#[test]
fn affilync_answers_as_documented() {
    let house = House::start();
    let get = || house.call("affilync", "GET", "/api/campaigns");
    let expired = r#"{"detail":"Token has expired","error_code":"TOKEN_EXPIRED"}"#;
    let invalid = r#"{"detail":"Invalid token","error_code":"TOKEN_INVALID"}"#;
    let none = r#"{"detail":"Authentication required","error_code":"TOKEN_INVALID"}"#;
    is(&get().send(), "affilync", 401, none, NO_ERROR);
    let token = house.token().scope("campaigns:read");
    is(&get().bearer(&token.clone().expires_in(-1).sign()).send(), "affilync", 401, expired, INVALID);

    // A07, A17, K-02: nothing tells the one from the other.
    let good = house.key("affilync", "good");
    let (prefix, rest) = good.split_at("afk_live_".len());
    let case_changed = format!("{prefix}{}", rest.to_ascii_lowercase());
    for bad in [
        format!("{}x", token.sign()),
        token.clone().header("alg", "none").unsigned(),
        token.clone().claim("iss", "https://other.test").sign(),
        api_key(&["afk", "_live_"].concat()),
        format!("{}x", &good[..good.len() - 1]),
        case_changed,
        house.key("affilync", "idle").to_owned(),
        house.key("affilync", "late").to_owned(),
        house.key("affonso", "good").to_owned(),
    ] {
        is(&get().bearer(&bad).send(), "affilync", 401, invalid, INVALID);
    }

    let scope = r#"{"detail":"The credential lacks a required scope.","error_code":"INSUFFICIENT_SCOPE"}"#;
    let needs = Some(", error=\"insufficient_scope\", scope=\"campaigns:write\"");
    is(&house.call("affilync", "POST", "/api/campaigns").bearer(good).send(), "affilync", 403, scope, needs);
    let two = r#"{"detail":"Send exactly one credential.","error_code":"AMBIGUOUS_CREDENTIAL"}"#;
    is(&get().bearer(good).header("X-API-Key", good).send(), "affilync", 400, two, TWO);
    let outside = r#"{"detail":"This address is not allowed.","error_code":"IP_DENIED"}"#;
    is(&get().bearer(house.key("affilync", "outside")).send(), "affilync", 403, outside, None);
    let nothing = r#"{"detail":"Nothing is found here.","error_code":"NO_ROUTE"}"#;
    is(&house.call("affilync", "GET", "/elsewhere").send(), "affilync", 404, nothing, None);
    let path = r#"{"detail":"The path is ambiguous.","error_code":"PATH_AMBIGUOUS"}"#;
    is(&house.call("affilync", "GET", "/api/../x").send(), "affilync", 400, path, None);
    house.upstream.assert_untouched();
    get().bearer(good).send().ok();
}

#[test]
fn affilync_tells_its_limits_in_the_headers_that_it_documents() {
    let house = House::start();
    let call = || house.call("affilync", "GET", "/limited").bearer(house.key("affilync", "good")).send();
    let told = |reply: &Reply| {
        ["limit", "remaining", "reset"].map(|name| {
            assert_eq!(reply.header(&format!("ratelimit-{name}")), None);
            reply.header(&format!("x-ratelimit-{name}")).expect("the field").to_owned()
        })
    };
    assert_eq!(told(&call().ok()), ["2", "1", "30"]);
    assert_eq!(told(&call().ok()), ["2", "0", "60"]);
    let refused = call();
    is(&refused, "affilync", 429, r#"{"detail":"Too many requests.","error_code":"RATE_LIMIT_EXCEEDED"}"#, None);
    assert_eq!(told(&refused), ["2", "0", "60"]);
    assert_eq!(refused.header("retry-after"), Some("30"));
}

#[test]
fn convertly_answers_as_documented() {
    let house = House::start();
    let call = |method: &str, path: &str, token: &Token| house.call("convertly", method, path).bearer(&token.sign());
    let with = |role: &str, plan: &str| {
        house.token().claim("roles", serde_json::json!([role])).claim("plan", plan).claim("tenant", "brand_456")
    };
    let (admin, member, starter) =
        (with("Brand Admin", "Growth"), with("Brand Member", "Scale"), with("Brand Admin", "Starter"));
    let get = "/v1/affiliates";
    let expired = r#"{"statusCode":401,"message":"Token expired","error":"Unauthorized"}"#;
    is(&call("GET", get, &admin.clone().expires_in(-1)).send(), "convertly", 401, expired, INVALID);
    let none = r#"{"statusCode":401,"message":"Authentication is required.","error":"Unauthorized"}"#;
    is(&house.call("convertly", "GET", get).send(), "convertly", 401, none, NO_ERROR);
    let bad = r#"{"statusCode":401,"message":"The credential is not valid.","error":"Unauthorized"}"#;
    is(&house.call("convertly", "GET", get).bearer("x.y.z").send(), "convertly", 401, bad, INVALID);
    let plan = r#"{"statusCode":403,"message":"The plan does not include this.","error":"Forbidden"}"#;
    is(&call("GET", get, &starter).send(), "convertly", 403, plan, None);
    let scope = r#"{"statusCode":403,"message":"The credential lacks a required scope.","error":"Forbidden"}"#;
    for (method, path, needed) in
        [("POST", "/v1/discounts", "discounts:write"), ("DELETE", "/v1/orders/1", "orders:write")]
    {
        let needs = format!(", error=\"insufficient_scope\", scope=\"{needed}\"");
        is(&call(method, path, &member).send(), "convertly", 403, scope, Some(&needs));
    }
    let nothing = r#"{"statusCode":404,"message":"Nothing is found here.","error":"Not Found"}"#;
    is(&house.call("convertly", "GET", "/v2").send(), "convertly", 404, nothing, None);
    house.upstream.assert_untouched();

    for path in ["/v1/campaigns", "/v1/creators", "/v1/affiliates", "/v1/orders"] {
        call("GET", path, &member).send().ok();
    }
    for (method, path) in [("POST", "/v1/campaigns"), ("PATCH", "/v1/creators/7"), ("DELETE", "/v1/campaigns/7")] {
        call(method, path, &member).send().ok();
    }
    house.upstream.forget();
    // C25: the tenant is the token's, whatever the client says.
    call("POST", "/v1/discounts", &admin).header("X-Auth-Tenant", "brand_1").header("x_auth_tenant", "x").send().ok();
    let seen = house.upstream.only();
    assert_eq!(seen.aliases("X-Auth-Tenant"), [("x-auth-tenant", "brand_456")].map(|(n, v)| (seen_name(&seen, n), v)));
    assert_eq!(seen.header("X-Auth-Roles"), Some("Brand%20Admin"));
}

/// The name as the upstream saw it: letter case is the engine's choice.
fn seen_name<'s>(seen: &'s super::support::upstream::Recorded, name: &'s str) -> &'s str {
    seen.headers.iter().find(|(its, _)| its.eq_ignore_ascii_case(name)).map_or(name, |(its, _)| its)
}

#[test]
fn affonso_answers_as_documented() {
    let house = House::start();
    let get = || house.call("affonso", "GET", "/v1/affiliates");
    let body =
        |code: &str, message: &str| format!(r#"{{"success":false,"error":{{"code":"{code}","message":"{message}"}}}}"#);
    let missing = body("MISSING_API_KEY", "Authentication is required.");
    for call in [get(), get().header("Authorization", "Bearer "), get().header("Authorization", "Basic YTpi")] {
        is(&call.send(), "affonso", 401, &missing, NO_ERROR);
    }
    let invalid = "The credential is not valid.";
    let good = house.key("affonso", "good");
    let spoilt = format!("{}_", &good[..good.len() - 1]);
    for bad in ["foo", &spoilt, &good[..8], "a b", &"x".repeat(9000)] {
        is(&get().bearer(bad).send(), "affonso", 401, &body("INVALID_API_KEY_FORMAT", invalid), INVALID);
    }
    is(&get().header("X-API-Key", "foo").send(), "affonso", 401, &body("INVALID_API_KEY_FORMAT", invalid), INVALID);
    let unknown = api_key(&["sk", "_live_"].concat());
    for (key, code) in [
        (&*unknown, "INVALID_API_KEY"),
        (house.key("affonso", "idle"), "API_KEY_DISABLED"),
        (house.key("affonso", "late"), "API_KEY_EXPIRED"),
    ] {
        is(&get().bearer(key).send(), "affonso", 401, &body(code, invalid), INVALID);
    }
    let lacks = body("INSUFFICIENT_PERMISSIONS", "The credential lacks a required scope.");
    let needs = Some(", error=\"insufficient_scope\", scope=\"write:affiliates\"");
    let post = house.call("affonso", "POST", "/v1/affiliates/7/portal-token").bearer(good);
    is(&post.send(), "affonso", 403, &lacks, needs);
    // The parent's entry serves: `not_found` for `no_route`.
    let nothing = body("NOT_FOUND", "Nothing is found here.");
    is(&house.call("affonso", "GET", "/v2").send(), "affonso", 404, &nothing, None);
    house.upstream.assert_untouched();
    get().bearer(good).send().ok();
}

#[test]
fn gift_cards_answer_as_documented() {
    let house = House::start();
    let get = |path: &str| house.call("giftcards", "GET", path);
    let body = |name: &str, code: &str, message: &str| {
        format!(r#"{{"error":{{"name":"{name}","code":"{code}","message":"{message}"}}}}"#)
    };
    let unauthorized = |message: &str| body("UnauthorizedError", "UNAUTHORIZED", message);
    let token = house.token();
    is(&get("/api/v1/products").send(), "giftcards", 401, &unauthorized("Authentication required"), NO_ERROR);
    let expired = get("/api/v1/products").bearer(&token.clone().expires_in(-1).sign()).send();
    is(&expired, "giftcards", 401, &unauthorized("The token has expired."), INVALID);
    // B15, B21: before the credential, and a stranger's word about its address is not taken.
    let outside = body("ForbiddenError", "FORBIDDEN", "IP address not authorized");
    for call in [get("/api/v1/near/x"), get("/api/v1/near/x").header("X-Forwarded-For", "203.0.113.9")] {
        is(&call.bearer(&token.sign()).send(), "giftcards", 403, &outside, None);
    }
    let two = get("/api/v1/products").bearer("a").header("Authorization", "Bearer b").send();
    is(&two, "giftcards", 400, &body("ValidationException", "VALIDATION_FAILURE", "Send exactly one credential."), TWO);
    // No name is known for 404: its member is left out.
    let nothing = r#"{"error":{"code":"NO_ROUTE","message":"Nothing is found here."}}"#;
    is(&get("/x").send(), "giftcards", 404, nothing, None);
    house.upstream.assert_untouched();
    get("/api/v1/products").header("Content-Type", "application/json").bearer(&token.sign()).send().ok();
    get("/api/v1/limited").bearer(&token.sign()).send().ok();
    let limited = get("/api/v1/limited").bearer(&token.sign()).send();
    let body = body("TooManyRequestsError", "TOO_MANY_REQUESTS", "Too many requests.");
    is(&limited, "giftcards", 429, &body, None);
    assert_eq!((limited.header("retry-after"), limited.header("ratelimit-limit")), (Some("60"), Some("1")));
}

#[test]
fn a_moved_status_changes_the_answer_and_not_what_is_counted() {
    let house = House::start();
    let get = |path: &str| house.call("moved", "GET", path);
    let code = |reply: &Reply| reply.json()["code"].as_str().unwrap_or_default().to_owned();

    let nowhere = get("/nowhere").send().is(403);
    assert_eq!((nowhere.header("x-help"), nowhere.header("www-authenticate")), (Some("https://docs.example"), None));
    assert_eq!(nowhere.header("link"), Some("<https://docs.example>; rel=help"));
    let line = house.gw.line_of(&nowhere);
    assert_eq!((line["status"].as_u64(), line["reason"].as_str()), (Some(403), Some("no_route")));

    // What shall look like nothing there has no challenge to tell it apart.
    let hidden = get("/x").bearer("rubbish").send().is(404);
    assert_eq!(hidden.header("www-authenticate"), None);
    let lacking = get("/x").bearer(&house.token().sign()).send().is(404);
    assert_eq!(lacking.header("www-authenticate"), None);
    // Every 401 has one, whatever made it a 401.
    let outside = get("/near").send().is(401);
    assert_eq!(outside.header("www-authenticate"), Some("Bearer realm=\"moved\""));

    let token = house.token().sign();
    get("/limited").bearer(&token).send().ok();
    let limited = get("/limited").bearer(&token).send().is(503);
    assert_eq!((code(&limited), limited.header("retry-after")), ("later".into(), Some("60")));
    house.gw.metric_becomes("portcullis_denials_total", &[("realm", "moved"), ("reason", "rate_limited")], 1.0);
    house.gw.metric_becomes("portcullis_requests_total", &[("realm", "moved"), ("code", "503")], 1.0);

    let token = house.token().scope("x").sign();
    drop(house.upstream);
    let down = eventually("the upstream is gone", || {
        let reply = house.gw.get("/x").host("moved.test").bearer(&token).send();
        (reply.status == 502).then_some(reply)
    });
    assert_eq!(code(&down), "down", "the parent serves its child with its own status");
}
