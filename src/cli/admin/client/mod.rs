//! `client`: principals. What may be said stands in `args`, what is done with it here.

mod args;

use http::Method;
use serde_json::{Map, Value, json};

use super::args::{self as shared, Output, WhichClient};
use super::asking::Asking;
use super::desk::{Desk, Shown};
use super::render::{self, printable, relative};
use super::{FINE, Stop, resolve, session};
pub(in crate::cli) use args::{AttributeChange, Verb};
use args::{Create, End, Kind, SetPassword, Update};

const HEADS: &[&str] =
    &["ID", "REALM", "KIND", "IDENTIFIER", "STATUS", "ROLES", "TENANT", "ADDRESSES", "SOURCE", "CREATED"];

pub(super) async fn run(verb: &Verb, desk: &mut Desk<'_>) -> Result<u8, Stop> {
    match verb {
        Verb::Create(args) => create(args, desk).await?,
        Verb::List(args) => {
            let asking = Asking::get(&["clients"])
                .query("realm", args.realm.as_deref())
                .query("identifier", args.identifier.as_deref())
                .query("kind", args.kind.map(Kind::as_str))
                .query("status", args.status.as_deref())
                .query("tenant", args.tenant.as_deref())
                .query("role", args.role.as_deref());
            desk.list(asking, &args.paging, HEADS, row).await?;
        }
        Verb::Show(args) => {
            let client = get(desk, &args.which).await?;
            desk.show(&client)?;
        }
        Verb::Update(args) => update(args, desk).await?,
        Verb::Disable(args) => end(args, "disable", desk).await?,
        Verb::Enable(args) => act(&args.which, "enable", desk).await?,
        Verb::Unlock(args) => act(&args.which, "unlock", desk).await?,
        Verb::Delete(args) => end(args, "delete", desk).await?,
        Verb::RevokeSessions(args) => {
            let found = resolve::client(desk, &args.which.id, args.which.realm.as_deref()).await?;
            session::revoke_all(&found, &args.which.id, args.reason.as_deref(), args.sure, desk).await?;
        }
        Verb::SetPassword(args) => set_password(args, desk).await?,
    }
    Ok(FINE)
}

fn row(client: &Value, now: crate::clock::UnixMillis) -> Vec<String> {
    let text = |name: &str| render::text(client, name);
    let source = client.get("declared_at").and_then(Value::as_str).map_or_else(|| text("source"), printable);
    let created = client.get("created_at").map_or_else(|| "-".to_owned(), |at| relative(at, now));
    vec![
        text("id"),
        text("realm"),
        text("kind"),
        text("identifier"),
        text("status"),
        text("roles"),
        text("tenant"),
        addresses(client),
        source,
        created,
    ]
}

/// How many networks a list has; none = any address.
pub(super) fn addresses(thing: &Value) -> String {
    match thing.get("ip_allowlist").and_then(Value::as_array).map(Vec::as_slice) {
        None | Some([]) => "any".to_owned(),
        Some([one]) => render::plain(one),
        Some(several) => format!("{} networks", several.len()),
    }
}

async fn create(args: &Create, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let mut body = Map::new();
    body.insert("kind".to_owned(), args.kind.as_str().into());
    body.insert("identifier".to_owned(), args.identifier.as_str().into());
    if !args.roles.is_empty() {
        body.insert("roles".to_owned(), json!(args.roles));
    }
    if !args.scopes.is_empty() {
        body.insert("scopes".to_owned(), json!(args.scopes));
    }
    for (name, value) in [("realm", &args.realm), ("plan", &args.plan), ("tenant", &args.tenant)] {
        if let Some(value) = value {
            body.insert(name.to_owned(), value.as_str().into());
        }
    }
    if !args.attributes.is_empty() {
        body.insert("attributes".to_owned(), Value::Object(shared::attributes(&args.attributes)));
    }
    if !args.networks.is_empty() {
        body.insert("ip_allowlist".to_owned(), json!(args.networks));
    }
    if args.hash.password_hash.is_some() {
        body.insert("password_hash".to_owned(), hash(desk)?.into());
    }
    let asking = Asking::post(&["clients"]).body(&Value::Object(body));
    let client = desk.ask(asking.idempotency_key(args.making.idempotency_key.as_deref())).await?;
    desk.show(&client)
}

async fn get(desk: &Desk<'_>, which: &WhichClient) -> Result<Value, Stop> {
    let found = resolve::client(desk, &which.id, which.realm.as_deref()).await?;
    desk.ask(Asking::get(&["clients", &found.id]).query("realm", found.query_realm())).await
}

async fn update(args: &Update, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let found = resolve::client(desk, &args.which.id, args.which.realm.as_deref()).await?;
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    if let Some(identifier) = &args.identifier {
        set("identifier", identifier.as_str().into());
    }
    if !args.roles.is_empty() || args.no_roles {
        set("roles", json!(args.roles));
    }
    if !args.scopes.is_empty() || args.no_scopes {
        set("scopes", if args.no_scopes { Value::Null } else { json!(args.scopes) });
    }
    for (name, value, none) in [("plan", &args.plan, args.no_plan), ("tenant", &args.tenant, args.no_tenant)] {
        if value.is_some() || none {
            set(name, json!(value));
        }
    }
    let mut version = None;
    if !args.attributes.is_empty() {
        let client = desk.ask(Asking::get(&["clients", &found.id]).query("realm", found.query_realm())).await?;
        let (attributes, read_at) = args.attributes.applied(&client);
        set("attributes", attributes);
        version = read_at;
    }
    if body.is_empty() {
        return Err(Stop::Wrong("nothing is said that should change; see --help".to_owned()));
    }
    let asking = Asking::new(Method::PATCH, &["clients", &found.id]).query("realm", found.query_realm());
    let client = desk.ask(asking.body(&Value::Object(body)).if_version(version)).await?;
    desk.show(&client)
}

async fn act(which: &WhichClient, verb: &str, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let found = resolve::client(desk, &which.id, which.realm.as_deref()).await?;
    let client = desk.ask(Asking::post(&["clients", &found.id, verb]).query("realm", found.query_realm())).await?;
    desk.show(&client)
}

async fn end(args: &End, verb: &str, desk: &mut Desk<'_>) -> Result<(), Stop> {
    let client = get(desk, &args.which).await?;
    let id = render::text(&client, "id");
    let name = render::text(&client, "identifier");
    let ends = if id.starts_with("cfg:") { "nothing".to_owned() } else { resolve::held_by(desk, &id).await? };
    let forever = if verb == "delete" { "; it cannot be brought back" } else { " until it is enabled again" };
    let place = render::text(&client, "realm");
    desk.confirm(&format!("{verb} {name} of {place} ({id}): ends {ends}{forever}."), args.sure.yes)?;
    let realm = client.get("realm").and_then(Value::as_str).filter(|_| id.starts_with("cfg:"));
    if verb == "delete" {
        let gone = desk.ask(Asking::new(Method::DELETE, &["clients", &id]).query("realm", realm)).await?;
        return match gone {
            Value::Null if desk.shown == Shown::Json => Ok(()),
            Value::Null => desk.say(&format!("{id} is deleted")),
            gone => desk.show(&gone),
        };
    }
    let changed = desk.ask(Asking::post(&["clients", &id, verb]).query("realm", realm)).await?;
    desk.show(&changed)
}

/// The hash of a password, from standard input.
fn hash(desk: &mut Desk<'_>) -> Result<String, Stop> {
    if desk.person.is_there() {
        desk.note("Hash of the password (Enter ends it):");
    }
    Ok(desk.person.secret()?.to_string())
}

async fn set_password(args: &SetPassword, desk: &mut Desk<'_>) -> Result<(), Stop> {
    if args.showing.output == Some(Output::Secret) && !args.generate {
        return Err(Stop::Wrong("--output secret shows a password that is made: it needs --generate".to_owned()));
    }
    let found = resolve::client(desk, &args.which.id, args.which.realm.as_deref()).await?;
    let body = if args.generate {
        json!({})
    } else if args.hash.password_hash.is_some() {
        json!({ "password_hash": hash(desk)? })
    } else {
        if desk.person.is_there() {
            desk.note("New password (it is visible here; Enter ends it):");
        }
        json!({ "password": desk.person.secret()?.as_str() })
    };
    let asking = Asking::post(&["clients", &found.id, "password"]).query("realm", found.query_realm());
    let answer = desk.ask(asking.body(&body)).await?;
    if args.generate { desk.show_secret(&answer, "password") } else { desk.show(&answer) }
}
