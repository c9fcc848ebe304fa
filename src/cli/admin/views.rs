//! `scope` and `role`: what the configuration defines, and who holds it.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::args::{Paging, Via};
use super::asking::Asking;
use super::desk::Desk;
use super::{FINE, Stop, render};

/// What can be done with scopes.
#[derive(Debug, Subcommand)]
pub enum ScopeVerb {
    /// List the scopes of the configuration, with the numbers of clients and keys that hold them
    #[command(after_help = "Example:\n  portcullis scope list --realm shop")]
    List(List),
}

/// What can be done with roles.
#[derive(Debug, Subcommand)]
pub enum RoleVerb {
    /// List the roles of the configuration with their scopes, and the numbers of clients that have them
    #[command(after_help = "Example:\n  portcullis role list --realm shop")]
    List(List),
}

/// Arguments of `scope list` and `role list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only of this realm
    #[arg(long)]
    pub realm: Option<String>,
    #[command(flatten)]
    pub via: Via,
}

pub(super) async fn scopes(ScopeVerb::List(args): &ScopeVerb, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    let row = |scope: &Value, _| {
        let text = |name: &str| render::text(scope, name);
        vec![text("realm"), text("name"), text("clients"), text("keys"), text("description")]
    };
    list("scopes", args, &["REALM", "SCOPE", "CLIENTS", "KEYS", "DESCRIPTION"], row, desk).await
}

pub(super) async fn roles(RoleVerb::List(args): &RoleVerb, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    let row = |role: &Value, _| {
        let text = |name: &str| render::text(role, name);
        vec![text("realm"), text("name"), text("clients"), text("scopes")]
    };
    list("roles", args, &["REALM", "ROLE", "CLIENTS", "SCOPES"], row, desk).await
}

async fn list(
    noun: &str,
    args: &List,
    heads: &'static [&'static str],
    row: impl Fn(&Value, crate::clock::UnixMillis) -> Vec<String>,
    desk: &mut Desk<'_>,
) -> Result<u8, Stop> {
    let asking = Asking::get(&[noun]).query("realm", args.realm.as_deref());
    desk.list(asking, &Paging { limit: 200, cursor: None, all: true }, heads, row).await?;
    Ok(FINE)
}
