//! Putting a changed configuration in force: load, compare, swap the snapshot whole, or keep the old one and say why.
//!
//! Running requests keep the snapshot they began with. What was learnt under the old one and still means the same (keys
//! of issuers, counters of limits) goes over into the new one.

mod adopt;
mod watch;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::config::{Attempt, Config, Problem, Problems, Settings, SourceFile};
use crate::gate::policy::Snapshot;
use crate::proxy::{Gateway, Live};
use crate::store::StoreSettings;
use crate::telemetry::{ShownCertificate, Telemetry};
use crate::tls::{InForce, Listeners};
use crate::tokens::policy::Issuing;
use watch::Watch;

/// Where a configuration comes from.
pub struct Source {
    /// The file or directory that was asked for.
    pub path: PathBuf,
    /// Loads it, checks included.
    pub load: Box<dyn Fn() -> Attempt + Send + Sync>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Makes ready, in bounded time, what a snapshot needs before requests are decided by it: metric handles, addresses of its
/// upstreams.
pub type Prepare = Box<dyn Fn(Snapshot, Arc<Issuing>, &Telemetry) -> Live + Send + Sync>;

/// Replaces the snapshot in force.
pub struct Reloader {
    gateway: Arc<Gateway>,
    settings: Settings,
    tls: Arc<Listeners<Arc<InForce>>>,
    source: Option<Source>,
    prepare: Prepare,
    in_force: Vec<Arc<Notify>>,
    /// Held for a whole reload: two at once run one after the other.
    watch: Mutex<Watch>,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Reloader {
    /// A reloader for `gateway`, which was started with `settings` and `tls` from `files`. Without a source only
    /// [`Reloader::apply`] changes anything. All of `in_force` are notified whenever another snapshot is.
    pub fn new(
        gateway: Arc<Gateway>,
        settings: Settings,
        tls: Arc<Listeners<Arc<InForce>>>,
        files: &[SourceFile],
        source: Option<Source>,
        prepare: Prepare,
        in_force: Vec<Arc<Notify>>,
    ) -> Self {
        let watch = match &source {
            Some(source) => Watch::new(source.path.clone(), files),
            None => Watch::new(PathBuf::new(), &[]),
        };
        let reloader = Self { gateway, settings, tls, source, prepare, in_force, watch: Mutex::new(watch) };
        reloader.show_certificates();
        reloader
    }

    /// Loads the configuration, changed or not, and puts it in force. Blocks for as long as that takes, so it is nothing
    /// for a thread that serves requests. Returns the new generation.
    ///
    /// # Errors
    /// Every problem there is. The old configuration stays as it was.
    pub fn reload_now(&self) -> Result<u64, Problems> {
        self.reload(&mut self.turn())
    }

    /// Looks at the files, and reloads when they have changed and then stayed the same between two looks: whoever writes
    /// several files, or one slowly, has finished by then. What was tried once is not tried again until it changes.
    pub fn reload_if_changed(&self) -> Option<Result<u64, Problems>> {
        let mut watch = self.turn();
        watch.settled_change().then(|| self.reload(&mut watch))
    }

    /// Puts a configuration in force that was loaded elsewhere. Blocks like [`Reloader::reload_now`].
    ///
    /// # Errors
    /// It differs in what takes effect at start only.
    pub fn apply(&self, config: Config) -> Result<u64, Problems> {
        let _turn = self.turn();
        self.conclude(Ok(config))
    }

    fn turn(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reload(&self, watch: &mut Watch) -> Result<u64, Problems> {
        // The look is taken before the files are read: what changes while they are is seen by the next look.
        let before = watch.look();
        let Attempt { outcome, files } = match &self.source {
            Some(source) => (source.load)(),
            None => {
                let nothing = problem(PathBuf::new(), "--config", "the gateway was not started from files");
                Attempt { outcome: Err(nothing), files: Vec::new() }
            }
        };
        let outcome = self.conclude(outcome);
        match &outcome {
            Ok(_) => watch.attempted(before, &files),
            Err(_) => watch.attempted_in_vain(before, &files),
        }
        outcome
    }

    /// Puts in force what was loaded, or not; counts and tells either.
    fn conclude(&self, loaded: Result<Config, Problems>) -> Result<u64, Problems> {
        let checked = loaded.and_then(|config| {
            let mut changed = restart_only_changes(&self.settings, &config.settings);
            if changed.is_empty() {
                changed = self.tls.restart_only_changes(&config.tls);
            }
            if changed.is_empty() { Ok(config) } else { Err(restart_needed(&config, &changed)) }
        });
        match checked {
            Ok(config) => {
                let generation = self.put_in_force(config.snapshot, config.issuing);
                self.tls.replace(config.tls);
                self.show_certificates();
                self.gateway.telemetry.reloaded(self.gateway.clock.now());
                tracing::info!(generation, "the configuration was reloaded");
                log_warnings(&config.warnings);
                Ok(generation)
            }
            Err(problems) => {
                self.gateway.telemetry.reload_refused();
                let generation = self.gateway.live.load().snapshot.generation;
                let text: Vec<_> = problems.0.iter().map(Problem::to_string).collect();
                tracing::error!(
                    generation,
                    count = text.len(),
                    problems = text.join(" | "),
                    "the configuration was refused; the one in force stays"
                );
                Err(problems)
            }
        }
    }

    /// Tells operators when they need other certificates.
    fn show_certificates(&self) {
        let shown = |(listener, certificate, not_after)| ShownCertificate { listener, certificate, not_after };
        self.gateway.telemetry.certificates_shown(self.tls.expiries().into_iter().map(shown).collect());
    }

    fn put_in_force(&self, mut snapshot: Snapshot, issuing: Issuing) -> u64 {
        let previous = self.gateway.live.load_full();
        let generation = previous.snapshot.generation.saturating_add(1);
        snapshot.generation = generation;
        adopt::adopt(&mut snapshot, &previous.snapshot);
        adopt::adopt_keys(&issuing, &previous.issuing);
        let live = (self.prepare)(snapshot, Arc::new(issuing), &self.gateway.telemetry);
        self.gateway.live.store(Arc::new(live));
        self.in_force.iter().for_each(|waiting| waiting.notify_one());
        generation
    }
}

/// Logs what is allowed but should be looked at.
pub fn log_warnings(warnings: &Problems) {
    for warning in &warnings.0 {
        tracing::warn!("{warning}");
    }
}

/// Keys of settings that differ: they take effect at start only.
fn restart_only_changes(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let Settings {
        listen,
        threads,
        max_connections,
        max_connections_per_address,
        header_timeout,
        handshake_timeout,
        idle_timeout,
        shutdown_delay,
        shutdown_grace,
        upgrade_socket,
        admin_listen,
        log,
        cache_tokens,
        cache_keys,
        store,
    } = old;
    let same = [
        ("server.listen", *listen == new.listen),
        ("server.threads", *threads == new.threads),
        ("server.max_connections", *max_connections == new.max_connections),
        ("server.max_connections_per_address", *max_connections_per_address == new.max_connections_per_address),
        ("server.header_timeout", *header_timeout == new.header_timeout),
        ("server.handshake_timeout", *handshake_timeout == new.handshake_timeout),
        ("server.idle_timeout", *idle_timeout == new.idle_timeout),
        ("server.shutdown_delay", *shutdown_delay == new.shutdown_delay),
        ("server.shutdown_grace", *shutdown_grace == new.shutdown_grace),
        ("server.upgrade_socket", *upgrade_socket == new.upgrade_socket),
        ("admin.listen", *admin_listen == new.admin_listen),
        ("log.format", log.json == new.log.json),
        ("log.level", log.level == new.log.level),
        ("log.access", log.access == new.log.access),
        ("cache.tokens", *cache_tokens == new.cache_tokens),
        ("cache.keys", *cache_keys == new.cache_keys),
    ];
    let of_store = match (store, &new.store) {
        (Some(old), Some(new)) => store_changes(old, new),
        (None, None) => Vec::new(),
        (Some(_), None) | (None, Some(_)) => vec!["store.url"],
    };
    same.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).chain(of_store).collect()
}

fn store_changes(old: &StoreSettings, new: &StoreSettings) -> Vec<&'static str> {
    let StoreSettings { location, pepper, seal_key, max_staleness, node, audit_retention } = old;
    let same = [
        ("store.url", *location == new.location),
        ("store.pepper", *pepper == new.pepper),
        ("store.seal_key", *seal_key == new.seal_key),
        ("store.max_staleness", *max_staleness == new.max_staleness),
        ("store.node", *node == new.node),
        ("store.audit_retention", *audit_retention == new.audit_retention),
    ];
    same.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
}

fn restart_needed(config: &Config, keys: &[&str]) -> Problems {
    const TEXT: &str = "takes effect at start only: restart the gateway, or take the change back";
    let file = config.files.first().map(|file| file.path.clone()).unwrap_or_default();
    Problems(keys.iter().flat_map(|key| problem(file.clone(), key, TEXT).0).collect())
}

fn problem(file: PathBuf, key: &str, text: &str) -> Problems {
    Problems(vec![Problem { file, position: None, key: key.to_owned(), text: text.to_owned() }])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use std::net::SocketAddr;

    use super::*;
    use crate::config::{ListenerSettings, LogSettings};
    use crate::secret::Secret;
    use crate::store::Location;

    fn settings() -> Settings {
        Settings {
            listen: vec![ListenerSettings {
                address: SocketAddr::from(([0, 0, 0, 0], 8080)).into(),
                proxy_protocol: false,
                http2: false,
                decides_only: false,
            }],
            threads: 0,
            max_connections: Some(1000),
            max_connections_per_address: 0,
            header_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            shutdown_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(10),
            upgrade_socket: PathBuf::from("a.sock"),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9901)).into(),
            log: LogSettings { json: true, level: "info".into(), access: true },
            cache_tokens: 1 << 26,
            cache_keys: 1 << 26,
            store: Some(store()),
        }
    }

    fn store() -> StoreSettings {
        StoreSettings {
            location: Location::Sqlite(PathBuf::from("p.db")),
            pepper: None,
            seal_key: None,
            max_staleness: Duration::from_secs(30),
            node: String::from("a"),
            audit_retention: None,
        }
    }

    #[test]
    fn every_setting_that_needs_a_restart_is_named() {
        assert!(restart_only_changes(&settings(), &settings()).is_empty());
        let other = Settings {
            listen: Vec::new(),
            threads: 1,
            max_connections: Some(1),
            max_connections_per_address: 1,
            header_timeout: Duration::ZERO,
            handshake_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            shutdown_delay: Duration::from_secs(1),
            shutdown_grace: Duration::ZERO,
            upgrade_socket: PathBuf::from("b.sock"),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9902)).into(),
            log: LogSettings { json: false, level: "debug".into(), access: false },
            cache_tokens: 0,
            cache_keys: 0,
            store: None,
        };
        assert_eq!(
            restart_only_changes(&settings(), &other),
            [
                "server.listen",
                "server.threads",
                "server.max_connections",
                "server.max_connections_per_address",
                "server.header_timeout",
                "server.handshake_timeout",
                "server.idle_timeout",
                "server.shutdown_delay",
                "server.shutdown_grace",
                "server.upgrade_socket",
                "admin.listen",
                "log.format",
                "log.level",
                "log.access",
                "cache.tokens",
                "cache.keys",
                "store.url",
            ]
        );
        let secret = |byte| Some(Secret::new(vec![byte; 32]));
        let other = StoreSettings {
            location: Location::Postgres(Secret::new(b"postgres://h/d".to_vec())),
            pepper: secret(1),
            seal_key: secret(2),
            max_staleness: Duration::from_secs(31),
            node: String::from("b"),
            audit_retention: Some(Duration::from_secs(1 << 20)),
        };
        assert_eq!(
            restart_only_changes(&settings(), &Settings { store: Some(other), ..settings() }),
            [
                "store.url",
                "store.pepper",
                "store.seal_key",
                "store.max_staleness",
                "store.node",
                "store.audit_retention",
            ]
        );
        let other = Settings { threads: 4, ..settings() };
        assert_eq!(restart_only_changes(&settings(), &other), ["server.threads"]);
    }
}
