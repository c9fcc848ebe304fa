//! From what people call things to their ids: ids are taken in every position, identifiers too.

use serde_json::Value;

use super::Stop;
use super::asking::Asking;
use super::desk::{Desk, data};
use super::render::{self, count, printable};
use crate::clock::UnixMillis;
use crate::store::IdKind;

/// So many keys or sessions are looked at to say what ends.
const MOST_COUNTED: u64 = 10_000;

/// Something that was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its id on the admin side.
    pub(super) id: String,
    /// Its realm, where it is known.
    pub(super) realm: Option<String>,
}

impl Found {
    /// The realm for the query: only ids of the configuration need it.
    pub(super) fn query_realm(&self) -> Option<&str> {
        self.realm.as_deref().filter(|_| self.id.starts_with("cfg:"))
    }
}

/// The client that `text` means: an id, or an identifier of `realm` or of any.
pub(super) async fn client(desk: &Desk<'_>, text: &str, realm: Option<&str>) -> Result<Found, Stop> {
    let kinds = [IdKind::User, IdKind::Client, IdKind::Owner];
    if text.starts_with("cfg:") || kinds.iter().any(|kind| kind.fits(text)) {
        return Ok(Found { id: text.to_owned(), realm: realm.map(str::to_owned) });
    }
    let asking =
        Asking::get(&["clients"]).query("identifier", Some(text)).query("realm", realm).query("limit", Some("200"));
    let list = desk.ask(asking).await?;
    one_of(data(&list), text, "client", realm, |thing| {
        format!(
            "{} {} of {}",
            render::text(thing, "id"),
            render::text(thing, "identifier"),
            render::text(thing, "realm")
        )
    })
}

/// The key that `text` means: an id, or the last four characters of its text.
pub(super) async fn key(desk: &Desk<'_>, text: &str, realm: Option<&str>) -> Result<Found, Stop> {
    if text.starts_with("cfg:") || IdKind::Key.fits(text) {
        return Ok(Found { id: text.to_owned(), realm: realm.map(str::to_owned) });
    }
    if text.chars().count() != 4 {
        let text = printable(text);
        return Err(Stop::Failed(format!(
            "{text:?} is neither the id of a key (key_…) nor the last four characters of one"
        )));
    }
    let asking = Asking::get(&["keys"]).query("hint", Some(text)).query("realm", realm).query("limit", Some("200"));
    let list = desk.ask(asking).await?;
    one_of(data(&list), text, "key", realm, |thing| {
        format!("{} {} of {}", render::text(thing, "id"), render::text(thing, "name"), render::text(thing, "owner"))
    })
}

/// The admin token that `text` means: an id or a name.
pub(super) async fn token(desk: &Desk<'_>, text: &str) -> Result<Value, Stop> {
    let asking =
        |cursor: Option<String>| Asking::get(&["admin-tokens"]).query("limit", Some("200")).query("cursor", cursor);
    let (mut cursor, mut meant) = (None, Vec::new());
    loop {
        let part = desk.ask(asking(cursor)).await?;
        let fits =
            |thing: &&Value| ["id", "name"].iter().any(|name| thing.get(name).and_then(Value::as_str) == Some(text));
        meant.extend(data(&part).iter().filter(fits).cloned());
        cursor = part.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    let found = one_of(&meant, text, "admin token", None, |thing| {
        format!("{} {}", render::text(thing, "id"), render::text(thing, "name"))
    })?;
    let token = meant.into_iter().find(|thing| thing.get("id").and_then(Value::as_str) == Some(&found.id));
    Ok(token.unwrap_or(Value::Null))
}

fn one_of(
    meant: &[Value],
    text: &str,
    what: &str,
    realm: Option<&str>,
    name: impl Fn(&Value) -> String,
) -> Result<Found, Stop> {
    let text = printable(text);
    match meant {
        [] => {
            let place = realm.map_or(String::new(), |realm| format!(" in the realm {}", printable(realm)));
            Err(Stop::Failed(format!("there is no {what} {text:?}{place}")))
        }
        [one] => {
            let member = |name: &str| one.get(name).and_then(Value::as_str).map(str::to_owned);
            let id = member("id").ok_or_else(|| Stop::Failed("the answer lacks an id".to_owned()))?;
            Ok(Found { id, realm: member("realm") })
        }
        several => {
            let lines: Vec<_> = several.iter().map(|thing| format!("\n  {}", name(thing))).collect();
            Err(Stop::Failed(format!(
                "{text:?} means more than one {what}; give the id, or --realm:{}",
                lines.concat()
            )))
        }
    }
}

/// What ends when the credentials of a client no longer work: «3 keys, 2 used in the last hour, and 1 live session».
pub(super) async fn held_by(desk: &Desk<'_>, client: &str) -> Result<String, Stop> {
    let keys = keys_of(desk, client).await?;
    let sessions = sessions(desk, &[("client", client)]).await?;
    Ok(if sessions.starts_with("no ") { keys } else { format!("{keys}, and {sessions}") })
}

/// «3 keys, 2 used in the last hour».
async fn keys_of(desk: &Desk<'_>, owner: &str) -> Result<String, Stop> {
    let (mut keys, mut fresh, mut cursor) = (0_u64, 0_u64, None::<String>);
    let more = loop {
        let asking = Asking::get(&["keys"]).query("owner_id", Some(owner)).query("status", Some("active"));
        let part = desk.ask(asking.query("limit", Some("200")).query("cursor", cursor.as_deref())).await?;
        for key in data(&part).iter().filter(|key| key.get("expired") != Some(&Value::Bool(true))) {
            keys += 1;
            fresh += u64::from(key.get("last_used_at").is_some_and(|at| within_an_hour(at, desk.now)));
        }
        cursor = part.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() || keys >= MOST_COUNTED {
            break if cursor.is_some() { "more than " } else { "" };
        }
    };
    Ok(match keys {
        0 => "no key that works".to_owned(),
        _ => format!("{more}{}, {fresh} used in the last hour", count(keys, "key")),
    })
}

/// Live sessions, counted, in words: «3 live sessions».
pub(super) async fn sessions(desk: &Desk<'_>, of: &[(&str, &str)]) -> Result<String, Stop> {
    let (mut sessions, mut cursor) = (0_u64, None::<String>);
    let more = loop {
        let asking = Asking::get(&["sessions"]).query("live", Some("true")).query("limit", Some("200"));
        let asking = of.iter().fold(asking, |asking, (name, value)| asking.query(name, Some(value)));
        let part = desk.ask(asking.query("cursor", cursor.as_deref())).await?;
        sessions += u64::try_from(data(&part).len()).unwrap_or(0);
        cursor = part.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() || sessions >= MOST_COUNTED {
            break if cursor.is_some() { "more than " } else { "" };
        }
    };
    Ok(match sessions {
        0 => "no live session".to_owned(),
        _ => format!("{more}{}", count(sessions, "live session")),
    })
}

fn within_an_hour(at: &Value, now: UnixMillis) -> bool {
    let at = at.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    at.is_some_and(|at| now.0.saturating_sub(at.as_millisecond()) <= 3_600_000)
}
