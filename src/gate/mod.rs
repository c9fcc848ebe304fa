//! The gate decides. Plain Rust over `http` types: no proxy, no SQL, no file format, no clock reads belong here; what
//! happens to a request and why does.

pub mod client_ip;
pub mod credential;
pub mod dialect;
pub mod headers;
pub mod limit;
pub mod network;
pub mod outcome;
pub mod path;
pub mod policy;
pub mod request;
pub mod route;
pub mod trail;
pub mod verify;

use outcome::{Denial, Permit};
use policy::Snapshot;
use request::Request;
use trail::Trail;

/// Decides about requests. Holds what survives reloads: the cache of verified tokens.
#[derive(Debug)]
pub struct Gate {}

impl Gate {
    /// A gate whose cache of verified tokens takes up to `cache_bytes`; 0 switches it off.
    pub fn new(_cache_bytes: u64) -> Self {
        unimplemented!()
    }

    /// Decides about one request.
    ///
    /// # Errors
    /// The denial to answer.
    pub async fn decide(
        &self,
        _snapshot: &Snapshot,
        _request: &Request<'_>,
        _trail: &mut Trail,
    ) -> Result<Permit, Denial> {
        unimplemented!()
    }

    /// Figures of the cache of verified tokens: entries now.
    pub fn cached_tokens(&self) -> u64 {
        unimplemented!()
    }
}
