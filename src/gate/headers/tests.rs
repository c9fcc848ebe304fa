use std::sync::Arc;
use std::time::Duration;

use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::UnixMillis;
use crate::gate::policy::{Auth, Realm, Route, Timeouts, Upstream};
use crate::gate::request::RequestId;
use crate::gate::verify::Verified;
use crate::gate::verify::jwt::ClaimPath;
use crate::identity::{CredentialKind, Principal, ScopeSet};
use crate::jwt::{ASSERTION_TYP, Algorithm, Compact, Signer, VerifyKey, test_keys};

fn path(text: &str) -> ClaimPath {
    ClaimPath::parse(text).unwrap()
}

fn name(text: &str) -> HeaderName {
    HeaderName::from_bytes(text.as_bytes()).unwrap()
}

fn principal() -> Principal {
    let attributes = json!({
        "text": "a b%\u{fc}\u{2028}\r\n", "number": 7, "float": 1e3, "yes": true, "object": {"in": {"a/b": "deep"}}, "null": null,
        "list": ["x y", 1, false], "mixed": ["x", {}], "empty": [], "__proto__": "p", "long": "x".repeat(65_536), "with_name": "n",
    });
    Principal {
        kind: CredentialKind::Jwt,
        subject: "usr 1".into(),
        client: Some("shop".into()),
        credential_id: None,
        issuer: Some("main".into()),
        tenant: None,
        plan: Some("Gr\u{f6}wth".into()),
        roles: vec!["Brand Admin".into(), "x".into()],
        scopes: ScopeSet::literal(["b:read", "a:read"]),
        attributes: Arc::new(attributes.as_object().unwrap().clone()),
        account: None,
    }
}

/// The names that are told by default, but for what `change` makes of them.
fn names(change: impl FnOnce(&mut IdentityNames)) -> IdentityHeaders {
    let mut names = IdentityNames::default();
    change(&mut names);
    IdentityHeaders::new(names)
}

fn asked(request_id: &RequestId) -> Asked<'_> {
    Asked { method: &Method::GET, path: "/orders/7", request_id, now: UnixMillis(1_800_000_000_999) }
}

/// What differs between the permits of these tests.
#[derive(Default)]
struct Case {
    names: Option<fn() -> IdentityNames>,
    unenforced: bool,
    takes_anonymous: bool,
    target: Option<&'static str>,
    from: &'static [&'static str],
    forward_credential: bool,
    trusted: bool,
    anonymous: bool,
    add: &'static [(&'static str, &'static str)],
    remove: &'static [&'static str],
}

impl Case {
    fn permit(&self) -> Permit {
        let upstream = Arc::new(Upstream::of("api", 0, vec![]));
        let place =
            |text: &&str| RoutePlace { place: Place::parse(text).unwrap(), jwt: true, api_keys: vec![], opaque: false };
        let route = Arc::new(Route {
            view: Default::default(),
            name: "route".into(),
            index: 0,
            auth: Auth {
                public: self.from.is_empty(),
                anonymous: self.takes_anonymous,
                jwt: true,
                api_key: false,
                mtls: false,
                opaque: None,
            },
            places: self.from.iter().map(place).collect(),
            issuers: vec![],
            scopes: vec![],
            scopes_any: vec![],
            roles: vec![],
            plans: vec![],
            attributes: vec![],
            allow_ips: None,
            deny_ips: None,
            limits: vec![],
            upstream: Some(upstream.clone()),
            grant: None,
            enforce: true,
            cors: None,
            document: None,
            standard: false,
            strip_prefix: None,
            timeouts: Timeouts::default(),
            max_body: 0,
            forward_credential: self.forward_credential,
            add_headers: self.add.iter().map(|(n, v)| (name(n), HeaderValue::from_static(v))).collect(),
            remove_headers: self.remove.iter().map(|n| name(n)).collect(),
        });
        let realm = Arc::new(Realm {
            unmatched: None,
            cors: None,
            view: Default::default(),
            name: "shop".into(),
            number: Realm::number_of("shop"),
            index: 0,
            dialect: crate::gate::dialect::nameless(),
            oauth_dialect: crate::gate::dialect::nameless(),
            path_rules: Default::default(),
            table: Default::default(),
            host_tables: vec![],
            own: None,
            hosts_from: None,
            routes: vec![route.clone()],
            issuers: vec![],
            api_keys: vec![],
            declared: Default::default(),
            certificates: Default::default(),
            identity_headers: IdentityHeaders::new(self.names.map_or_else(Default::default, |names| names())),
            roles: Default::default(),
            upstreams: vec![upstream],
        });
        let identity = (!self.anonymous).then(|| {
            let principal = principal();
            let headers = realm.identity_headers.prepare(&realm.name, &principal);
            Arc::new(Verified { principal, headers, expires: None, allow_ips: vec![], issuer: None, uses: None })
        });
        Permit {
            enforced: !self.unenforced,
            realm,
            route,
            identity,
            target: self.target.map(Box::from),
            client_ip: None,
            peer_trusted: self.trusted,
            quota: None,
            credential_in_url: false,
            params: Box::default(),
        }
    }

    /// The lines that the upstream sees, sorted, for a peer at `peer`.
    fn seen_from(&self, peer: Option<&str>, lines: &[(&str, &str)]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (n, value) in lines {
            map.append(name(n), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let request_id = RequestId::adopt("id-1").unwrap();
        let peer = peer.map(|peer| peer.parse::<IpAddr>().unwrap());
        apply(
            &self.permit(),
            &Forwarding { peer, scheme: "https", host: "api.test", asked: asked(&request_id) },
            &mut map,
        )
        .unwrap();
        let mut seen: Vec<_> =
            map.iter().map(|(n, v)| format!("{n}: {}", String::from_utf8_lossy(v.as_bytes()))).collect();
        seen.sort();
        seen
    }

    fn seen(&self, lines: &[(&str, &str)]) -> Vec<String> {
        self.seen_from(Some("192.0.2.9"), lines)
    }
}

fn public() -> Case {
    Case { anonymous: true, ..Case::default() }
}

const OURS: [&str; 4] =
    ["x-forwarded-for: 192.0.2.9", "x-forwarded-host: api.test", "x-forwarded-proto: https", "x-request-id: id-1"];

#[test]
fn every_spelling_of_an_owned_name_is_removed_on_public_routes_too() {
    let owned = IdentityHeaders::default();
    for default in DEFAULT_NAMES.into_iter().chain([DEFAULT_ASSERTION]) {
        for separator in "!#$%&'*+.^_`|~-".chars() {
            let alias = default.replace('-', &separator.to_string());
            assert!(owned.owns(&alias) && owned.owns(&alias.to_uppercase()), "{alias}");
            assert_eq!(public().seen(&[(&alias, "evil"), (&alias, ""), (default, "evil")]), OURS);
        }
    }
    for free in ["x-auth", "x-auth-subject2", "x-auth-subject-", "xauth-subject", "authorization", "", &"x".repeat(70)]
    {
        assert!(!owned.owns(free), "{free}");
    }
}

#[test]
fn default_names_stay_owned_when_renamed_or_left_out() {
    let headers = names(|names| {
        names.told.retain(|(told, _)| !matches!(told, Told::Subject | Told::Client));
        names.told.extend([(Told::Subject, name("remote-user")), (Told::Claim(path("email")), name("x-email"))]);
    });
    for owned in ["X-Auth-Subject", "x_auth_client", "Remote_User", "X.Email"] {
        assert!(headers.owns(owned), "{owned}");
    }
    let prepared = headers.prepare("shop", &principal());
    assert!(prepared.iter().any(|(n, v)| n == "remote-user" && v == "usr%201"));
    assert!(prepared.iter().all(|(n, _)| n != "x-auth-subject" && n != "x-auth-client"));
}

#[test]
fn identity_is_told_encoded_and_what_is_absent_has_no_header() {
    let prepared = IdentityHeaders::default().prepare("shop", &principal());
    let lines: Vec<_> = prepared.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    assert_eq!(
        lines,
        [
            "x-auth-subject: usr%201",
            "x-auth-client: shop",
            "x-auth-realm: shop",
            "x-auth-method: jwt",
            "x-auth-issuer: main",
            "x-auth-scopes: a:read b:read",
            "x-auth-roles: Brand%20Admin x",
            "x-auth-plan: Gr%C3%B6wth",
        ]
    );
}

#[test]
fn a_claim_becomes_at_most_one_bounded_header_of_a_plain_value() {
    let told = |claim: &str| {
        let headers = names(|names| names.told.push((Told::Claim(path(claim)), name("x-claim"))));
        let told: Vec<_> = headers.prepare("r", &principal()).iter().filter(|(n, _)| n == "x-claim").cloned().collect();
        assert!(told.len() <= 1);
        told.first().map(|(_, v)| v.to_str().unwrap().to_owned())
    };
    assert_eq!(told("text").as_deref(), Some("a%20b%25%C3%BC%E2%80%A8%0D%0A"));
    assert_eq!(told("number").as_deref(), Some("7"));
    assert_eq!(told("float").as_deref(), Some("1000.0"));
    assert_eq!(told("yes").as_deref(), Some("true"));
    assert_eq!(told("list").as_deref(), Some("x%20y 1 false"));
    assert_eq!(told("__proto__").as_deref(), Some("p"));
    assert_eq!(told("/object/in/a~1b").as_deref(), Some("deep"));
    assert_eq!(told("/list/1").as_deref(), Some("1"));
    for none in ["object", "null", "mixed", "empty", "long", "absent", "/object", "/absent/x", "/"] {
        assert_eq!(told(none), None, "{none}");
    }
}

#[test]
fn what_somebody_else_replaces_are_the_names_that_are_told_as_they_are_told() {
    let headers = names(|names| {
        names.told.retain(|(told, _)| *told != Told::Plan);
        names.told.push((Told::Claim(path("yes")), name("x-claim")));
        names.anonymous = Some(name("x-nobody"));
        names.owned = vec![name("x-other")];
    });
    for told in ["x-auth-subject", "x-claim", "x-nobody", "authorization", "x-others"] {
        assert!(!headers.is_never_told(told), "{told}");
    }
    for forged in ["x_auth_subject", "x-auth.subject", "x_claim", "x-auth-plan", "x-other", "x-auth-assertion"] {
        assert!(headers.is_never_told(forged), "{forged}");
    }
}

#[test]
fn two_extras_with_one_name_make_one_header() {
    let extra = [("number", "x-claim"), ("yes", "x-claim"), ("yes", "x-auth-subject")];
    let extra = extra.map(|(claim, header)| (Told::Claim(path(claim)), name(header)));
    let prepared = names(|names| names.told.extend(extra)).prepare("r", &principal());
    assert_eq!(prepared.iter().filter(|(n, _)| n == "x-claim").map(|(_, v)| v).collect::<Vec<_>>(), ["7"]);
    assert_eq!(prepared.iter().filter(|(n, _)| n == "x-auth-subject").map(|(_, v)| v).collect::<Vec<_>>(), ["usr%201"]);
}

#[test]
fn an_untrusted_peer_says_nothing_about_the_way_it_came() {
    let forged = [
        "Forwarded",
        "X-Real-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Client-Cert",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "X-Envoy-Internal",
        "X-Middleware-Subrequest",
        "X-SSL-Client-Verify",
        "X-Client-Cert",
        "X-Client-Certificate",
        "X-Client-Verify",
        "X-Client-DN",
        "X-SSL-Cert",
        "SSL-Client-Cert",
        "Client-Cert",
        "Client-Cert-Chain",
        "CF-Client-Cert-DER-Base64",
        "X-Amzn-Mtls-Clientcert-Leaf",
        "X-ARR-ClientCert",
        "X-TLS-Client-Cert",
        "X-Forwarded-Tls-Client-Cert-Info",
        "X-Original-Host",
        "Early-Data",
        "X-Request-Id",
        "Proxy",
    ];
    for name in forged {
        for alias in [name.to_owned(), name.replace('-', "_"), name.replace('-', ".").to_uppercase()] {
            assert_eq!(public().seen(&[(&alias, "evil"), (&alias, "worse")]), OURS, "{alias}");
        }
    }
}

#[test]
fn a_trusted_proxy_is_believed_and_its_address_appended() {
    let case = Case { trusted: true, ..public() };
    let lines = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-for", "198.51.100.2"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.test"),
        ("x-real-ip", "203.0.113.7"),
    ];
    assert_eq!(
        case.seen(&lines),
        [
            "x-forwarded-for: 203.0.113.7, 198.51.100.2, 192.0.2.9",
            "x-forwarded-host: shop.test",
            "x-forwarded-proto: http",
            "x-real-ip: 203.0.113.7",
            "x-request-id: id-1",
        ]
    );
    assert_eq!(case.seen(&[("x-forwarded-for", ""), ("x-forwarded-proto", "")]), OURS);
}

#[test]
fn nobody_overrides_method_or_path_behind_the_decision_through_a_trusted_proxy() {
    let case = Case { trusted: true, ..public() };
    for name in [
        "X-HTTP-Method-Override",
        "x_method_override",
        "X-HTTP-Method",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X_Forwarded_For",
    ] {
        assert_eq!(case.seen(&[(name, "DELETE")]), OURS, "{name}");
    }
}

#[test]
fn a_unix_socket_has_no_address_to_tell_and_a_mapped_address_is_ipv4() {
    assert_eq!(public().seen_from(None, &[("x-forwarded-for", "10.0.0.1")]), OURS[1..]);
    assert_eq!(public().seen_from(Some("::ffff:192.0.2.9"), &[]), OURS);
    let trusted = Case { trusted: true, ..public() };
    let told = [("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", ""), ("x-forwarded-for", "10.0.0.2")];
    assert_eq!(trusted.seen_from(None, &told)[0], "x-forwarded-for: 10.0.0.1, 10.0.0.2");
    assert_eq!(trusted.seen_from(None, &[]), OURS[1..]);
}

#[test]
fn every_declared_place_is_emptied_and_nothing_else() {
    let case = Case { from: &["header:authorization", "header:x-api-key", "cookie:sid"], ..public() };
    let lines = [
        ("authorization", "Basic YTpi"),
        ("x-api-key", "k"),
        ("X_Api_Key", "other"),
        ("cookie", "a=1; sid=x"),
        ("cookie", "sid=y"),
        ("cookie", "b=\u{fc}"),
        ("traceparent", "00-1-2-01"),
        ("accept", "*/*"),
    ];
    let seen = case.seen(&lines);
    assert_eq!(seen[..3], ["accept: */*", "cookie: a=1; b=\u{fc}", "traceparent: 00-1-2-01"]);
    assert_eq!(seen[3..], OURS);
    assert_eq!(case.seen(&[("cookie", "sid=x")]), OURS);
}

#[test]
fn a_credential_is_sent_on_only_where_the_route_says_so_and_never_under_another_spelling() {
    let case = Case { from: &["header:x-api-key", "cookie:sid"], forward_credential: true, ..public() };
    let seen = case.seen(&[("x-api-key", "k"), ("x.api.key", "other"), ("cookie", "sid=x")]);
    assert_eq!(seen, [&["cookie: sid=x", "x-api-key: k"], &OURS[..]].concat());
}

#[test]
fn the_upstream_sees_our_identity_whatever_the_client_sent() {
    let seen = Case { from: &["header:authorization"], ..Case::default() }.seen(&[
        ("x-auth-subject", "admin"),
        ("X_AUTH_ROLES", "root"),
        ("authorization", "Bearer x"),
    ]);
    assert!(seen.contains(&"x-auth-subject: usr%201".to_owned()));
    assert!(seen.contains(&"x-auth-roles: Brand%20Admin x".to_owned()));
    assert_eq!(
        seen.iter().filter(|line| line.contains("admin") || line.contains("root") || line.contains("Bearer")).count(),
        0
    );
}

#[test]
fn the_routes_own_headers_come_last() {
    let case = Case { add: &[("x-version", "2")], remove: &["user-agent", "x-forwarded-host"], ..public() };
    let seen = case.seen(&[("user-agent", "curl"), ("x-version", "1"), ("x-version", "1")]);
    assert_eq!(seen, ["x-forwarded-for: 192.0.2.9", "x-forwarded-proto: https", "x-request-id: id-1", "x-version: 2"]);
}

#[test]
fn whoever_splits_a_list_at_what_joins_it_gets_its_elements() {
    for (join, between) in [(Join::Blank, " "), (Join::Comma, ","), (Join::CommaBlank, ", ")] {
        let list = ["a,b", "c d", "e%2Cf", "", ",", " "];
        let principal = Principal { roles: list.map(Arc::from).into(), ..principal() };
        let prepared = names(|names| names.join = join).prepare("r", &principal);
        let (_, told) = prepared.iter().find(|(name, _)| name == "x-auth-roles").unwrap();
        let told: Vec<_> = told.to_str().unwrap().split(between).collect();
        let decoded: Vec<_> =
            told.iter().map(|item| item.replace("%2C", ",").replace("%20", " ").replace("%25", "%")).collect();
        assert_eq!(decoded, ["a,b", "c d", "e%2Cf", ",", " "], "{join:?}");
        let (_, scopes) = prepared.iter().find(|(name, _)| name == "x-auth-scopes").unwrap();
        assert_eq!(scopes, "a:read b:read");
    }
}

#[test]
fn a_key_has_no_subject_of_a_token() {
    let of = |kind| {
        let names = names(|names| names.told = vec![(Told::SubjectOfToken, name("x-user"))]);
        names.prepare("r", &Principal { kind, ..principal() }).len()
    };
    let kinds = [CredentialKind::Jwt, CredentialKind::Opaque, CredentialKind::ApiKey, CredentialKind::Mtls];
    assert_eq!(kinds.map(of), [1, 1, 0, 0]);
}

/// Names that say of a request that it is anonymous.
fn telling_anonymous() -> IdentityNames {
    IdentityNames { anonymous: Some(name("x-anonymous")), ..IdentityNames::default() }
}

#[test]
fn a_request_is_called_anonymous_only_where_it_could_have_proven_something() {
    let marked = "x-anonymous: true".to_owned();
    let forged = [("x-anonymous", "true"), ("X_Anonymous", "true"), ("x-anonymous", "false")];
    let case = || Case { names: Some(telling_anonymous), anonymous: true, ..Case::default() };
    let seen = Case { takes_anonymous: true, from: &["header:authorization"], ..case() }.seen(&forged);
    assert_eq!(seen, [&[marked.clone()][..], &OURS.map(String::from)].concat());
    assert_eq!(case().seen(&forged), OURS, "public");
    assert_eq!(Case { takes_anonymous: true, unenforced: true, ..case() }.seen(&forged), OURS, "not enforced");
    let known = Case { names: Some(telling_anonymous), takes_anonymous: true, ..Case::default() }.seen(&forged);
    assert!(!known.iter().any(|line| line.starts_with("x-anonymous")), "{known:?}");
}

fn asserting(signer: Signer, audience: Option<&str>) -> IdentityNames {
    let terms = Terms {
        header: name("x-proof"),
        issuer: "https://api.test".into(),
        audience: audience.map(Box::from),
        ttl: Duration::from_secs(60),
        signer,
        document: None,
    };
    IdentityNames { assertion: Some(Assertion::new(terms)), ..IdentityNames::default() }
}

fn signer() -> Signer {
    Signer::from_pem(test_keys::ed25519().private_pem().as_bytes(), ASSERTION_TYP).unwrap()
}

fn signed() -> IdentityNames {
    asserting(signer(), None)
}

#[test]
fn an_assertion_says_who_asks_for_what_and_to_whom_for_how_long() {
    let case = || Case { names: Some(signed), ..Case::default() };
    let claims = |case: Case| {
        let (permit, id) = (case.permit(), RequestId::adopt("id-1").unwrap());
        let mut headers = HeaderMap::new();
        set_identity(&permit, &asked(&id), &mut headers).unwrap();
        let token = headers["x-proof"].to_str().unwrap().to_owned();
        let key = VerifyKey::from_pem(test_keys::ed25519().public_pem().as_bytes(), &[Algorithm::EdDSA]).unwrap();
        let token = Compact::parse(&token).unwrap();
        assert!(token.verified_by(&key));
        assert_eq!(token.header.typ.as_deref(), Some(ASSERTION_TYP));
        let shown = identity_for_people(&permit, &asked(&id));
        let (_, shown) = shown.iter().find(|(name, _)| name == "x-proof").unwrap();
        let claims = Value::Object(token.claims().unwrap());
        assert_eq!(*shown, format!("signed: {claims}"));
        claims
    };
    assert_eq!(
        claims(case()),
        json!({
            "iss": "https://api.test", "aud": "api", "sub": "usr 1", "iat": 1_800_000_000, "exp": 1_800_000_060,
            "jti": "id-1", "htm": "GET", "htu": "/orders/7", "realm": "shop", "method": "jwt", "client": "shop",
            "credential_issuer": "main", "scope": "a:read b:read", "roles": ["Brand Admin", "x"], "plan": "Gr\u{f6}wth",
        })
    );
    let orders = Case { names: Some(|| asserting(signer(), Some("orders"))), ..Case::default() };
    assert_eq!(claims(orders)["aud"], "orders");
    let stripped = Case { target: Some("/7?page=2"), ..case() };
    assert_eq!(claims(stripped)["htu"], "/7");
}

#[test]
fn nobody_but_the_gateway_asserts_anything() {
    let forged = [("X-Proof", "a.b.c"), ("x_proof", "a.b.c"), ("X-Auth-Assertion", "a.b.c"), ("x.auth.assertion", "a")];
    let public = Case { names: Some(signed), anonymous: true, ..Case::default() };
    assert_eq!(public.seen(&forged), OURS);
    let unenforced = Case { names: Some(signed), anonymous: true, unenforced: true, ..Case::default() };
    assert_eq!(unenforced.seen(&forged), OURS);
    let known = Case { names: Some(signed), ..Case::default() }.seen(&forged);
    let proofs: Vec<_> = known.iter().filter(|line| line.contains("proof") || line.contains("assertion")).collect();
    assert!(proofs.len() == 1 && proofs[0].starts_with("x-proof: eyJ"), "{known:?}");
}

#[test]
fn what_cannot_be_signed_is_not_sent() {
    let (permit, id) = (
        Case { names: Some(|| asserting(Signer::broken(), None)), ..Case::default() }.permit(),
        RequestId::adopt("id-1").unwrap(),
    );
    let forwarding = Forwarding { peer: None, scheme: "https", host: "api.test", asked: asked(&id) };
    let fault = apply(&permit, &forwarding, &mut HeaderMap::new()).unwrap_err();
    assert!(matches!(fault, Fault::Unsigned(_)), "{fault}");
}

proptest! {
    #[test]
    fn an_alias_is_owned_and_only_an_alias(text in "[xX][-_.!a][aA][uU]?[tT][hH][-_.+][pP][lL][aA][nN][-x]?") {
        let folded: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
        prop_assert_eq!(IdentityHeaders::default().owns(&text), folded == "x_auth_plan");
    }

    #[test]
    fn a_told_value_is_always_a_visible_bounded_line(value: String) {
        let principal = Principal { subject: value.as_str().into(), ..principal() };
        let prepared = IdentityHeaders::default().prepare("r", &principal);
        match prepared.iter().find(|(n, _)| n == "x-auth-subject") {
            Some((_, told)) => prop_assert!(told.len() <= 4096 && told.as_bytes().iter().all(u8::is_ascii_graphic)),
            None => prop_assert!(value.is_empty() || value.len() * 3 > 4096),
        }
    }
}
