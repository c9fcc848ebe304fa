//! Keys of the store, from the admin API over the store to the request and back, over real HTTP. One file a subject:
//! `life` (what a change does to the next request), `nodes` (what others learn of it), `outages`, `traces` (what is
//! written down), `start`.

mod life;
mod nodes;
mod outages;
mod start;
mod traces;

use std::ops::Deref;

use serde_json::json;

use super::support::administrator::{Administrator, Made};
use super::support::caller::{Call, Reply};
use super::support::gateway::{Builder, Gateway};
use super::support::realms::Standard;
use super::support::upstream::Upstream;

/// A gateway with the standard realm, a store, and somebody who administers it.
struct House {
    gw: Gateway,
    upstream: Upstream,
    standard: Standard,
}

impl Deref for House {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gw
    }
}

impl House {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(more: impl FnOnce(Builder) -> Builder) -> Self {
        let (standard, upstream) = (Standard::new(), Upstream::start());
        let gw = more(Gateway::builder().standard(&standard).upstream(&upstream)).start();
        Self { gw, upstream, standard }
    }

    fn admin(&self) -> &Administrator {
        self.gw.admin()
    }

    /// A key of a new owner, who may read and write campaigns.
    fn key(&self) -> Made {
        let owner = self.admin().owner("team_42", &json!({ "scopes": ["campaigns:*"] }));
        self.admin().key(&owner, &json!({}))
    }

    /// A request with a key, to be sent.
    fn with_key(&self, target: &str, key: &str) -> Call {
        self.gw.get(target).header("X-API-Key", key)
    }

    /// A request with a key, where any key will do.
    #[track_caller]
    fn present(&self, key: &str) -> Reply {
        self.with_key("/me/x", key).send()
    }
}
