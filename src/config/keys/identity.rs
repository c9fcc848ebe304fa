//! `[identity_headers.assertion]`

use std::time::Duration;

use crate::config::section::section;
use crate::config::value::secret::SecretRef;
use crate::config::walk::Item;

section! {
    /// A signed JWT about who asks, made anew for each request and bound to it.
    Assertion {
        /// Header field that holds it. The default name is stripped from requests in any case.
        default header: String = r#""X-Auth-Assertion""#;
        /// Its `aud`, for all upstreams. Left out, it is the name of the upstream that gets it, so that one upstream cannot use it at another: of `[upstreams.NAME]`, or `host:port` of a URL.
        optional audience: String;
        /// Its `iss`. Left out, it is the issuer of `[tokens]`, or else `https://` and the realm's first host that is no wildcard.
        optional issuer: String;
        /// How long it is good, from 5s to 10m.
        default ttl: Duration = r#""60s""#;
        /// Private key as PEM (PKCS#8): EC on P-256 signs by ES256, Ed25519 by EdDSA. RSA is too slow to sign for every request.
        required key: SecretRef;
        /// Path at which the gateway gives the public keys to everybody, on every host of the realm. Left out, it does not.
        optional jwks_path: String;
        /// Further public keys as PEM, up to 8, for the same document: the one before, until nothing that it signed is good any more, or the next one, for upstreams that fetch seldom.
        default published: Vec<Item<SecretRef>> = "[]";
    }
}
