//! What a gateway is started with.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::gate::verify::jwks::Fetch;
use crate::outbound::HttpFetch;
use crate::reload::Source;

/// What a gateway is given by its surroundings: the process, or a test.
pub struct Options {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Fetches key sets.
    pub fetch: Arc<dyn Fetch>,
    /// Where the access log goes, if the configuration wants one.
    pub access_log: Box<dyn Write + Send>,
    /// Whether threads of a runtime share their work. Without it a request costs less; but a second gateway that is
    /// started in a process after a first one has ended would not work (a fault of the engine).
    pub work_stealing: bool,
    /// Whether signals of the process are obeyed: SIGTERM, SIGINT, SIGQUIT, SIGHUP.
    pub signals: bool,
    /// From where the configuration can be loaded again; none = it cannot.
    pub source: Option<Source>,
    /// How often files are looked at for changes; none = never.
    pub watch_every: Option<Duration>,
    /// How often uses of stored keys that are due are written down.
    pub write_uses_every: Duration,
    /// Takes the place of a running process, whose listening sockets are waited for so long; none = opens its own.
    pub upgrade: Option<Duration>,
    /// Socket of a supervisor that wants to be told when the gateway serves (`NOTIFY_SOCKET` of systemd).
    pub notify: Option<String>,
}

impl Options {
    /// What a process wants that does nothing but serve.
    pub fn production(source: Source) -> Self {
        Self {
            clock: Arc::new(SystemClock),
            fetch: Arc::new(HttpFetch::new()),
            access_log: Box::new(io::stdout()),
            work_stealing: false,
            signals: true,
            source: Some(source),
            watch_every: Some(Duration::from_secs(1)),
            write_uses_every: Duration::from_secs(5),
            upgrade: None,
            notify: None,
        }
    }

    /// What a gateway wants that shares its process with others: it leaves signals alone and is steered by its [`Handle`](super::Handle).
    pub fn embedded(clock: Arc<dyn Clock>, fetch: Arc<dyn Fetch>, access_log: Box<dyn Write + Send>) -> Self {
        Self {
            clock,
            fetch,
            access_log,
            work_stealing: true,
            signals: false,
            source: None,
            watch_every: None,
            write_uses_every: Duration::from_millis(50),
            upgrade: None,
            notify: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("source", &self.source).finish_non_exhaustive()
    }
}
