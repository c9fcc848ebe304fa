//! API keys: prefix, random text, checksum; known by the digest of the whole key.

use std::collections::HashMap;
use std::sync::Arc;

use super::Verified;
use crate::gate::credential::Place;
use crate::secret::CredentialDigest;

/// What keys of one kind look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyForm {
    /// What they start with.
    pub prefix: Box<str>,
    /// Whether they end with a checksum.
    pub checksum: bool,
    /// Where they may stand.
    pub from: Vec<Place>,
}

/// Keys declared in the configuration, by digest.
#[derive(Debug, Default)]
pub struct DeclaredKeys(pub HashMap<CredentialDigest, DeclaredKey>);

/// A key declared in the configuration.
#[derive(Clone, Debug)]
pub struct DeclaredKey {
    /// Who presents it.
    pub verified: Arc<Verified>,
    /// Whether the key or its client is switched off.
    pub disabled: bool,
}
