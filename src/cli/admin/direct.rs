//! The admin API in this process, on the opened store: for somebody on the machine.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::{Stop, Way};
use crate::admin::api::{Actor, Admin, Answer, Ask, Surroundings};
use crate::cli::{environment, load};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, load_for_administration};
use crate::gate::policy::Realm;
use crate::password::Hasher;
use crate::store::{Location, OpenError, Opening, Store, StoreSettings};
use crate::telemetry::logging;
use crate::tokens::policy::Issuing;

/// What a command on the machine stands on: the configuration, its store, and who runs it.
pub(in crate::cli) struct Ground {
    store: Store,
    settings: StoreSettings,
    realms: Vec<Arc<Realm>>,
    issuing: Arc<Issuing>,
    user: String,
}

impl Ground {
    /// Loads the configuration at `path` and opens its store.
    ///
    /// # Errors
    /// The configuration has problems, names no store, or the store cannot be opened.
    pub(in crate::cli) async fn open(path: &Path, opening: Opening) -> Result<Self, Stop> {
        let config = load_for_administration(path, &environment).map_err(|problems| {
            let text = problems.to_string();
            Stop::Wrong(format!("the configuration has problems:\n{}", text.trim_end()))
        })?;
        Self::of(config, opening).await
    }

    /// Like [`Ground::open`], with all secrets of the configuration where they can be read; says so where they cannot.
    ///
    /// # Errors
    /// As [`Ground::open`].
    pub(super) async fn open_whole(path: &Path, opening: Opening, err: &mut dyn Write) -> Result<Self, Stop> {
        match load(path, true) {
            Ok(config) => Self::of(config, opening).await,
            Err(problems) => {
                let ground = Self::open(path, opening).await?;
                writeln!(err, "portcullis: keys of the configuration are not known here, for lack of its secrets:")?;
                write!(err, "{problems}")?;
                Ok(ground)
            }
        }
    }

    /// Stands on a configuration that has been loaded.
    ///
    /// # Errors
    /// It names no store, or the store cannot be opened.
    pub(in crate::cli) async fn of(config: Config, opening: Opening) -> Result<Self, Stop> {
        // What the store says of a trouble goes to the log, and here the log is the terminal.
        logging::install(false, "error").ok(); // once is enough
        let Some(settings) = &config.settings.store else {
            let text = "the configuration says store.url = \"none\": there is nothing to administer";
            return Err(Stop::Wrong(text.to_owned()));
        };
        let store = Store::open(settings, opening, SystemClock.now()).await.map_err(|error| match error {
            OpenError::Wrong(text) => Stop::Wrong(text),
            OpenError::Failed(error) => Stop::Failed(error.to_string()),
        })?;
        let (realms, settings) = (config.snapshot.realms.clone(), settings.clone());
        Ok(Self { store, settings, realms, issuing: Arc::new(config.issuing), user: user() })
    }

    /// The open store.
    pub(in crate::cli) fn store(&self) -> &Store {
        &self.store
    }

    /// Who runs the command.
    pub(in crate::cli) fn user(&self) -> &str {
        &self.user
    }

    /// Whether the configuration has this realm.
    pub(in crate::cli) fn has_realm(&self, name: &str) -> bool {
        self.realms.iter().any(|realm| *realm.name == *name)
    }

    /// The secrets that belong to the store, and where each of them is.
    pub(in crate::cli) fn secrets(&self) -> [(&'static str, String); 2] {
        let StoreSettings { pepper, seal_key, .. } = &self.settings;
        let place = |given: bool, key: &str, ending: &str| match &self.settings.location {
            Location::Sqlite(file) if !given => {
                let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
                format!("{}.{ending}", file.display())
            }
            Location::Sqlite(_) | Location::Postgres(_) => format!("where {key} of the configuration says"),
        };
        [
            ("pepper", place(pepper.is_some(), "store.pepper", "pepper")),
            ("seal key", place(seal_key.is_some(), "store.seal_key", "seal")),
        ]
    }

    pub(super) fn admin(&self) -> Direct {
        let surroundings = Arc::new(OnTheMachine {
            realms: self.realms.clone(),
            issuing: Arc::clone(&self.issuing),
            propagation: self.settings.max_staleness,
        });
        let admin = Admin::new(self.store.clone(), surroundings, Arc::new(SystemClock), Hasher::new());
        Direct { admin, actor: Actor::on_the_machine(&self.user) }
    }
}

/// The user of the machine, for the audit trail only: whoever can open the store may do everything. The number is the
/// system's word; the name, which anybody can set, is only told besides.
pub(in crate::cli) fn user() -> String {
    let uid =
        std::fs::metadata("/proc/self").map_or_else(|_| "unknown".to_owned(), |process| process.uid().to_string());
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
    let name: String = named.filter_map(environment).find(|user| !user.is_empty()).unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() { format!("uid {uid}") } else { format!("uid {uid} ({name})") }
}

/// See the module.
pub(super) struct Direct {
    admin: Admin,
    actor: Actor,
}

#[async_trait]
impl Way for Direct {
    async fn put(&self, ask: Ask, _patience: Duration) -> Result<Answer, Stop> {
        Ok(self.admin.dispatch(ask, &self.actor).await)
    }
}

/// A process without a gateway.
struct OnTheMachine {
    realms: Vec<Arc<Realm>>,
    issuing: Arc<Issuing>,
    /// A node that has lost the store answers from memory for so long; the others learn of a change within a poll.
    propagation: Duration,
}

#[async_trait]
impl Surroundings for OnTheMachine {
    fn realms(&self) -> Vec<Arc<Realm>> {
        self.realms.clone()
    }

    fn issuing(&self) -> Arc<Issuing> {
        Arc::clone(&self.issuing)
    }

    fn generation(&self) -> Option<u64> {
        None
    }

    async fn reload(&self) -> Result<u64, Vec<String>> {
        Err(vec!["no gateway runs in this process: send SIGHUP to the one that does, or ask its admin API".to_owned()])
    }

    /// Not with this configuration: it was loaded without the secrets that tokens are verified with.
    async fn explain(&self, _question: Value) -> Result<Value, String> {
        Err("on the machine this is asked as: portcullis explain METHOD URL".to_owned())
    }

    fn refused(&self, _request_id: &str) -> Option<Value> {
        None
    }

    /// There is nothing in this process that a change could reach.
    async fn applied(&self, _seq: i64) {}

    async fn signing_keys_applied(&self, _seq: i64) {}

    fn propagation(&self) -> Duration {
        self.propagation
    }
}
