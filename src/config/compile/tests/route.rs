//! Routes and limits.

use super::*;
use crate::gate::credential::Place;
use crate::gate::limit::{LimitBy, LimitHeaders};
use crate::gate::policy::{Auth, ScopePart};

fn route(keys: &str) -> Result<Config, Problems> {
    shop(&format!("{ISSUER}{FORM}[limits.burst]\nby = 'client'\nrate = '10/s'\n[[routes]]\n{keys}\n"))
}

fn jwt(keys: &str) -> Result<Config, Problems> {
    route(&format!("path = '/{{kind}}/**'\nauth = ['jwt']\n{keys}"))
}

#[test]
fn a_route_says_who_may_pass() {
    let shop_with = |auth: &str| shop(&format!("[[routes]]\npath = '/'\n{auth}\n"));
    refused(shop_with(""), "routes[0].auth", "is required");
    refused(shop_with("auth = []"), "routes[0].auth", "empty");
    refused(shop_with("auth = ['jwt']"), "routes[0].auth", "[[issuers]]");
    refused(shop_with("auth = ['api_key']"), "routes[0].auth", "[[api_keys]]");
    refused(shop_with("auth = ['anonymous']"), "routes[0].auth", "beside");
    refused(shop_with("auth = ['public', 'public']"), "routes[0].auth[1]", "twice");
    refused(route("path = '/'\nauth = ['public', 'jwt']"), "routes[0].auth", "stands alone");
}

#[test]
fn nobody_in_particular_can_be_asked_for_nothing_in_particular() {
    for auth in ["['public']", "['jwt', 'anonymous']"] {
        for demand in
            ["scopes = ['a']", "scopes_any = ['a']", "roles = ['a']", "plan = ['a']", "attributes = { a = 1 }"]
        {
            let key = demand.split(' ').next().unwrap();
            refused(
                route(&format!("path = '/'\nauth = {auth}\n{demand}")),
                &format!("routes[0].{key}"),
                "cannot demand",
            );
        }
    }
    refused(route("path = '/'\nauth = ['public']\nissuers = ['idp']"), "routes[0].issuers", "no credential");
    refused(route("path = '/'\nauth = ['public']\nfrom = ['cookie:a']"), "routes[0].from", "no credential");
}

#[test]
fn a_route_is_compiled_as_written() {
    let config = route(
        "name = 'orders'\npath = '/v1/{kind}/**'\nmethods = ['GET', 'POST']\nauth = ['jwt', 'api_key', 'anonymous']\n\
         allow_ips = ['10.0.0.0/8', '2001:db8::1']\ndeny_ips = ['10.1.0.0/16']\nlimits = ['burst']\n\
         strip_prefix = '/v1'\ntimeouts = { read = '2s' }\nmax_body = '1KiB'\nforward_credential = true\n\
         headers = { add = { X-Team = 'a' }, remove = ['X-Debug'] }",
    )
    .unwrap();
    let route = &config.snapshot.realms[0].routes[0];
    assert_eq!(&*route.name, "orders");
    assert_eq!(
        route.auth,
        Auth { public: false, anonymous: true, jwt: true, api_key: true, mtls: false, opaque: None }
    );
    assert_eq!(route.issuers, [0]);
    assert_eq!(route.allow_ips.as_ref().map(|set| set.len()), Some(2));
    assert_eq!(route.deny_ips.as_ref().map(|set| set.len()), Some(1));
    assert_eq!(&*route.limits[0].spec().name, "burst");
    assert_eq!((route.strip_prefix.as_deref(), route.max_body), (Some("/v1"), 1024));
    assert_eq!((route.timeouts.read.map(|t| t.as_secs()), route.timeouts.connect), (Some(2), None));
    assert!(route.forward_credential);
    assert_eq!((route.add_headers[0].0.as_str(), route.remove_headers[0].as_str()), ("x-team", "x-debug"));
    let places: Vec<_> = route.places.iter().map(|p| (&p.place, p.jwt, p.api_keys.as_slice())).collect();
    let header = |name: &'static str| Place::Header(http::HeaderName::from_static(name));
    let expected = [(header("authorization"), true), (header("x-api-key"), false), (header("apikey"), false)];
    assert!(places.iter().map(|(place, jwt, _)| ((*place).clone(), *jwt)).eq(expected), "{places:?}");
    assert!(places.iter().all(|(_, _, keys)| *keys == [0]));
}

#[test]
fn scopes_take_names_of_the_path() {
    let config = jwt("scopes = ['{kind}:{access}']").unwrap();
    let parts = &config.snapshot.realms[0].routes[0].scopes[0].0;
    assert_eq!(*parts, [ScopePart::Param(0), ScopePart::Text(":".into()), ScopePart::Access]);
    refused(jwt("scopes = ['{knd}:read']"), "routes[0].scopes[0]", "did you mean `kind`?");
    refused(jwt("scopes = ['orders:*']"), "routes[0].scopes[0]", "no `*`");
    refused(jwt("scopes_any = []"), "routes[0].scopes_any", "empty");
}

#[test]
fn a_routes_roles_need_no_table() {
    // The roles of a token are its issuer's words.
    assert!(jwt("roles = ['anything']").is_ok());
}

#[test]
fn routes_are_told_apart_by_name_and_by_request() {
    let two = |one: &str, other: &str| {
        shop(&format!("[[routes]]\n{one}\nauth = ['public']\n[[routes]]\n{other}\nauth = ['public']\n"))
    };
    assert!(two("path = '/a'", "path = '/b'").is_ok());
    assert!(two("path = '/a'\nmethods = ['GET']", "path = '/a'\nname = 'b'\nmethods = ['POST']").is_ok());
    assert!(two("path = '/a'\nmethods = ['GET']", "path = '/a'\nmethods = ['POST']").is_ok());
    refused(two("path = '/a'\nname = 'b'", "path = '/c'\nname = 'b'"), "routes[1]", "is called \"b\", too");
    refused(two("path = '/a'", "path = '/a'\nname = 'b'"), "routes[1]", "");
    refused(two("path = '/a'", "path = 'b'"), "routes[1].path", "");
}

#[test]
fn methods_are_written_as_they_are_sent() {
    let with = |methods: &str| route(&format!("path = '/'\nauth = ['public']\nmethods = {methods}"));
    assert!(with("['GET', 'PURGE']").is_ok());
    refused(with("[]"), "routes[0].methods", "empty");
    refused(with("['GET', 'post']"), "routes[0].methods[1]", "write \"POST\"");
    refused(with("['GET', 'TRACE']"), "routes[0].methods[1]", "never served");
    refused(with("['GET', 'a b']"), "routes[0].methods[1]", "expected a method");
    refused(with("['GET', 'GET']"), "routes[0].methods[1]", "twice");
}

#[test]
fn what_a_route_refers_to_exists() {
    refused(jwt("issuers = ['ipd']"), "routes[0].issuers[0]", "did you mean `idp`?");
    refused(jwt("issuers = ['self']"), "routes[0].issuers[0]", "issues nothing");
    refused(jwt("issuers = []"), "routes[0].issuers", "empty");
    refused(jwt("limits = ['brust']"), "routes[0].limits[0]", "did you mean `burst`?");
    refused(jwt("allow_ips_file = 'nope'"), "routes[0].allow_ips_file", "does not exist");
    refused(route("path = '/'\nauth = ['api_key']\nissuers = ['idp']"), "routes[0].issuers", "only means something");
}

#[test]
fn an_empty_address_list_means_every_address_and_is_pointed_out() {
    for list in ["allow_ips", "deny_ips"] {
        let config = jwt(&format!("{list} = []")).unwrap();
        let [warning] = warnings(&config)[..] else { panic!("one warning") };
        assert!(warning.contains("the list is empty"), "{warning}");
        let route = &config.snapshot.realms[0].routes[0];
        assert!(route.allow_ips.is_none() && route.deny_ips.is_none());
    }
}

#[test]
fn networks_are_written_in_canonical_form() {
    refused(jwt("allow_ips = ['10.0.0.1/8']"), "routes[0].allow_ips[0]", "write \"10.0.0.0/8\"");
    refused(jwt("allow_ips = ['fe80::1%eth0']"), "routes[0].allow_ips[0]", "expected a network");
}

#[test]
fn places_of_a_route_replace_the_default_ones() {
    let config = route("path = '/'\nauth = ['jwt', 'api_key']\nfrom = ['cookie:session']").unwrap();
    let [place] = config.snapshot.realms[0].routes[0].places.as_slice() else { panic!("one place") };
    assert_eq!((&place.place, place.jwt), (&Place::Cookie("session".into()), true));
    assert_eq!(place.api_keys, [0]);
}

#[test]
fn a_prefix_is_cut_only_where_it_stands() {
    let strip = |prefix: &str| route(&format!("path = '/v1/orders/**'\nauth = ['public']\nstrip_prefix = '{prefix}'"));
    assert!(strip("/v1/orders").is_ok());
    refused(strip("v1"), "routes[0].strip_prefix", "expected the beginning");
    refused(strip("/"), "routes[0].strip_prefix", "expected the beginning");
    refused(strip("/v1/"), "routes[0].strip_prefix", "write \"/v1\"");
    refused(strip("/v"), "routes[0].strip_prefix", "does not begin");
    refused(strip("/v2"), "routes[0].strip_prefix", "does not begin");
}

#[test]
fn a_route_cannot_set_what_the_gateway_owns() {
    let add = |name: &str| jwt(&format!("headers = {{ add = {{ {name} = 'x' }} }}"));
    for name in ["X-Auth-Subject", "x_auth_subject"] {
        refused(add(name), &format!("routes[0].headers.add.{name}"), "identity header");
    }
    for name in ["Host", "Connection", "Content-Length", "X-Forwarded-For", "Forwarded", "X_Forwarded_Proto"] {
        refused(add(name), &format!("routes[0].headers.add.{name}"), "gateway alone");
    }
    refused(jwt("headers = { remove = ['X-Auth-Roles'] }"), "routes[0].headers.remove[0]", "identity header");
    refused(jwt("headers = { add = { X-A = \"a\\nb\" } }"), "routes[0].headers.add.X-A", "expected a value");
}

#[test]
fn attributes_are_compared_with_plain_values() {
    let config = jwt("attributes = { tier = [1, 2], beta = true, region = 'eu' }").unwrap();
    assert_eq!(config.snapshot.realms[0].routes[0].attributes.len(), 3);
    refused(jwt("attributes = { tier = [] }"), "routes[0].attributes.tier", "empty");
    refused(jwt("attributes = { tier = 1.5 }"), "routes[0].attributes.tier", "expected text");
    refused(jwt("attributes = { tier = { a = 1 } }"), "routes[0].attributes.tier", "expected text");
}

#[test]
fn limits_are_compiled_with_the_lowest_rate_for_other_plans() {
    let limit = |keys: &str| shop(&format!("[limits.api]\n{keys}\n{PUBLIC}limits = ['api']\n"));
    let config =
        limit("by = 'address'\nrate = { Growth = '100/m', Scale = '500/m' }\nburst = 5\nheaders = 'both'").unwrap();
    let spec = config.snapshot.realms[0].routes[0].limits[0].spec().clone();
    assert_eq!(
        (spec.by, spec.rate.count, spec.burst, spec.headers),
        (LimitBy::Address, 100, Some(5), LimitHeaders::Both)
    );
    assert_eq!(spec.plans.len(), 2);
    refused(limit("by = 'address'\nrate = '1/m'\nburst = 0"), "limits.api.burst", "zero");
    refused(limit("by = 'address'"), "limits.api.rate", "is required");
    refused(limit("by = 'adress'\nrate = '1/m'"), "limits.api.by", "did you mean `address`?");
    refused(limit("by = 'address'\nrate = '1 per minute'"), "limits.api.rate", "");
}
