//! From files to a snapshot: the file format lives here and nowhere else.
//!
//! A table of keys (`keys`) says what may stand where; one walker checks a file against it and reports every problem
//! at once; what passes becomes raw structures, and those are compiled to what the gate uses.

mod compile;
mod files;
mod keys;
mod listener;
mod problem;
mod reference;
mod schema;
mod section;
mod summary;
mod value;
mod walk;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use crate::gate::policy::Snapshot;
use crate::store::StoreSettings;
use crate::tls::{ListenerTls, Listeners};
use crate::tokens::policy::Issuing;

use compile::RealmInput;
use files::{Files, Layout};
pub use files::{SourceFile, realm_files};
use keys::{Realm, Root};
pub use listener::{ListenAddress, ListenerSettings};
use problem::At;
pub use problem::{Problem, Problems};
pub use reference::reference;
pub use schema::schema;
pub use summary::RouteSummary;
use walk::{Item, Shape, Slot, Source, Walk, defaults};

/// So many faults of syntax are told of one file: one slip can make the rest of it look odd.
const MAX_SYNTAX: usize = 10;

/// A configuration that passed every check.
#[derive(Debug)]
pub struct Config {
    /// What takes effect at start only.
    pub settings: Settings,
    /// What decides about requests; replaced by a reload. Its generation is 0 until the assembly numbers it.
    pub snapshot: Snapshot,
    /// What the token service works with: for each realm of `snapshot`, at the same position.
    pub issuing: Issuing,
    /// The TLS of its listeners; replaced by a reload.
    pub tls: Listeners<ListenerTls>,
    /// Every route in a few words, in the order of the files.
    pub routes: Vec<RouteSummary>,
    /// Every file that was read, the configuration first: a change of one of them is a reason to load again.
    pub files: Vec<SourceFile>,
    /// What is allowed but should be looked at: literal secrets, weak-looking secrets, empty lists.
    pub warnings: Problems,
}

/// What takes effect at start only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where requests arrive.
    pub listen: Vec<ListenerSettings>,
    /// Threads of the proxy; 0 = one a core.
    pub threads: usize,
    /// Connections at once, over all listeners; none: as many as there are descriptors for, within reason.
    pub max_connections: Option<usize>,
    /// Connections at once from one address; 0 = off.
    pub max_connections_per_address: u32,
    /// For a whole request head.
    pub header_timeout: Duration,
    /// For what comes before the first request of a connection: its PROXY header and its TLS handshake.
    pub handshake_timeout: Duration,
    /// A connection without a request is kept.
    pub idle_timeout: Duration,
    /// After SIGTERM requests are still accepted.
    pub shutdown_delay: Duration,
    /// After that, running requests may take this long.
    pub shutdown_grace: Duration,
    /// Where a successor waits for the listening sockets.
    pub upgrade_socket: PathBuf,
    /// Where metrics and health are served; loopback, a Unix socket, or with TLS any address.
    pub admin_listen: ListenAddress,
    /// Operational log.
    pub log: LogSettings,
    /// Bytes of the cache of verified tokens; 0 = off.
    pub cache_tokens: u64,
    /// Bytes of the cache of stored keys; 0 = off.
    pub cache_keys: u64,
    /// The store; none = `store.url` is "none": there are no stored keys and no admin API.
    pub store: Option<StoreSettings>,
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

/// What came of loading a configuration.
#[derive(Debug)]
pub struct Attempt {
    /// The configuration, or every problem there is.
    pub outcome: Result<Config, Problems>,
    /// Every file that was asked for, also those that are not there: a change of one of them is a reason to try again.
    pub files: Vec<SourceFile>,
}

/// Loads `path`: a directory (`portcullis.toml` and `realms/*.toml`) or one file.
///
/// # Errors
/// Every problem there is.
pub fn load(path: &Path, sources: &Sources<'_>) -> Result<Config, Problems> {
    attempt(path, sources).outcome
}

/// Loads like [`load`] for those who administer the store: of all secrets only the store's are read, because the shell of
/// a person has no reason to hold the others. Requests cannot be decided by the outcome.
///
/// # Errors
/// Every problem there is.
pub fn load_for_administration(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Problems> {
    let mut files = Files::default();
    assemble(path, &Sources { env, secrets: false }, true, &mut files)
}

/// Loads like [`load`], and tells which files it takes also when they are no good.
pub fn attempt(path: &Path, sources: &Sources<'_>) -> Attempt {
    let mut files = Files::default();
    let outcome = assemble(path, sources, sources.secrets, &mut files);
    Attempt { outcome, files: files.list().to_vec() }
}

fn assemble(path: &Path, sources: &Sources<'_>, store_secrets: bool, files: &mut Files) -> Result<Config, Problems> {
    let mut problems = Vec::new();
    let layout = Layout::of(path).map_err(|fault| Problems(vec![At::file(Arc::from(path)).problem(fault)]))?;

    let main = match &layout.main {
        Some(main) => files.read_source(main, &mut problems),
        None => Some(Source::new(Arc::from(path.join("portcullis.toml")), Zeroizing::default())),
    };
    let root = main.and_then(|source| read::<Root>(&source, &mut problems));
    let mut realms = Vec::new();
    // A file that cannot be read at all may hold what others refer to: then nothing is said about what is missing.
    let mut complete = root.is_some();
    for file in &layout.realms {
        let realm = files.read_source(file, &mut problems).and_then(|source| read::<Realm>(&source, &mut problems));
        let realm = realm.and_then(|item| own_name(item, &mut problems));
        complete &= realm.is_some();
        realms.extend(realm);
    }
    let (root, at) = root.map_or_else(|| (defaults(), At::default()), |item| (item.value, item.at));
    let Root { server, admin, decision, store, log, cache, realms: tables } = root;
    realms.extend(tables.value.0.into_iter().map(|(name, item)| {
        if let Some(name) = item.value.realm.get() {
            problems.push(name.at.problem("the table's name is the realm's name: leave this out"));
        }
        RealmInput { name, at: item.at.clone(), keys: item.value }
    }));
    if complete && realms.is_empty() {
        problems.push(at.problem("there is no realm: write one as [realms.NAME], or a file in realms/"));
    }

    let raw = compile::Input {
        root: layout.root(path),
        store_secrets,
        server: server.value,
        admin: admin.value,
        decision,
        store: store.value,
        log: log.value,
        cache: cache.value,
        realms,
    };
    compile::compile(raw, sources, files, problems)
}

/// Reads one file. A file with faults of syntax is not walked: what is left of it could mean anything.
fn read<T: Shape>(source: &Source, problems: &mut Vec<Problem>) -> Option<Item<T>> {
    let (table, faults) = DeTable::parse_recoverable(source.text());
    let mut last_line = 0;
    for fault in faults.iter().take(MAX_SYNTAX) {
        // One slip often has several consequences, most of them on its line. The message holds no text of the file; `Display` would.
        let position = fault.span().map(|span| source.position(span.start));
        if position.is_some_and(|(line, _)| line == last_line) {
            continue;
        }
        last_line = position.map_or(0, |(line, _)| line);
        let at = At { position, ..At::file(Arc::clone(&source.path)) };
        problems.push(at.problem(format!("not TOML: {}", fault.message())));
    }
    if !faults.is_empty() {
        return None;
    }
    let root = Spanned::new(0..source.text().len(), DeValue::Table(table.into_inner()));
    Walk::new(source, problems).item(&root)
}

/// A realm file names its realm.
fn own_name(item: Item<Realm>, problems: &mut Vec<Problem>) -> Option<RealmInput> {
    let (name, at) = match &item.value.realm {
        Slot::Given(name) => (name.value.clone(), name.at.clone()),
        Slot::Absent(at) => {
            problems.push(at.problem("is required: a realm file starts with `realm = \"NAME\"`"));
            return None;
        }
        Slot::Bad => return None,
    };
    Some(RealmInput { name, at, keys: item.value })
}
