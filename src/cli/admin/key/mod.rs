//! `key`: stored API keys. What may be said stands in `args`, what is done with it here; `import` is beside.

mod args;

use http::Method;
use serde_json::{Map, Value, json};

use super::args as shared;
use super::asking::Asking;
use super::client::addresses;
use super::desk::{Desk, Shown};
use super::render::{self, printable, relative};
use super::resolve::{self, Found};
use super::{FAILED, FINE, Stop, import};
use crate::clock::UnixMillis;
use args::{Create, List, Revoke, Rotate, Update, Verify};
pub(in crate::cli) use args::{Format, Import, Verb};

const HEADS: &[&str] =
    &["ID", "NAME", "KEY", "OWNER", "SCOPES", "ADDRESSES", "CREATED", "LAST USED", "EXPIRES", "STATE", "SOURCE"];

pub(super) async fn run(verb: &Verb, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    match verb {
        Verb::Create(args) => create(args, desk).await?,
        Verb::List(args) => list(args, desk).await?,
        Verb::Show(args) => {
            let (_, key) = get(desk, &args.which).await?;
            desk.show(&key)?;
        }
        Verb::Update(args) => update(args, desk).await?,
        Verb::Rotate(args) => rotate(args, desk).await?,
        Verb::Disable(args) => act(&args.which, "disable", desk).await?,
        Verb::Enable(args) => act(&args.which, "enable", desk).await?,
        Verb::Revoke(args) => revoke(args, desk).await?,
        Verb::Verify(args) => return verify(args, desk).await,
        Verb::Import(args) => import::run(args, desk).await?,
    }
    Ok(FINE)
}

async fn create(args: &Create, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let owner = resolve::client(desk, &args.owner, args.realm.as_deref()).await?;
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    if let Some(realm) = owner.realm.as_ref().or(args.realm.as_ref()) {
        set("realm", realm.as_str().into());
    }
    set("owner_id", owner.id.into());
    set("name", args.name.as_str().into());
    if let Some(prefix) = &args.prefix {
        set("prefix", prefix.as_str().into());
    }
    if !args.scopes.is_empty() {
        set("scopes", json!(args.scopes));
    }
    if !args.attributes.is_empty() {
        set("attributes", Value::Object(shared::attributes(&args.attributes)));
    }
    if let Some(expires_at) = args.making.expires_at(args.expires, desk.now)? {
        set("expires_at", expires_at);
    }
    if !args.networks.is_empty() {
        set("ip_allowlist", json!(args.networks));
    }
    let asking = Asking::post(&["keys"]).body(&Value::Object(body));
    let key = desk.ask(asking.idempotency_key(args.making.idempotency_key.as_deref())).await?;
    desk.show_secret(&key, "secret")
}

async fn list(args: &List, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let owner = match &args.owner {
        Some(owner) => Some(resolve::client(desk, owner, args.realm.as_deref()).await?),
        None => None,
    };
    let unused_since = args.unused_since.map(|moment| shared::rfc_3339(moment.ago(desk.now))).transpose()?;
    let expiring_before = args.expiring_before.map(|moment| shared::rfc_3339(moment.ahead(desk.now))).transpose()?;
    let asking = Asking::get(&["keys"])
        .query("realm", args.realm.as_deref())
        .query("owner_id", owner.as_ref().map(|owner| &owner.id))
        .query("hint", args.hint.as_deref())
        .query("status", args.status.as_deref())
        .query("unused_since", unused_since)
        .query("expiring_before", expiring_before);
    desk.list(asking, &args.paging, HEADS, row).await
}

fn row(key: &Value, now: UnixMillis) -> Vec<String> {
    let text = |name: &str| render::text(key, name);
    let time = |name: &str, none: &str| match key.get(name) {
        None | Some(Value::Null) => none.to_owned(),
        Some(at) => relative(at, now),
    };
    let scopes = if key.get("scopes").is_none_or(Value::is_null) { "as owner".to_owned() } else { text("scopes") };
    let source = key.get("declared_at").and_then(Value::as_str).map_or_else(|| text("source"), printable);
    vec![
        text("id"),
        text("name"),
        hint(key),
        text("owner"),
        scopes,
        addresses(key),
        time("created_at", "-"),
        time("last_used_at", "never"),
        time("expires_at", "never"),
        state(key, now),
        source,
    ]
}

/// What is known of the key's text: `sk_live_…91c4`.
fn hint(key: &Value) -> String {
    let part = |name: &str| key.get(name).and_then(Value::as_str).map(printable).unwrap_or_default();
    match (part("prefix"), part("hint")) {
        (prefix, hint) if prefix.is_empty() && hint.is_empty() => "-".to_owned(),
        (prefix, hint) => format!("{prefix}…{hint}"),
    }
}

fn state(key: &Value, now: UnixMillis) -> String {
    let status = render::text(key, "status");
    if status == "active" && key.get("expired") == Some(&Value::Bool(true)) {
        return "expired".to_owned();
    }
    match key.get("overlap").filter(|overlap| overlap.is_object()) {
        Some(overlap) if status == "active" => {
            let time = |name: &str| overlap.get(name).filter(|at| !at.is_null()).map(|at| relative(at, now));
            let used = time("last_used_at").map_or_else(String::new, |at| format!(", used {at}"));
            format!("{status}, old text ends {}{used}", time("until").unwrap_or_default())
        }
        Some(_) | None => status,
    }
}

async fn get(desk: &Desk<'_>, which: &shared::WhichKey) -> Result<(Found, Value), Stop> {
    let found = resolve::key(desk, &which.id, which.realm.as_deref()).await?;
    let key = desk.ask(Asking::get(&["keys", &found.id]).query("realm", found.query_realm())).await?;
    Ok((found, key))
}

async fn update(args: &Update, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    if let Some(name) = &args.name {
        set("name", name.as_str().into());
    }
    if !args.scopes.is_empty() || args.no_scopes {
        set("scopes", if args.no_scopes { Value::Null } else { json!(args.scopes) });
    }
    if let Some(expires) = args.expires {
        set("expires_at", expires.json(desk.now)?);
    }
    let (found, version) = if args.attributes.is_empty() {
        (resolve::key(desk, &args.which.id, args.which.realm.as_deref()).await?, None)
    } else {
        let (found, key) = get(desk, &args.which).await?;
        let (attributes, version) = args.attributes.applied(&key);
        set("attributes", attributes);
        (found, version)
    };
    if body.is_empty() {
        return Err(Stop::Wrong("nothing is said that should change; see --help".to_owned()));
    }
    let asking = Asking::new(Method::PATCH, &["keys", &found.id]).query("realm", found.query_realm());
    let key = desk.ask(asking.body(&Value::Object(body)).if_version(version)).await?;
    desk.show(&key)
}

async fn act(which: &shared::WhichKey, verb: &str, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let found = resolve::key(desk, &which.id, which.realm.as_deref()).await?;
    let key = desk.ask(Asking::post(&["keys", &found.id, verb]).query("realm", found.query_realm())).await?;
    desk.show(&key)
}

/// What a person recognises a key by.
fn described(key: &Value, now: UnixMillis) -> String {
    let used = match key.get("last_used_at") {
        None | Some(Value::Null) => "never used".to_owned(),
        Some(at) => format!("last used {}", relative(at, now)),
    };
    let [id, name, owner] = ["id", "name", "owner"].map(|name| render::text(key, name));
    format!("{id} ({name}, {}) of {owner}, {used}", hint(key))
}

async fn rotate(args: &Rotate, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let (found, key) = get(desk, &args.which).await?;
    if args.overlap.is_zero() {
        let what = format!("rotate without overlap: ends the present text of {}, at once.", described(&key, desk.now));
        desk.confirm(&what, args.sure.yes)?;
    } else if let Some(until) = key.get("overlap").and_then(|overlap| overlap.get("until")) {
        // Two texts work at most: the one before the present one ends now.
        let older = key.get("overlap").unwrap_or(&Value::Null);
        // A use that is not written yet is not known: nothing is no proof that it was never used.
        let last = older.get("last_used_at").filter(|at| !at.is_null());
        let last = last.map_or_else(String::new, |at| format!(", last used {}", relative(at, desk.now)));
        let what = format!(
            "rotate during an overlap: the older text of {} ({}{last}) ends at once instead of {}.",
            render::text(&key, "id"),
            hint(older),
            relative(until, desk.now)
        );
        desk.confirm(&what, args.sure.yes)?;
    }
    let asking = Asking::post(&["keys", &found.id, "rotate"]).query("realm", found.query_realm());
    let asking = asking.body(&json!({ "overlap_seconds": args.overlap.as_secs() }));
    let rotated = desk.ask(asking.idempotency_key(args.making.idempotency_key.as_deref())).await?;
    desk.show_secret(&rotated, "secret")?;
    if desk.shown == Shown::Json {
        return Ok(());
    }
    match rotated.get("old_expires_at") {
        Some(at) if !args.overlap.is_zero() => {
            desk.say(&format!("The old text works until {} ({}).", render::plain(at), relative(at, desk.now)))
        }
        Some(_) | None => desk.say("The old text has ended."),
    }
}

async fn revoke(args: &Revoke, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let (found, key) = get(desk, &args.which).await?;
    let overlap = key.get("overlap").and_then(|overlap| overlap.get("until")).map_or("", |_| " both its texts,");
    desk.confirm(&format!("revoke: ends {},{overlap} for good.", described(&key, desk.now)), args.sure.yes)?;
    let body = args.reason.as_ref().map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
    let asking = Asking::post(&["keys", &found.id, "revoke"]).query("realm", found.query_realm());
    let revoked = desk.ask(asking.body(&body)).await?;
    desk.show(&revoked)
}

async fn verify(args: &Verify, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    if desk.person.is_there() {
        desk.note("The key (it is visible here; Enter ends it):");
    }
    let key = desk.person.secret()?;
    let mut body = Map::new();
    body.insert("key".to_owned(), key.as_str().into());
    if let Some(realm) = &args.realm {
        body.insert("realm".to_owned(), realm.as_str().into());
    }
    if let Some(ip) = args.ip {
        body.insert("ip".to_owned(), ip.to_string().into());
    }
    let verdict = desk.ask(Asking::post(&["keys", "verify"]).body(&Value::Object(body))).await?;
    let valid = verdict.get("valid") == Some(&Value::Bool(true));
    if desk.shown == Shown::Json {
        desk.show(&verdict)?;
    } else {
        let [id, owner, code, scopes] = ["key_id", "owner", "code", "scopes"].map(|name| render::text(&verdict, name));
        match valid {
            true => desk.say(&format!("valid: {id} of {owner}, scopes {scopes}"))?,
            false if id == "-" => desk.say(&format!("not valid: {code}"))?,
            false => desk.say(&format!("not valid: {code} ({id} of {owner})"))?,
        }
    }
    Ok(if valid { FINE } else { FAILED })
}
