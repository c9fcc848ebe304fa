//! From files to a snapshot: the file format lives here and nowhere else.
//!
//! A table of keys ([`keys`]) says what may stand where; one walker checks a file against it and reports every problem
//! at once; what passes becomes raw structures, and those are compiled to what the gate uses.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::gate::policy::Snapshot;

/// A configuration that passed every check.
#[derive(Debug)]
pub struct Config {
    /// What takes effect at start only.
    pub settings: Settings,
    /// What decides about requests; replaced by a reload. Its generation is 0 until the assembly numbers it.
    pub snapshot: Snapshot,
    /// Every file that was read, the configuration first: a change of one of them is a reason to load again.
    pub files: Vec<PathBuf>,
    /// What is allowed but should be looked at: literal secrets, weak-looking secrets, empty lists.
    pub warnings: Problems,
}

/// What takes effect at start only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where requests arrive.
    pub listen: Vec<SocketAddr>,
    /// Threads of the proxy; 0 = one a core.
    pub threads: usize,
    /// For a whole request head.
    pub header_timeout: Duration,
    /// A connection without a request is kept.
    pub idle_timeout: Duration,
    /// After SIGTERM requests are still accepted.
    pub shutdown_delay: Duration,
    /// After that, running requests may take this long.
    pub shutdown_grace: Duration,
    /// Where metrics and health are served; loopback.
    pub admin_listen: SocketAddr,
    /// Operational log.
    pub log: LogSettings,
    /// Bytes of the cache of verified tokens; 0 = off.
    pub cache_tokens: u64,
}

/// How is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// JSON lines instead of text.
    pub json: bool,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Box<str>,
    /// Whether there is an access log.
    pub access: bool,
}

/// Where values come from that do not stand in the files.
pub struct Sources<'a> {
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// False: secrets are not read, stand-ins are used, and the result only serves `check --no-secrets`.
    pub secrets: bool,
}

impl fmt::Debug for Sources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

/// One problem of a configuration. Never holds a source line: that may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Line and column, from 1, where known.
    pub position: Option<(usize, usize)>,
    /// Path of the key: `routes[2].scopes`.
    pub key: String,
    /// What is wrong, what was expected, what to do.
    pub text: String,
}

/// All problems of a configuration, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// Loads `path`: a directory (`portcullis.toml` and `realms/*.toml`) or one file.
///
/// # Errors
/// Every problem there is.
pub fn load(_path: &Path, _sources: &Sources<'_>) -> Result<Config, Problems> {
    unimplemented!()
}
