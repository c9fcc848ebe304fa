//! What a realm issues itself.

use std::time::Duration;

use http::Method;

use super::documented::{AFFILYNC, AFFONSO, CONVERTLY, GIFTCARDS};
use super::*;
use crate::gate::credential::Place;
use crate::gate::policy::Realm;
use crate::gate::route::Found;
use crate::gate::verify::jwt::KeySource;
use crate::jwt::Algorithm;
use crate::tokens::policy::{
    Action, Directory, Encoding, Field, FieldKind, Format, Kind, RealmTokens, Revokes, Timestamps, UrlPart,
};

const ACCESS: &str = "[tokens.access]\nttl = '1h'\n";
const REFRESH: &str = "[tokens.refresh]\nttl = '30d'\n";
const LOCAL: &str = "[directory]\ntype = 'local'\n";
const PORTAL: &str = "[tokens.portal]\nttl = '5m'\nuses = 1\n";
const SESSION: &str = "[tokens.session]\nformat = 'opaque'\nttl = '8h'\n";
const TEAM: &str = "[subjects.team]\nurl = 'http://127.0.0.1:1/t/{id}'\nfields = { link = '/link' }\n";
const LOGIN: &str = "[[grants]]\ntype = 'password'\npath = '/login'\n";

/// Loads one realm from the text of its file, and gives what it issues.
fn issues(text: &str) -> (std::sync::Arc<Realm>, std::sync::Arc<RealmTokens>) {
    let config = load_files(&[("realms/one.toml", text)], true).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings(&config), Vec::<&str>::new());
    let tokens = config.issuing.realms[0].clone().expect("a realm that issues");
    (config.snapshot.realms[0].clone(), tokens)
}

/// A shop that issues what `rest` says.
fn service(rest: &str) -> (std::sync::Arc<Realm>, std::sync::Arc<RealmTokens>) {
    issues(&shop_text(rest))
}

/// Sign-in and refresh, with `rest` besides.
fn with(rest: &str) -> Result<Config, Problems> {
    shop(&format!("{FORM}{ACCESS}{REFRESH}{PORTAL}{SESSION}{TEAM}{LOCAL}{rest}"))
}

fn grant(keys: &str) -> Result<Config, Problems> {
    with(&format!("[[grants]]\npath = '/g/{{id}}'\n{keys}\n"))
}

fn kind(tokens: &RealmTokens, name: &str) -> usize {
    tokens.kinds.iter().position(|kind| *kind.name == *name).expect("the kind")
}

fn jwt(alg: Algorithm, typ: &str, kid: bool) -> Format {
    Format::Jwt { alg, typ: typ.into(), kid }
}

fn text(name: &str, required: bool) -> Field {
    Field { name: name.into(), kind: FieldKind::Text(None), required }
}

#[test]
fn the_first_document_is_a_login_with_a_pair_of_tokens() {
    let (realm, tokens) = issues(AFFILYNC);
    assert_eq!((&*tokens.issuer, &*tokens.kinds[0].audience), ("https://api.affilync.com", "affilync"));
    let lives: Vec<_> = tokens.kinds.iter().map(|kind| (&*kind.name, kind.ttl.as_secs())).collect();
    assert_eq!(lives, [("access", 3600), ("refresh", 2_592_000)]);
    assert!(tokens.kinds.iter().all(|kind| kind.format == jwt(Algorithm::HS256, "JWT", false)));
    assert_eq!(tokens.kinds[1].reuse_leeway, Duration::from_secs(10));
    assert!(tokens.kinds[1].reuse_grace.is_zero() && tokens.kinds[1].rotate);
    let Action::Password { identifier, password, access: 0, refresh: Some(1), plans, single_session: false } =
        &tokens.grants[0].action
    else {
        panic!("{:?}", tokens.grants[0].action)
    };
    assert_eq!((&**identifier, &**password, plans.len()), ("email", "password", 0));
    let email = Field { name: "email".into(), kind: FieldKind::Email, required: true };
    assert_eq!(tokens.grants[0].fields, [email, text("password", true)]);
    assert!(matches!(&tokens.grants[1].action, Action::Refresh { token, .. } if **token == *"refresh_token"));
    assert!(matches!(&tokens.directory, Some(Directory::Local { default_roles }) if *default_roles == ["user".into()]));
    let route = &realm.routes[0];
    assert!(route.auth.jwt && route.auth.api_key);
    assert_eq!(route.issuers, [0]);
    assert_eq!(realm.own.as_ref().map(|own| (own.issuer, &*own.token_use, own.revocable)), Some((0, "access", true)));
}

#[test]
fn the_second_document_is_a_token_that_renews_itself() {
    let (realm, tokens) = issues(CONVERTLY);
    let Some(Directory::Http(directory)) = &tokens.directory else { panic!("{:?}", tokens.directory) };
    let lookup = directory.lookup.as_ref().unwrap();
    let expected = [UrlPart::Text("http://127.0.0.1:9001/internal/users/".into()), UrlPart::Name("subject".into())];
    assert_eq!(lookup.0, expected);
    assert!(directory.secret.is_some() && directory.verify.is_some());
    assert!(matches!(&tokens.grants[0].action, Action::Password { refresh: None, .. }));
    assert!(matches!(&tokens.grants[1].action, Action::Renew { access: 0 }));
    let renew = &realm.routes[2];
    assert!(renew.auth.jwt && !renew.auth.public && renew.upstream.is_none());
    assert_eq!((renew.grant, renew.issuers.as_slice(), &*renew.name), (Some(1), &[0][..], "/v1/auth/refresh"));
    let self_issuer = &realm.issuers[0];
    assert_eq!(self_issuer.max_ttl, Duration::from_secs(24 * 3600 + 60));
    assert_eq!(self_issuer.typ, ["jwt".into(), "at+jwt".into()]);
    assert!(matches!(&self_issuer.keys, KeySource::Own(keys) if std::sync::Arc::ptr_eq(keys, &tokens.keys)));
}

#[test]
fn the_third_and_fourth_documents_are_tokens_of_somebody_else() {
    let (realm, tokens) = issues(AFFONSO);
    assert_eq!((realm.hosts_from.as_deref(), tokens.timestamps), (Some("verified_domain"), Timestamps::Rfc3339Millis));
    let Action::Delegate { subject: 0, token, bind } = &tokens.grants[0].action else { panic!() };
    assert_eq!((*token, bind.len()), (kind(&tokens, "portal"), 0));
    assert_eq!(tokens.grants[0].params, ["id".into()]);
    assert!(tokens.grants[0].fields.is_empty(), "the body is not read");
    let Action::Redeem { token, field: None, session, cookie, location } = &tokens.grants[1].action else { panic!() };
    assert_eq!((*token, *session), (kind(&tokens, "portal"), Some(kind(&tokens, "session"))));
    assert_eq!((cookie.as_deref(), location.as_deref()), (Some("__Host-portal"), Some("/")));
    assert_eq!(tokens.grants[1].status, 303);
    let Action::Delegate { subject: 1, token, bind } = &tokens.grants[2].action else { panic!() };
    assert_eq!((*token, &*bind[0].0), (kind(&tokens, "embed"), "program"));
    let partner = tokens.grants[2].fields.iter().find(|field| *field.name == *"partner").unwrap();
    assert!(partner.required, "a member is");
    assert_eq!(tokens.kinds[kind(&tokens, "embed")].one_per, ["subject".into(), "program".into()]);
    let own = realm.own.as_ref().unwrap();
    let forms: Vec<_> = own.opaque.iter().map(|form| (&*form.kind, form.length, form.hex)).collect();
    assert_eq!(forms, [("embed", 64, true), ("session", 44, false)]);
    let data = realm.routes.iter().find(|route| &*route.name == "/v1/embed/data").unwrap();
    assert_eq!((data.auth.opaque, &data.places[0].place), (Some(0), &Place::Query("token".into())));
    assert!(data.places[0].opaque && !data.places[0].jwt);
    let redeem = realm.routes.iter().find(|route| &*route.name == "/auth/token").unwrap();
    assert!(redeem.auth.public && redeem.places[0].jwt && !redeem.places[0].opaque);
}

#[test]
fn the_fifth_document_ends_every_session_of_a_client() {
    let (_, tokens) = issues(GIFTCARDS);
    assert!(tokens.addresses_first);
    assert!(matches!(tokens.grants[2].action, Action::Logout { revokes: Revokes::Subject }));
    assert_eq!(tokens.grants[0].invalid.as_deref(), Some("Username and password are required"));
    assert_eq!(tokens.grants[0].fields, [text("username", true), text("password", true)]);
    assert_eq!(tokens.longest_ttl(), Duration::from_secs(7 * 24 * 3600));
}

#[test]
fn a_grant_belongs_to_the_hosts_that_it_names() {
    let (realm, _) = issues(AFFONSO);
    let found = |host: &str, path| {
        let has = |table: &&(crate::gate::route::HostTable, _)| table.0.find(host) == Ok(Some(0));
        let table = realm.host_tables.iter().find(has).map_or(&realm.table, |(_, table)| table);
        matches!(table.find(path, &Method::GET), Found::Route(..))
    };
    assert!(found("team.affonso.io", "/auth/token"));
    assert!(!found("api.affonso.io", "/auth/token"), "exact beats wildcard");
    assert!(found("team.affonso.io", "/v1/affiliates"), "what every host has, this one has, too");
    assert!(found("api.affonso.io", "/v1/affiliates"));
    let [(table, _)] = realm.host_tables.as_slice() else { panic!("{}", realm.host_tables.len()) };
    assert!(table.takes_owned(), "custom domains are of the rank of a wildcard");
}

#[test]
fn two_of_one_host_never_take_the_same_requests() {
    let on = |one: &str, other: &str| {
        let hosts = "hosts = ['a.example', '*.example', 'b.test']\nupstream = 'http://127.0.0.1:1'\n";
        let route =
            |hosts: &str, name| format!("[[routes]]\nname = '{name}'\npath = '/x'\nauth = ['public']\n{hosts}\n");
        load_files(&[("realms/a.toml", &format!("realm = 'a'\n{hosts}{}{}", route(one, "1"), route(other, "2")))], true)
    };
    assert!(on("hosts = ['a.example']", "hosts = ['*.example']").is_ok(), "exact beats wildcard");
    assert!(on("hosts = ['a.example', 'b.test']", "hosts = ['*.example']").is_ok());
    refused(on("hosts = ['A.example.']", "hosts = ['b.test', 'a.example']"), "routes[1]", "the same requests");
    refused(on("hosts = ['b.test']", ""), "routes[1]", "the same requests");
    refused(on("", "hosts = ['b.test']"), "routes[1]", "the same requests");
    refused(on("hosts = ['c.example']", ""), "routes[0].hosts[0]", "did you mean `a.example`?");
    refused(on("hosts = ['b.test', 'B.test']", "hosts = ['*.example']"), "routes[0].hosts[1]", "twice");
    refused(on("hosts = []", "hosts = ['*.example']"), "routes[0].hosts", "empty");
}

#[test]
fn what_is_not_said_of_a_kind_is_the_modern_choice() {
    let (realm, tokens) = service(&format!("{ACCESS}{REFRESH}{LOCAL}{LOGIN}"));
    let [access, refresh] = tokens.kinds.as_slice() else { panic!() };
    assert_eq!(access.format, jwt(Algorithm::EdDSA, "at+jwt", true));
    assert_eq!(refresh.format, jwt(Algorithm::EdDSA, "JWT", true));
    let Kind { once: false, revocable: true, rotate: true, max_session: None, .. } = access else {
        panic!("{access:?}")
    };
    assert_eq!(realm.issuers[0].algorithms, [Algorithm::EdDSA]);
    assert_eq!(&*realm.issuers[0].name, "self");
    assert_eq!(tokens.grants[0].max_body, 64 << 10);
}

#[test]
fn an_opaque_kind_is_as_long_as_its_alphabet_makes_it() {
    let text = format!(
        "{FORM}{TEAM}[tokens.a]\nformat = 'opaque'\nttl = '1h'\nbytes = 16\n[tokens.b]\nformat = 'opaque'\nencoding = 'hex'\nttl = '1h'\n\
         [[grants]]\ntype = 'delegate'\npath = '/a/{{id}}'\ntoken = 'a'\nsubject = 'team'\n\
         [[grants]]\ntype = 'delegate'\npath = '/b/{{id}}'\ntoken = 'b'\nsubject = 'team'\n\
         [[routes]]\npath = '/'\nauth = ['opaque', 'anonymous']\ntoken = 'b'\n"
    );
    let (realm, tokens) = service(&text);
    assert_eq!(tokens.kinds[0].format, Format::Opaque { encoding: Encoding::Base62, bytes: 16 });
    let own = realm.own.as_ref().unwrap();
    assert!(own.opaque[0].fits("0123456789ABCDEFGHIJKz") && !own.opaque[0].fits("0123456789ABCDEFGHIJK-"));
    assert!(own.opaque[1].fits(&"0f".repeat(32)) && !own.opaque[1].fits(&"0F".repeat(32)));
    assert_eq!((realm.routes[0].auth.opaque, realm.routes[0].auth.anonymous), (Some(1), true));
    assert_eq!(realm.routes[0].places[0].place, Place::Header(http::header::AUTHORIZATION));
}

#[test]
fn a_kind_that_contradicts_itself_is_refused() {
    let with = |keys: &str| shop(&format!("{LOCAL}{LOGIN}[tokens.access]\nttl = '1h'\n{keys}"));
    let refresh = |keys: &str| with(&format!("[tokens.refresh]\nttl = '1d'\n{keys}"));
    let other = |keys: &str| with(&format!("[tokens.other]\n{keys}"));
    refused(with("uses = 1"), "tokens.access.uses", "not spent");
    refused(with("uses = 2"), "tokens.access.uses", "expected 1");
    refused(with("typ = 'a b'"), "tokens.access.typ", "media type");
    refused(with("bytes = 32"), "tokens.access.bytes", "opaque");
    refused(with("rotate = true"), "tokens.access.rotate", "refresh tokens");
    refused(with("max_session = '1d'\n[tokens.refresh]\nttl = '1d'"), "tokens.access.max_session", "at the refresh");
    refused(with("format = 'opaque'"), "tokens.access.format", "access tokens are JWTs");
    refused(with("alg = 'RS512'"), "tokens.access.alg", "not known");
    refused(with("one_per = ['subject']"), "tokens.access.one_per", "one by one");
    assert!(with("max_session = '90d'\nrevocable = false").is_ok());
    refused(refresh("reuse_grace = '10s'\nalg = 'ES256'"), "tokens.refresh.reuse_grace", "must be \"0s\"");
    refused(refresh("reuse_grace = '10s'\nformat = 'opaque'"), "tokens.refresh.reuse_grace", "must be \"0s\"");
    refused(refresh("reuse_grace = '10s'\nreuse_leeway = '5s'"), "tokens.refresh.reuse_leeway", "at least");
    refused(refresh("reuse_grace = '1h'\nreuse_leeway = '1h'"), "tokens.refresh.reuse_grace", "at most \"5m\"");
    refused(refresh("rotate = false\nreuse_leeway = '5s'"), "tokens.refresh.reuse_leeway", "no token before");
    refused(refresh("revocable = false"), "tokens.refresh.revocable", "access tokens");
    let config = refresh("reuse_grace = '30s'\nmax_session = '90d'").unwrap();
    let kinds = &config.issuing.realms[0].as_ref().unwrap().kinds;
    assert_eq!(kinds[1].reuse_leeway, Duration::from_secs(30), "never shorter than the grace");
    refused(other("ttl = '1h'\nuse = 'access'"), "tokens.other.use", "`tokens.access` has the use");
    refused(other("ttl = '500ms'"), "tokens.other.ttl", "from \"1s\"");
    refused(other("ttl = '401d'"), "tokens.other.ttl", "\"400d\"");
    refused(other(""), "tokens.other.ttl", "is required");
    refused(other("ttl = '1h'\nformat = 'opaque'\nkid = true"), "tokens.other.kid", "random text");
    refused(other("ttl = '1h'\nformat = 'opaque'\nbytes = 8"), "tokens.other.bytes", "from 16 to 64");
    refused(other("ttl = '1h'\nformat = 'opaque'\none_per = ['subject']"), "tokens.other.one_per", "none makes these");
    refused(with("[tokens]\nisuer = 'x'"), "tokens.isuer", "did you mean `issuer`?");
    refused(with("[tokens.'a.b']\nttl = '1h'"), "tokens.\"a.b\"", "letters, digits");
}

#[test]
fn a_kind_that_nothing_makes_is_told() {
    let config = shop(&format!("{ACCESS}{REFRESH}{LOCAL}{TEAM}{LOGIN}[tokens.lonely]\nttl = '1h'\n")).unwrap();
    let texts = warnings(&config);
    assert_eq!(texts, ["warning: no grant has this as its `subject`", "warning: no grant makes tokens of this kind"]);
}

#[test]
fn the_issuer_is_the_first_exact_host() {
    let realm = |hosts: &str, tokens: &str| {
        let text = format!("realm = 'a'\nhosts = {hosts}\n{tokens}{ACCESS}{LOCAL}{LOGIN}");
        load_files(&[("realms/a.toml", &text)], true)
    };
    let issuer = |loaded: Result<Config, Problems>| loaded.unwrap().issuing.realms[0].as_ref().unwrap().issuer.clone();
    assert_eq!(&*issuer(realm("['*.b.example', 'A.example.', 'c.example']", "")), "https://a.example");
    assert_eq!(&*issuer(realm("['*.b.example']", "[tokens]\nissuer = 'urn:b'\n")), "urn:b");
    refused(realm("['*.b.example']", ""), "tokens.issuer", "only wildcards");
}

#[test]
fn a_realm_needs_requests_that_are_answered() {
    assert!(shop(&format!("{ACCESS}{LOCAL}{LOGIN}")).is_ok(), "a grant is enough");
    refused(shop(""), "routes", "is required");
    refused(shop("routes = []"), "routes", "empty");
    let without = faults(shop(&format!("{LOCAL}{LOGIN}")));
    assert_eq!(without, ["tokens: is required for [[grants]], [directory]: it says what is issued"]);
}

#[test]
fn discovery_publishes_two_documents() {
    let asked = "[tokens]\ndiscovery = true\n";
    let others = "[[grants]]\ntype = 'client_credentials'\npath = '/oauth/token'\n[[grants]]\ntype = 'revoke'\npath = '/oauth/revoke'\n[[grants]]\ntype = 'introspect'\npath = '/oauth/introspect'\n";
    let (realm, tokens) = service(&format!("scopes = {{ a = 'A' }}\n{asked}{ACCESS}{LOCAL}{others}"));
    let actions: Vec<_> = tokens.grants.iter().map(|grant| grant.action.as_str()).collect();
    assert_eq!(actions, ["client_credentials", "revoke", "introspect", "jwks", "metadata"]);
    let Found::Route(index, _) = realm.table.find("/.well-known/jwks.json", &Method::GET) else { panic!() };
    assert!(realm.routes[index].auth.public);
    assert_eq!(realm.routes[index].grant, Some(3));
    let metadata = &tokens.metadata;
    assert_eq!(metadata.token.as_deref(), Some("/oauth/token"));
    assert_eq!(metadata.revocation.as_deref(), Some("/oauth/revoke"));
    assert_eq!(metadata.introspection.as_deref(), Some("/oauth/introspect"));
    assert_eq!(metadata.jwks.as_deref(), Some("/.well-known/jwks.json"));
    assert_eq!(metadata.scopes, ["a".into()]);
    let taken = "[[routes]]\npath = '/.well-known/**'\nauth = ['public']\n[[routes]]\npath = '/.well-known/jwks.json'\nauth = ['public']\n";
    refused(shop(&format!("{asked}{ACCESS}{LOCAL}{LOGIN}{taken}")), "tokens.discovery", "same paths");
    let path = "[tokens]\ndiscovery = true\nissuer = 'https://shop.example/realm'\n";
    refused(shop(&format!("{path}{ACCESS}{LOCAL}{LOGIN}")), "tokens.discovery", "host and port alone");
    let config = shop(&format!("{asked}{ACCESS}alg = 'HS256'\n{LOCAL}{LOGIN}")).unwrap();
    assert!(warnings(&config)[0].contains("no key that could be published"));
}

#[test]
fn routes_take_tokens_of_the_realm() {
    let idp = ISSUER;
    let route = |keys: &str| {
        shop(&format!("{idp}{ACCESS}{PORTAL}{SESSION}{REFRESH}{LOCAL}{LOGIN}[[routes]]\npath = '/'\n{keys}\n"))
    };
    let issuers = |keys: &str| route(keys).unwrap().snapshot.realms[0].routes[0].issuers.clone();
    assert_eq!(issuers("auth = ['jwt']"), [0, 1], "`self` is the last, and among them");
    assert_eq!(issuers("auth = ['jwt']\nissuers = ['self']"), [1]);
    assert_eq!(issuers("auth = ['jwt']\nissuers = ['idp']"), [0]);
    refused(route("auth = ['jwt']\nissuers = ['slf']"), "routes[0].issuers[0]", "did you mean `self`?");
    refused(route("auth = ['opaque']"), "routes[0].auth", "needs `token`");
    refused(route("auth = ['jwt']\ntoken = 'session'"), "routes[0].token", "with `opaque`");
    refused(route("auth = ['opaque']\ntoken = 'sesion'"), "routes[0].token", "did you mean `session`?");
    refused(route("auth = ['opaque']\ntoken = 'access'"), "routes[0].token", "are JWTs");
    refused(route("auth = ['opaque']\ntoken = 'portal'"), "routes[0].token", "spent");
    refused(route("auth = ['opaque']\ntoken = 'refresh'"), "routes[0].token", "refresh");
    refused(route("auth = ['public', 'opaque']\ntoken = 'session'"), "routes[0].auth", "stands alone");
    let only = |keys: &str| shop(&format!("{keys}[[routes]]\npath = '/'\nauth = ['jwt']\nissuers = ['self']\n"));
    assert_eq!(faults(only("")).len(), 2, "no issuer at all, and not this one");
    assert!(faults(only(SESSION)).iter().any(|fault| fault.contains("[tokens.access]")));
    refused(shop("[[routes]]\npath = '/'\nauth = ['opaque']\ntoken = 'a'"), "routes[0].auth", "needs [tokens]");
}

#[test]
fn an_issuer_with_the_realms_own_name_and_algorithm_is_ambiguous() {
    let twin = ISSUER.replace("https://idp.example", "https://shop.example");
    let loaded = shop(&format!("{twin}{ACCESS}alg = 'HS256'\n{LOCAL}{LOGIN}[[routes]]\npath = '/'\nauth = ['jwt']\n"));
    refused(loaded, "routes[0]", "the issuers `idp` and `self` have the same `issuer`");
    let apart = shop(&format!("{twin}{ACCESS}{LOCAL}{LOGIN}[[routes]]\npath = '/'\nauth = ['jwt']\n"));
    assert!(apart.is_ok(), "another algorithm tells them apart");
}

#[test]
fn routes_and_grants_share_names_and_paths() {
    let with_route = |route: &str| with(&format!("{LOGIN}[[routes]]\nauth = ['public']\n{route}\n"));
    refused(with_route("path = '/x'\nname = '/login'"), "grants[0]", "is called \"/login\", too");
    refused(with_route("path = '/login'\nname = 'x'"), "grants[0]", "same paths");
    assert!(with_route("path = '/login'\nname = 'x'\nmethods = ['GET']").is_ok());
    refused(with(&format!("{LOGIN}{LOGIN}name = 'again'\n")), "grants[1]", "same paths");
}

#[test]
fn a_grant_has_what_its_type_needs_and_nothing_else() {
    refused(grant("type = 'password'\nrevokes = 'session'"), "grants[0].revokes", "it is for `logout`");
    refused(grant("type = 'logout'\nsingle_session = true"), "grants[0].single_session", "`password`");
    refused(grant("type = 'revoke'\nresponse = 'x'"), "grants[0].response", "means nothing");
    refused(grant("type = 'passwort'"), "grants[0].type", "did you mean `password`?");
    refused(grant("type = 'delegate'\nsubject = 'team'"), "grants[0].token", "is required for a `delegate` grant");
    refused(grant("type = 'delegate'\ntoken = 'session'"), "grants[0].subject", "is required");
    refused(
        grant("type = 'delegate'\ntoken = 'sesion'\nsubject = 'team'"),
        "grants[0].token",
        "did you mean `session`?",
    );
    refused(
        grant("type = 'delegate'\ntoken = 'session'\nsubject = 'tem'"),
        "grants[0].subject",
        "did you mean `team`?",
    );
    refused(grant("type = 'delegate'\ntoken = 'access'\nsubject = 'team'"), "grants[0].token", "who signs in");
    let delegate = "type = 'delegate'\ntoken = 'portal'\nsubject = 'team'\n";
    refused(grant(&format!("{delegate}invalid = 'no'")), "grants[0].invalid", "reads no body");
    refused(grant(&format!("{delegate}auth = ['jwt']")), "grants[0].auth[0]", "in whose name it acts");
    refused(grant("type = 'renew'\nauth = ['public']"), "grants[0].auth[0]", "the access token that is renewed");
    refused(grant("type = 'introspect'\nauth = ['api_key']"), "grants[0].auth[0]", "the standard");
    refused(grant("type = 'password'\nauth = ['opaque']"), "grants[0].auth[0]", "means nothing");
    refused(grant("type = 'password'\nscopes = ['a']"), "grants[0].scopes", "cannot demand");
    refused(grant("type = 'password'\nmethod = 'GET'"), "grants[0].method", "must change nothing");
    refused(grant("type = 'password'\nmethod = 'DELETE'"), "grants[0].method", "`logout`");
    refused(grant("type = 'revoke'\nmethod = 'PUT'"), "grants[0].method", "the standard");
    refused(grant("type = 'password'\nstatus = 302"), "grants[0].status", "200 to 299");
    refused(grant("type = 'password'\nmax_body = 0"), "grants[0].max_body", "\"16MiB\"");
    refused(grant("type = 'password'\nresponse = 'x'"), "grants[0].response", "no response called");
    refused(grant("type = 'password'\ncors = {}"), "grants[0].cors.origins", "is required");
    assert!(grant("type = 'password'\nauth = ['api_key']\nscopes = ['a']\nplan = ['gold']").is_ok());
    assert!(
        grant("type = 'logout'\nauth = ['opaque']\ntoken = 'session'\nfrom = ['cookie:s']\nmethod = 'DELETE'").is_ok()
    );
}

#[test]
fn only_tokens_of_the_realm_are_renewed() {
    let text = format!("{ISSUER}{ACCESS}{LOCAL}[[grants]]\ntype = 'renew'\npath = '/renew'\n");
    assert_eq!(shop(&text).unwrap().snapshot.realms[0].routes[0].issuers, [1]);
    assert!(shop(&format!("{text}issuers = ['self']\n")).is_ok());
    refused(shop(&format!("{text}issuers = ['idp', 'self']\n")), "grants[0].issuers", "the realm's own");
    let none = format!("{SESSION}{LOCAL}[[grants]]\ntype = 'logout'\npath = '/bye'\n");
    refused(shop(&none), "grants[0]", "no [tokens.access]");
}

#[test]
fn who_signs_in_comes_from_somewhere() {
    let grants = |rest: &str, kind: &str| shop(&format!("{rest}[[grants]]\ntype = '{kind}'\npath = '/g'\n"));
    for kind in ["password", "refresh_token", "renew", "client_credentials"] {
        refused(grants(&format!("{ACCESS}{REFRESH}"), kind), "grants[0]", "needs [directory]");
    }
    refused(grants(&format!("{SESSION}{LOCAL}"), "password"), "grants[0]", "no [tokens.access]");
    refused(grants(&format!("{ACCESS}{LOCAL}"), "refresh_token"), "grants[0]", "no [tokens.refresh]");
    let lookup =
        "[directory]\ntype = 'http'\nlookup = 'https://a.example/{subject}'\nsecret = { env = 'HEX_SECRET' }\n";
    refused(grants(&format!("{ACCESS}{lookup}"), "password"), "grants[0]", "has no `verify`");
    refused(grants(&format!("{ACCESS}{lookup}"), "client_credentials"), "grants[0]", "`type = \"local\"`");
}

#[test]
fn a_directory_is_asked_where_it_can_be() {
    let directory = |keys: &str| shop(&format!("[roles]\nuser = ['*']\n{ACCESS}{LOGIN}[directory]\n{keys}\n"));
    let http = |keys: &str| {
        directory(&format!("type = 'http'\nverify = 'https://a.example/v'\nsecret = {{ env = 'HEX_SECRET' }}\n{keys}"))
    };
    refused(directory("type = 'local'\ncache = '10s'"), "directory.cache", "`type = \"http\"`");
    refused(directory("type = 'local'\ndefault_role = 'usr'"), "directory.default_role", "did you mean `user`?");
    refused(directory("type = 'http'\nsecret = { env = 'HEX_SECRET' }"), "directory.verify", "whom should be asked?");
    refused(directory("type = 'http'\nverify = 'https://a.example/v'"), "directory.secret", "is required");
    refused(
        directory("type = 'http'\nverify = 'http://a.example/v'\nsecret = { env = 'HEX_SECRET' }"),
        "directory.verify",
        "https",
    );
    refused(http("lookup = 'https://a.example/u'"), "directory.lookup", "no `{subject}`");
    refused(http("lookup = 'https://a.example/{id}'"), "directory.lookup", "no value");
    refused(http("lookup = 'https://a.example/x{subject}'"), "directory.lookup", "one whole segment");
    refused(http("lookup = 'https://u:p@a.example/{subject}'"), "directory.lookup", "credentials");
    refused(http("timeout = '0s'"), "directory.timeout", "zero");
    refused(http("cache = '2h'"), "directory.cache", "at most");
    refused(http("body = { user = '$identifer' }"), "directory.body", "did you mean `identifier`?");
    refused(http("translate = { subject = 'id' }"), "directory.translate.subject", "JSON pointer");
    refused(http("translate = {}"), "directory.translate.subject", "is required");
    refused(
        directory("type = 'http'\nverify = 'https://a.example/v'\nsecret = { env = 'SHORT' }"),
        "directory.secret",
        "shorter",
    );
    refused(
        directory("type = 'http'\nverify = 'https://a.example/v'\nsecret = { env = 'SECRET' }"),
        "directory.secret",
        "visible ASCII",
    );
    let translated = directory(
        "type = 'http'\nverify = 'https://a.example/v'\ntranslate = { subject = '/user/id', attributes = { email = '/user/email' } }\n\
         body = { user = '$identifier', password = '$request.password' }\nip_check = 'after_password'",
    );
    let config = translated.unwrap();
    let tokens = config.issuing.realms[0].as_ref().unwrap();
    assert!(!tokens.addresses_first);
    let Some(Directory::Http(directory)) = &tokens.directory else { panic!() };
    assert_eq!(&*directory.translate.as_ref().unwrap().subject, "/user/id");
}

#[test]
fn a_subject_is_asked_for_with_what_the_grant_knows() {
    let subject = |keys: &str| {
        let grant = "[[grants]]\ntype = 'delegate'\npath = '/g/{id}'\ntoken = 'portal'\nsubject = 'one'\nschema = { a = 'string' }\n";
        shop(&format!("{FORM}{PORTAL}{grant}[subjects.one]\n{keys}\n"))
    };
    assert!(subject("url = 'https://a.example/{key.owner}/{path.id}'").is_ok());
    refused(subject("url = 'https://a.example/{ide}'"), "subjects.one.url", "did you mean `id`?");
    refused(subject("url = 'https://a.example/{key.owner}'"), "subjects.one.id", "is required");
    refused(subject("url = 'https://a.example/{id}'\nbody = '$request'"), "subjects.one.body", "POST");
    refused(
        subject("url = 'https://a.example/{id}'\nmethod = 'POST'\nbody = '$request.b'"),
        "subjects.one.body",
        "did you mean `request.a`?",
    );
    refused(
        subject("url = 'https://a.example/{id}'\nmethod = 'POST'\nbody = '$subject.id'"),
        "subjects.one.body",
        "nothing is called",
    );
    refused(subject("url = 'https://a.example/{id}'\nfields = { id = '/id' }"), "subjects.one.fields.id", "by `id`");
    refused(
        subject("url = 'https://a.example/{id}'\nrequire = { status = [] }"),
        "subjects.one.require.status",
        "empty",
    );
    refused(
        subject("url = 'https://a.example/{id}'\nrequire = { '/a' = 1 }"),
        "subjects.one.require.\"/a\"",
        "not a pointer",
    );
    refused(subject("url = 'https://a.example/{id}'\nid = 'x'"), "subjects.one.id", "JSON pointer");
}

#[test]
fn every_name_of_an_answer_has_a_value() {
    let answer = |kind: &str, template: &str| {
        with(&format!(
            "[[grants]]\npath = '/g/{{id}}'\n{kind}\nresponse = 'x'\n[responses]\nx = {{ a = '{template}' }}\n"
        ))
    };
    for good in ["$token.access", "$token.refresh.issued_at", "$principal.client_id", "$request.identifier", "{realm}"]
    {
        assert!(answer("type = 'password'", good).is_ok(), "{good}");
    }
    refused(answer("type = 'password'", "$token.acess"), "responses.x", "did you mean `token.access`?");
    refused(answer("type = 'password'", "$token.portal"), "responses.x", "in the grant `/g/{id}`");
    refused(answer("type = 'password'", "$request.password"), "responses.x", "never told again");
    refused(answer("type = 'password'", "$request"), "responses.x", "never told again");
    refused(answer("type = 'renew'", "$token.refresh"), "responses.x", "nothing is called");
    refused(answer("type = 'logout'", "$owner.id"), "responses.x", "nothing is called");
    let delegate = "type = 'delegate'\ntoken = 'portal'\nsubject = 'team'\nschema = { a = { b = 'string' } }";
    for good in
        ["$token.portal", "$subject.link", "$owner.any", "$request.a.b", "$key.owner", "$path.id", "$subject.id"]
    {
        assert!(answer(delegate, good).is_ok(), "{good}");
    }
    for bad in ["$subject.lnk", "$request.a.c", "$path.idd", "$id", "$token.session"] {
        refused(answer(delegate, bad), "responses.x", "nothing is called");
    }
    refused(with(&format!("{LOGIN}response = 'x'\n[responses]\nx = 'text'\n")), "responses.x", "a body is a table");
    let config = with(&format!("{LOGIN}[responses]\nx = {{ a = 1 }}\n")).unwrap();
    assert!(warnings(&config).contains(&"warning: no grant has this as its `response`"));
}

#[test]
fn a_body_has_the_fields_that_the_grant_works_with() {
    refused(
        grant("type = 'password'\nrequest = { token = 'a' }"),
        "grants[0].request.token",
        "`identifier` and `password`",
    );
    refused(grant("type = 'refresh_token'\nrequest = { password = 'a' }"), "grants[0].request.password", "a `token`");
    refused(
        grant("type = 'password'\nrequest = { identifer = 'a' }"),
        "grants[0].request.identifer",
        "did you mean `identifier`?",
    );
    refused(grant("type = 'password'\nrequest = { identifier = 'password' }"), "grants[0].request", "one field");
    refused(
        grant("type = 'password'\nschema = { password = 'string' }"),
        "grants[0].schema.password",
        "cannot do without",
    );
    refused(grant("type = 'password'\nschema = { a = 'strng' }"), "grants[0].schema.a", "did you mean `string`?");
    refused(grant("type = 'password'\nschema = { a = {} }"), "grants[0].schema.a", "without fields");
    refused(grant("type = 'password'\nschema = { 'a.b' = 'string' }"), "grants[0].schema.\"a.b\"", "letters, digits");
    let config = grant("type = 'refresh_token'\nschema = { a = { b = 'integer', c = { d = 'email!' } } }").unwrap();
    let fields = &config.issuing.realms[0].as_ref().unwrap().grants[0].fields;
    let inner =
        |name: &str, fields: Vec<Field>| Field { name: name.into(), kind: FieldKind::Table(fields), required: true };
    let email = Field { name: "d".into(), kind: FieldKind::Email, required: true };
    let integer = Field { name: "b".into(), kind: FieldKind::Integer, required: false };
    assert_eq!(*fields, [inner("a", vec![integer, inner("c", vec![email])]), text("refresh_token", true)]);
}

#[test]
fn what_a_token_is_bound_to_is_what_it_is_one_per() {
    let grant = |one_per: &str, bind: &str| {
        shop(&format!(
            "{FORM}{TEAM}{SESSION}one_per = {one_per}\n[[grants]]\ntype = 'delegate'\npath = '/g/{{id}}'\ntoken = 'session'\nsubject = 'team'\nbind = {bind}\n"
        ))
    };
    assert!(grant("['subject', 'where']", "{ where = '{path.id}' }").is_ok());
    refused(
        grant("['subject', 'were']", "{ where = '$path.id' }"),
        "tokens.session.one_per[1]",
        "did you mean `where`?",
    );
    refused(grant("['subject']", "{ sub = '$path.id' }"), "grants[0].bind.sub", "already");
    refused(grant("['subject']", "{ where = '$path.ip' }"), "grants[0].bind.where", "did you mean `path.id`?");
    refused(grant("['subject']", "{ where = '$' }"), "grants[0].bind.where", "no name");
}

#[test]
fn a_token_is_spent_from_one_place() {
    let redeem = |keys: &str| {
        let delegate = "[[grants]]\ntype = 'delegate'\npath = '/d/{id}'\ntoken = 'portal'\nsubject = 'team'\n";
        with(&format!("{delegate}[[grants]]\ntype = 'redeem'\npath = '/r'\ntoken = 'portal'\n{keys}\n"))
    };
    let compiled = |keys: &str| {
        let config = redeem(keys).unwrap_or_else(|problems| panic!("{problems}"));
        let Action::Redeem { field, session, cookie, .. } =
            &config.issuing.realms[0].as_ref().unwrap().grants[1].action
        else {
            panic!()
        };
        let method = config.snapshot.realms[0].routes[1].view.methods.concat();
        (field.clone(), session.is_some(), cookie.clone(), method)
    };
    assert_eq!(compiled("from = ['query:t']"), (None, false, None, "GET".into()));
    assert_eq!(
        compiled("request = { token = 't' }\nsession = 'session'"),
        (Some("t".into()), true, None, "POST".into())
    );
    assert_eq!(
        compiled("from = ['query:t']\ncookie = { name = 's', token = 'session' }"),
        (None, true, Some("s".into()), "GET".into())
    );
    refused(redeem(""), "grants[1]", "where does the token stand?");
    refused(redeem("from = ['query:t']\nrequest = { token = 't' }"), "grants[1].from", "one place");
    refused(redeem("request = { token = 't' }\nmethod = 'GET'"), "grants[1].method", "no body");
    refused(redeem("from = ['query:t']\nauth = ['api_key']"), "grants[1].from", "in the body");
    refused(redeem("from = ['query:t']\nschema = { a = 'string' }"), "grants[1].schema", "reads no body");
    refused(redeem("request = {}"), "grants[1].request", "which field");
    refused(redeem("from = ['query:t']\nlocation = '//evil.example'"), "grants[1].location", "expected a path");
    refused(redeem("from = ['query:t']\nlocation = 'http://a.example/'"), "grants[1].location", "https");
    refused(redeem("from = ['query:t']\nlocation = '/'\nstatus = 200"), "grants[1].status", "303");
    refused(
        redeem("from = ['query:t']\ncookie = { name = '__host-s', token = 'session' }"),
        "grants[1].cookie.name",
        "`__Host-`",
    );
    refused(
        redeem("from = ['query:t']\ncookie = { name = 'a b', token = 'session' }"),
        "grants[1].cookie.name",
        "name of a cookie",
    );
    refused(
        redeem("from = ['query:t']\ncookie = { name = 's', token = 'access' }"),
        "grants[1].cookie.token",
        "a kind of its own",
    );
    refused(redeem("from = ['query:t']\nsession = 'portal'"), "grants[1].session", "a kind of its own");
    refused(
        redeem("from = ['query:t']\nsession = 'session'\ncookie = { name = 's', token = 'session' }"),
        "grants[1].session",
        "leave one",
    );
    refused(
        with("[[grants]]\ntype = 'redeem'\npath = '/r'\ntoken = 'session'\nfrom = ['query:t']\n"),
        "grants[0].token",
        "`uses = 1`",
    );
}

#[test]
fn tokens_need_a_store() {
    let main = "[store]\nurl = 'none'\n";
    let realm = shop_text(&format!("hosts_from = 'owner.domain'\n{ACCESS}{LOCAL}{LOGIN}"));
    let faults = faults(load_files(&[("portcullis.toml", main), ("realms/shop.toml", &realm)], true));
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.ends_with("but `store.url` is \"none\"")), "{faults:?}");
}

#[test]
fn smaller_keys_of_the_realm_are_checked() {
    refused(
        with(&format!("ip_allowlist_exempt = ['logut']\n{LOGIN}").replacen("", "", 1)),
        "directory.ip_allowlist_exempt",
        "unknown key",
    );
    let first = |keys: &str| shop(&format!("{keys}\n{ACCESS}{LOCAL}{LOGIN}"));
    refused(first("ip_allowlist_exempt = ['logut']"), "ip_allowlist_exempt[0]", "did you mean `logout`?");
    refused(first("ip_allowlist_exempt = ['password', 'password']"), "ip_allowlist_exempt[1]", "twice");
    refused(first("timestamps = 'iso'"), "timestamps", "expected one of");
    refused(first("hosts_from = 'verified_domain'"), "hosts_from", "owner.ATTRIBUTE");
    let config = first("ip_allowlist_exempt = ['password', 'logout']\ntimestamps = 'unix'").unwrap();
    assert_eq!(warnings(&config), ["warning: the realm has no `logout` grant"]);
    let tokens = config.issuing.realms[0].as_ref().unwrap();
    assert_eq!((tokens.timestamps, tokens.address_exempt.as_slice()), (Timestamps::Unix, &["password", "logout"][..]));
}

#[test]
fn realms_and_what_they_issue_have_the_same_positions() {
    let quiet = shop_text(PUBLIC).replace("shop", "quiet");
    let files = [("realms/a.toml", quiet.as_str()), ("realms/b.toml", AFFILYNC)];
    let config = load_files(&files, true).unwrap();
    let issuing: Vec<_> =
        config.issuing.realms.iter().map(|realm| realm.as_ref().map(|tokens| &*tokens.realm)).collect();
    assert_eq!(issuing, [None, Some("affilync")]);
    assert!(config.snapshot.realms[0].own.is_none() && config.snapshot.realms[1].own.is_some());
}

#[test]
fn a_summary_says_which_grant_it_is() {
    let config = load_files(&[("realms/one.toml", GIFTCARDS)], true).unwrap();
    let told: Vec<_> = config.routes.iter().map(|route| (route.path.as_str(), route.upstream.as_str())).collect();
    let expected = [
        ("/api/v1/**", "127.0.0.1:9003"),
        ("/auth/login", "grant password"),
        ("/auth/refresh", "grant refresh_token"),
        ("/auth/logout", "grant logout"),
    ];
    assert_eq!(told, expected);
    assert_eq!(config.routes[3].auth, ["jwt"], "what is not written is told, too");
}

#[test]
fn a_types_word_is_that_of_its_action() {
    let (_, tokens) = issues(AFFONSO);
    let words: Vec<_> = tokens.grants.iter().map(|grant| grant.action.as_str()).collect();
    assert_eq!(words, ["delegate", "redeem", "delegate"]);
}
