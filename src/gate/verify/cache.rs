//! Verified tokens. Only good ones: a flood of bad tokens cannot push a good one out, and nothing that was refused is
//! remembered. Holds no tokens, only their digests.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::Verified;
use super::jwt::Issuer;
use super::own::OwnToken;
use crate::clock::UnixMillis;
use crate::secret::{ByDigest, CredentialDigest};

/// Longest stay, whatever the token's own lifetime.
const TIME_TO_LIVE: Duration = Duration::from_secs(600);

/// Everything a verification depended on: another realm, configuration or key set means another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CacheKey {
    /// Of the whole token: not of its claims, which several signatures may share.
    pub(super) digest: CredentialDigest,
    pub(super) realm: usize,
    pub(super) configuration: u64,
    pub(super) keys: u64,
}

impl Hash for CacheKey {
    /// Only tokens that verified are entered: nobody chooses their digests.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// A verified token.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// Everything is known of it.
    Foreign(Arc<Verified>),
    /// The realm's own, whose session has the word.
    Own(Arc<OwnToken>),
}

impl Found {
    /// The issuer whose keys proved it.
    pub(super) fn issuer(&self) -> Option<&Arc<Issuer>> {
        match self {
            Self::Foreign(verified) => verified.issuer.as_ref(),
            Self::Own(token) => token.issuer(),
        }
    }

    /// When it ends.
    pub(super) fn expires(&self) -> Option<UnixMillis> {
        match self {
            Self::Foreign(verified) => verified.expires,
            Self::Own(token) => Some(token.expires()),
        }
    }
}

type Entries = Cache<CacheKey, (Found, u32), ByDigest>;

#[derive(Debug)]
pub(super) struct TokenCache(Option<Entries>);

impl TokenCache {
    /// A cache of up to `bytes`, estimated; 0 = none.
    pub(super) fn new(bytes: u64) -> Self {
        Self((bytes > 0).then(|| {
            Cache::builder()
                .max_capacity(bytes)
                .weigher(|_, (_, weight): &(Found, u32)| *weight)
                .time_to_live(TIME_TO_LIVE)
                .build_with_hasher(ByDigest::default())
        }))
    }

    pub(super) fn get(&self, key: &CacheKey) -> Option<Found> {
        self.0.as_ref()?.get(key).map(|(found, _)| found)
    }

    pub(super) fn insert(&self, key: CacheKey, found: Found, token_bytes: usize) {
        if let Some(cache) = &self.0 {
            cache.insert(key, (found, weight(token_bytes)));
        }
    }

    pub(super) fn remove(&self, key: &CacheKey) {
        if let Some(cache) = &self.0 {
            cache.invalidate(key);
        }
    }

    /// How many there are. Puts the cache in order first, which counts lazily: for who looks now and then.
    pub(super) fn entries(&self) -> u64 {
        self.0.as_ref().map_or(0, |cache| {
            cache.run_pending_tasks();
            cache.entry_count()
        })
    }
}

/// What an entry takes: the claims as a tree, the prepared headers and the cache's own nodes are about four times the
/// token's text, and a kilobyte besides.
fn weight(token_bytes: usize) -> u32 {
    u32::try_from(token_bytes.saturating_mul(4).saturating_add(1024)).unwrap_or(u32::MAX)
}
