//! `health`: whether a gateway serves, for supervisors whose probe is a command: containers, where nothing else could ask.
//! It reads no configuration, so that a bad file on disk does not make a gateway look ill that runs with a good one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::{FAILED, FINE, WRONG};
use crate::gate::verify::jwks::{Fetch, FetchRequest};
use crate::outbound::{AdminClient, HttpFetch};

/// Most that is read of the answer: it has a line for each key set.
const LARGEST: usize = 4 << 20;

/// Arguments of `health`.
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// The gateway's admin listener: https, or http on this machine
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901")]
    admin: String,
    /// Trust these authorities only (PEM)
    #[arg(long, value_name = "FILE")]
    admin_ca: Option<PathBuf>,
    /// Ask whether the process answers at all (/livez), not whether it serves requests (/readyz)
    #[arg(long)]
    live: bool,
    /// Seconds to wait for the answer (1 to 60)
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

/// Asks, and says what came of it. Exit code 0 = it serves, 1 = it does not, or nobody answers.
pub(super) fn health(args: &HealthArgs) -> u8 {
    match question(args) {
        Err(text) => {
            eprintln!("portcullis: {text}");
            WRONG
        }
        Ok(request) => match ask(request) {
            Ok(()) => {
                println!("{}", if args.live { "alive" } else { "ready" });
                FINE
            }
            Err(text) => {
                eprintln!("portcullis: {} {text}", if args.live { "not alive:" } else { "not ready:" });
                FAILED
            }
        },
    }
}

fn question(args: &HealthArgs) -> Result<FetchRequest, String> {
    let base = args.admin.trim_end_matches('/');
    AdminClient::check_url(base).map_err(|text| format!("--admin {base}: {text}"))?;
    let authorities = args.admin_ca.as_deref().map(std::fs::read).transpose();
    let authorities = authorities.map_err(|error| format!("--admin-ca: {error}"))?;
    Ok(FetchRequest {
        url: format!("{base}/{}", if args.live { "livez" } else { "readyz" }),
        ca: authorities.map(Arc::from),
        timeout: Duration::from_secs(args.timeout),
        max_size: LARGEST,
    })
}

fn ask(request: FetchRequest) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let answered = runtime.block_on(HttpFetch::new().fetch(request));
    runtime.shutdown_background(); // a look-up of a name that hangs must not hold up the end
    answered.map(|_| ())
}
