//! Declared API keys (attacks section 4): what is a key, whose it is, what it may, and where it never shows.

use std::time::Duration;

use super::support::NOW;
use super::support::caller::Call;
use super::support::gateway::Gateway;
use super::support::realms::{Standard, api_key, key_digest, key_prefix};
use super::support::upstream::Upstream;

struct House {
    gw: Gateway,
    upstream: Upstream,
    standard: Standard,
    keys: Vec<(&'static str, String)>,
}

const NAMES: [&str; 9] = ["heir", "poor", "none", "soon", "old", "new", "odd", "free", "away"];

/// Clients in all shapes; `{NAME}` stands for the digest of a key.
const CLIENTS: &str = r#"
[[api_keys]]
prefix = "import."
checksum = false
from = ["header:authorization", "query:key", "cookie:key"]

[clients.heir]
scopes = ["campaigns:*"]
roles = ["editor"]
keys = [
    { id = "k-heir", sha256 = "{heir}" },
    { id = "k-poor", sha256 = "{poor}", scopes = ["campaigns:read", "links:read"] },
    { id = "k-none", sha256 = "{none}", scopes = [] },
    { id = "k-soon", sha256 = "{soon}", expires = 2025-11-20T23:46:54Z },
    { id = "k-away", sha256 = "{away}", scopes = [], disabled = true, ip_allowlist = ["203.0.113.0/24"] },
]

[clients.rotating]
scopes = ["campaigns:read"]
keys = [{ id = "k-old", sha256 = "{old}", expires = 2025-11-21T00:00:00Z }, { id = "k-new", sha256 = "{new}" }]

[clients."Ann & Söhne 100%"]
plan = "très cher"
tenant = "a,b"
roles = ["editor", "root"]
attributes = { seats = 12, beta = true, ratio = 0.5, tags = ["x y", "z"], nested = { a = 1 }, empty = "" }
keys = [{ id = "k:1 ü%", sha256 = "{odd}" }]

[clients.free]
keys = [{ id = "k-free", sha256 = "{free}", scopes = ["links:read"] }]

[identity_headers.extra]
seats = "X-Seats"
beta = "X-Beta"
ratio = "X-Ratio"
tags = "X-Tags"
nested = "X-Nested"
"/nested/a" = "X-Nested-A"
empty = "X-Empty"
missing = "X-Missing"

[[routes]]
path = "/keys/**"
auth = ["api_key"]

[[routes]]
path = "/links/**"
auth = ["api_key"]
scopes = ["links:read"]

[[routes]]
path = "/header-only/**"
auth = ["api_key"]
from = ["header:authorization"]

[[routes]]
path = "/shown/**"
auth = ["api_key"]
forward_credential = true
"#;

impl House {
    fn start() -> Self {
        let (upstream, standard) = (Upstream::start(), Standard::new());
        let keys: Vec<_> = NAMES.iter().map(|name| (*name, api_key(&key_prefix()))).collect();
        let mut clients = CLIENTS.to_owned();
        for (name, key) in &keys {
            clients = clients.replace(&format!("\"{{{name}}}\""), &format!("\"{}\"", key_digest(key)));
        }
        clients.push_str(&format!(
            "\n[clients.imported]\nkeys = [{{ id = \"k-import\", sha256 = \"{}\" }}]\n",
            key_digest(IMPORTED)
        ));
        let gw = Gateway::builder().standard_with(&standard, &clients).upstream(&upstream).start();
        Self { gw, upstream, standard, keys }
    }

    fn key(&self, name: &str) -> &str {
        &self.keys.iter().find(|(its, _)| *its == name).expect("a key of the list").1
    }

    fn with(&self, target: &str, name: &str) -> Call {
        self.gw.get(target).header("X-API-Key", self.key(name))
    }
}

/// A key of another system.
const IMPORTED: &str = "import.7~!*()-Ab";

#[test]
fn a_key_inherits_from_its_client_and_never_has_more() {
    let house = House::start();
    house.with("/campaigns/x", "heir").send().ok();
    assert_eq!(house.upstream.last().header("x-auth-scopes"), Some("campaigns:* campaigns:read campaigns:write"));
    house.gw.call("POST", "/campaigns/x").header("X-API-Key", house.key("heir")).send().ok();
    house.with("/links/x", "heir").send().denied("insufficient_scope");

    house.with("/campaigns/x", "poor").send().ok();
    assert_eq!(house.upstream.last().header("x-auth-scopes"), Some("campaigns:read"), "links are not its client's");
    house.with("/links/x", "poor").send().denied("insufficient_scope");
    house.gw.call("POST", "/campaigns/x").header("X-API-Key", house.key("poor")).send().denied("insufficient_scope");

    house.with("/campaigns/x", "none").send().denied("insufficient_scope");
    house.with("/keys/x", "none").send().ok();
    assert_eq!(house.upstream.last().header("x-auth-scopes"), None);
    // A client without any scopes does not limit its keys.
    house.with("/links/x", "free").send().ok();
    house.with("/campaigns/x", "free").send().denied("insufficient_scope");
}

#[test]
fn an_expiry_is_exact_and_two_keys_work_side_by_side() {
    let house = House::start();
    assert_eq!(NOW.0 % 60_000, 54_000, "the expiry in the configuration is a minute later");
    for name in ["soon", "old", "new"] {
        house.with("/keys/x", name).send().ok();
    }
    house.gw.pass(Duration::from_millis(59_999));
    house.with("/keys/x", "soon").send().ok();
    house.gw.pass(Duration::from_millis(1));
    house.with("/keys/x", "soon").send().denied("key_expired");
    house.gw.pass(Duration::from_secs(3600));
    house.with("/keys/x", "old").send().denied("key_expired");
    house.with("/keys/x", "new").send().ok();
    assert_eq!(house.upstream.last().header("x-auth-credential-id"), Some("k-new"));
}

#[test]
fn whatever_a_client_is_called_its_headers_are_visible_ascii_and_reversible() {
    let house = House::start();
    house.with("/keys/x", "odd").header("X-Missing", "spoofed").send().ok();
    let seen = house.upstream.only();
    for (name, value) in [
        ("X-Auth-Subject", Some("Ann%20&%20S%C3%B6hne%20100%25")),
        ("X-Auth-Client", Some("Ann%20&%20S%C3%B6hne%20100%25")),
        ("X-Auth-Credential-Id", Some("k:1%20%C3%BC%25")),
        ("X-Auth-Realm", Some("api")),
        ("X-Auth-Method", Some("api_key")),
        ("X-Auth-Roles", Some("editor root")),
        ("X-Auth-Plan", Some("tr%C3%A8s%20cher")),
        ("X-Auth-Tenant", Some("a,b")),
        ("X-Seats", Some("12")),
        ("X-Beta", Some("true")),
        ("X-Ratio", Some("0.5")),
        ("X-Tags", Some("x%20y z")),
        ("X-Nested-A", Some("1")),
        // Absent values leave no header, and neither do structures.
        ("X-Auth-Issuer", None),
        ("X-Nested", None),
        ("X-Empty", None),
        ("X-Missing", None),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    let id = house.gw.log().line_where("the odd key", |line| line["credential_id"] == "k:1 ü%");
    assert_eq!(id["client"], "Ann & Söhne 100%");
}

#[test]
fn k02_nothing_else_is_told_before_the_key_has_proved_valid() {
    let house = House::start();
    // Disabled, from elsewhere and without scope at once: only the first is told.
    house.with("/campaigns/x", "away").send().denied("key_disabled");
    house.gw.get("/links/x").header("X-API-Key", api_key(&key_prefix())).send().denied("key_unknown");
    let bodies: Vec<_> = (0..3)
        .map(|_| house.gw.get("/keys/x").header("X-API-Key", api_key(&key_prefix())).send().denied("key_unknown"))
        .map(|reply| reply.text().replace(reply.request_id(), "ID"))
        .collect();
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
    house.upstream.assert_untouched();
}

#[test]
fn k05_a_key_in_an_undeclared_place_is_not_looked_at_and_never_logged() {
    let house = House::start();
    let key = house.key("heir");
    let get = |target: &str| house.gw.get(target);
    for call in [
        get(&format!("/header-only/x?api_key={key}&x-api-key={key}&key={key}&apikey={key}")),
        get(&format!("/header-only/{key}")),
        get("/header-only/x").header("Cookie", format!("key={key}; api_key={key}")),
        get("/header-only/x").header("Referer", format!("http://a.test/?k={key}")).header("X-API-Key", key),
        get("/header-only/x").header("User-Agent", format!("curl {key}")),
        house.gw.call("POST", "/header-only/x").body(format!("api_key={key}")),
        get("/header-only/x").header("X-Request-Id", key),
    ] {
        let reply = call.send().denied("missing_credentials");
        assert!(!format!("{reply:?}").contains(key), "{reply:?}");
        house.gw.line_of(&reply);
    }
    house.gw.caller().send_raw(format!("GET /header-only/x#{key} HTTP/1.1\r\nHost: api.test\r\n\r\n")).is(400);
    house.upstream.assert_untouched();
    // K-16: nor does a key that is good show anywhere.
    get("/header-only/x").bearer(key).header("X-Request-Id", key).send().ok();
    get(&format!("/keys/{key}?{key}")).header("X-API-Key", key).header("User-Agent", key).send().ok();
    let seen = house.upstream.requests();
    assert!(
        seen.iter().all(|request| request
            .headers
            .iter()
            .all(|(n, v)| !v.contains(key) || n.eq_ignore_ascii_case("user-agent")))
    );
    house.gw.metric_becomes("portcullis_requests_total", &[("outcome", "forwarded")], 2.0);
    house
        .gw
        .log()
        .line_where("the last request", |line| line["credential_id"] == "k-heir" && line["route"] == "/keys/**");
    for (what, text) in [("log", house.gw.log().text()), ("metrics", house.gw.metrics())] {
        assert!(!text.contains(key), "{what}");
        assert!(!text.contains(&key_digest(key)), "{what}");
    }
}

#[test]
fn k07_only_the_exact_text_is_the_key() {
    let house = House::start();
    let key = house.key("heir").to_owned();
    let prefix = key_prefix();
    let other = api_key(&["pk", "_live_"].concat());
    for (bad, reason) in [
        (prefix.clone(), "key_malformed"),
        (other, "key_malformed"),
        (key.to_uppercase(), "key_malformed"),
        (key.replacen("pk_", "PK_", 1), "key_malformed"),
        (format!("{key}x"), "key_malformed"),
        (format!("{key}%00"), "key_malformed"),
        (format!("{prefix}{key}"), "key_malformed"),
        (format!("{prefix}{}", "a".repeat(10_000)), "key_malformed"),
        (key[1..].to_owned(), "key_malformed"),
        (format!("\"{key}\""), "key_malformed"),
        (format!("Bearer {key}"), "key_malformed"),
        (format!("{key},{key}"), "ambiguous_credential"),
    ] {
        house.gw.get("/keys/x").header("X-API-Key", &bad).send().denied(reason);
    }
    let mut look_alike = key.clone().into_bytes();
    look_alike[0] = 0xd1;
    let reply = house.gw.get("/keys/x").header("X-API-Key", &look_alike).send();
    assert!(matches!(reply.status, 400 | 401), "{reply:?}");
    house.upstream.assert_untouched();
    // Blanks around a value are no part of it (RFC 9110 section 5.5).
    house.gw.get("/keys/x").header("X-API-Key", format!(" {key} ")).send().ok();
}

#[test]
fn a_key_in_a_place_of_keys_is_malformed_whatever_else_the_route_takes() {
    let house = House::start();
    for bad in ["rubbish", "a b", "Bearer x", &"x".repeat(9000)] {
        house.gw.get("/me/x").header("X-API-Key", bad).send().denied("key_malformed");
        house.gw.get("/keys/x").header("apikey", bad).send().denied("key_malformed");
        house.gw.get("/keys/x").bearer(bad).send().denied("key_malformed");
        house.gw.get("/me/x").bearer(bad).send().denied("token_invalid");
    }
    house.gw.get("/keys/x").bearer(&house.standard.alice().sign()).send().denied("key_malformed");
}

#[test]
fn k08_a_key_belongs_to_its_realm() {
    let upstream = Upstream::start();
    let (shared, own) = (api_key("rk_"), api_key("rk_"));
    let realm = |name: &str, client: &str, keys: &[(&str, &str)]| {
        let keys = keys.iter().map(|(id, key)| format!("{{ id = \"{id}\", sha256 = \"{}\" }}", key_digest(key)));
        let keys: Vec<_> = keys.collect();
        format!(
            "realm = \"{name}\"\nhosts = [\"{name}.test\"]\nupstream = \"http://{{upstream}}\"\n\
             [[api_keys]]\nprefix = \"rk_\"\n[clients.{client}]\nkeys = [{}]\n\
             [[routes]]\npath = \"/**\"\nauth = [\"api_key\"]\n",
            keys.join(", ")
        )
    };
    let gw = Gateway::builder()
        .realm_toml(&realm("one", "ann", &[("k-1", &shared), ("k-own", &own)]))
        .realm_toml(&realm("two", "bob", &[(&own, &shared)]))
        .upstream(&upstream)
        .start();
    let call = |host: &str, key: &str| gw.get("/x").host(host).header("X-API-Key", key).send();
    call("two.test", &own).denied("key_unknown");
    upstream.assert_untouched();
    for (host, client) in [("one.test", "ann"), ("two.test", "bob")] {
        call(host, &shared).ok();
        assert_eq!(upstream.last().header("x-auth-client"), Some(client));
    }
    call("one.test", &own).ok();
    // What one realm knows does not become known to the other by having been seen.
    call("two.test", &own).denied("key_unknown");
}

#[test]
fn k14_a_flood_of_bad_credentials_pushes_no_good_one_out() {
    let house = House::start();
    let good = house.standard.alice().sign();
    house.gw.get("/me/x").bearer(&good).send().ok();
    let mut connection = house.gw.caller().connect();
    for n in 0..300 {
        house
            .gw
            .get("/me/x")
            .header("X-API-Key", api_key(&key_prefix()))
            .send_on(&mut connection)
            .denied("key_unknown");
        let bad = format!("{}{n}", house.standard.alice().subject(&format!("s{n}")).sign());
        house.gw.get("/me/x").bearer(&bad).send_on(&mut connection).denied("token_invalid");
    }
    let hits = || house.gw.metric("portcullis_cache_requests_total", &[("cache", "tokens"), ("result", "hit")]);
    let before = hits();
    house.gw.get("/me/x").bearer(&good).send().ok();
    super::support::eventually("the good token was still known", || (hits() > before).then_some(()));
    assert!(house.gw.metric("portcullis_cache_entries", &[("cache", "tokens")]) <= 1.0);
}

#[test]
fn an_imported_key_stands_where_its_form_says_and_is_taken_out_there() {
    let house = House::start();
    let encoded = IMPORTED.replace('~', "%7E");
    house.gw.get(&format!("/keys/x?a=%20&key={encoded}&b")).send().ok();
    assert_eq!(house.upstream.last().target, "/keys/x?a=%20&b");
    house.gw.get(&format!("/keys/x?key={IMPORTED}")).send().ok();
    assert_eq!(house.upstream.last().target, "/keys/x");
    let cookies = |value: String| house.gw.get("/keys/x").header("Cookie", value).send().ok();
    cookies(format!("a=\"1 2\"; key={IMPORTED}; b=%zz"));
    assert_eq!(house.upstream.last().header("cookie"), Some("a=\"1 2\"; b=%zz"));
    cookies(format!("key={IMPORTED}"));
    assert_eq!(house.upstream.last().all("cookie"), Vec::<&str>::new());
    house.gw.get("/keys/x").bearer(IMPORTED).send().ok();
    assert_eq!(house.upstream.last().header("authorization"), None);
    // A key of this form is none where its form does not stand, nor one of the other form here.
    house.gw.get("/keys/x").header("X-API-Key", IMPORTED).send().denied("key_malformed");
    house.gw.get(&format!("/keys/x?key={}", house.key("heir"))).send().denied("key_malformed");
    let both = house.gw.get(&format!("/keys/x?key={IMPORTED}")).header("Cookie", format!("key={IMPORTED}"));
    both.send().denied("ambiguous_credential");

    house.gw.get(&format!("/shown/x?key={IMPORTED}&b")).header("Cookie", "a=1").send().ok();
    assert_eq!(house.upstream.last().target, format!("/shown/x?key={IMPORTED}&b"));
    house.gw.get("/shown/x").header("Cookie", format!("key={IMPORTED}")).send().ok();
    assert_eq!(house.upstream.last().header("cookie"), Some(&*format!("key={IMPORTED}")));
}

#[test]
fn an_answer_to_a_credential_in_the_url_is_stored_by_nobody() {
    let house = House::start();
    use super::support::upstream::Respond;
    let answer = "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\nContent-Length: 0\r\n\r\n";
    house.upstream.respond(Respond::Raw(answer.as_bytes().to_vec()));
    let reply = house.gw.get(&format!("/keys/x?key={IMPORTED}")).send().ok();
    assert_eq!(reply.all("cache-control"), ["no-store"]);
    // Elsewhere the upstream's word stands.
    let reply = house.gw.get("/keys/x").bearer(IMPORTED).send().ok();
    assert_eq!(reply.all("cache-control"), ["public, max-age=60"]);
}
