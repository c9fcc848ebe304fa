//! `session`: what logins began, to look at and to end.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::args::{Paging, Sure, Via};
use super::asking::Asking;
use super::desk::{Desk, data};
use super::render::{self, printable, relative};
use super::{FINE, Stop, resolve};
use crate::clock::UnixMillis;

const HEADS: &[&str] = &["ID", "REALM", "CLIENT", "GRANT", "FROM", "BEGUN", "LAST SEEN", "EXPIRES", "STATE"];

/// What can be done with sessions.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List sessions, oldest first
    #[command(after_help = "Example:\n  portcullis session list --client alice@example.com --live")]
    List(List),
    /// Show everything about a session
    #[command(after_help = "Example:\n  portcullis session show ses_01J9ZK8Q6D7V3W2X1Y0ZABCDEF")]
    Show(Show),
    /// End a session with all its tokens, or every session of a client
    #[command(
        after_help = "Examples:\n  portcullis session revoke ses_01J9ZK8Q6D7V3W2X1Y0ZABCDEF --reason 'lost laptop'\n  portcullis session revoke --client alice@example.com --all --yes"
    )]
    Revoke(Revoke),
}

/// Arguments of `session list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only of this client: id or identifier
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) client: Option<String>,
    /// Only of this realm
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
    /// Only those that neither ended nor expired
    #[arg(long)]
    pub(in crate::cli) live: bool,
    #[command(flatten)]
    pub(in crate::cli) paging: Paging,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `session show`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// Its id (ses_…)
    pub(in crate::cli) id: String,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `session revoke`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    /// Its id (ses_…)
    #[arg(required_unless_present = "client")]
    pub(in crate::cli) id: Option<String>,
    /// Instead: the live session of this client, id or identifier
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    pub(in crate::cli) client: Option<String>,
    /// Of that client every session
    #[arg(long, requires = "client", conflicts_with = "id")]
    pub(in crate::cli) all: bool,
    /// The client's realm, where several have one of that name
    #[arg(long, requires = "client", conflicts_with = "id")]
    pub(in crate::cli) realm: Option<String>,
    /// For the audit trail
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) reason: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) sure: Sure,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

impl Verb {
    pub(super) fn via(&self) -> &Via {
        match self {
            Self::List(List { via, .. }) | Self::Show(Show { via, .. }) | Self::Revoke(Revoke { via, .. }) => via,
        }
    }
}

pub(super) async fn run(verb: &Verb, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    match verb {
        Verb::List(args) => list(args, desk).await?,
        Verb::Show(args) => {
            let session = desk.ask(Asking::get(&["sessions", &args.id])).await?;
            desk.show(&session)?;
        }
        Verb::Revoke(args) => revoke(args, desk).await?,
    }
    Ok(FINE)
}

async fn list(args: &List, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let client = match &args.client {
        Some(client) => Some(resolve::client(desk, client, args.realm.as_deref()).await?),
        None => None,
    };
    let asking = Asking::get(&["sessions"])
        .query("realm", args.realm.as_deref())
        .query("client", client.as_ref().map(|client| &client.id))
        .query("live", args.live.then_some("true"));
    desk.list(asking, &args.paging, HEADS, row).await
}

fn row(session: &Value, now: UnixMillis) -> Vec<String> {
    let text = |name: &str| render::text(session, name);
    let time = |name: &str| session.get(name).map_or_else(|| "-".to_owned(), |at| relative(at, now));
    vec![
        text("id"),
        text("realm"),
        client(session),
        text("grant"),
        text("client_ip"),
        time("created_at"),
        time("last_seen_at"),
        time("expires_at"),
        text("state"),
    ]
}

/// What the principal of a session is called.
fn client(session: &Value) -> String {
    let named = session.get("client").and_then(Value::as_str);
    named.map_or_else(|| render::text(session, "client_id"), printable)
}

/// What a person recognises a session by.
pub(super) fn described(session: &Value, now: UnixMillis) -> String {
    let [id, grant, ip] = ["id", "grant", "client_ip"].map(|name| render::text(session, name));
    let seen = session.get("last_seen_at").map_or_else(|| "-".to_owned(), |at| relative(at, now));
    format!("{id} of {} ({grant}, from {ip}, last seen {seen})", client(session))
}

async fn revoke(args: &Revoke, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let session = match (&args.id, &args.client) {
        (_, Some(client)) => {
            let found = resolve::client(desk, client, args.realm.as_deref()).await?;
            if args.all {
                return revoke_all(&found, client, args.reason.as_deref(), args.sure, desk).await;
            }
            only_one(&found.id, client, desk).await?
        }
        (id, None) => desk.ask(Asking::get(&["sessions", id.as_deref().unwrap_or_default()])).await?,
    };
    let what = format!("revoke: ends the session {}, with all its tokens.", described(&session, desk.now));
    desk.confirm(&what, args.sure.yes)?;
    let id = render::text(&session, "id");
    let asking = Asking::new(Method::DELETE, &["sessions", &id]).query("reason", args.reason.as_deref());
    let revoked = desk.ask(asking).await?;
    desk.show(&revoked)
}

/// The live session of a client that has one.
async fn only_one(client: &str, name: &str, desk: &Desk<'_>) -> Result<Value, Stop> {
    let asking = Asking::get(&["sessions"]).query("client", Some(client)).query("live", Some("true"));
    let list = desk.ask(asking.query("limit", Some("20"))).await?;
    let name = printable(name);
    match data(&list) {
        [] => Err(Stop::Failed(format!("{name:?} has no live session"))),
        [one] => Ok(one.clone()),
        several => {
            let lines: Vec<_> = several.iter().map(|session| format!("\n  {}", described(session, desk.now))).collect();
            Err(Stop::Failed(format!(
                "{name:?} has more than one live session; give the id, or --all:{}",
                lines.concat()
            )))
        }
    }
}

/// Ends every session of a client.
pub(super) async fn revoke_all(
    client: &resolve::Found,
    name: &str,
    reason: Option<&str>,
    sure: Sure,
    desk: &mut Desk<'_>,
) -> Result<(), Stop> {
    // Those of the configuration have none; the admin API says it better.
    if !client.id.starts_with("cfg:") {
        let ends = resolve::sessions(desk, &[("client", &client.id)]).await?;
        let what =
            format!("revoke-sessions of {} ({}): ends {ends}, with all their tokens.", printable(name), client.id);
        desk.confirm(&what, sure.yes)?;
    }
    let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
    let asking = Asking::post(&["clients", &client.id, "revoke-sessions"]).query("realm", client.query_realm());
    let revoked = desk.ask(asking.body(&body)).await?;
    desk.show(&revoked)
}
