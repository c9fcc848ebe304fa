//! Hosts, upstreams, scopes, identity headers, errors.

use super::*;
use crate::gate::policy::{ServerAddress, UpstreamServer, UpstreamTls};

#[test]
fn hosts_belong_to_one_realm() {
    let other =
        "realm = 'b'\nhosts = ['SHOP.example.']\nupstream = 'http://a:1'\n[[routes]]\npath = '/'\nauth = ['public']\n";
    let files = [("realms/shop.toml", shop_text(PUBLIC)), ("realms/b.toml", other.into())];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    assert_eq!(faults(load_files(&files, true)).len(), 1);
    for bad in ["", "a b", "*.*.example", "a.*", "http://a", "a/b"] {
        let text = shop_text(PUBLIC).replace("shop.example", bad);
        assert_eq!(faults(load_files(&[("realms/shop.toml", &text)], true)).len(), 1, "{bad}");
    }
    let none = shop_text(PUBLIC).replace("['shop.example']", "[]");
    refused(load_files(&[("realms/shop.toml", &none)], true), "hosts", "empty");
}

#[test]
fn a_url_is_an_upstream_with_default_timeouts() {
    let config = shop(PUBLIC).unwrap();
    let upstream = &config.snapshot.realms[0].upstreams[0];
    assert_eq!(&*upstream.name, "127.0.0.1:9000");
    let address = ServerAddress { host: "127.0.0.1".into(), port: 9000 };
    assert_eq!(upstream.servers, [UpstreamServer { address, weight: 1 }]);
    assert_eq!(upstream.timeouts.connect.map(|t| t.as_secs()), Some(1));
    assert_eq!(upstream.timeouts.read.map(|t| t.as_secs()), Some(30));
    assert_eq!((&upstream.host, &upstream.tls), (&None, &None));
}

#[test]
fn an_upstream_is_found_by_its_name_and_each_url_is_one_upstream() {
    let rest = format!(
        "[upstreams.main]\nservers = ['a.example:8443', 'a.example:8444']\ntls = {{}}\ntimeouts = {{ read = '5s' }}\n\
         {PUBLIC}upstream = 'main'\n[[routes]]\npath = '/b'\nauth = ['public']\nupstream = 'https://b.example'\n\
         [[routes]]\npath = '/c'\nauth = ['public']\nupstream = 'https://b.example:443'\n"
    );
    let config = shop(&rest).unwrap();
    let realm = &config.snapshot.realms[0];
    let names: Vec<_> = realm.upstreams.iter().map(|upstream| &*upstream.name).collect();
    assert_eq!(names, ["main", "127.0.0.1:9000", "b.example:443"]);
    assert!(realm.upstreams.iter().enumerate().all(|(index, upstream)| upstream.index == index));
    let upstream = |route: usize| realm.routes[route].upstream.as_ref().unwrap();
    let main = upstream(0);
    assert_eq!(main.tls, Some(UpstreamTls { server_name: "a.example".into(), ca: None, client: None }));
    assert_eq!(
        (main.timeouts.read.map(|t| t.as_secs()), main.timeouts.write.map(|t| t.as_secs())),
        (Some(5), Some(30))
    );
    assert_eq!(upstream(1).index, upstream(2).index);
}

#[test]
fn an_upstream_must_be_one_that_can_be_reached_and_verified() {
    let with = |keys: &str| shop(&format!("[upstreams.main]\n{keys}\n{PUBLIC}upstream = 'main'\n"));
    refused(with("servers = []"), "upstreams.main.servers", "empty");
    refused(with("servers = ['a:1', 'a:1']"), "upstreams.main.servers[1]", "twice");
    refused(with("servers = ['a:1', 'b:1']\ntls = {}"), "upstreams.main.tls.sni", "required");
    refused(with("servers = ['a:1', 'b:1']\nhost = 'upstream'"), "upstreams.main.host", "different names");
    refused(with("servers = ['a:1']\ntls = { ca = 'no/such' }"), "upstreams.main.tls.ca", "does not exist");
    refused(with("servers = ['a:1']\ntls = { sni = 'a b' }"), "upstreams.main.tls.sni", "DNS name");
    refused(with("servers = ['a:1']\ntimeouts = { read = '0s' }"), "upstreams.main.timeouts.read", "zero");
    refused(shop(&format!("{PUBLIC}upstream = 'man'\n")), "routes[0].upstream", "there is no upstream");
    refused(shop(&format!("{PUBLIC}upstream = 'http://a:80/v1'\n")), "routes[0].upstream", "no path");
}

#[test]
fn the_upstream_can_see_its_own_host() {
    let rest = format!(
        "[upstreams.main]\nservers = ['a.example:80', 'a.example:80']\nhost = 'upstream'\n{PUBLIC}upstream = 'main'\n"
    );
    let rest = rest.replace(", 'a.example:80'", "");
    let config = shop(&rest).unwrap();
    assert_eq!(config.snapshot.realms[0].routes[0].upstream.as_ref().unwrap().host.as_deref(), Some("a.example"));
}

#[test]
fn where_scopes_are_listed_others_are_errors() {
    let rest = "[scopes]\n'orders:read' = ''\n'orders:write' = ''\n[roles]\nreader = ['*:read']\nadmin = ['*']\ntypo = ['order:read', 'ordres:*']\n";
    let faults = faults(shop(&format!("{rest}{PUBLIC}")));
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(
        faults[0].starts_with("roles.typo[0]: ") && faults[0].ends_with("did you mean `orders:read`?"),
        "{}",
        faults[0]
    );
    let route = format!("{rest}{FORM}[[routes]]\npath = '/{{kind}}/**'\nauth = ['api_key']\nscopes = ['{{kind}}:{{access}}', 'orders:delete', 'order:{{access}}']\n").replace("typo = ['order:read', 'ordres:*']", "");
    let faults = super::faults(shop(&route));
    assert_eq!(faults.len(), 2, "{faults:#?}");
}

#[test]
fn a_pattern_is_a_whole_segment() {
    refused(shop(&format!("[roles]\na = ['orders:r*']\n{PUBLIC}")), "roles.a[0]", "whole segment");
    refused(shop(&format!("[roles]\na = ['two scopes']\n{PUBLIC}")), "roles.a[0]", "visible characters");
    let config = shop(&format!("[roles]\n'Brand Admin' = ['*']\n{PUBLIC}")).unwrap();
    assert!(config.snapshot.realms[0].roles.expand(["Brand Admin"]).allows("any:thing"));
}

#[test]
fn identity_headers_are_distinct_and_nobody_elses() {
    let with = |keys: &str| shop(&format!("[identity_headers]\n{keys}\n{PUBLIC}"));
    assert!(with("subject = 'X-User'\ntenant = ''\n[identity_headers.extra]\nemail = 'X-Email'").is_ok());
    refused(with("subject = 'X User'"), "identity_headers.subject", "name of a header field");
    refused(with("subject = 'Host'"), "identity_headers.subject", "meaning of its own");
    refused(with("subject = 'Authorization'"), "identity_headers.subject", "meaning of its own");
    refused(with("subject = 'X_Auth_Client'"), "identity_headers.client", "already");
    refused(with("extra = { email = 'x-auth-plan' }"), "identity_headers.extra.email", "already");
    refused(with("subject = 'X-Forwarded-For'"), "identity_headers.subject", "meaning of its own");
    assert!(with("subject = 'X-Forwarded-User'").is_ok());
}

#[test]
fn the_names_of_a_profile_are_defaults_that_keys_beside_it_replace() {
    let with = |keys: &str| shop(&format!("[identity_headers]\n{keys}\n{PUBLIC}"));
    let told = |keys: &str| {
        let config = with(keys).unwrap();
        let realm = &config.snapshot.realms[0];
        let attributes = serde_json::json!({ "email": "a@b.test", "preferred_username": "a,l", "custom_id": 42, "consumer_id": "u-1" });
        let principal = crate::identity::Principal {
            kind: crate::identity::CredentialKind::Jwt,
            subject: "alice".into(),
            client: Some("app".into()),
            credential_id: Some("t-1".into()),
            issuer: Some("idp".into()),
            tenant: Some("north".into()),
            plan: None,
            roles: vec!["a".into(), "b,c".into()],
            scopes: crate::identity::ScopeSet::literal(["x:read", "y"]),
            attributes: std::sync::Arc::new(attributes.as_object().unwrap().clone()),
            account: None,
        };
        let mut told: Vec<_> = realm
            .identity_headers
            .prepare("shop", &principal)
            .iter()
            .map(|(n, v)| format!("{n}: {}", v.to_str().unwrap()))
            .collect();
        told.sort();
        told
    };
    let kong = [
        "x-authenticated-scope: x:read y",
        "x-authenticated-userid: alice",
        "x-consumer-custom-id: 42",
        "x-consumer-groups: a, b%2Cc",
        "x-consumer-id: u-1",
        "x-consumer-username: app",
        "x-credential-identifier: t-1",
    ];
    assert_eq!(told("profile = 'kong'"), kong);
    let proxy = [
        "x-auth-request-email: a@b.test",
        "x-auth-request-groups: a,b%2Cc",
        "x-auth-request-preferred-username: a%2Cl",
        "x-auth-request-user: alice",
        "x-forwarded-email: a@b.test",
        "x-forwarded-groups: a,b%2Cc",
        "x-forwarded-preferred-username: a%2Cl",
        "x-forwarded-user: alice",
    ];
    assert_eq!(told("profile = 'oauth2-proxy'"), proxy);
    let changed = told(
        "profile = 'oauth2-proxy'\nsubject = 'X-User'\nroles = ''\ntenant = 'X-Tenant'\n[identity_headers.extra]\nemail = 'X-Mail'\npreferred_username = ''",
    );
    assert_eq!(changed, ["x-mail: a@b.test", "x-tenant: north", "x-user: alice"]);
}

#[test]
fn a_name_of_a_profile_is_nobody_elses() {
    let with = |keys: &str, rest: &str| shop(&format!("[identity_headers]\n{keys}\n{PUBLIC}{rest}"));
    let already = "`identity_headers.profile` has this header already";
    refused(with("profile = 'kong'\ntenant = 'X_Consumer.Groups'", ""), "identity_headers.tenant", already);
    refused(with("profile = 'kong'\nplan = 'X-Anonymous-Consumer'", ""), "identity_headers.plan", already);
    let extra = "profile = 'oauth2-proxy'\nextra = { mail = 'X-Forwarded-Email' }";
    refused(with(extra, ""), "identity_headers.extra.mail", already);
    // Another has given it up.
    assert!(with("profile = 'kong'\nroles = 'X-Roles'\ntenant = 'X-Consumer-Groups'", "").is_ok());
    let adds = |name: &str| format!("headers = {{ add = {{ '{name}' = '1' }} }}\n");
    for (profile, names) in [
        ("kong", ["X-Consumer-ID", "x_anonymous_consumer", "X-Authenticated-Groups", "X-Auth-Subject"]),
        ("oauth2-proxy", ["X-Forwarded-User", "X-Auth-Request-Email", "X-Auth-Request-Access-Token", "X-Auth-Roles"]),
    ] {
        for name in names {
            let loaded = with(&format!("profile = '{profile}'\nsubject = 'X-Me'\nroles = ''"), &adds(name));
            refused(loaded, &format!("routes[0].headers.add.{name}"), "identity header");
        }
    }
    refused(with("profile = 'kng'", ""), "identity_headers.profile", "did you mean `kong`?");
    refused(with("extra = { email = '' }", ""), "identity_headers.extra.email", "name of a header field");
}

#[test]
fn refusals_look_as_they_are_told_to() {
    let nothing = "[errors]\nbody = { message = '$message', error = '$name' }\n";
    refused(shop(&format!("{nothing}{PUBLIC}")), "errors.body", "$name has no value");
    let word = format!("{nothing}[errors.status.401]\nname = 'Unauthorized'\n");
    assert!(shop(&format!("{word}{PUBLIC}")).is_ok());
    let good = "[errors]\nbody = { detail = '$message', error_code = '$code' }\n[errors.on.token_expired]\ncode = 'TOKEN_EXPIRED'\nstatus = 401\nheaders = { X-Hint = 'refresh' }\n";
    assert!(shop(&format!("{good}{PUBLIC}")).is_ok());
}

#[test]
fn entries_of_errors_are_checked() {
    let with = |keys: &str| shop(&format!("[errors]\nbody = {{ detail = '$message' }}\n{keys}\n{PUBLIC}"));
    refused(with("[errors.on.token_expird]\ncode = 'x'"), "errors.on.token_expird", "did you mean `token_expired`?");
    refused(with("[errors.on.forbidden]\nmesage = 'x'"), "errors.on.forbidden.mesage", "did you mean `message`?");
    refused(with("[errors.on.forbidden]\nstatus = 200"), "errors.on.forbidden.status", "400 to 599");
    refused(with("[errors.status.200]\ncode = 'x'"), "errors.status.200", "400 to 599");
    refused(with("[errors.on.forbidden]\nbody = { a = '$' }"), "errors.on.forbidden.body", "$");
    refused(
        with("[errors.on.forbidden]\nheaders = { Content-Length = '1' }"),
        "errors.on.forbidden.headers.content-length",
        "set by the gateway",
    );
    refused(shop(&format!("[errors]\nbody = 'x'\n{PUBLIC}")), "errors.body", "a body is a table");
}

#[test]
fn what_the_file_says_can_be_shown_in_its_words() {
    let rest = "
[[api_keys]]
prefix = 'demo_'

[scopes]
'orders:read' = 'See orders'
'orders:write' = 'Change orders'

[roles]
clerk = ['orders:*']

[clients.acme]
roles = ['clerk']
plan = 'Growth'
tenant = 'north'
attributes = { team = 42 }
ip_allowlist = ['192.0.2.0/24']
keys = [
  { id = 'acme-1', sha256 = { env = 'DIGEST' }, scopes = ['orders:read'], expires = 2027-01-31T12:00:00Z },
]

[[routes]]
path = '/orders/**'
methods = ['GET', 'POST']
auth = ['api_key']
scopes = ['orders:{access}']
";
    let config = load_files(&[("realms/shop.toml", &shop_text(rest))], true).unwrap();
    let view = &config.snapshot.realms[0].view;
    assert_eq!(view.hosts, ["shop.example"]);
    let scopes: Vec<_> = view.scopes.iter().flatten().map(|(scope, text)| (scope.as_str(), text.as_str())).collect();
    assert_eq!(scopes, [("orders:read", "See orders"), ("orders:write", "Change orders")]);
    let [acme] = view.clients.as_slice() else { panic!("{view:?}") };
    assert_eq!((acme.name.as_str(), acme.source.as_str()), ("acme", "realms/shop.toml:15"));
    assert_eq!((acme.plan.as_deref(), acme.tenant.as_deref()), (Some("Growth"), Some("north")));
    assert_eq!((acme.roles.as_slice(), &acme.scopes, acme.disabled), (&[String::from("clerk")][..], &None, false));
    assert_eq!(acme.attributes.get("team"), Some(&serde_json::json!(42)));
    assert_eq!(acme.ip_allowlist, ["192.0.2.0/24".parse().unwrap()]);
    let [key] = acme.keys.as_slice() else { panic!("{acme:?}") };
    assert_eq!((key.id.as_str(), key.source.as_str()), ("acme-1", "realms/shop.toml:22"));
    assert_eq!(key.scopes.as_deref(), Some(&[String::from("orders:read")][..]));
    assert_eq!(key.expires.map(|at| at.0), Some(1_801_396_800_000));
    let route = &config.snapshot.realms[0].routes[0].view;
    assert_eq!(route.path, "/orders/**");
    assert_eq!((route.methods.join(","), route.auth.join(",")), ("GET,POST".into(), "api_key".into()));
    assert_eq!(route.scopes, ["orders:{access}"]);
}

#[test]
fn a_place_in_a_single_file_is_told_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.toml");
    let text = "[realms.shop]\nhosts = ['shop.example']\nupstream = 'http://127.0.0.1:9000'\n[realms.shop.clients.acme]\n[[realms.shop.routes]]\npath = '/'\nauth = ['public']\n";
    fs::write(&path, text).unwrap();
    let config = load(&path, &Sources { env: &env, secrets: true }).unwrap();
    assert_eq!(config.snapshot.realms[0].view.clients[0].source, "one.toml:4");
}

#[test]
fn who_starts_the_gateway_is_told_what_is_not_enforced() {
    let second = "[[routes]]\npath = '/bound'\nauth = ['public']\nenforce = ";
    let told = |rest: String| {
        let config = shop(&rest).unwrap();
        let places = config.warnings.0.iter().map(|problem| problem.key.clone());
        places.filter(|key| key.ends_with("enforce")).collect::<Vec<_>>()
    };
    assert_eq!(told(format!("{PUBLIC}{second}true\n")), [""; 0]);
    assert_eq!(told(format!("{PUBLIC}{second}false\n")), ["routes[1].enforce"]);
    assert_eq!(told(format!("enforce = false\n{PUBLIC}{second}true\n")), ["enforce"]);
    // Once is enough.
    assert_eq!(told(format!("enforce = false\n{PUBLIC}{second}false\n")), ["enforce"]);
}
