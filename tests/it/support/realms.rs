//! The realm of most tests, and who calls it: `alice` with tokens of a house issuer, `partner` with an API key.

use portcullis::secret::CredentialDigest;

use super::issuer::Issuer;
use super::keys::{Key, random};
use super::token::{Signer, Token};

/// `iss` of the house issuer, which signs HS256 with a shared secret.
pub(crate) const HOUSE: &str = "https://house.test";

/// Name of the environment variable that holds the house issuer's secret.
pub(crate) const HOUSE_SECRET: &str = "HOUSE_SECRET";

/// What API keys of the standard realm start with. Put together here, so that no scanner takes it for a leaked key.
pub(crate) fn key_prefix() -> String {
    ["pk", "_test_"].concat()
}

/// An API key that fits its checksum: `prefix`, random text, CRC-32 in base 62.
pub(crate) fn api_key(prefix: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let text: String = random(32).iter().map(|b| char::from(DIGITS[usize::from(*b) % 62])).collect();
    let body = format!("{prefix}{text}");
    let mut sum = crc32fast::hash(body.as_bytes());
    let mut checksum = [b'0'; 6];
    for digit in checksum.iter_mut().rev() {
        *digit = DIGITS[sum as usize % 62];
        sum /= 62;
    }
    body + std::str::from_utf8(&checksum).expect("ASCII")
}

/// The SHA-256 of a whole key, as configurations want it.
pub(crate) fn key_digest(key: &str) -> String {
    CredentialDigest::of(key.as_bytes()).to_hex()
}

/// The standard realm `api` for `api.test`, its people, and what they hold.
///
/// | path | who may |
/// |---|---|
/// | `/public/**` | everybody, nothing is looked at |
/// | `/optional/**` | everybody, but what is presented must be good |
/// | `/me/**` | any JWT or API key |
/// | `/jwt/**` | any JWT |
/// | `/admin/**` | a JWT with the scope `admin` |
/// | `/campaigns/**` | `campaigns:read` or `campaigns:write` by method |
/// | `/near/**` | any JWT, from 127.0.0.2 |
/// | `/limited/**` | any JWT or API key, 3 a minute each client |
/// | `/query/**` | a JWT in `Authorization`, `?token=` or the cookie `session` |
/// | `/passed-on/**` | any JWT or API key; the upstream sees it |
#[derive(Debug)]
pub(crate) struct Standard {
    /// The house issuer: HS256, known secret.
    pub(crate) house: Signer,
    /// The key of `partner`, with scopes `campaigns:read` and `campaigns:write`, plan `Growth`.
    pub(crate) partner_key: String,
    foreign: String,
    ca_pem: Option<String>,
}

impl Standard {
    /// With the house issuer only.
    pub(crate) fn new() -> Self {
        let house = Signer::new(HOUSE, Key::from_secret(data_encoding::HEXLOWER.encode(&random(32)).as_bytes()));
        Self { house, partner_key: api_key(&key_prefix()), foreign: String::new(), ca_pem: None }
    }

    /// Believes `issuer` too, found by its key set's URL.
    pub(crate) fn with_jwks(mut self, issuer: &Issuer) -> Self {
        let keys = format!("{{ jwks_url = \"{}\", ca = \"ca.pem\" }}", issuer.jwks_url());
        self.foreign = foreign(issuer, &keys);
        self.ca_pem = Some(issuer.ca_pem().to_owned());
        self
    }

    /// Believes `issuer` too, found by discovery.
    pub(crate) fn with_discovery(mut self, issuer: &Issuer) -> Self {
        self.foreign = foreign(issuer, "{ discovery = true, ca = \"ca.pem\" }");
        self.ca_pem = Some(issuer.ca_pem().to_owned());
        self
    }

    /// A good token of `alice`, without any scope.
    pub(crate) fn alice(&self) -> Token {
        self.house.token()
    }

    /// The value of [`HOUSE_SECRET`].
    pub(crate) fn secret(&self) -> String {
        String::from_utf8(self.house.key.secret().to_vec()).expect("hex")
    }

    /// The authority of the foreign issuer, for the file `realms/ca.pem`.
    pub(crate) fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The realm's configuration; `{upstream}` stands for the upstream's address.
    pub(crate) fn toml(&self) -> String {
        let (prefix, digest, foreign) = (key_prefix(), key_digest(&self.partner_key), &self.foreign);
        format!(
            r#"
realm = "api"
hosts = ["api.test"]
upstream = "http://{{upstream}}"

[[issuers]]
name = "house"
issuer = "{HOUSE}"
audience = ["api"]
algorithms = ["HS256"]
keys = {{ secret = {{ env = "{HOUSE_SECRET}" }} }}
{foreign}
[[api_keys]]
prefix = "{prefix}"

[clients.partner]
scopes = ["campaigns:read", "campaigns:write"]
plan = "Growth"
tenant = "acme"
keys = [{{ id = "k-partner", sha256 = "{digest}" }}]

[roles]
editor = ["campaigns:read", "campaigns:write"]
root = ["*"]

[limits.tight]
by = "client"
rate = "3/m"

[[routes]]
name = "public"
path = "/public/**"
auth = ["public"]

[[routes]]
name = "optional"
path = "/optional/**"
auth = ["jwt", "api_key", "anonymous"]

[[routes]]
name = "me"
path = "/me/**"
auth = ["jwt", "api_key"]

[[routes]]
name = "jwt"
path = "/jwt/**"
auth = ["jwt"]

[[routes]]
name = "admin"
path = "/admin/**"
auth = ["jwt"]
scopes = ["admin"]

[[routes]]
name = "campaigns"
path = "/campaigns/**"
auth = ["jwt", "api_key"]
scopes = ["campaigns:{{access}}"]

[[routes]]
name = "near"
path = "/near/**"
auth = ["jwt"]
allow_ips = ["127.0.0.2"]

[[routes]]
name = "limited"
path = "/limited/**"
auth = ["jwt", "api_key"]
limits = ["tight"]

[[routes]]
name = "query"
path = "/query/**"
auth = ["jwt"]
from = ["header:authorization", "query:token", "cookie:session"]

[[routes]]
name = "passed-on"
path = "/passed-on/**"
auth = ["jwt", "api_key"]
forward_credential = true
"#
        )
    }
}

fn foreign(issuer: &Issuer, keys: &str) -> String {
    format!(
        r#"
[[issuers]]
name = "foreign"
issuer = "{}"
audience = ["api"]
algorithms = ["RS256"]
keys = {keys}
"#,
        issuer.issuer_url()
    )
}
