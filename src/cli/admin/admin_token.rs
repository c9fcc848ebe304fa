//! `admin-token`: tokens for administration. They are made and ended on the machine only: the API knows no token that
//! could do it.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::args::{self, Expiry, Making, Paging, Showing, Sure};
use super::asking::Asking;
use super::desk::Desk;
use super::render::{self, relative};
use super::{FINE, Stop, resolve};
use crate::clock::UnixMillis;

const HEADS: &[&str] = &["ID", "NAME", "HINT", "SCOPES", "REALMS", "LAST USED", "EXPIRES", "STATE", "BY"];

/// What can be done with admin tokens.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// Make a token for the admin API and show it, once; on the machine of the store only
    #[command(
        after_help = "Examples:\n  portcullis admin-token create dashboard --scope admin:read --scope admin:keys --realm shop\n  portcullis admin-token create ci --scope admin:clients --expires 30d --output secret > token.txt"
    )]
    Create(Create),
    /// List the tokens, those that have ended included
    #[command(after_help = "Example:\n  portcullis admin-token list")]
    List(List),
    /// End a token for good
    #[command(after_help = "Example:\n  portcullis admin-token revoke dashboard --yes")]
    Revoke(Revoke),
}

/// Arguments of `admin-token create`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// What it is for
    pub(in crate::cli) name: String,
    /// What it may do; may be repeated. admin:* = everything that a token can be given today
    #[arg(long = "scope", value_name = "SCOPE", required = true,
          value_parser = ["admin:read", "admin:clients", "admin:keys", "admin:sessions", "admin:signing", "admin:reload",
                          "admin:*"])]
    pub(in crate::cli) scopes: Vec<String>,
    /// Only in this realm; may be repeated. None: in all
    #[arg(long = "realm", value_name = "REALM")]
    pub(in crate::cli) realms: Vec<String>,
    /// When it ends: a span, a time, or never
    #[arg(long, value_name = "WHEN", default_value = "90d", value_parser = args::expiry)]
    pub(in crate::cli) expires: Expiry,
    #[command(flatten)]
    pub(in crate::cli) making: Making,
    #[command(flatten)]
    pub(in crate::cli) showing: Showing,
    /// Print the JSON of the admin API
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// Arguments of `admin-token list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    pub(in crate::cli) paging: Paging,
    /// Print the JSON of the admin API
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// Arguments of `admin-token revoke`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    /// Its id, or its name
    #[arg(value_name = "ID")]
    pub(in crate::cli) id: String,
    #[command(flatten)]
    pub(in crate::cli) sure: Sure,
    /// Print the JSON of the admin API
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

impl Verb {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Create(Create { json, .. }) | Self::List(List { json, .. }) | Self::Revoke(Revoke { json, .. }) => {
                *json
            }
        }
    }

    pub(super) fn writes(&self) -> bool {
        !matches!(self, Self::List(_))
    }

    pub(super) fn showing(&self) -> Showing {
        if let Self::Create(args) = self { args.showing } else { Showing::default() }
    }
}

pub(super) async fn run(verb: &Verb, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    match verb {
        Verb::Create(args) => create(args, desk).await?,
        Verb::List(args) => desk.list(Asking::get(&["admin-tokens"]), &args.paging, HEADS, row).await?,
        Verb::Revoke(args) => revoke(args, desk).await?,
    }
    Ok(FINE)
}

async fn create(args: &Create, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let mut body = Map::new();
    body.insert("name".to_owned(), args.name.as_str().into());
    body.insert("scopes".to_owned(), json!(args.scopes));
    if !args.realms.is_empty() {
        body.insert("realms".to_owned(), json!(args.realms));
    }
    if let Some(expires_at) = args.making.expires_at(args.expires, desk.now)? {
        body.insert("expires_at".to_owned(), expires_at);
    }
    let asking = Asking::post(&["admin-tokens"]).body(&Value::Object(body));
    let token = desk.ask(asking.idempotency_key(args.making.idempotency_key.as_deref())).await?;
    desk.show_secret(&token, "secret")
}

fn row(token: &Value, now: UnixMillis) -> Vec<String> {
    let text = |name: &str| render::text(token, name);
    let time = |name: &str| match token.get(name) {
        None | Some(Value::Null) => "never".to_owned(),
        Some(at) => relative(at, now),
    };
    let realms = if token.get("realms").is_none_or(Value::is_null) { "all".to_owned() } else { text("realms") };
    vec![
        text("id"),
        text("name"),
        format!("…{}", text("hint")),
        text("scopes"),
        realms,
        time("last_used_at"),
        time("expires_at"),
        state(token, now),
        text("created_by"),
    ]
}

fn state(token: &Value, now: UnixMillis) -> String {
    if token.get("revoked_at").is_some_and(|at| !at.is_null()) {
        return "revoked".to_owned();
    }
    let expires = token.get("expires_at").and_then(Value::as_str).and_then(|at| at.parse::<jiff::Timestamp>().ok());
    if expires.is_some_and(|at| at.as_millisecond() <= now.0) { "expired" } else { "active" }.to_owned()
}

async fn revoke(args: &Revoke, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let token = resolve::token(desk, &args.id).await?;
    let [id, name] = ["id", "name"].map(|name| render::text(&token, name));
    let used = match token.get("last_used_at") {
        None | Some(Value::Null) => "never used".to_owned(),
        Some(at) => format!("last used {}", relative(at, desk.now)),
    };
    desk.confirm(&format!("revoke: ends the admin token {id} ({name}), {used}, for good."), args.sure.yes)?;
    let revoked = desk.ask(Asking::post(&["admin-tokens", &id, "revoke"])).await?;
    desk.show(&revoked)
}
