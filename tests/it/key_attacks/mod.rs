//! Attacks on stored keys (section 4, K), faults of the store (section 6, F), and hostile administration: against real
//! gateways with real stores. Names carry the number of the case; `docs/security.md` says what is left out. One file a
//! subject.

mod administration;
mod answers;
mod crashes;
mod disk;
mod floods;
mod outage;
mod places;
mod realms;
mod secrets;
mod slowness;
mod staleness;
mod start;
mod timing;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::secret::Secret;
use portcullis::store::{Location, StoreSettings};
use serde_json::{Value, json};

use crate::support::administrator::{Administrator, Made};
use crate::support::caller::{Call, Caller};
use crate::support::gateway::{Builder, Gateway};
use crate::support::postgres::Postgres;
use crate::support::realms::Standard;
use crate::support::upstream::Upstream;

/// Makes two tests of each case, `CASE::on_sqlite` and `CASE::on_postgres`. A case is a `fn(Kept)`.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => { $(
        mod $case {
            #[test]
            fn on_sqlite() {
                super::$case(crate::key_attacks::Kept::Sqlite);
            }

            #[test]
            fn on_postgres() {
                super::$case(crate::key_attacks::Kept::Postgres);
            }
        }
    )* };
}
use on_both;

/// Where keys are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// In a file.
    Sqlite,
    /// In a database of the server that tests share.
    Postgres,
}

/// A gateway with the standard realm and an owner of keys, `team`.
struct House {
    gw: Gateway,
    upstream: Upstream,
    standard: Standard,
    team: String,
}

impl House {
    fn on(kept: Kept) -> Self {
        Self::on_with(kept, |builder| builder)
    }

    fn on_with(kept: Kept, more: impl FnOnce(Builder) -> Builder) -> Self {
        Self::with(|builder| match kept {
            Kept::Sqlite => more(builder),
            Kept::Postgres => more(builder.postgres(Postgres::shared())),
        })
    }

    fn with(more: impl FnOnce(Builder) -> Builder) -> Self {
        let (upstream, standard) = (Upstream::start(), Standard::new());
        let gw = more(Gateway::builder().standard(&standard).upstream(&upstream)).start();
        let team = gw.admin().owner("team", &json!({}));
        Self { gw, upstream, standard, team }
    }

    fn admin(&self) -> &Administrator {
        self.gw.admin()
    }

    /// A new key of the team.
    #[track_caller]
    fn key(&self) -> Made {
        self.key_with(&json!({}))
    }

    #[track_caller]
    fn key_with(&self, more: &Value) -> Made {
        self.admin().key(&self.team, more)
    }

    /// A request that any key may make, with this one.
    fn call(&self, key: &str) -> Call {
        with_key(&self.gw.caller(), key)
    }

    /// A token of `alice`: it has nothing to do with the store.
    fn token(&self) -> String {
        self.standard.alice().sign()
    }

    /// So often the store was asked for a key.
    fn look_ups(&self) -> f64 {
        self.gw.metric("portcullis_store_duration_seconds_count", &[("operation", "key_lookup")])
    }
}

/// A request that any key may make, with this one.
fn with_key(caller: &Caller, key: &str) -> Call {
    caller.get("/me/x").header("X-API-Key", key)
}

/// Threads that look at this flag end when the test does, also when it fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Where a gateway keeps its store that is given this directory.
pub(crate) fn sqlite_in(directory: &Path) -> StoreSettings {
    settings(Location::Sqlite(directory.join("portcullis.db")), None)
}

/// How `Builder::database` opens a store.
fn postgres_at(url: &str) -> StoreSettings {
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    let secrets = (secret("a pepper of the tests, 32 bytes or more"), secret("a seal key of the tests, 32 bytes too"));
    settings(Location::Postgres(secret(url)), Some(secrets))
}

fn settings(location: Location, secrets: Option<(Secret, Secret)>) -> StoreSettings {
    let (pepper, seal_key) = secrets.unzip();
    StoreSettings {
        location,
        pepper,
        seal_key,
        max_staleness: Duration::from_secs(30),
        node: String::from("test"),
        audit_retention: None,
    }
}
