//! `token`: a token of the token service, read from standard input: what it says, how it stands, its end. Its text is never
//! repeated.

use clap::{Args, Subcommand};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};

use super::args::{Sure, Via};
use super::asking::Asking;
use super::desk::{Desk, Shown};
use super::render::{self, relative};
use super::session::described;
use super::{FAILED, FINE, Stop};

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// Print what a token says, whether its signature fits, and how it stands
    #[command(after_help = "Example:\n  portcullis token inspect < token.txt")]
    Inspect(Which),
    /// Say whether a token or an API key is good, and why not; exit code 1 if not
    #[command(after_help = "Example:\n  portcullis token introspect --realm shop < token.txt")]
    Introspect(Which),
    /// End a token; with a refresh token, its whole session
    #[command(after_help = "Example:\n  portcullis token revoke --reason 'found in a log' --yes < token.txt")]
    Revoke(Revoke),
}

/// Arguments of verbs that only look.
#[derive(Debug, Args)]
pub(in crate::cli) struct Which {
    /// Its realm; may be left out where the token names it, or there is only one
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `token revoke`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    /// Its realm; may be left out where the token names it, or there is only one
    #[arg(long)]
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
            Self::Inspect(Which { via, .. })
            | Self::Introspect(Which { via, .. })
            | Self::Revoke(Revoke { via, .. }) => via,
        }
    }
}

pub(super) async fn run(verb: &Verb, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    match verb {
        Verb::Inspect(args) => inspect(args, desk).await,
        Verb::Introspect(args) => introspect(args, desk).await,
        Verb::Revoke(args) => revoke(args, desk).await,
    }
}

fn read(desk: &mut Desk<'_>) -> Result<zeroize::Zeroizing<String>, Stop> {
    if desk.person.is_there() {
        desk.note("The token (it is visible here; Enter ends it):");
    }
    desk.person.secret()
}

fn body(token: &str, realm: Option<&str>) -> Map<String, Value> {
    let realm = realm.map(|realm| ("realm".to_owned(), realm.into()));
    [("token".to_owned(), token.into())].into_iter().chain(realm).collect()
}

async fn state(token: &str, realm: Option<&str>, desk: &Desk<'_>) -> Result<Value, Stop> {
    let asking = Asking::post(&["tokens", "introspect"]).body(&Value::Object(body(token, realm)));
    desk.ask(asking).await
}

/// A part of a signed token, whoever signed it.
fn part(token: &str, n: usize) -> Option<Value> {
    let bytes = BASE64URL_NOPAD.decode(token.split('.').nth(n)?.as_bytes()).ok()?;
    serde_json::from_slice(&bytes).ok().filter(Value::is_object)
}

async fn inspect(args: &Which, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    let token = read(desk)?;
    let (header, claims) = (part(&token, 0), part(&token, 1));
    let state = state(&token, args.realm.as_deref(), desk).await?;
    let of_ours = state.get("what").and_then(Value::as_str) != Some("unknown");
    let verified = header.is_some() && claims.is_some() && of_ours;
    if desk.shown == Shown::Json {
        let all = json!({ "header": header, "claims": claims, "verified": verified, "state": state });
        desk.show(&all)?;
        return Ok(FINE);
    }
    if let (Some(header), Some(claims)) = (&header, &claims) {
        desk.say("Header")?;
        desk.show(header)?;
        let trust =
            if verified { "verified by a key of the realm" } else { "NOT verified: anybody may have written them" };
        desk.say(&format!("\nClaims ({trust})"))?;
        desk.show(claims)?;
        desk.say("\nState")?;
    }
    // What it says stands above.
    let shown: Map<_, _> =
        state.as_object().into_iter().flatten().filter(|(name, _)| *name != "claims").map(own).collect();
    desk.show(&Value::Object(shown))?;
    Ok(FINE)
}

fn own((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

async fn introspect(args: &Which, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    let token = read(desk)?;
    let state = state(&token, args.realm.as_deref(), desk).await?;
    desk.show(&state)?;
    Ok(if state.get("active") == Some(&Value::Bool(true)) { FINE } else { FAILED })
}

async fn revoke(args: &Revoke, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    let token = read(desk)?;
    let state = state(&token, args.realm.as_deref(), desk).await?;
    let [what, id, client, code] = ["what", "id", "client", "code"].map(|name| render::text(&state, name));
    // The admin API says better than a question why nothing can end here.
    if !matches!(what.as_str(), "unknown" | "api_key") {
        let kind = what.replace('_', " ");
        let session = state.get("session").filter(|session| session.is_object());
        let ends = match (what.as_str(), session) {
            ("refresh_token", Some(session)) => {
                format!("the session {}, with all its tokens", described(session, desk.now))
            }
            (_, _) => {
                let end = state.get("expires_at").map_or_else(|| "-".to_owned(), |at| relative(at, desk.now));
                format!("the {kind} {id} of {client} ({code}, expires {end})")
            }
        };
        desk.confirm(&format!("revoke: ends {ends}, for good."), args.sure.yes)?;
    }
    let mut body = body(&token, args.realm.as_deref());
    if let Some(reason) = &args.reason {
        body.insert("reason".to_owned(), reason.as_str().into());
    }
    let revoked = desk.ask(Asking::post(&["tokens", "revoke"]).body(&Value::Object(body))).await?;
    desk.show(&revoked)?;
    Ok(FINE)
}
