//! The life of the process: how it takes the place of another, how it ends, and as whom it runs.

mod handover;
mod load;
mod memory;
mod privileges;
mod sigterm;

use std::collections::HashMap;

use portcullis::clock::{Clock, SystemClock};

use super::support::gateway::Gateway;
use super::support::process::Served;
use super::support::realms::Standard;
use super::support::upstream::Upstream;

/// A gateway as a process, what is behind it, and who may ask.
struct House {
    env: HashMap<String, String>,
    token: String,
    upstream: Upstream,
}

impl House {
    /// With these keys for `[server]`.
    fn new(server: &str) -> (Self, Served) {
        let (standard, upstream) = (Standard::new(), Upstream::start());
        let builder = Gateway::builder().server_toml(server).standard(&standard).upstream(&upstream);
        let env = builder.environment().clone();
        let token = standard.alice().at(SystemClock.now()).sign();
        (Self { env, token, upstream }, builder.serve())
    }
}
