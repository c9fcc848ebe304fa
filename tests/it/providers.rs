//! What the guide says about identity providers: tokens as theirs look like are taken by the configurations in it, and
//! those that it warns of are not.

use std::path::Path;

use serde_json::{Value, json};

use super::documents::files;
use super::support::NOW;
use super::support::gateway::Gateway;
use super::support::keys::Key;
use super::support::token::{Issues, Signer, Token};
use super::support::upstream::Upstream;

/// A gateway with one configuration of the guide, and what its provider signs with.
struct House {
    gw: Gateway,
    signer: Signer,
    _upstream: Upstream,
}

impl House {
    /// The configuration called `name`; the provider's key lies beside it instead of being fetched.
    fn start(name: &str, issuer: &str) -> Self {
        let (upstream, key) = (Upstream::start(), Key::rsa2048());
        let told = files(Path::new("docs/identity-provider.md"));
        let (_, text) =
            told.into_iter().find(|(file, _)| *file == format!("realms/{name}.toml")).expect("in the guide");
        assert!(text.contains(&format!("issuer     = \"{issuer}\"")), "{text}");
        let fetched = "keys       = { discovery = true }";
        assert!(text.contains(fetched) && text.contains("http://127.0.0.1:9000"), "{text}");
        let text = text.replace(fetched, "keys = { public_key = { file = \"provider.pem\" } }");
        let gw = Gateway::builder()
            .realm_toml(&text.replace("127.0.0.1:9000", "{upstream}"))
            .file("realms/provider.pem", key.pem())
            .upstream(&upstream)
            .start();
        Self { gw, signer: Signer::new(issuer, key).kid("theirs"), _upstream: upstream }
    }

    /// A token as the provider makes it: `ttl` seconds of life, and these claims.
    fn token(&self, ttl: i64, claims: Value) -> Token {
        let token = Token::for_issuer(&self.signer.signer()).without("sub").claim("exp", NOW.secs() + ttl);
        let claims = claims.as_object().expect("an object").clone();
        claims.into_iter().fold(token, |token, (name, value)| token.claim(&name, value))
    }

    /// What the upstream is told about whoever has this token.
    #[track_caller]
    fn told(&self, token: &Token) -> Value {
        self.call("GET", token).ok().json()["headers"].clone()
    }

    fn call(&self, method: &str, token: &Token) -> super::support::caller::Reply {
        self.gw.call(method, "/articles/1").host("api.shop.example").bearer(&token.sign()).send()
    }

    #[track_caller]
    fn denied(&self, method: &str, token: &Token, reason: &str, why: Option<&str>) {
        let reply = self.call(method, token).denied(reason);
        if let Some(why) = why {
            assert_eq!(self.gw.why(&reply), format!("{reason}:{why}"));
        }
    }
}

#[track_caller]
fn assert_told(told: &Value, wanted: &[(&str, &str)]) {
    for (name, value) in wanted {
        assert!(told.as_array().expect("fields").contains(&json!([name, value])), "{name}: {value} in {told}");
    }
}

#[test]
fn tokens_of_keycloak() {
    let house = House::start("keycloak", "https://id.shop.example/realms/shop");
    let claims = json!({
        "aud": ["account", "https://api.shop.example"], "sub": "f2a1", "typ": "Bearer", "azp": "web",
        "scope": "openid profile email", "realm_access": { "roles": ["offline_access", "editor"] },
        "resource_access": { "account": { "roles": ["manage-account"] } },
    });
    let token = house.token(300, claims);
    let told = house.told(&token);
    assert_told(&told, &[("x-auth-subject", "f2a1"), ("x-auth-client", "web"), ("x-auth-issuer", "keycloak")]);
    assert_told(&told, &[("x-auth-roles", "offline_access editor")]);
    // Without the mapper for the audience, and without the client scope `basic`.
    house.denied("GET", &token.clone().claim("aud", "account"), "token_invalid", Some("audience"));
    house.denied("GET", &token.clone().without("aud"), "token_invalid", None);
    house.denied("GET", &token.clone().without("sub"), "token_invalid", Some("claims"));
    let nobody = token.claim("realm_access", json!({ "roles": ["offline_access"] }));
    house.denied("GET", &nobody, "insufficient_scope", None);
}

#[test]
fn tokens_of_auth0() {
    let house = House::start("auth0", "https://shop.eu.auth0.com/");
    let claims = json!({
        "aud": ["https://api.shop.example", "https://shop.eu.auth0.com/userinfo"], "sub": "auth0|6553da60", "azp": "spa",
        "scope": "openid profile", "permissions": ["read:articles"], "https://shop.example/roles": ["author"],
    });
    // Their full day, seen by a clock that is a minute late.
    let token = house.token(24 * 60 * 60 + 60, claims);
    let told = house.told(&token);
    assert_told(&told, &[("x-auth-subject", "auth0|6553da60"), ("x-auth-client", "spa"), ("x-auth-roles", "author")]);
    assert_told(&told, &[("x-auth-scopes", "read:articles")]);
    house.denied("POST", &token, "insufficient_scope", None);
    house.denied("GET", &token.clone().claim("iss", "https://shop.eu.auth0.com"), "token_invalid", Some("issuer"));
    // The profile of RFC 9068.
    let token = token.header("typ", "at+jwt").without("azp").claim("client_id", "spa");
    assert_told(&house.told(&token), &[("x-auth-subject", "auth0|6553da60")]);
}

#[test]
fn tokens_of_entra_id() {
    let tenant = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
    let house = House::start("entra", &format!("https://login.microsoftonline.com/{tenant}/v2.0"));
    let claims = json!({
        "aud": "00001111-aaaa-2222-bbbb-3333cccc4444", "sub": "pairwise", "oid": "o-1", "tid": tenant, "azp": "spa",
        "scp": "Articles.Read User.Read", "ver": "2.0", "nbf": NOW.secs(),
    });
    let user = house.token(75 * 60, claims).header("x5t", "theirs");
    let told = house.told(&user);
    assert_told(&told, &[("x-auth-subject", "o-1"), ("x-auth-client", "spa"), ("x-auth-tenant", tenant)]);
    let application = user.clone().without("scp").claim("roles", json!(["Articles.Read.All"]));
    assert_told(
        &house.told(&application),
        &[("x-auth-scopes", "articles:read"), ("x-auth-roles", "Articles.Read.All")],
    );
    house.denied("GET", &user.clone().claim("scp", "User.Read"), "insufficient_scope", None);
    // Version 1, and continuous access evaluation.
    let old = user.clone().claim("iss", format!("https://sts.windows.net/{tenant}/"));
    house.denied("GET", &old, "token_invalid", Some("issuer"));
    house.told(&user.claim("exp", NOW.secs() + 28 * 60 * 60));
}

#[test]
fn tokens_of_google() {
    let house = House::start("google", "https://accounts.google.com");
    let client = "1234567890-abc123.apps.googleusercontent.com";
    let claims = json!({
        "aud": client, "azp": client, "sub": "110169484474386276334", "email": "ann@shop.example", "email_verified": true,
        "hd": "shop.example",
    });
    let token = house.token(60 * 60, claims);
    let told = house.told(&token);
    assert_told(&told, &[("x-auth-subject", "110169484474386276334"), ("x-auth-email", "ann@shop.example")]);
    house.denied("GET", &token.clone().without("hd"), "attribute_denied", None);
    house.denied("GET", &token.claim("email_verified", "true"), "attribute_denied", None);
}
