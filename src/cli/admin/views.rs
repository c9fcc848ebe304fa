//! `scope` and `role`: what the configuration defines, and who holds it.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::args::Via;
use super::asking::Asking;
use super::desk::{Desk, Shown, data};
use super::{FINE, Stop, Table, render};

/// What can be done with scopes.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ScopeVerb {
    /// List the scopes of the configuration, with the numbers of clients and keys that hold them
    #[command(after_help = "Example:\n  portcullis scope list --realm shop")]
    List(List),
}

/// What can be done with roles.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RoleVerb {
    /// List the roles of the configuration with their scopes, and the numbers of clients that have them
    #[command(after_help = "Example:\n  portcullis role list --realm shop")]
    List(List),
}

/// Arguments of `scope list` and `role list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only of this realm
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

pub(super) async fn scopes(ScopeVerb::List(args): &ScopeVerb, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    let row = |scope: &Value| {
        let text = |name: &str| render::text(scope, name);
        vec![
            text("realm"),
            text("name"),
            text("roles"),
            text("clients"),
            text("keys"),
            text("routes"),
            text("description"),
        ]
    };
    list("scopes", args, &["REALM", "SCOPE", "ROLES", "CLIENTS", "KEYS", "ROUTES", "DESCRIPTION"], row, desk).await
}

pub(super) async fn roles(RoleVerb::List(args): &RoleVerb, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    let row = |role: &Value| {
        let text = |name: &str| render::text(role, name);
        vec![text("realm"), text("name"), text("clients"), text("scopes")]
    };
    list("roles", args, &["REALM", "ROLE", "CLIENTS", "SCOPES"], row, desk).await
}

async fn list(
    noun: &str,
    args: &List,
    heads: &'static [&'static str],
    row: impl Fn(&Value) -> Vec<String>,
    desk: &mut Desk<'_>,
) -> Result<u8, Stop> {
    let list = desk.ask(Asking::get(&[noun]).query("realm", args.realm.as_deref())).await?;
    if desk.shown == Shown::Json {
        desk.show(&list)?;
    } else {
        let rows: Vec<_> = data(&list).iter().map(row).collect();
        Table::new(heads).write(&rows, desk.out)?;
        if data(&list).iter().any(|one| one.get("at_least") == Some(&Value::Bool(true))) {
            desk.note("There are more clients or keys than were counted: the numbers are the least there can be.");
        }
    }
    Ok(FINE)
}
