//! Client certificates: what is written, and how the gate decides by it about connections that have shown one.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};

use super::*;
use crate::clock::UnixMillis;
use crate::gate::Gate;
use crate::gate::outcome::{Denial, Permit};
use crate::gate::request::{ClientCertificate, Handshake, Request};
use crate::gate::trail::{Authentication, Trail};
use crate::gate::verify::api_key::PlainKey;
use crate::gate::verify::certificate::CertificateName;
use crate::gate::verify::stored::StoredKeys;
use crate::identity::CredentialKind;
use crate::secret::CredentialDigest;

const NOW: UnixMillis = UnixMillis(1_763_682_354_000);
const LATER: UnixMillis = UnixMillis(NOW.0 + 60_000);
const PIN: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const OTHER: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

const ROUTES: &str = "
[[routes]]
path = '/mtls'
auth = ['mtls']
[[routes]]
path = '/both'
auth = ['mtls', 'api_key']
[[routes]]
path = '/maybe'
auth = ['mtls', 'anonymous']
[[routes]]
path = '/key'
auth = ['api_key']
[[routes]]
path = '/public'
auth = ['public']
[[routes]]
path = '/orders'
auth = ['mtls']
scopes = ['orders:write']
[[routes]]
path = '/scarce'
auth = ['mtls']
limits = ['scarce']
[[routes]]
path = '/each'
auth = ['mtls']
limits = ['each']
[limits.scarce]
by = 'client'
rate = '1/d'
[limits.each]
by = 'key'
rate = '1/d'
";

const CLIENTS: &str = "
[clients.billing]
certificates = ['uri:spiffe://prod/billing', 'dns:Billing.Internal']
scopes = ['orders:*']
plan = 'Growth'
tenant = 't1'
attributes = { tier = 2 }
[clients.batch]
certificates = ['cn:legacy batch', 'email:batch@shop.example']
[clients.pinned]
certificates = ['sha256:BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD']
ip_allowlist = ['10.0.0.0/8']
[clients.off]
certificates = ['uri:spiffe://prod/off']
disabled = true
";

struct World {
    config: Config,
    gate: Gate,
    key: PlainKey,
}

/// What comes over a connection.
#[derive(Clone, Copy)]
struct Ask<'a> {
    path: &'a str,
    names: Option<&'a [&'a str]>,
    /// None: made of the names, for every certificate has its own.
    fingerprint: Option<&'a str>,
    now: UnixMillis,
    key: Option<&'a str>,
    peer: [u8; 4],
}

fn ask<'a>(path: &'a str, names: &'a [&'a str]) -> Ask<'a> {
    Ask { path, names: Some(names), fingerprint: None, now: NOW, key: None, peer: [192, 0, 2, 1] }
}

impl World {
    fn new() -> Self {
        Self::with(1 << 20, "")
    }

    fn with(cache_bytes: u64, rest: &str) -> Self {
        let key = PlainKey::generate("demo_").unwrap();
        let digest = key.digest().to_hex();
        let caller = format!("[clients.caller]\nkeys = [{{ id = 'caller-1', sha256 = '{digest}' }}]\n");
        let config = shop(&format!("{FORM}{ROUTES}{CLIENTS}{caller}{rest}")).unwrap();
        Self { config, gate: Gate::new(cache_bytes, Arc::new(StoredKeys::none())), key }
    }

    async fn decide(&self, ask: Ask<'_>, trail: &mut Trail) -> Result<Permit, Denial> {
        let mut headers = HeaderMap::new();
        if let Some(key) = ask.key {
            headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {key}")).unwrap());
        }
        let certificate = ask.names.map(|names| {
            let own = CredentialDigest::of(names.concat().as_bytes()).to_hex();
            let names = names.iter().map(|name| Box::from(*name)).collect();
            Arc::new(ClientCertificate { names, fingerprint: ask.fingerprint.unwrap_or(&own).into(), not_after: LATER })
        });
        let handshake = Handshake { server_name: None, certificate };
        let request = Request {
            method: &Method::GET,
            path: ask.path,
            query: None,
            host: Some("shop.example"),
            headers: &headers,
            peer: Some(ask.peer.into()),
            handshake: Some(&handshake),
            now: ask.now,
        };
        let decision = self.gate.decide(&self.config.snapshot, &request, trail).await;
        decision.map(|decision| decision.permit().expect("no preflight"))
    }

    /// Who it is (`-`: nobody), or reason and cause.
    async fn told(&self, ask: Ask<'_>) -> String {
        match self.decide(ask, &mut Trail::default()).await {
            Ok(permit) => permit.identity().map_or("-".into(), |identity| identity.principal.subject.to_string()),
            Err(denial) => format!("{} {}", denial.reason, denial.why.map_or("", |why| why.as_str())),
        }
    }
}

#[tokio::test]
async fn a_certificate_is_its_clients_by_any_of_its_names_or_as_a_whole() {
    let world = World::new();
    let told = |names: &'static [&'static str]| world.told(ask("/mtls", names));
    assert_eq!(told(&["uri:spiffe://prod/billing"]).await, "billing");
    assert_eq!(told(&["dns:other.internal", "dns:billing.internal"]).await, "billing");
    assert_eq!(told(&["uri:spiffe://prod/billing", "dns:billing.internal"]).await, "billing");
    assert_eq!(told(&["cn:legacy batch"]).await, "batch");
    assert_eq!(told(&["email:batch@shop.example"]).await, "batch");
    let pinned = Ask { fingerprint: Some(PIN), peer: [10, 0, 0, 7], ..ask("/mtls", &["cn:anything"]) };
    assert_eq!(world.told(pinned).await, "pinned");
    assert_eq!(world.told(Ask { fingerprint: Some(PIN), peer: [10, 0, 0, 7], ..ask("/mtls", &[]) }).await, "pinned");
}

#[tokio::test]
async fn a_certificate_of_nobody_or_of_several_is_refused() {
    for world in [World::new(), World::with(0, "")] {
        for nobodys in [
            &["uri:spiffe://prod/billing/x"][..],
            &["uri:spiffe://prod/BILLING"],
            &["uri:dns:billing.internal"],
            &["dns:x.billing.internal"],
            &["dns:spiffe://prod/billing"],
            &["cn:Legacy Batch"],
            &["cn:spiffe://prod/billing"],
            &[PIN],
            &[],
        ] {
            assert_eq!(world.told(ask("/mtls", nobodys)).await, "token_invalid certificate", "{nobodys:?}");
        }
        let two = ask("/mtls", &["uri:spiffe://prod/billing", "email:batch@shop.example"]);
        assert_eq!(world.told(two).await, "token_invalid shared_certificate");
        let two = Ask { fingerprint: Some(PIN), ..ask("/mtls", &["uri:spiffe://prod/billing"]) };
        assert_eq!(world.told(two).await, "token_invalid shared_certificate");
        let many = vec!["uri:spiffe://prod/billing"; 65];
        assert_eq!(world.told(ask("/mtls", &many)).await, "token_invalid size");
    }
}

#[tokio::test]
async fn a_connection_outlives_its_certificate_but_the_identity_does_not() {
    let world = World::new();
    let at = |millis: i64| world.told(Ask { now: UnixMillis(millis), ..ask("/mtls", &["uri:spiffe://prod/billing"]) });
    assert_eq!(at(LATER.0 - 1).await, "billing");
    assert_eq!(at(LATER.0).await, "token_expired expired");
    assert_eq!(at(LATER.0 - 1).await, "billing");
}

#[tokio::test]
async fn a_credential_that_is_presented_decides_and_must_be_good() {
    let world = World::new();
    let billing = ["uri:spiffe://prod/billing"];
    let key = world.key.expose();
    assert_eq!(world.told(ask("/both", &billing)).await, "billing");
    assert_eq!(world.told(Ask { key: Some(key), ..ask("/both", &billing) }).await, "caller");
    assert_eq!(world.told(Ask { key: Some(key), ..ask("/both", &["cn:nobody"]) }).await, "caller");
    assert_eq!(world.told(Ask { key: Some(key), names: None, ..ask("/both", &[]) }).await, "caller");
    let forged = PlainKey::generate("demo_").unwrap();
    let bad = Ask { key: Some(forged.expose()), ..ask("/both", &billing) };
    assert_eq!(world.told(bad).await, "key_unknown unknown");
    assert_eq!(world.told(Ask { key: Some("rubbish"), ..bad }).await, "key_malformed prefix");
    assert_eq!(world.told(Ask { names: None, ..ask("/both", &[]) }).await, "missing_credentials ");
    // Where only the certificate counts, no place is looked at.
    assert_eq!(world.told(Ask { path: "/mtls", ..bad }).await, "billing");
}

#[tokio::test]
async fn nothing_of_certificates_is_looked_at_where_the_route_does_not_say_so() {
    let world = World::new();
    let billing = ["uri:spiffe://prod/billing"];
    let mut trail = Trail::default();
    assert_eq!(
        world.decide(ask("/key", &billing), &mut trail).await.unwrap_err().reason.as_str(),
        "missing_credentials"
    );
    assert_eq!(trail.credential, None);
    assert_eq!(world.told(ask("/public", &billing)).await, "-");
    assert_eq!(world.told(ask("/public", &["cn:nobody"])).await, "-");
    let key = Ask { key: Some(world.key.expose()), ..ask("/key", &["cn:nobody"]) };
    assert_eq!(world.told(key).await, "caller");
}

#[tokio::test]
async fn a_missing_certificate_is_missing_and_an_anonymous_one_must_be_good() {
    let world = World::new();
    let none = |path| Ask { names: None, ..ask(path, &[]) };
    assert_eq!(world.told(none("/mtls")).await, "missing_credentials ");
    assert_eq!(world.told(none("/maybe")).await, "-");
    assert_eq!(world.told(ask("/maybe", &["dns:billing.internal"])).await, "billing");
    assert_eq!(world.told(ask("/maybe", &["cn:nobody"])).await, "token_invalid certificate");
    // A key where no key is looked at is no certificate.
    assert_eq!(world.told(Ask { key: Some(world.key.expose()), ..none("/mtls") }).await, "missing_credentials ");
}

#[tokio::test]
async fn the_client_is_what_is_written_of_it() {
    let world = World::new();
    let mut trail = Trail::default();
    let asked = Ask { fingerprint: Some(OTHER), ..ask("/orders", &["dns:billing.internal"]) };
    let permit = world.decide(asked, &mut trail).await.unwrap();
    let identity = permit.identity().unwrap();
    let principal = &identity.principal;
    assert_eq!(principal.kind, CredentialKind::Mtls);
    assert_eq!((&*principal.subject, principal.client.as_deref()), ("billing", Some("billing")));
    assert_eq!(principal.credential_id.as_deref(), Some(OTHER));
    assert_eq!((principal.plan.as_deref(), principal.tenant.as_deref()), (Some("Growth"), Some("t1")));
    assert_eq!(identity.expires, Some(LATER));
    let sent: Vec<_> =
        identity.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    let expected = [
        "x-auth-subject: billing",
        "x-auth-client: billing",
        "x-auth-realm: shop",
        "x-auth-method: mtls",
        &format!("x-auth-credential-id: {OTHER}"),
        "x-auth-scopes: orders:*",
        "x-auth-plan: Growth",
        "x-auth-tenant: t1",
    ];
    assert_eq!(sent, expected);
    assert_eq!((trail.credential, trail.authentication), (Some(CredentialKind::Mtls), Some(Authentication::Ok)));
    assert_eq!(world.told(ask("/orders", &["cn:legacy batch"])).await, "insufficient_scope ");
}

#[tokio::test]
async fn addresses_limits_and_the_switch_of_the_client_bind_its_certificates() {
    let world = World::new();
    let pinned = Ask { fingerprint: Some(PIN), ..ask("/mtls", &[]) };
    assert_eq!(world.told(pinned).await, "ip_denied client_list");
    assert_eq!(world.told(ask("/mtls", &["uri:spiffe://prod/off"])).await, "key_disabled disabled");
    // Two certificates of one client are counted together, those of another apart.
    assert_eq!(world.told(ask("/scarce", &["dns:billing.internal"])).await, "billing");
    let second = Ask { fingerprint: Some(PIN), peer: [10, 0, 0, 7], ..ask("/scarce", &["uri:spiffe://prod/billing"]) };
    assert_eq!(world.told(Ask { fingerprint: Some(&OTHER.replace('a', "b")), ..second }).await, "rate_limited ");
    assert_eq!(world.told(ask("/scarce", &["cn:legacy batch"])).await, "batch");
    // A certificate is no key: whoever gets a new one every hour is not let off.
    let each = ask("/each", &["cn:legacy batch"]);
    assert_eq!(world.told(each).await, "batch");
    assert_eq!(world.told(Ask { fingerprint: Some(&OTHER.replace('a', "c")), ..each }).await, "rate_limited ");
}

#[tokio::test]
async fn a_refused_certificate_is_named_in_the_trail() {
    let world = World::new();
    for names in [&["cn:nobody"][..], &["uri:spiffe://prod/off"]] {
        let mut trail = Trail::default();
        let asked = Ask { fingerprint: Some(OTHER), ..ask("/mtls", names) };
        assert!(world.decide(asked, &mut trail).await.is_err());
        assert_eq!(trail.credential, Some(CredentialKind::Mtls));
        assert_eq!(trail.authentication, Some(Authentication::Rejected));
        assert_eq!(trail.credential_id(), Some(OTHER), "{names:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_recognized_again_at_once_and_only_as_itself() {
    let world = World::new();
    let verified = async |ask: Ask<'_>| {
        let permit = world.decide(ask, &mut Trail::default()).await.unwrap();
        Arc::clone(permit.identity().unwrap())
    };
    let billing = ask("/mtls", &["uri:spiffe://prod/billing"]);
    let first = verified(billing).await;
    assert!(Arc::ptr_eq(&first, &verified(billing).await));
    let fingerprint = OTHER.replace('a', "b");
    let renewed = verified(Ask { fingerprint: Some(&fingerprint), ..billing }).await;
    assert_eq!(renewed.principal.credential_id.as_deref(), Some(&*fingerprint));
    assert_eq!(renewed.principal.subject, first.principal.subject);
}

#[tokio::test]
async fn failures_of_certificates_count_against_the_address_and_good_ones_are_not_bound_by_it() {
    let key = PlainKey::generate("demo_").unwrap();
    let text = shop_text(&format!("{FORM}{ROUTES}{CLIENTS}"));
    let files = [("portcullis.toml", "[server]\nfailure_limit = '2/d'\n"), ("realms/shop.toml", text.as_str())];
    let config = load_files(&files, true).unwrap();
    let world = World { config, gate: Gate::new(1 << 20, Arc::new(StoredKeys::none())), key };
    for expected in ["token_invalid certificate", "token_invalid certificate", "rate_limited failure_limit"] {
        assert_eq!(world.told(ask("/mtls", &["cn:nobody"])).await, expected);
    }
    assert_eq!(world.told(ask("/mtls", &["cn:legacy batch"])).await, "batch");
}

#[test]
fn names_are_exact_and_belong_to_one_client() {
    let with = |clients: &str| shop(&format!("{clients}\n[[routes]]\npath = '/'\nauth = ['mtls']\n"));
    let one = |name: &str| with(&format!("[clients.a]\ncertificates = ['{name}']"));
    assert!(one("uri:spiffe://prod/billing").is_ok());
    let at = "clients.a.certificates[0]";
    refused(one("-----BEGIN PRIVATE KEY-----"), at, "expected uri:URI");
    refused(one("spiffe"), at, "expected uri:URI, dns:NAME");
    refused(one("ip:10.0.0.1"), at, "expected uri:URI");
    refused(one("URI:spiffe://a"), at, "expected uri:URI");
    refused(one("uri:billing"), at, "no URI");
    refused(one("uri:spiffe://a b"), at, "no URI");
    refused(one("dns:*.internal"), at, "`*` stands for nothing");
    refused(one("uri:spiffe://prod/*"), at, "`*` stands for nothing");
    refused(one("dns:billing.internal."), at, "without a dot at its end");
    refused(one("dns:"), at, "1 to 512 bytes");
    refused(one("email:batch"), at, "no e-mail address");
    refused(one("cn: batch"), at, "no blanks at its ends");
    refused(one("sha256:abc"), at, "64 hexadecimal digits");
    let two = |other: &str| {
        with(&format!(
            "[clients.a]\ncertificates = ['dns:a.internal', 'sha256:{PIN}']\n[clients.b]\ncertificates = ['{other}']"
        ))
    };
    assert!(two("dns:b.internal").is_ok() && two("uri:dns:a.internal").is_ok() && two("cn:a.internal").is_ok());
    refused(two("dns:A.internal"), "clients.b.certificates[0]", "clients.a.certificates[0] is the same");
    refused(
        two(&format!("sha256:{}", PIN.to_uppercase())),
        "clients.b.certificates[0]",
        "clients.a.certificates[1] is the same",
    );
    refused(with("[clients.a]\ncertificates = ['cn:a', 'cn:a']"), "clients.a.certificates[1]", "the same as clients.a");
}

#[test]
fn a_route_for_certificates_says_what_makes_sense_together() {
    let with =
        |route: &str| shop(&format!("{FORM}[clients.a]\ncertificates = ['cn:a']\n[[routes]]\npath = '/'\n{route}\n"));
    assert!(with("auth = ['mtls', 'api_key', 'anonymous']").is_ok());
    assert!(with("auth = ['mtls', 'api_key']\nfrom = ['header:x-key']").is_ok());
    assert!(with("auth = ['mtls']\nscopes = ['a']\nplan = ['b']").is_ok());
    refused(with("auth = ['mtls']\nfrom = ['header:x-key']"), "routes[0].from", "stands in no place");
    refused(with("auth = ['mtls', 'public']"), "routes[0].auth", "stands alone");
    refused(with("auth = ['mtls', 'mtls']"), "routes[0].auth[1]", "twice");
    refused(with("auth = ['mtls', 'anonymous']\nscopes = ['a']"), "routes[0].scopes", "cannot demand");
    let routes = "[[routes]]\npath = '/'\nauth = ['mtls']\n[[routes]]\npath = '/b'\nauth = ['mtls']\n";
    let config = shop(routes).unwrap();
    let [clients, listeners] = warnings(&config)[..] else { panic!("{:?}", config.warnings) };
    assert!(
        clients.contains("none is ever accepted") && listeners.contains("no listener asks"),
        "{:?}",
        config.warnings
    );
}

#[test]
fn what_is_declared_is_found_and_shown() {
    let world = World::new();
    let realm = &world.config.snapshot.realms[0];
    let found = |text: &str| {
        let name = CertificateName::parse(text).unwrap();
        realm.certificates.get(&name).map(|client| client.principal.subject.to_string())
    };
    assert_eq!(found("dns:BILLING.internal").as_deref(), Some("billing"));
    assert_eq!(found(&format!("sha256:{PIN}")).as_deref(), Some("pinned"));
    assert_eq!(found("cn:billing.internal"), None);
    let shown = realm.view.clients.iter().find(|client| client.name == "billing").unwrap();
    assert_eq!(shown.certificates, ["uri:spiffe://prod/billing", "dns:Billing.Internal"]);
}
