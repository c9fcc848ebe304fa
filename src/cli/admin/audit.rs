//! `audit`: the audit trail.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::args::{self, Moment, Paging, Sure, Via};
use super::asking::Asking;
use super::desk::{Desk, Shown, data};
use super::render::{self, count, printable, relative};
use super::{FAILED, FINE, Ground, Stop, Table};
use crate::clock::UnixMillis;
use crate::store::{AuditEntry, AuditFilter, AuditOutcome};

const HEADS: &[&str] = &["SEQ", "AT", "REALM", "ACTOR", "ACTION", "TARGET", "OUTCOME", "REASON", "DETAIL"];

/// How often `tail` asks.
const EVERY: Duration = Duration::from_secs(1);

/// So many events that are there already begin a `tail`.
const BEGIN: usize = 10;

/// So many events are shown of one second; there are hardly ever more than a handful.
const MOST_AT_ONCE: usize = 10_000;

/// For so many looks, what was read is read again: nodes write at the same time, and an event may become visible after one
/// with a greater `seq`.
const LOOKS: usize = 5;

/// For a walk over every chain.
const LONG: Duration = Duration::from_secs(1800);

/// So many events are counted before they are removed.
const MOST_COUNTED: usize = 1000;

/// What can be done with the audit trail.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List events, newest first
    #[command(
        after_help = "Example:\n  portcullis audit list --action key. --target key_01J9ZK8Q6D7V3W2X1Y0ZABCDEF --since 30d --all"
    )]
    List(List),
    /// Show the last events, and every new one, until stopped
    #[command(after_help = "Example:\n  portcullis audit tail --json | jq -c 'select(.outcome != \"ok\")'")]
    Tail(Tail),
    /// Walk the hash chains; exit code 1 if a row was changed, taken out or put in, and which is the first
    #[command(after_help = "Example:\n  portcullis audit verify")]
    Verify(Verify),
    /// Remove old events; the rest can still be verified. On the machine of the store only
    #[command(after_help = "Example:\n  portcullis audit prune --older-than 400d --yes")]
    Prune(Prune),
}

/// Which events.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct Which {
    /// Only of this realm
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
    /// Only done by this one: id of a token, name of a user of the machine
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) actor: Option<String>,
    /// Only done to this one
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) target: Option<String>,
    /// Only this action; with a dot at its end, every action that begins so (`key.`)
    #[arg(long)]
    pub(in crate::cli) action: Option<String>,
    /// Only with this end
    #[arg(long, value_parser = ["ok", "denied", "error"])]
    pub(in crate::cli) outcome: Option<String>,
}

/// Arguments of `audit list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    pub(in crate::cli) which: Which,
    /// Only from then on: a span back, or a time
    #[arg(long, value_name = "WHEN", value_parser = args::moment)]
    pub(in crate::cli) since: Option<Moment>,
    /// Only before then: a span back, or a time
    #[arg(long, value_name = "WHEN", value_parser = args::moment)]
    pub(in crate::cli) until: Option<Moment>,
    #[command(flatten)]
    pub(in crate::cli) paging: Paging,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `audit tail`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Tail {
    #[command(flatten)]
    pub(in crate::cli) which: Which,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `audit prune`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Prune {
    /// Remove what is older: a span back, or a time
    #[arg(long, value_name = "WHEN", value_parser = args::moment)]
    pub(in crate::cli) older_than: Moment,
    #[command(flatten)]
    pub(in crate::cli) sure: Sure,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

impl Which {
    fn asking(&self) -> Asking {
        Asking::get(&["audit"])
            .query("realm", self.realm.as_deref())
            .query("actor", self.actor.as_deref())
            .query("target", self.target.as_deref())
            .query("action", self.action.as_deref())
            .query("outcome", self.outcome.as_deref())
    }
}

impl Verb {
    pub(super) fn via(&self) -> Via {
        match self {
            Self::List(List { via, .. }) | Self::Tail(Tail { via, .. }) | Self::Verify(Verify { via, .. }) => {
                via.clone()
            }
            Self::Prune(Prune { json, .. }) => Via { json: *json, ..Via::default() },
        }
    }
}

pub(super) async fn run(verb: &Verb, desk: &mut Desk<'_>, ground: Option<&Ground>) -> Result<u8, Stop> {
    match verb {
        Verb::List(args) => list(args, desk).await?,
        Verb::Tail(args) => tail(args, desk).await?,
        Verb::Verify(_) => return verify(desk).await,
        Verb::Prune(args) => {
            let ground = ground.ok_or_else(|| Stop::Wrong("this is done on the machine of the store".to_owned()))?;
            prune(args, ground, desk).await?;
        }
    }
    Ok(FINE)
}

async fn list(args: &List, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let time = |moment: Option<Moment>| moment.map(|moment| args::rfc_3339(moment.ago(desk.now))).transpose();
    let (since, until) = (time(args.since)?, time(args.until)?);
    let asking = args.which.asking().query("since", since).query("until", until);
    desk.list(asking, &args.paging, HEADS, |event, now| row(event, event.get("at").map(|at| relative(at, now)))).await
}

/// The cells of one event. Those who follow want its time, others how long ago it was.
fn row(event: &Value, at: Option<String>) -> Vec<String> {
    let text = |name: &str| render::text(event, name);
    let pair = |name: &str| {
        let kind = event.get(name).and_then(|one| one.get("kind")).and_then(Value::as_str);
        let id = event.get(name).and_then(|one| one.get("id")).and_then(Value::as_str);
        let parts: Vec<_> = kind.into_iter().chain(id).map(printable).collect();
        if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
    };
    let detail = event.get("detail").and_then(Value::as_object).filter(|detail| !detail.is_empty());
    vec![
        text("seq"),
        at.unwrap_or_else(|| "-".to_owned()),
        text("realm"),
        pair("actor"),
        text("action"),
        pair("target"),
        text("outcome"),
        text("reason"),
        detail.map_or_else(|| "-".to_owned(), |detail| json!(detail).to_string()),
    ]
}

async fn tail(args: &Tail, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let mut table = Table::new(HEADS);
    let first = desk.ask(args.which.asking().query("limit", Some(BEGIN.to_string()))).await?;
    let mut events: Vec<_> = data(&first).iter().rev().cloned().collect();
    let mut followed = Followed::default();
    followed.looks.push_back(events.first().map_or(0, |first| seq(first) - 1));
    let mut told = false;
    loop {
        let new: Vec<_> = events.iter().filter(|event| followed.is_new(seq(event))).collect();
        if desk.shown == Shown::Json {
            new.iter().try_for_each(|event| writeln!(desk.out, "{event}"))?;
        } else {
            // Together, so that their columns line up.
            let rows: Vec<_> = new.iter().map(|event| row(event, Some(render::text(event, "at")))).collect();
            table.write(&rows, desk.out)?;
        }
        followed.forget();
        desk.out.flush()?;
        tokio::time::sleep(EVERY).await;
        events = match newer(args, followed.start(), desk).await {
            Ok((events, whole)) => {
                told = false;
                if !whole {
                    let first = events.first().map_or(0, seq);
                    desk.note(&format!(
                        "portcullis: events before {first} are left out, there are too many: audit list"
                    ));
                }
                followed.looked(events.iter().map(seq).max());
                events
            }
            // A gateway that starts anew or a store that is away for a moment is no reason to stop following.
            Err(stop) => {
                let text = may_pass(stop)?;
                if !std::mem::replace(&mut told, true) {
                    desk.note(&format!("portcullis: {text}; asking again each second"));
                }
                Vec::new()
            }
        };
    }
}

/// What was shown, as far as it is read again.
#[derive(Debug, Default)]
struct Followed {
    /// The greatest `seq` at the end of each of the last looks.
    looks: VecDeque<i64>,
    /// What was shown behind the first of them.
    shown: BTreeSet<i64>,
}

impl Followed {
    /// Behind this `seq` to read.
    fn start(&self) -> i64 {
        self.looks.front().copied().unwrap_or(0)
    }

    fn is_new(&mut self, seq: i64) -> bool {
        seq > self.start() && self.shown.insert(seq)
    }

    /// A look has ended, which saw events up to `greatest`.
    fn looked(&mut self, greatest: Option<i64>) {
        let last = self.looks.back().copied().unwrap_or(0);
        self.looks.push_back(greatest.map_or(last, |greatest| greatest.max(last)));
    }

    /// What was read before the oldest look that counts is not read again. Not before the last one is shown.
    fn forget(&mut self) {
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        self.shown = self.shown.split_off(&self.start().saturating_add(1));
    }
}

fn seq(event: &Value) -> i64 {
    event.get("seq").and_then(Value::as_i64).unwrap_or(0)
}

/// The events after `seen`, oldest first, and whether they are all of them. The list begins with the newest: it is read
/// back to what is known.
async fn newer(args: &Tail, seen: i64, desk: &Desk<'_>) -> Result<(Vec<Value>, bool), Stop> {
    let (mut events, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let asking = args.which.asking().query("limit", Some("200")).query("cursor", cursor.as_deref());
        let part = desk.ask(asking).await?;
        let fresh = data(&part).iter().take_while(|event| seq(event) > seen);
        let before = events.len();
        events.extend(fresh.cloned());
        let all_fresh = events.len() - before == data(&part).len();
        cursor = part.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        let whole = cursor.is_none() || !all_fresh;
        if whole || events.len() >= MOST_AT_ONCE {
            events.reverse();
            return Ok((events, whole));
        }
    }
}

/// The text of a trouble that may pass by itself.
///
/// # Errors
/// All other trouble.
fn may_pass(stop: Stop) -> Result<String, Stop> {
    match stop {
        Stop::Failed(text) => Ok(text),
        Stop::Refused(answer) if answer.status >= 500 => Ok(super::desk::in_words(&answer)),
        other => Err(other),
    }
}

async fn verify(desk: &mut Desk<'_>) -> Result<u8, Stop> {
    let verdict = desk.ask_patiently(Asking::post(&["audit", "verify"]), LONG).await?;
    let broken = verdict.get("broken").filter(|broken| !broken.is_null());
    if desk.shown == Shown::Json {
        desk.show(&verdict)?;
    } else {
        let number = |name: &str| verdict.get(name).and_then(Value::as_u64).unwrap_or(0);
        let looked = format!("{} in {}", count(number("events"), "event"), count(number("chains"), "chain"));
        match broken {
            None => desk.say(&format!("the audit trail is whole: {looked}"))?,
            Some(broken) => desk.note(&format!("portcullis: the audit trail is broken: {}", render::plain(broken))),
        }
    }
    Ok(if broken.is_none() { FINE } else { FAILED })
}

async fn prune(args: &Prune, ground: &Ground, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let before = args.older_than.ago(desk.now);
    let (store, failed) = (ground.store(), |error: crate::store::StoreError| Stop::Failed(error.to_string()));
    let filter = AuditFilter { until: Some(before), ..AuditFilter::default() };
    let old = store.audit_events(&filter, MOST_COUNTED + 1).await.map_err(failed)?.len();
    let number = match old {
        0 => "no event".to_owned(),
        more if more > MOST_COUNTED => format!("more than {MOST_COUNTED} events"),
        few => count(few as u64, "event"),
    };
    let time = args::rfc_3339(before)?;
    desk.confirm(&format!("prune: removes {number} from before {time} for good."), args.sure.yes)?;
    // A part at a time: others want to write, too.
    let mut removed = 0;
    loop {
        let mut write = store.begin().await.map_err(failed)?;
        let part = write.prune_audit(before).await.map_err(failed)?;
        if part == 0 && removed > 0 {
            break;
        }
        write.audit(pruned(desk.now, ground.user(), &time, part));
        write.commit().await.map_err(failed)?;
        removed += part;
        if part == 0 {
            break;
        }
    }
    if desk.shown == Shown::Json {
        return desk.show(&json!({ "removed": removed, "before": time }));
    }
    desk.say(&format!("{} removed", count(removed, "event")))
}

fn pruned(at: UnixMillis, user: &str, before: &str, removed: u64) -> AuditEntry {
    let mut detail = Map::new();
    detail.insert("before".to_owned(), before.into());
    detail.insert("removed".to_owned(), removed.into());
    AuditEntry {
        at,
        realm: None,
        actor_kind: crate::admin::api::ActorKind::Cli.as_str().to_owned(),
        actor_id: user.to_owned(),
        actor_ip: None,
        action: "audit.pruned".to_owned(),
        target_kind: None,
        target_id: None,
        outcome: AuditOutcome::Ok,
        reason: None,
        request_id: None,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_becomes_visible_late_is_shown_and_none_twice() {
        let mut followed = Followed { looks: VecDeque::from([10]), ..Followed::default() };
        let mut look = |seqs: &[i64]| {
            followed.looked(seqs.iter().copied().max());
            let new: Vec<_> = seqs.iter().copied().filter(|seq| followed.is_new(*seq)).collect();
            followed.forget();
            new
        };
        assert_eq!(look(&[11, 13]), [11, 13]);
        assert_eq!(look(&[11, 12, 13, 14]), [12, 14]);
        for _ in 0..2 * LOOKS {
            assert!(look(&[]).is_empty());
        }
        assert_eq!((followed.start(), followed.shown.len()), (14, 0));
    }
}
