//! Finding what a call is about. What lies in a realm that the actor may not enter is not there.

use std::sync::Arc;

use super::Refusal;
use super::call::Call;
use super::fields::{Field, Kind};
use super::json::{DECLARED, declared_client_id, declared_key_id};
use crate::gate::policy::{DeclaredClient, DeclaredKeyView, Realm};
use crate::store::{Client, IdKind, Key, Session, Write};
use crate::tokens::policy::RealmTokens;

/// The realm in a query.
pub(super) const REALM: Field = Field::optional("realm", Kind::Text(255), "Name of a realm.");

/// The realm in a query beside the id of a declared thing.
pub(super) const REALM_OF_ID: Field =
    Field::optional("realm", Kind::Text(255), "Of which realm, where several realms declare a `cfg:` id.");

/// The realms that the actor may enter, in the order of the configuration.
pub(super) fn realms(call: &Call<'_>) -> Vec<Arc<Realm>> {
    let mut realms = call.surroundings().realms();
    realms.retain(|realm| call.actor.may_enter(&realm.name));
    realms
}

/// The realm of the configuration with this name.
pub(super) fn realm_named(call: &Call<'_>, name: &str) -> Option<Arc<Realm>> {
    call.surroundings().realms().into_iter().find(|realm| *realm.name == *name)
}

/// What the realm with this name issues; none: nothing, or there is no such realm.
pub(super) fn issued_by(call: &Call<'_>, realm: &str) -> Option<Arc<RealmTokens>> {
    call.surroundings().issuing().realms.iter().flatten().find(|tokens| *tokens.realm == *realm).cloned()
}

/// The realm of something stored that is to get what a realm has: roles, scopes, a prefix.
pub(super) fn realm_of(call: &Call<'_>, name: &str, id: &str) -> Result<Arc<Realm>, Refusal> {
    realm_named(call, name).ok_or_else(|| Refusal::Conflict {
        code: "wrong_state",
        text: format!(
            "the realm {name:?} is not in the configuration any more: `portcullis store rename-realm` gives its rows to \
             another"
        ),
        target: Some(id.to_owned()),
    })
}

/// The realm of something new: the named one, else the only one that it can be.
pub(super) fn realm_for(call: &Call<'_>, name: Option<&str>) -> Result<Arc<Realm>, Refusal> {
    if let Some(name) = name {
        call.enter(name)?;
        let gone = || Refusal::field("realm", "names no realm of the configuration");
        return realm_named(call, name).ok_or_else(gone);
    }
    let mut realms = realms(call).into_iter();
    match (realms.next(), realms.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Refusal::field("realm", "is required, and there is none that could be meant")),
        (Some(first), Some(second)) => {
            let names: Vec<_> =
                [first, second].into_iter().chain(realms).map(|realm| realm.name.to_string()).take(20).collect();
            Err(Refusal::field("realm", format!("is required, because there are several: {}", names.join(", "))))
        }
    }
}

/// The realms that a list is about: none = all of them.
pub(super) fn realm_filter(call: &Call<'_>) -> Result<Option<Vec<String>>, Refusal> {
    match call.query.text("realm") {
        Some(name) => {
            call.enter(name)?;
            Ok(Some(vec![name.to_owned()]))
        }
        None => Ok(call.actor.realms.clone()),
    }
}

/// The realms whose declared things a call means.
pub(super) fn declaring(call: &Call<'_>) -> Result<Vec<Arc<Realm>>, Refusal> {
    let mut realms = realms(call);
    if let Some(name) = call.query.text("realm") {
        call.enter(name)?;
        realms.retain(|realm| *realm.name == *name);
    }
    Ok(realms)
}

/// A client of the configuration by its id (`cfg:NAME`).
pub(super) fn declared_client<'r>(
    realms: &'r [Arc<Realm>],
    id: &str,
) -> Result<(&'r Realm, &'r DeclaredClient), Refusal> {
    let clients = realms.iter().flat_map(|realm| realm.view.clients.iter().map(move |client| (&**realm, client)));
    only(clients.filter(|(_, client)| declared_client_id(client) == id), |(realm, _)| realm, || no_client(id))
}

/// A key of the configuration by its id (`cfg:CLIENT/ID`).
pub(super) fn declared_key<'r>(
    realms: &'r [Arc<Realm>],
    id: &str,
) -> Result<(&'r Realm, &'r DeclaredClient, &'r DeclaredKeyView), Refusal> {
    let keys = realms.iter().flat_map(|realm| declared_keys(realm).map(move |(client, key)| (&**realm, client, key)));
    only(keys.filter(|(_, client, key)| declared_key_id(client, key) == id), |(realm, _, _)| realm, || no_key(id))
}

/// The declared keys of a realm, each with its client.
pub(super) fn declared_keys(realm: &Realm) -> impl Iterator<Item = (&DeclaredClient, &DeclaredKeyView)> {
    realm.view.clients.iter().flat_map(|client| client.keys.iter().map(move |key| (client, key)))
}

/// The one that is meant.
fn only<'r, T>(
    mut found: impl Iterator<Item = T>,
    realm: impl Fn(&T) -> &'r Realm,
    none: impl FnOnce() -> Refusal,
) -> Result<T, Refusal> {
    let first = found.next().ok_or_else(none)?;
    match found.next() {
        None => Ok(first),
        Some(second) => {
            let (one, other) = (&realm(&first).name, &realm(&second).name);
            Err(Refusal::field("realm", format!("is required: {one} and {other} both declare this id")))
        }
    }
}

/// The store is not asked for what cannot be an id: a secret that was put in its place by mistake would stand in the log of
/// a database that logs its statements.
pub(super) fn is_client_id(id: &str) -> bool {
    [IdKind::User, IdKind::Client, IdKind::Owner].iter().any(|kind| kind.fits(id))
}

/// A principal of the store that is to be shown.
pub(super) async fn client(call: &Call<'_>, id: &str) -> Result<Client, Refusal> {
    if !is_client_id(id) {
        return Err(no_client(id));
    }
    let found = call.store().client(id).await?;
    found.filter(|client| call.actor.may_enter(&client.realm)).ok_or_else(|| no_client(id))
}

/// A key of the store that is to be shown.
pub(super) async fn key(call: &Call<'_>, id: &str) -> Result<Key, Refusal> {
    if !IdKind::Key.fits(id) {
        return Err(no_key(id));
    }
    let found = call.store().key(id).await?;
    found.filter(|key| call.actor.may_enter(&key.realm)).ok_or_else(|| no_key(id))
}

/// A session that is to be shown or ended.
pub(super) async fn session(call: &Call<'_>, id: &str) -> Result<Session, Refusal> {
    let none = || Refusal::NotFound(format!("there is no session {id:?}"));
    if !IdKind::Session.fits(id) {
        return Err(none());
    }
    let found = call.store().session(id).await?;
    found.filter(|session| call.actor.may_enter(&session.realm)).ok_or_else(none)
}

/// A principal that is to be changed, as `write` sees it.
pub(super) async fn client_to_change(call: &Call<'_>, write: &mut Write, id: &str) -> Result<Client, Refusal> {
    refuse_declared_client(call, id)?;
    if !is_client_id(id) {
        return Err(no_client(id));
    }
    let found = write.client(id).await?.filter(|client| call.actor.may_enter(&client.realm));
    found.ok_or_else(|| no_client(id))
}

/// A key that is to be changed, as `write` sees it.
pub(super) async fn key_to_change(call: &Call<'_>, write: &mut Write, id: &str) -> Result<Key, Refusal> {
    refuse_declared_key(call, id)?;
    if !IdKind::Key.fits(id) {
        return Err(no_key(id));
    }
    let found = write.key(id).await?.filter(|key| call.actor.may_enter(&key.realm));
    found.ok_or_else(|| no_key(id))
}

/// Ids of the configuration can only be changed there. Asked before anything is begun in the store.
pub(super) fn refuse_declared_client(call: &Call<'_>, id: &str) -> Result<(), Refusal> {
    if !id.starts_with(DECLARED) {
        return Ok(());
    }
    let realms = declaring(call)?;
    let (_, client) = declared_client(&realms, id)?;
    Err(read_only(id, &client.source))
}

/// As [`refuse_declared_client`].
pub(super) fn refuse_declared_key(call: &Call<'_>, id: &str) -> Result<(), Refusal> {
    if !id.starts_with(DECLARED) {
        return Ok(());
    }
    let realms = declaring(call)?;
    let (_, _, key) = declared_key(&realms, id)?;
    Err(read_only(id, &key.source))
}

fn read_only(id: &str, source: &str) -> Refusal {
    Refusal::Conflict {
        code: "read_only",
        text: format!("{id} is declared in the configuration ({source}): change it there and load it again"),
        target: Some(id.to_owned()),
    }
}

/// The principal that something new is to belong to, or why there is none.
pub(super) async fn owner(
    call: &Call<'_>,
    realm: &Realm,
    named: &Named<'_>,
) -> Result<Result<Client, String>, Refusal> {
    let found = match named {
        Named::Id(id) if !is_client_id(id) => None,
        Named::Id(id) => call.store().client(id).await?.filter(|client| client.realm == *realm.name),
        Named::Identifier(identifier) => call.store().client_called(&realm.name, identifier).await?,
    };
    Ok(found.ok_or_else(|| match realm.view.clients.iter().find(|client| named.declares(client)) {
        Some(client) => {
            format!("names a client of the configuration ({}): its keys are declared there", client.source)
        }
        None => {
            let text = named.text();
            format!("names nobody in the realm {}: {text:?}; `portcullis client create` makes clients", realm.name)
        }
    }))
}

/// How somebody is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    Id(&'a str),
    Identifier(&'a str),
}

impl Named<'_> {
    /// The field that names them.
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Id(_) => "owner_id",
            Self::Identifier(_) => "owner",
        }
    }

    /// The same without a borrow, to remember them by.
    pub(super) fn key(&self) -> (bool, String) {
        (matches!(self, Self::Id(_)), self.text().to_owned())
    }

    fn text(&self) -> &str {
        match self {
            Self::Id(text) | Self::Identifier(text) => text,
        }
    }

    fn declares(&self, client: &DeclaredClient) -> bool {
        match self {
            Self::Id(id) => declared_client_id(client) == *id,
            Self::Identifier(identifier) => client.name.eq_ignore_ascii_case(identifier),
        }
    }
}

pub(super) fn no_client(id: &str) -> Refusal {
    Refusal::NotFound(format!("there is no client {id:?}"))
}

pub(super) fn no_key(id: &str) -> Refusal {
    Refusal::NotFound(format!("there is no key {id:?}"))
}

/// Why a conditional change found nothing to change: somebody was faster, or it is gone.
pub(super) fn not_changed(version: Option<i64>, gone: Refusal) -> Refusal {
    if version.is_some() { Refusal::Stale } else { gone }
}
