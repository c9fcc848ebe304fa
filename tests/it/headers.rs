//! Credentials, identity headers and proxy headers (attacks section 3.3): what a client may say about itself, and what
//! the upstream gets to see of it.

use crate::support::caller::Reply;
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::upstream::{Recorded, Respond, Upstream};

/// Default names of the identity headers.
const IDENTITY: [&str; 10] = [
    "X-Auth-Subject",
    "X-Auth-Client",
    "X-Auth-Realm",
    "X-Auth-Method",
    "X-Auth-Credential-Id",
    "X-Auth-Issuer",
    "X-Auth-Scopes",
    "X-Auth-Roles",
    "X-Auth-Plan",
    "X-Auth-Tenant",
];

/// Characters that may stand in a header's name and are no letters or digits (RFC 9110 section 5.6.2).
const TOKEN_MARKS: &str = "!#$%&'*+-.^_`|~";

struct House {
    upstream: Upstream,
    standard: Standard,
    gateway: Gateway,
}

fn house() -> House {
    house_with("", "")
}

/// The standard realm with more at its end, and more in `[server]`.
fn house_with(realm: &str, server: &str) -> House {
    let upstream = Upstream::start();
    let standard = Standard::new();
    let gateway = Gateway::builder().standard_with(&standard, realm).server_toml(server).upstream(&upstream).start();
    House { upstream, standard, gateway }
}

impl House {
    fn token(&self) -> String {
        self.standard.alice().sign()
    }

    /// Fails unless the refusal reached nobody, and a good request is answered afterwards.
    #[track_caller]
    fn refused(&self, reply: Reply, reason: &str) {
        reply.denied(reason);
        self.upstream.assert_untouched();
    }

    /// The next good request is answered as if nothing had happened.
    #[track_caller]
    fn still_works(&self) {
        self.gateway.get("/me/again").bearer(&self.token()).send().ok();
        self.upstream.forget();
    }
}

/// What stands in identity headers, whatever way they are written.
fn identity_of(request: &Recorded) -> Vec<(&str, &str)> {
    IDENTITY.iter().flat_map(|name| request.aliases(name)).collect()
}

#[test]
fn h25_two_credentials_are_ambiguous_even_when_both_are_good() {
    let house = house();
    let (good, bad) = (format!("Bearer {}", house.token()), "Bearer x.y.z".to_owned());
    for (first, second) in [(&good, &bad), (&bad, &good), (&good, &good)] {
        let call = house.gateway.get("/me/x").header("Authorization", first).header("authorization", second);
        house.refused(call.send(), "ambiguous_credential");
    }
    let joined = house.gateway.get("/me/x").header("Authorization", format!("{good}, {bad}"));
    house.refused(joined.send(), "ambiguous_credential");
    let key = &house.standard.partner_key;
    let both = house.gateway.get("/me/x").header("Authorization", &good).header("X-API-Key", key);
    house.refused(both.send(), "ambiguous_credential");
    let twice = house.gateway.get("/me/x").header("X-API-Key", key).header("X-API-Key", key);
    house.refused(twice.send(), "ambiguous_credential");
    let names = house.gateway.get("/me/x").header("X-API-Key", key).header("apikey", key);
    house.refused(names.send(), "ambiguous_credential");
    house.still_works();
}

#[test]
fn h25_a_credential_in_the_query_or_a_cookie_is_ambiguous_beside_one_in_a_header() {
    let house = house();
    let token = house.token();
    for (target, cookie) in [
        (format!("/query/x?token={token}"), None),
        ("/query/x".to_owned(), Some(format!("session={token}"))),
        (format!("/query/x?token={token}"), Some(format!("session={token}"))),
    ] {
        let with = |call: crate::support::caller::Call| match &cookie {
            Some(cookie) => call.header("Cookie", cookie),
            None => call,
        };
        let beside = with(house.gateway.get(&target).bearer(&token));
        house.refused(beside.send(), "ambiguous_credential");
    }
    let twice = house.gateway.get(&format!("/query/x?token={token}&a=1&token={token}"));
    house.refused(twice.send(), "ambiguous_credential");
    let cookies = house.gateway.get("/query/x").header("Cookie", format!("session={token}; a=1; session={token}"));
    house.refused(cookies.send(), "ambiguous_credential");
    // Each alone is good.
    house.gateway.get(&format!("/query/x?token={token}")).send().ok();
    house.gateway.get("/query/x").header("Cookie", format!("a=1; session={token}")).send().ok();
}

#[test]
fn h26_the_scheme_is_read_in_any_case_and_one_or_more_blanks_follow_it() {
    let house = house();
    let token = house.token();
    for value in [
        format!("Bearer {token}"),
        format!("bearer {token}"),
        format!("BEARER {token}"),
        format!("Bearer  {token}"),
        // Blanks around a value are no part of it (RFC 9110 section 5.5).
        format!("  Bearer {token} "),
    ] {
        house.gateway.get("/jwt/x").header("Authorization", &value).send().ok();
    }
}

#[test]
fn h26_what_is_no_bearer_credential_is_refused_with_a_challenge() {
    let house = house();
    let token = house.token();
    for value in ["Bearer", "Bearer ", "Basic YWxpY2U6c2VjcmV0", ""] {
        let reply = house.gateway.get("/jwt/x").header("Authorization", value).send();
        house.refused(reply, "missing_credentials");
    }
    let malformed = [
        format!("Bearer\t{token}"),
        format!("Bearer {token} x"),
        format!("Bearer \"{token}\""),
        format!("Bearer={token}"),
        format!("DPoP {token}"),
        token.clone(),
        format!("Bearer {token}="),
    ];
    for value in malformed {
        let reply = house.gateway.get("/jwt/x").header("Authorization", &value).send();
        house.refused(reply.clone(), "token_invalid");
        let why = house.gateway.why(&reply);
        assert!(["token_invalid:format", "token_invalid:scheme"].contains(&&*why), "{value}: {why}");
    }
    let mut other = format!("Bearer {token}").into_bytes();
    other.push(0xe4);
    let reply = house.gateway.get("/jwt/x").header("Authorization", &other).send();
    assert!(matches!(reply.status, 400 | 401), "{reply:?}");
    house.upstream.assert_untouched();
    house.still_works();
}

/// The ways in which a client can write a header's name so that some software takes it for `name`.
fn disguises(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned(), name.to_lowercase(), name.to_uppercase()];
    names.extend(TOKEN_MARKS.chars().map(|mark| name.replace('-', &mark.to_string())));
    names.push(name.replacen('-', "_", 1));
    names
}

#[test]
fn h28_every_alias_of_an_identity_header_is_stripped_on_every_route() {
    let house = house();
    let token = house.token();
    for name in IDENTITY {
        for disguise in disguises(name) {
            for (target, bearer) in
                [("/public/x", None), ("/optional/x", None), ("/jwt/x", Some(&token)), ("/passed-on/x", Some(&token))]
            {
                let mut call = house.gateway.get(target);
                if let Some(token) = bearer {
                    call = call.bearer(token);
                }
                let reply = call.header(&disguise, "spoofed").header(&disguise, "twice").send();
                if reply.status == 400 {
                    house.upstream.assert_untouched();
                    continue;
                }
                reply.ok();
                let seen = house.upstream.last();
                let ours = seen.aliases(name);
                assert!(ours.len() <= 1, "{disguise} on {target}: {ours:?}");
                assert!(ours.iter().all(|(_, value)| !matches!(*value, "spoofed" | "twice")), "{disguise}: {ours:?}");
                if bearer.is_none() {
                    assert!(identity_of(&seen).is_empty(), "{disguise} on {target}: {seen:?}");
                }
                house.upstream.forget();
            }
        }
    }
}

#[test]
fn h28_the_upstream_gets_the_proven_identity_exactly_once() {
    let house = house();
    let token = house.standard.alice().scope("campaigns:read links:read").claim("plan", "Growth").sign();
    let mut call = house.gateway.get("/jwt/x").bearer(&token);
    for name in IDENTITY {
        call = call.header(name, "mallory").header(&name.replace('-', "_"), "mallory");
    }
    call.send().ok();
    let seen = house.upstream.only();
    assert_eq!(seen.header("X-Auth-Subject"), Some("alice"));
    assert_eq!(seen.header("X-Auth-Realm"), Some("api"));
    assert_eq!(seen.header("X-Auth-Method"), Some("jwt"));
    assert_eq!(seen.header("X-Auth-Issuer"), Some("house"));
    assert_eq!(seen.header("X-Auth-Scopes"), Some("campaigns:read links:read"));
    assert_eq!(seen.header("X-Auth-Plan"), Some("Growth"));
    assert!(identity_of(&seen).iter().all(|(_, value)| *value != "mallory"), "{seen:?}");

    house.upstream.forget();
    house
        .gateway
        .get("/me/x")
        .header("X-API-Key", &house.standard.partner_key)
        .header("X-Auth-Issuer", "x")
        .send()
        .ok();
    let seen = house.upstream.only();
    assert_eq!(seen.header("X-Auth-Subject"), Some("partner"));
    assert_eq!(seen.header("X-Auth-Client"), Some("partner"));
    assert_eq!(seen.header("X-Auth-Method"), Some("api_key"));
    assert_eq!(seen.header("X-Auth-Credential-Id"), Some("k-partner"));
    assert_eq!(seen.header("X-Auth-Tenant"), Some("acme"));
    assert_eq!(seen.aliases("X-Auth-Issuer"), []);
}

#[test]
fn h28_an_empty_identity_header_is_stripped_too() {
    let house = house();
    house.gateway.get("/public/x").header("X-Auth-Subject", "").header("x_auth_roles", "").send().ok();
    assert!(identity_of(&house.upstream.only()).is_empty());
}

#[test]
fn h28_identity_headers_do_not_help_a_request_that_fails() {
    let house = house();
    for call in [house.gateway.get("/jwt/x"), house.gateway.get("/admin/x").header("X-Auth-Scopes", "admin")] {
        house.refused(call.header("X-Auth-Subject", "alice").send(), "missing_credentials");
    }
    let reply = house.gateway.get("/admin/x").bearer(&house.token()).header("X-Auth-Scopes", "admin").send();
    house.refused(reply, "insufficient_scope");
}

#[test]
fn h28_identity_in_trailers_is_never_merged_into_headers() {
    let house = house();
    let trailers = [("X-Auth-Subject", "mallory"), ("X-Auth-Roles", "root"), ("Authorization", "Bearer x")];
    for (target, bearer) in [("/public/x", None), ("/jwt/x", Some(house.token()))] {
        let mut call = house.gateway.call("POST", target);
        if let Some(token) = &bearer {
            call = call.bearer(token);
        }
        call.chunked(&["body"], &trailers).send().ok();
        let seen = house.upstream.only();
        assert_eq!(seen.body, b"body");
        let subjects: Vec<_> = seen.aliases("X-Auth-Subject").into_iter().map(|(_, value)| value).collect();
        assert_eq!(subjects, if bearer.is_some() { vec!["alice"] } else { vec![] });
        assert_eq!((seen.aliases("X-Auth-Roles"), seen.aliases("Authorization")), (vec![], vec![]));
        house.upstream.forget();
    }
}

#[test]
fn h28_a_websocket_carries_the_proven_identity_and_no_other() {
    let house = house();
    house.upstream.respond(Respond::WebSocket);
    let upgrade = |target: &str| {
        house
            .gateway
            .get(target)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("X-Auth-Subject", "mallory")
            .header("x_auth_subject", "mallory")
    };
    house.refused(upgrade("/jwt/ws").send(), "missing_credentials");
    let mut connection = house.gateway.caller().connect();
    upgrade("/jwt/ws").bearer(&house.token()).send_on(&mut connection).is(101);
    connection.write("hello");
    assert_eq!(connection.read_exactly(5), b"hello");
    let seen = house.upstream.only();
    let seen: Vec<_> = seen.aliases("X-Auth-Subject").iter().map(|(_, value)| value.to_owned()).collect();
    assert_eq!(seen, ["alice"]);
    house.upstream.forget();
    upgrade("/public/ws").send().is(101);
    assert!(identity_of(&house.upstream.only()).is_empty());
}

#[test]
fn h28_renamed_and_left_out_identity_headers_stay_owned() {
    let more =
        "\n[identity_headers]\nsubject = \"X-User-Id\"\nroles = \"\"\n\n[identity_headers.extra]\nteam = \"X-Team\"\n";
    let house = house_with(more, "");
    let token = house.standard.alice().claim("team", "blue").sign();
    for bearer in [None, Some(&token)] {
        let mut call = house.gateway.get(if bearer.is_some() { "/jwt/x" } else { "/public/x" });
        if let Some(token) = bearer {
            call = call.bearer(token);
        }
        for name in ["X-User-Id", "X.User.Id", "x_user_id", "X-Auth-Subject", "X_Auth_Roles", "X-Team", "x_team"] {
            call = call.header(name, "mallory");
        }
        call.send().ok();
        let seen = house.upstream.only();
        let values = |name: &str| seen.aliases(name).into_iter().map(|(_, v)| v.to_owned()).collect::<Vec<_>>();
        let expected = |value: &str| if bearer.is_some() { vec![value.to_owned()] } else { vec![] };
        assert_eq!(values("X-User-Id"), expected("alice"));
        assert_eq!(values("X-Team"), expected("blue"));
        assert_eq!((values("X-Auth-Subject"), values("X-Auth-Roles")), (vec![], vec![]));
        house.upstream.forget();
    }
}

#[test]
fn h29_a_client_cannot_have_our_identity_headers_removed_as_hop_by_hop() {
    let house = house();
    let twelve = (0..12).map(|n| format!("x-hop-{n}")).collect::<Vec<_>>().join(", ") + ", X-Auth-Subject";
    for lines in [
        vec!["X-Auth-Subject"],
        vec!["x-auth-subject"],
        vec!["x_auth_subject"],
        vec!["close, X-Auth-Subject"],
        vec!["keep-alive, X-Auth-Tenant, X-Auth-Subject"],
        vec!["X-Auth-Realm", "X-Auth-Subject"],
        vec![&*twelve],
        vec!["authorization, X-Auth-Subject, x-request-id, x-forwarded-for"],
    ] {
        let mut call = house.gateway.get("/jwt/x").bearer(&house.token());
        for line in &lines {
            call = call.header("Connection", line);
        }
        let reply = call.send();
        if reply.status == 400 {
            house.upstream.assert_untouched();
            continue;
        }
        reply.ok();
        let seen = house.upstream.only();
        assert_eq!(seen.header("X-Auth-Subject"), Some("alice"), "{lines:?}");
        assert_eq!(seen.header("X-Auth-Realm"), Some("api"), "{lines:?}");
        assert_eq!(seen.header("X-Forwarded-For"), Some("127.0.0.1"), "{lines:?}");
        assert!(seen.header("X-Request-Id").is_some(), "{lines:?}");
        house.upstream.forget();
    }
}

#[test]
fn h29_identity_survives_being_nominated_in_an_upgrade() {
    let house = house();
    house.upstream.respond(Respond::WebSocket);
    let call = house
        .gateway
        .get("/jwt/ws")
        .bearer(&house.token())
        .header("Connection", "Upgrade, X-Auth-Subject")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    call.send().is(101);
    assert_eq!(house.upstream.only().header("X-Auth-Subject"), Some("alice"));
}

#[test]
fn h29_a_malformed_or_protected_nomination_is_refused() {
    let house = house();
    for line in ["\"X-User\"", ":authority", "host", "close, host", "x y", "x\tz: 1"] {
        let reply = house.gateway.get("/jwt/x").bearer(&house.token()).header("Connection", line).send();
        assert_eq!(reply.status, 400, "{line}: {reply:?}");
        house.upstream.assert_untouched();
    }
    house.still_works();
}

/// Headers by which proxies tell upstreams things that only a proxy may say.
const PROXY_HEADERS: [(&str, &str); 32] = [
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Host", "other.test"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "443"),
    ("X-Forwarded-Prefix", "/admin"),
    ("X-Forwarded-Uri", "/admin/x"),
    ("X-Forwarded-Method", "DELETE"),
    ("X-Forwarded-User", "mallory"),
    ("X-Forwarded-Client-Cert", "By=spiffe://x;Hash=0"),
    ("Forwarded", "for=203.0.113.7;proto=https;host=other.test"),
    ("X-Real-IP", "203.0.113.7"),
    ("True-Client-IP", "203.0.113.7"),
    ("CF-Connecting-IP", "203.0.113.7"),
    ("X-Original-URL", "/admin/x"),
    ("X-Rewrite-URL", "/admin/x"),
    ("X-Envoy-External-Address", "203.0.113.7"),
    ("X-Envoy-Original-Path", "/admin/x"),
    ("X-Envoy-Internal", "true"),
    ("X-Middleware-Subrequest", "middleware"),
    ("X-SSL-Client-Cert", "PEM"),
    ("X-SSL-Client-Verify", "SUCCESS"),
    ("X-SSL-Client-S-DN", "CN=mallory"),
    ("X-Client-Cert", "PEM"),
    ("Ssl-Client-Cert", "PEM"),
    ("Client-Cert", ":MIIB:"),
    ("Client-Cert-Chain", ":MIIB:"),
    ("X-Amzn-Mtls-Clientcert", "PEM"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-HTTP-Method", "DELETE"),
    ("X-Method-Override", "DELETE"),
    ("X_Forwarded_User", "mallory"),
    ("X.Real.IP", "203.0.113.7"),
];

#[test]
fn h31_what_only_a_proxy_may_say_is_not_taken_from_anybody_else() {
    let house = house();
    for (name, value) in PROXY_HEADERS {
        house.gateway.get("/public/x").header(name, value).send().ok();
        let seen = house.upstream.only();
        let passed: Vec<_> = seen.aliases(name).into_iter().filter(|(_, v)| *v == value).collect();
        assert!(passed.is_empty(), "{name}: {passed:?}");
        assert_eq!(seen.header("X-Forwarded-For"), Some("127.0.0.1"), "{name}");
        assert_eq!(seen.header("X-Forwarded-Proto"), Some("http"), "{name}");
        assert_eq!(seen.header("X-Forwarded-Host"), Some("api.test"), "{name}");
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/public/x"), "{name}");
        house.upstream.forget();
    }
}

#[test]
fn h31_forwarding_headers_choose_no_route_no_realm_and_no_trust() {
    let other = "realm = \"other\"\nhosts = [\"other.test\"]\nupstream = \"http://{upstream}\"\n\
                 [[routes]]\nname = \"all\"\npath = \"/**\"\nauth = [\"public\"]\n";
    let upstream = Upstream::start();
    let standard = Standard::new();
    let gateway = Gateway::builder().standard(&standard).realm_toml(other).upstream(&upstream).start();
    for (name, value) in [
        ("X-Forwarded-Host", "other.test"),
        ("Forwarded", "host=other.test;proto=https"),
        ("X-Original-Host", "other.test"),
        ("X-Original-URL", "/public/x"),
        ("X-Rewrite-URL", "/public/x"),
        ("X-Forwarded-Uri", "/public/x"),
        ("X-Forwarded-Prefix", "/public"),
        ("X-Envoy-Original-Path", "/public/x"),
        ("X-Middleware-Subrequest", "src/middleware:src/middleware"),
        ("X-Forwarded-User", "alice"),
        ("X-SSL-Client-Verify", "SUCCESS"),
    ] {
        gateway.get("/jwt/x").header(name, value).send().denied("missing_credentials");
        upstream.assert_untouched();
    }
}

#[test]
fn h32_looking_like_a_health_check_opens_nothing() {
    let house = house();
    for agent in ["GoogleHC/1.0", "kube-probe/1.29", "ELB-HealthChecker/2.0", "Prometheus/2.50"] {
        let reply = house.gateway.get("/jwt/x").header("User-Agent", agent).send();
        house.refused(reply, "missing_credentials");
        for path in ["/healthz", "/health", "/ready", "/readyz", "/livez", "/ping", "/metrics"] {
            let reply = house.gateway.get(path).header("User-Agent", agent).send();
            house.refused(reply, "no_route");
        }
    }
}

#[test]
fn h34_the_method_that_is_judged_is_the_method_that_is_sent() {
    let house = house();
    let reader = house.standard.alice().scope("campaigns:read").sign();
    for name in ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "x_http_method_override"] {
        house.gateway.get("/campaigns/1").bearer(&reader).header(name, "DELETE").send().ok();
        let seen = house.upstream.only();
        assert_eq!(seen.method, "GET");
        assert_eq!(seen.aliases(name), [], "{name}");
        house.upstream.forget();
        let reply = house.gateway.call("DELETE", "/campaigns/1").bearer(&reader).header(name, "GET").send();
        house.refused(reply, "insufficient_scope");
    }
}

#[test]
fn h35_without_cors_a_preflight_is_a_request_like_any_other() {
    let house = house();
    let preflight = |target: &str, origin: &str| {
        house
            .gateway
            .call("OPTIONS", target)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "DELETE")
            .header("Access-Control-Request-Headers", "authorization")
    };
    for call in [
        house.gateway.call("OPTIONS", "/jwt/x"),
        house.gateway.call("OPTIONS", "/jwt/x").header("Origin", "https://app.test"),
        preflight("/jwt/x", "https://app.test"),
        preflight("/jwt/x", "null"),
    ] {
        let reply = call.send();
        house.refused(reply.clone(), "missing_credentials");
        assert!(reply.headers.iter().all(|(name, _)| !name.to_lowercase().starts_with("access-control-")), "{reply:?}");
    }
    let reply = house.gateway.call("OPTIONS", "*").send();
    assert_eq!(reply.status, 400, "{reply:?}");
    house.upstream.assert_untouched();
    preflight("/jwt/x", "https://app.test").bearer(&house.token()).send().ok();
    assert_eq!(house.upstream.only().method, "OPTIONS");
}

#[test]
fn h37_the_upstream_does_not_see_the_credential_unless_the_route_says_so() {
    let house = house();
    let (token, key) = (house.token(), &house.standard.partner_key);
    house.gateway.get("/jwt/x").bearer(&token).send().ok();
    assert_eq!(house.upstream.only().aliases("Authorization"), []);
    house.upstream.forget();
    for name in ["X-API-Key", "apikey"] {
        house.gateway.get("/me/x").header(name, key).send().ok();
        assert_eq!(house.upstream.only().aliases(name), []);
        house.upstream.forget();
    }
    house.gateway.get("/me/x").bearer(key).send().ok();
    assert_eq!(house.upstream.only().aliases("Authorization"), []);
    house.upstream.forget();

    house.gateway.get(&format!("/query/x?a=1&token={token}&b=%20")).send().ok();
    assert_eq!(house.upstream.only().target, "/query/x?a=1&b=%20");
    house.upstream.forget();
    house.gateway.get("/query/x").header("Cookie", format!("a=1; session={token}; b=2")).send().ok();
    assert_eq!(house.upstream.only().header("Cookie"), Some("a=1; b=2"));
    house.upstream.forget();
    house.gateway.get("/query/x").header("Cookie", format!("session={token}")).send().ok();
    assert_eq!(house.upstream.only().all("Cookie"), Vec::<&str>::new());
    house.upstream.forget();

    house.gateway.get("/passed-on/x").bearer(&token).send().ok();
    assert_eq!(house.upstream.only().header("Authorization"), Some(&*format!("Bearer {token}")));
    house.upstream.forget();
    house.gateway.get("/passed-on/x").header("X-API-Key", key).send().ok();
    assert_eq!(house.upstream.only().header("X-API-Key"), Some(&**key));
}

#[test]
fn h37_no_byte_of_a_credential_reaches_the_upstream() {
    let house = house();
    let token = house.token();
    house.gateway.get("/jwt/x").bearer(&token).send().ok();
    house.gateway.get(&format!("/query/x?token={token}")).send().ok();
    house.gateway.get("/query/x").header("Cookie", format!("session={token}")).send().ok();
    house.gateway.get("/me/x").header("X-API-Key", &house.standard.partner_key).send().ok();
    for bytes in house.upstream.raw_bytes() {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(&token) && !text.contains(&house.standard.partner_key), "{text}");
    }
}

#[test]
fn identity_headers_of_the_upstream_are_not_passed_back() {
    let house = house();
    let answer =
        "HTTP/1.1 200 OK\r\nX-Auth-Subject: alice\r\nx_auth_roles: root\r\nX-Other: 1\r\nContent-Length: 0\r\n\r\n";
    house.upstream.respond(Respond::Raw(answer.as_bytes().to_vec()));
    let reply = house.gateway.get("/jwt/x").bearer(&house.token()).send().ok();
    assert_eq!(reply.header("X-Other"), Some("1"));
    assert_eq!((reply.header("X-Auth-Subject"), reply.header("x_auth_roles")), (None, None));
    assert!(!reply.request_id().is_empty());
}
