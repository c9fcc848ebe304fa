//! `store`: what operators do with the store as a whole. Only on the machine that has it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::admin::{Ground, Person, Stop, Table, Terminal, count, end, printable};
use super::{FAILED, FINE};
use crate::admin::api::ActorKind;
use crate::clock::{Clock, SystemClock, UnixMillis};
use crate::store::{AuditEntry, AuditOutcome, Fault, Opening, StoreError};

/// What can be done with the store.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make the store, or bring its schema up to date; the gateway does the same when it starts
    #[command(after_help = "Example:\n  portcullis store migrate --config /etc/portcullis")]
    Migrate(Plain),
    /// Copy a SQLite store into a new file, also while a gateway runs
    #[command(after_help = "Example:\n  portcullis store backup /var/backups/portcullis-2026-11-21.db")]
    Backup(Backup),
    /// Look for damage; exit code 1 if there is some
    #[command(after_help = "Example:\n  portcullis store check --json")]
    Check(Plain),
    /// Give everything that is stored of a realm to another name, after the realm was renamed in the configuration
    #[command(after_help = "Example:\n  portcullis store rename-realm shop store")]
    RenameRealm(RenameRealm),
}

/// Arguments of verbs that need none of their own.
#[derive(Debug, Args)]
pub(crate) struct Plain {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `store backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The new file; it must not exist
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `store rename-realm`.
#[derive(Debug, Args)]
pub(crate) struct RenameRealm {
    /// The name in the store
    old: String,
    /// The name in the configuration
    new: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Verb {
    fn json(&self) -> bool {
        match self {
            Self::Migrate(args) | Self::Check(args) => args.json,
            Self::Backup(args) => args.json,
            Self::RenameRealm(args) => args.json,
        }
    }
}

/// Runs a command on the store of the configuration at `config`. Returns the exit code.
pub(super) fn run(verb: &Verb, config: &Path) -> u8 {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(act(verb, config, &mut out, &mut err));
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Stop::Failed(format!("no runtime: {error}"))),
    };
    end(outcome, verb.json(), &mut out, &mut err)
}

async fn act(verb: &Verb, config: &Path, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8, Stop> {
    let opening = if matches!(verb, Verb::Migrate(_)) { Opening::Create } else { Opening::Existing };
    let ground = Ground::open(config, opening).await?;
    let outcome = match verb {
        Verb::Migrate(args) => migrate(args, &ground, out).await,
        Verb::Backup(args) => backup(args, &ground, out, err).await,
        Verb::Check(args) => check(args, &ground, out, err).await,
        Verb::RenameRealm(args) => rename(args, &ground, out, err, &mut Terminal).await,
    };
    ground.store().close().await;
    outcome
}

fn failed(error: StoreError) -> Stop {
    Stop::Failed(error.to_string())
}

async fn migrate(args: &Plain, ground: &Ground, out: &mut dyn Write) -> Result<u8, Stop> {
    let health = ground.store().check().await.map_err(failed)?;
    let place = ground.store().place();
    if args.json {
        writeln!(out, "{}", json!({ "store": place, "schema": health.schema }))?;
    } else {
        writeln!(out, "{place}: the schema is at version {}", health.schema)?;
    }
    Ok(FINE)
}

async fn backup(args: &Backup, ground: &Ground, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8, Stop> {
    ground.store().backup(&args.file).await.map_err(|error| {
        // Mostly it is the new file's trouble, not the store's.
        let text = if error.text.is_empty() { error.to_string() } else { error.text };
        Stop::Failed(format!("no copy was made: {text}"))
    })?;
    let mut write = ground.store().begin().await.map_err(failed)?;
    write.audit(copied(SystemClock.now(), ground.user(), &args.file));
    write.commit().await.map_err(failed)?;
    let secrets = ground.secrets();
    if args.json {
        writeln!(out, "{}", json!({ "file": args.file, "belongs_to_it": secrets }))?;
        return Ok(FINE);
    }
    writeln!(out, "{} holds a copy of {}", args.file.display(), ground.store().place())?;
    let belongs = "Two secrets belong to it: without the pepper no key of it can be verified, without the seal key \
                   nothing sealed can be read. Keep copies of them, apart from this one:";
    writeln!(err, "{belongs}")?;
    for (name, place) in secrets {
        writeln!(err, "  {name}: {place}")?;
    }
    Ok(FINE)
}

async fn check(args: &Plain, ground: &Ground, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8, Stop> {
    let health = ground.store().check().await.map_err(failed)?;
    let good = health.problems.is_empty();
    if args.json {
        let told = json!({
            "store": ground.store().place(), "good": good, "schema": health.schema,
            "problems": health.problems, "rows": health.rows,
        });
        writeln!(out, "{told}")?;
        return Ok(if good { FINE } else { FAILED });
    }
    let verdict = if good { "good" } else { "damaged" };
    writeln!(out, "{}: {verdict}, schema version {}\n", ground.store().place(), health.schema)?;
    let rows: Vec<_> = health.rows.iter().map(|(table, rows)| vec![table.clone(), rows.to_string()]).collect();
    Table::new(&["TABLE", "ROWS"]).write(&rows, out)?;
    for problem in &health.problems {
        writeln!(err, "portcullis: {}", printable(problem))?;
    }
    Ok(if good { FINE } else { FAILED })
}

async fn rename(
    args: &RenameRealm,
    ground: &Ground,
    out: &mut dyn Write,
    err: &mut dyn Write,
    person: &mut dyn Person,
) -> Result<u8, Stop> {
    let store = ground.store();
    let (old, new) = (printable(&args.old), printable(&args.new));
    if args.old == args.new {
        return Err(Stop::Wrong("the two names are the same".to_owned()));
    }
    if !ground.has_realm(&args.new) {
        return Err(Stop::Failed(format!("the configuration has no realm {new:?}: rename it there first")));
    }
    let realms = store.realms().await.map_err(failed)?;
    let Some((clients, keys)) = realms.get(&args.old) else {
        return Err(Stop::Failed(format!("nothing is stored of a realm {old:?}")));
    };
    let still = if ground.has_realm(&args.old) { " The configuration still has the old one." } else { "" };
    let what = format!(
        "rename-realm: {} and {} of {old} go to {new}, and end to work in {old}.{still}",
        count(*clients, "client"),
        count(*keys, "key")
    );
    person.confirm(&what, args.yes, err)?;
    let now = SystemClock.now();
    let mut write = store.begin_alone().await.map_err(failed)?;
    let moved = write.rename_realm(&args.old, &args.new, now).await;
    let (clients, keys) = moved.map_err(|error| match error.fault {
        Fault::Conflict => Stop::Failed(format!(
            "{new} has clients or keys already that collide with those of {old}: nothing was changed"
        )),
        _ => failed(error),
    })?;
    write.audit(renamed(now, ground.user(), &args.old, &args.new, (clients, keys)));
    write.commit().await.map_err(failed)?;
    if args.json {
        writeln!(out, "{}", json!({ "realm": args.new, "clients": clients, "keys": keys }))?;
    } else {
        writeln!(out, "{} and {} are of {new} now", count(clients, "client"), count(keys, "key"))?;
    }
    Ok(FINE)
}

fn renamed(at: UnixMillis, user: &str, old: &str, new: &str, (clients, keys): (u64, u64)) -> AuditEntry {
    let mut detail = Map::new();
    detail.insert("from".to_owned(), Value::from(old));
    detail.insert("clients".to_owned(), clients.into());
    detail.insert("keys".to_owned(), keys.into());
    event(at, user, "realm.renamed", Some(new), detail)
}

fn copied(at: UnixMillis, user: &str, file: &Path) -> AuditEntry {
    let mut detail = Map::new();
    detail.insert("file".to_owned(), Value::from(file.display().to_string()));
    event(at, user, "store.backed_up", None, detail)
}

/// What somebody did on the machine, to a realm or to the store as a whole.
fn event(at: UnixMillis, user: &str, action: &str, realm: Option<&str>, detail: Map<String, Value>) -> AuditEntry {
    AuditEntry {
        at,
        realm: realm.map(str::to_owned),
        actor_kind: ActorKind::Cli.as_str().to_owned(),
        actor_id: user.to_owned(),
        actor_ip: None,
        action: action.to_owned(),
        target_kind: realm.map(|_| "realm".to_owned()),
        target_id: realm.map(str::to_owned),
        outcome: AuditOutcome::Ok,
        reason: None,
        request_id: None,
        detail,
    }
}
