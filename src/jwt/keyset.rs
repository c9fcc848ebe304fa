//! Keys to choose from: one of the configuration, or a key set document (RFC 7517) read key by key, so that one bad key
//! does not take the others with it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::key::{Curve, Material};
use super::{Algorithm, KeyFault, VerifyKey, json};

/// A document with more keys is no key set of an issuer; each costs a computation when it is read.
const MAX_KEYS: usize = 1000;
/// A token without a key id is tried with so many keys at most: each try costs a signature check.
pub(super) const MAX_TRIES: usize = 4;

/// Keys to choose from. A clone shares the keys.
#[derive(Clone, Debug)]
pub struct KeyRing(Arc<Keys>);

#[derive(Debug)]
struct Keys {
    all: Vec<Arc<VerifyKey>>,
    /// Positions in `all`.
    by_kid: HashMap<Box<str>, Vec<usize>>,
    /// Whether the token's key id is ignored.
    single: bool,
}

/// Why no key is there to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// The key id is nobody's, or there is none and it would take one to choose: a fresher set could help.
    Unknown,
    /// The keys are for other algorithms.
    OtherAlgorithms,
}

/// What is in a key set document: the usable keys, and why others are not.
#[derive(Debug)]
pub struct ParsedKeySet {
    /// The keys.
    pub ring: KeyRing,
    /// Key id (escaped, shortened) or position (`#0` is the first), and fault of each key that was skipped.
    pub skipped: Vec<(String, KeyFault)>,
}

impl KeyRing {
    /// One key, whatever the token's kid says.
    pub fn single(key: VerifyKey) -> Self {
        Self(Arc::new(Keys { all: vec![Arc::new(key)], by_kid: HashMap::new(), single: true }))
    }

    /// A key set document (RFC 7517), key by key: those that do not pass the policy, are symmetric, or are for nothing in
    /// `algorithms` are skipped. Two different keys of one type that share a key id and an algorithm are both skipped
    /// (`duplicate`): which one was meant cannot be told. The same key twice is one key.
    ///
    /// # Errors
    /// The document is no key set at all, or has more than 1,000 keys.
    pub fn parse_set(document: &[u8], algorithms: &[Algorithm]) -> Result<ParsedKeySet, KeyFault> {
        let entries = json::elements(document, "keys").map_err(|fault| {
            let text = match fault.classify() {
                Category::Data => "the key set is no object with one list `keys`".to_owned(),
                Category::Syntax | Category::Eof | Category::Io => {
                    format!("the key set is no JSON (line {}, column {})", fault.line(), fault.column())
                }
            };
            KeyFault::new("format", text)
        })?;
        if entries.len() > MAX_KEYS {
            return Err(KeyFault::new(
                "size",
                format!("the key set has {} keys; {MAX_KEYS} at most are read", entries.len()),
            ));
        }
        let mut keys = Vec::new();
        let mut skipped = Vec::new();
        for (position, entry) in entries.iter().enumerate() {
            match read_key(entry, algorithms) {
                Ok(key) => keys.push(Arc::new(key)),
                Err(fault) => skipped.push((label(entry, position), fault)),
            }
        }
        let keys = without_duplicates(keys, &mut skipped);
        let mut by_kid: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (position, key) in keys.iter().enumerate() {
            if let Some(kid) = key.kid() {
                by_kid.entry(kid.into()).or_default().push(position);
            }
        }
        Ok(ParsedKeySet { ring: Self(Arc::new(Keys { all: keys, by_kid, single: false })), skipped })
    }

    /// The keys to try for a token's header, at least one: with a key id those of that id, else all, as far as they serve
    /// `algorithm`. A single key is found whatever the key id says.
    ///
    /// # Errors
    /// See [`NoKey`]. Without a key id, more than four keys are [`NoKey::Unknown`]: none of them is tried.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Vec<Arc<VerifyKey>>, NoKey> {
        let mut found = self.candidates(kid);
        if found.is_empty() {
            return Err(NoKey::Unknown);
        }
        found.retain(|key| key.allows(algorithm));
        match found.len() {
            0 => Err(NoKey::OtherAlgorithms),
            count if count > MAX_TRIES => Err(NoKey::Unknown),
            _ => Ok(found.into_iter().cloned().collect()),
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `other` holds the same keys for the same key ids and algorithms, in whatever order.
    pub fn same_keys(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.single == other.0.single && self.identities() == other.identities())
    }

    fn identities(&self) -> HashSet<(Option<&str>, &[Algorithm], crate::secret::CredentialDigest)> {
        self.0.all.iter().map(|key| (key.kid(), key.algorithms(), key.fingerprint())).collect()
    }

    fn candidates(&self, kid: Option<&str>) -> Vec<&Arc<VerifyKey>> {
        match kid {
            Some(kid) if !self.0.single => {
                let positions = self.0.by_kid.get(kid).map(Vec::as_slice).unwrap_or_default();
                positions.iter().filter_map(|&position| self.0.all.get(position)).collect()
            }
            _ => self.0.all.iter().collect(),
        }
    }
}

/// Keys that are certainly meant: see [`KeyRing::parse_set`]. Keys without a key id are told apart by nothing, so they
/// are only tried.
fn without_duplicates(keys: Vec<Arc<VerifyKey>>, skipped: &mut Vec<(String, KeyFault)>) -> Vec<Arc<VerifyKey>> {
    let mut groups: HashMap<Option<&str>, Vec<&Arc<VerifyKey>>> = HashMap::new();
    for key in &keys {
        groups.entry(key.kid()).or_default().push(key);
    }
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for key in &keys {
        let rivals = groups.get(&key.kid()).map(Vec::as_slice).unwrap_or_default();
        let rivalled = rivals.iter().any(|other| {
            other.family() == key.family()
                && other.fingerprint() != key.fingerprint()
                && other.algorithms().iter().any(|&algorithm| key.allows(algorithm))
        });
        if let Some(kid) = key.kid()
            && rivalled
        {
            let fault = KeyFault::new("duplicate", "two different keys share this key id, type and algorithm");
            skipped.push((shorten(kid), fault));
        } else if seen.insert((key.kid(), key.algorithms(), key.fingerprint())) {
            kept.push(Arc::clone(key));
        }
    }
    kept
}

/// One key as RFC 7517 and RFC 7518 section 6 write it.
fn read_key(entry: &RawValue, algorithms: &[Algorithm]) -> Result<VerifyKey, KeyFault> {
    let jwk = json::object(entry.get().as_bytes())
        .ok_or_else(|| KeyFault::new("format", "the key is no object, has a member twice, or a number out of range"))?;
    let jwk = &jwk;
    let kty = match jwk.get("kty") {
        Some(Value::String(kty)) if matches!(kty.as_str(), "RSA" | "EC" | "OKP") => kty.as_str(),
        Some(Value::String(kty)) if kty == "oct" => {
            return Err(KeyFault::new("symmetric", "a secret in a key set is no secret"));
        }
        _ => return Err(KeyFault::new("kty", "`kty` is not RSA, EC or OKP")),
    };
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.as_str()),
        Some(_) => return Err(KeyFault::new("kid", "`kid` is no string")),
    };
    check_purpose(jwk)?;
    let material = material(jwk, kty)?;
    let declared = match jwk.get("alg") {
        None => None,
        Some(Value::String(name)) => Some(
            Algorithm::by_name(name)
                .filter(|&algorithm| material.serves(algorithm))
                .ok_or_else(|| KeyFault::new("alg", "`alg` is not supported, or does not fit type and curve"))?,
        ),
        Some(_) => return Err(KeyFault::new("alg", "`alg` is no string")),
    };
    let usable: Vec<_> =
        algorithms.iter().copied().filter(|&algorithm| declared.is_none_or(|declared| declared == algorithm)).collect();
    VerifyKey::from_material(kid, &material, &usable)
}

/// What the key is for, as far as it says so.
fn check_purpose(jwk: &Map<String, Value>) -> Result<(), KeyFault> {
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err(KeyFault::new("use", "`use` is not `sig`"));
    }
    let texts = |name: &str| match jwk.get(name) {
        None => Some(None),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => Some(Some(items)),
        Some(_) => None,
    };
    match texts("key_ops") {
        Some(None) => {}
        Some(Some(operations)) if operations.iter().any(|operation| operation == "verify") => {}
        Some(Some(_)) | None => return Err(KeyFault::new("key_ops", "`key_ops` does not have `verify`")),
    }
    if texts("x5c").is_none() {
        return Err(KeyFault::new("format", "`x5c` is no list of strings"));
    }
    if jwk.contains_key("d") {
        return Err(KeyFault::new("weak", "the key set shows the private key, so everybody who reads it can sign"));
    }
    Ok(())
}

fn material(jwk: &Map<String, Value>, kty: &str) -> Result<Material, KeyFault> {
    let bytes = |name: &str| match jwk.get(name) {
        Some(Value::String(text)) => BASE64URL_NOPAD.decode(text.as_bytes()).ok(),
        _ => None,
    };
    let bytes =
        |name: &str| bytes(name).ok_or_else(|| KeyFault::new("format", format!("`{name}` is no base64url text")));
    let curve = || jwk.get("crv").and_then(Value::as_str).unwrap_or_default();
    match kty {
        "RSA" => Ok(Material::rsa(&bytes("n")?, &bytes("e")?)),
        "EC" => {
            let curve = Curve::by_name(curve())
                .ok_or_else(|| KeyFault::new("curve", "`crv` of an EC key is not P-256 or P-384"))?;
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != curve.coordinate_len() || y.len() != curve.coordinate_len() {
                return Err(KeyFault::new("size", "`x` and `y` are not as long as the curve's coordinates"));
            }
            Ok(Material::Ec { curve, point: [&[4], x.as_slice(), &y].concat() })
        }
        _ if curve() == "Ed25519" => Ok(Material::Ed { x: bytes("x")? }),
        _ => Err(KeyFault::new("curve", "`crv` of an OKP key is not Ed25519")),
    }
}

fn label(entry: &RawValue, position: usize) -> String {
    match json::member(entry.get().as_bytes(), "kid") {
        Some(json::Member::Text(kid)) => shorten(&kid),
        Some(json::Member::Missing | json::Member::Other) | None => format!("#{position}"),
    }
}

/// A key id as it may stand in a log.
fn shorten(kid: &str) -> String {
    kid.escape_default().take(64).collect()
}

#[cfg(test)]
mod tests;
