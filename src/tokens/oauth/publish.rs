//! What everybody may know of a realm: its public keys, and where its endpoints are.

use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::tokens::{Reply, Service};

/// Verifiers may keep the keys for as long; a new key is published before it signs for longer than that.
const CACHED: &str = "public, max-age=300";

impl Service<'_> {
    pub(in crate::tokens) fn jwks(self) -> Reply {
        let keys = self.realm.keys.published(self.ask.now);
        public("application/jwk-set+json", &json!({ "keys": keys }))
    }

    pub(in crate::tokens) fn metadata(self) -> Reply {
        let places = &self.realm.metadata;
        let url = |path: &str| json!(format!("{}{path}", self.realm.issuer.trim_end_matches('/')));
        let mut document = Map::new();
        document.insert("issuer".into(), json!(&*self.realm.issuer));
        let endpoints = [
            ("token_endpoint", &places.token),
            ("revocation_endpoint", &places.revocation),
            ("introspection_endpoint", &places.introspection),
            ("jwks_uri", &places.jwks),
        ];
        for (name, path) in endpoints {
            document.extend(path.as_ref().map(|path| (name.to_owned(), url(path))));
        }
        if !places.scopes.is_empty() {
            document.insert("scopes_supported".into(), json!(places.scopes));
        }
        let grants: &[&str] = if places.token.is_some() { &["client_credentials"] } else { &[] };
        // There is no authorization endpoint, and so no type of response.
        document.insert("response_types_supported".into(), json!([]));
        document.insert("grant_types_supported".into(), json!(grants));
        let methods = json!(["client_secret_basic", "client_secret_post"]);
        for (name, path) in [
            ("token_endpoint_auth_methods_supported", &places.token),
            ("revocation_endpoint_auth_methods_supported", &places.revocation),
            ("introspection_endpoint_auth_methods_supported", &places.introspection),
        ] {
            document.extend(path.as_ref().map(|_| (name.to_owned(), methods.clone())));
        }
        public("application/json", &Value::Object(document))
    }
}

fn public(content_type: &'static str, body: &Value) -> Reply {
    Reply {
        status: 200,
        headers: vec![
            (CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (CACHE_CONTROL, HeaderValue::from_static(CACHED)),
        ],
        body: Some(Zeroizing::new(body.to_string().into_bytes())),
        subject: None,
    }
}
