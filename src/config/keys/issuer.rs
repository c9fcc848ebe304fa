//! `[[issuers]]`

use std::time::Duration;

use crate::config::section::section;
use crate::config::value::measure::Size;
use crate::config::value::secret::SecretRef;
use crate::config::walk::Item;
use crate::jwt::Algorithm;

section! {
    /// `[[issuers]]`
    Issuer {
        /// Unique; used by routes and labels.
        required name: String;
        /// The `iss` claim, byte for byte. Several issuers may share it if algorithms or routes keep them apart.
        required issuer: String;
        /// The token's `aud` must hold one of these.
        required audience: Vec<Item<String>>;
        /// Signature algorithms that are accepted, all of one family.
        required algorithms: Vec<Item<Algorithm>>;
        /// Where the keys come from: one of `secret`, `public_key`, `jwks_file`, `jwks_url`, `discovery`.
        required keys: IssuerKeys;
        /// A token is still taken this long after its `exp`; at most 10m.
        default leeway: Duration = r#""0s""#;
        /// A token whose `exp` is further away is refused.
        default max_ttl: Duration = r#""24h""#;
        /// Accepted `typ`, letter case and `application/` aside; a token without it is accepted.
        default typ: Vec<Item<String>> = r#"["JWT", "at+jwt"]"#;
        /// Claims that a token must have. `exp`, `iss` and `aud` are always required.
        default required_claims: Vec<Item<String>> = r#"["exp", "iss", "aud", "sub"]"#;
        /// Which claim means what: a name stands for a top-level claim, a leading `/` makes a JSON pointer (RFC 6901), `""` is none.
        default claims: ClaimNames = "{}";
    }
}

section! {
    /// Where an issuer's keys come from.
    IssuerKeys {
        /// HMAC secret, at least as long as the hash.
        optional secret: SecretRef;
        /// Public key as PEM.
        optional public_key: SecretRef;
        /// File with a JSON Web Key Set; the key is chosen by the token's `kid`.
        optional jwks_file: String;
        /// URL of a JSON Web Key Set; `http` on loopback only.
        optional jwks_url: String;
        /// Finds the key set through OpenID discovery from the `issuer`.
        optional discovery: bool;
        /// PEM file of the authorities to trust instead of the system's, for fetched key sets.
        optional ca: String;
        /// A fetched key set is fetched again after this time.
        default refresh: Duration = r#""10m""#;
        /// At least this time passes between two fetches for unknown key ids.
        default cooldown: Duration = r#""30s""#;
        /// Keys are used for this time after the last good fetch.
        default max_stale: Duration = r#""24h""#;
        /// Total time of one fetch.
        default timeout: Duration = r#""5s""#;
        /// Largest key set document.
        default max_size: Size = r#""512KiB""#;
    }
}

section! {
    /// Which claim means what.
    ClaimNames {
        /// Who the token is about.
        default subject: String = r#""sub""#;
        /// On whose behalf it is used.
        default client: String = r#""client_id""#;
        /// Granted scopes: text with blanks, or a list.
        default scopes: String = r#""scope""#;
        /// Roles, which the realm's `[roles]` may turn into scopes.
        default roles: String = r#""roles""#;
        /// Tenant.
        default tenant: String = r#""tenant""#;
        /// Plan.
        default plan: String = r#""plan""#;
    }
}
