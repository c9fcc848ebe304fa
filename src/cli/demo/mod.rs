//! `demo`: the gateway in front of a small application, with secrets made for this run, and requests to try. Without a
//! realm the quick start; with one, a documented API of `config/realms`: its people are made, its callbacks answered,
//! and its document's own requests printed. Nothing here is for production.

mod application;
mod people;
mod quickstart;
mod realm;
mod script;

use std::path::Path;
use std::process::ExitCode;

/// The quick start, seen from the top of the source tree.
const QUICKSTART: &str = "config/quickstart";

/// The documented APIs, seen from there.
const REALMS: &str = "config";

/// Runs a demo until it is told to stop.
pub(super) fn run(config: Option<&Path>, realm: Option<&str>) -> ExitCode {
    match realm {
        None => quickstart::run(config.unwrap_or(Path::new(QUICKSTART))),
        Some(name) => realm::run(config.unwrap_or(Path::new(REALMS)), name),
    }
}
