//! `ip`: address lists of clients and keys.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::args::{self, Expiry, Making, Paging, Sure, Via};
use super::asking::Asking;
use super::desk::{self, Desk, Shown};
use super::render::{self, relative};
use super::resolve::{self, Found};
use super::{FAILED, FINE, PATIENCE, Stop};
use crate::clock::UnixMillis;

const HEADS: &[&str] = &["ID", "NETWORK", "NOTE", "EXPIRES", "CREATED", "BY"];

/// What can be done with address lists.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// Allow a network; the first entry forbids every other address
    #[command(after_help = "Example:\n  portcullis ip add 203.0.113.0/24 --client team_42 --note 'Lisbon office'")]
    Add(Add),
    /// List the networks; none = every address is allowed
    #[command(after_help = "Example:\n  portcullis ip list --key 91c4")]
    List(List),
    /// Take a network out; without the last one every address is allowed
    #[command(after_help = "Example:\n  portcullis ip remove 203.0.113.0/24 --client team_42")]
    Remove(Remove),
    /// Say whether an address is allowed, and by which entry; exit code 1 if not
    #[command(after_help = "Example:\n  portcullis ip test 203.0.113.7 --key 91c4")]
    Test(Test),
}

/// Whose list: a client's or a key's.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Holder {
    #[command(flatten)]
    pub(in crate::cli) one: One,
    /// Its realm, where several have one of that name
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
}

/// One of the two.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct One {
    /// The list of this client: id or identifier
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) client: Option<String>,
    /// The list of this key: id or last four characters
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) key: Option<String>,
}

/// Arguments of `ip add`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Add {
    /// Such as 203.0.113.0/24, 2001:db8::/32, 203.0.113.7
    pub(in crate::cli) network: String,
    #[command(flatten)]
    pub(in crate::cli) holder: Holder,
    /// For people
    #[arg(long)]
    pub(in crate::cli) note: Option<String>,
    /// When the entry ends: a span, a time, or never
    #[arg(long, value_name = "WHEN", default_value = "never", value_parser = args::expiry)]
    pub(in crate::cli) expires: Expiry,
    #[command(flatten)]
    pub(in crate::cli) making: Making,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `ip list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    pub(in crate::cli) holder: Holder,
    #[command(flatten)]
    pub(in crate::cli) paging: Paging,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `ip remove`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Remove {
    /// The network, or the id of its entry (ip_…)
    pub(in crate::cli) entry: String,
    #[command(flatten)]
    pub(in crate::cli) holder: Holder,
    #[command(flatten)]
    pub(in crate::cli) sure: Sure,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `ip test`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Test {
    /// The address
    pub(in crate::cli) address: IpAddr,
    #[command(flatten)]
    pub(in crate::cli) holder: Holder,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

impl Verb {
    pub(super) fn via(&self) -> &Via {
        match self {
            Self::Add(Add { via, .. })
            | Self::List(List { via, .. })
            | Self::Remove(Remove { via, .. })
            | Self::Test(Test { via, .. }) => via,
        }
    }

    pub(super) fn writes(&self) -> bool {
        matches!(self, Self::Add(_) | Self::Remove(_))
    }
}

/// Whose list it is.
struct Whose {
    noun: &'static str,
    found: Found,
}

impl Whose {
    async fn of(desk: &Desk<'_>, holder: &Holder) -> Result<Self, Stop> {
        let realm = holder.realm.as_deref();
        match (&holder.one.client, &holder.one.key) {
            (Some(client), _) => Ok(Self { noun: "clients", found: resolve::client(desk, client, realm).await? }),
            (None, Some(key)) => Ok(Self { noun: "keys", found: resolve::key(desk, key, realm).await? }),
            (None, None) => Err(Stop::Wrong("--client or --key is needed".to_owned())),
        }
    }

    fn asking(&self, method: Method, rest: &[&str]) -> Asking {
        let path = [&[self.noun, self.found.id.as_str(), "ip-allowlist"], rest].concat();
        Asking::new(method, &path).query("realm", self.found.query_realm())
    }
}

pub(super) async fn run(verb: &Verb, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    match verb {
        Verb::Add(args) => add(args, desk).await?,
        Verb::List(args) => {
            let whose = Whose::of(desk, &args.holder).await?;
            desk.list(whose.asking(Method::GET, &[]), &args.paging, HEADS, row).await?;
        }
        Verb::Remove(args) => remove(args, desk).await?,
        Verb::Test(args) => return test(args, desk).await,
    }
    Ok(FINE)
}

fn row(entry: &Value, now: UnixMillis) -> Vec<String> {
    let text = |name: &str| render::text(entry, name);
    let time = |name: &str, none: &str| match entry.get(name) {
        None | Some(Value::Null) => none.to_owned(),
        Some(at) => relative(at, now),
    };
    vec![
        text("id"),
        text("network"),
        text("note"),
        time("expires_at", "never"),
        time("created_at", "-"),
        text("created_by"),
    ]
}

async fn add(args: &Add, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let whose = Whose::of(desk, &args.holder).await?;
    let mut body = Map::new();
    body.insert("network".to_owned(), args.network.as_str().into());
    if let Some(note) = &args.note {
        body.insert("note".to_owned(), note.as_str().into());
    }
    if args.expires != Expiry::Never {
        if args.making.idempotency_key.is_some() && matches!(args.expires, Expiry::In(_)) {
            return Err(args::not_twice());
        }
        body.insert("expires_at".to_owned(), args.expires.json(desk.now)?);
    }
    let asking = whose.asking(Method::POST, &[]).body(&Value::Object(body));
    let entry = desk.ask(asking.idempotency_key(args.making.idempotency_key.as_deref())).await?;
    desk.show(&entry)
}

/// Whether it is the last entry is the API's to say, at the moment it matters: then it wants to be asked again.
async fn remove(args: &Remove, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let whose = Whose::of(desk, &args.holder).await?;
    let asking = || whose.asking(Method::DELETE, &[&args.entry]);
    let answer = desk.answer(asking(), PATIENCE).await?;
    let removed = if desk::code(&answer) == "confirmation_required" {
        let what = if whose.noun == "keys" { "use this key" } else { "use this account" };
        desk.confirm(&format!("This is the last entry: afterwards every address may {what}."), args.sure.yes)?;
        desk.ask(asking().query("confirm", Some("open"))).await?
    } else {
        desk::good(answer)?
    };
    match removed {
        Value::Null if desk.shown == Shown::Json => Ok(()),
        Value::Null => desk.say(&format!("{} is removed", render::printable(&args.entry))),
        removed => desk.show(&removed),
    }
}

async fn test(args: &Test, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    let whose = Whose::of(desk, &args.holder).await?;
    let body = json!({ "address": args.address.to_string() });
    let verdict = desk.ask(whose.asking(Method::POST, &["test"]).body(&body)).await?;
    desk.show(&verdict)?;
    Ok(if verdict.get("allowed") == Some(&Value::Bool(true)) { FINE } else { FAILED })
}
