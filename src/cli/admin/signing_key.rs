//! `signing-key`: the keys that realms sign their tokens with.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::args::{self, Making, Moment, Sure, Via};
use super::asking::Asking;
use super::desk::{Desk, Shown, data};
use super::render::{self, printable, relative};
use super::{FINE, Stop, Table, resolve};

const HEADS: &[&str] = &["KID", "REALM", "ALG", "STATE", "SIGNS", "RETIRES", "MADE", "BY"];

/// What can be done with signing keys.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List the keys and what each of them does; secret halves are never shown
    #[command(after_help = "Example:\n  portcullis signing-key list --realm shop")]
    List(List),
    /// Make the next key; the one in force goes on verifying until its last token has expired
    #[command(after_help = "Example:\n  portcullis signing-key rotate --realm shop")]
    Rotate(Rotate),
    /// Let a key sign from now on, before its time or again
    #[command(after_help = "Example:\n  portcullis signing-key activate 4q0dQpM6XvYcTz1B")]
    Activate(Activate),
    /// End a key: what it signed is refused
    #[command(after_help = "Example:\n  portcullis signing-key retire 4q0dQpM6XvYcTz1B --at 24h")]
    Retire(Retire),
    /// End a key at once and for good, because somebody else may have it
    #[command(after_help = "Example:\n  portcullis signing-key disable 4q0dQpM6XvYcTz1B --force --yes")]
    Disable(Disable),
}

/// Arguments of `signing-key list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only of this realm
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `signing-key rotate`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Rotate {
    /// Its realm; may be left out where there is only one
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
    /// Signature algorithm; may be left out where the realm signs by one only
    #[arg(long)]
    pub(in crate::cli) alg: Option<String>,
    /// When the new key begins to sign [default: in 60s for secrets, in 10m for key pairs]
    #[arg(long, value_name = "SPAN", value_parser = args::span)]
    pub(in crate::cli) activate_in: Option<Duration>,
    #[command(flatten)]
    pub(in crate::cli) making: Making,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `signing-key activate`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Activate {
    /// Its name
    #[arg(allow_hyphen_values = true)]
    pub(in crate::cli) kid: String,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `signing-key retire`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Retire {
    /// Its name
    #[arg(allow_hyphen_values = true)]
    pub(in crate::cli) kid: String,
    /// Not at once: at a time, or after a span
    #[arg(long, value_name = "WHEN", value_parser = args::moment)]
    pub(in crate::cli) at: Option<Moment>,
    #[command(flatten)]
    pub(in crate::cli) sure: Sure,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `signing-key disable`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Disable {
    /// Its name
    #[arg(allow_hyphen_values = true)]
    pub(in crate::cli) kid: String,
    /// Also if it is the only key that signs: a new one takes its place
    #[arg(long)]
    pub(in crate::cli) force: bool,
    #[command(flatten)]
    pub(in crate::cli) sure: Sure,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

impl Verb {
    pub(super) fn via(&self) -> &Via {
        match self {
            Self::List(List { via, .. })
            | Self::Rotate(Rotate { via, .. })
            | Self::Activate(Activate { via, .. })
            | Self::Retire(Retire { via, .. })
            | Self::Disable(Disable { via, .. }) => via,
        }
    }

    pub(super) fn writes(&self) -> bool {
        !matches!(self, Self::List(_))
    }
}

pub(super) async fn run(verb: &Verb, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    match verb {
        Verb::List(args) => list(args, desk).await?,
        Verb::Rotate(args) => rotate(args, desk).await?,
        Verb::Activate(args) => {
            let key = desk.ask(Asking::post(&["signing-keys", &args.kid, "activate"])).await?;
            desk.show(&key)?;
            tell_of_the_old_one(&key, desk)?;
        }
        Verb::Retire(args) => retire(args, desk).await?,
        Verb::Disable(args) => disable(args, desk).await?,
    }
    Ok(FINE)
}

async fn list(args: &List, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let list = desk.ask(Asking::get(&["signing-keys"]).query("realm", args.realm.as_deref())).await?;
    if desk.shown == Shown::Json {
        return desk.show(&list);
    }
    let row = |key: &Value| {
        let text = |name: &str| render::text(key, name);
        let time = |name: &str, none: &str| match key.get(name) {
            None | Some(Value::Null) => none.to_owned(),
            Some(at) => relative(at, desk.now),
        };
        let (signs, retires) = (time("activate_at", "-"), time("retire_at", "never"));
        let made = time("created_at", "-");
        vec![text("kid"), text("realm"), text("alg"), text("state"), signs, retires, made, text("created_by")]
    };
    let rows: Vec<_> = data(&list).iter().map(row).collect();
    Ok(Table::new(HEADS).write(&rows, desk.out)?)
}

async fn rotate(args: &Rotate, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let mut body = Map::new();
    for (name, value) in [("realm", &args.realm), ("alg", &args.alg)] {
        if let Some(value) = value {
            body.insert(name.to_owned(), value.as_str().into());
        }
    }
    if let Some(span) = args.activate_in {
        body.insert("activate_in_seconds".to_owned(), span.as_secs().into());
    }
    let asking = Asking::post(&["signing-keys", "rotate"]).body(&Value::Object(body));
    let key = desk.ask(asking.idempotency_key(args.making.idempotency_key.as_deref())).await?;
    desk.show(&key)?;
    tell_of_the_old_one(&key, desk)
}

/// What becomes of the key before.
fn tell_of_the_old_one(key: &Value, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let old = key.get("replaces").and_then(Value::as_str);
    match (old, key.get("old_retire_at").filter(|at| !at.is_null())) {
        (Some(old), Some(at)) if desk.shown != Shown::Json => {
            let text = format!("{} verifies until {} ({}).", printable(old), render::plain(at), relative(at, desk.now));
            desk.say(&text)
        }
        _ => Ok(()),
    }
}

/// The key as it is, and what ends with it, in words.
async fn ends(kid: &str, desk: &Desk<'_>) -> Result<(Value, String), Stop> {
    let list = desk.ask(Asking::get(&["signing-keys"])).await?;
    let found = data(&list).iter().find(|key| key.get("kid").and_then(Value::as_str) == Some(kid));
    let Some(key) = found else { return Err(Stop::Failed(format!("there is no signing key {:?}", printable(kid)))) };
    let [alg, realm, state] = ["alg", "realm", "state"].map(|name| render::text(key, name));
    let sessions = resolve::sessions(desk, &[("realm", &realm)]).await?;
    let what = format!("the {state} {alg} key {} of {realm}: tokens that it signed are refused", printable(kid));
    Ok((key.clone(), format!("{what}, of {sessions} in the realm as many as have one")))
}

async fn retire(args: &Retire, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let (_, what) = ends(&args.kid, desk).await?;
    let mut body = Map::new();
    let mut when = "at once".to_owned();
    if let Some(moment) = args.at {
        let at = args::rfc_3339(moment.ahead(desk.now))?;
        when = format!("from {at} on");
        body.insert("at".to_owned(), at.into());
    }
    desk.confirm(&format!("retire {when}: ends {what}."), args.sure.yes)?;
    let asking = Asking::post(&["signing-keys", &args.kid, "retire"]).body(&Value::Object(body));
    let key = desk.ask(asking).await?;
    desk.show(&key)
}

async fn disable(args: &Disable, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let (_, what) = ends(&args.kid, desk).await?;
    desk.confirm(&format!("disable at once and for good: ends {what}."), args.sure.yes)?;
    let body = if args.force { Map::from_iter([("force".to_owned(), true.into())]) } else { Map::new() };
    let asking = Asking::post(&["signing-keys", &args.kid, "disable"]).body(&Value::Object(body));
    let key = desk.ask(asking).await?;
    desk.show(&key)
}
