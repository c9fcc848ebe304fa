//! Where principals come from: the store, or the application, which is asked.

mod http;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

pub(super) use http::{SignIn, call};

use super::Inner;
use super::policy::{Directory, RealmTokens};
use super::refusal::Refusal;
use super::session::name_of;
use crate::clock::UnixMillis;
use crate::store::{AddressEntry, Client, ClientKind, ClientSource, Holder, SessionInForce};

/// Subjects that are remembered.
const MOST: usize = 100_000;

/// That nobody is called so is believed for no longer.
const GONE_STAYS: Duration = Duration::from_secs(5);

/// What a directory says of a principal.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attributes {
    /// Who it is.
    pub subject: String,
    /// Whether it may sign in.
    pub active: bool,
    /// Role names.
    pub roles: Vec<String>,
    /// Plan.
    pub plan: Option<String>,
    /// Tenant.
    pub tenant: Option<String>,
    /// All else.
    pub attributes: Map<String, Value>,
    /// Networks that it may come from; empty = every one.
    pub addresses: Vec<ipnet::IpNet>,
}

/// What was said, and when.
type Said = (UnixMillis, Arc<Option<Attributes>>);

/// Answers of look-ups, each with the time it was given.
#[derive(Debug, Default)]
pub(super) struct Memory {
    answers: Mutex<HashMap<(String, String), Said>>,
}

impl Memory {
    /// What was said, if it is no older than `most`. A clock that was put back makes it old.
    fn get(
        &self,
        realm: &str,
        subject: &str,
        most: Duration,
        now: UnixMillis,
    ) -> Option<(Arc<Option<Attributes>>, Duration)> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = answers.get(&(realm.to_owned(), subject.to_owned()))?;
        let stays = stay(answer, most);
        (*at <= now && now < at.plus(stays)).then(|| (Arc::clone(answer), stays.saturating_sub(now.since(*at))))
    }

    fn keep(&self, realm: &str, subject: &str, answer: Arc<Option<Attributes>>, now: UnixMillis) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.clear();
        }
        answers.insert((realm.to_owned(), subject.to_owned()), (now, answer));
    }
}

/// What the directory says of `subject` at the moment, at most `cache` old, and how long that is to be believed from now
/// on; none: the store knows all there is.
///
/// # Errors
/// The directory does not answer.
pub(super) async fn live(
    inner: &Inner,
    realm: &RealmTokens,
    subject: &str,
    now: UnixMillis,
) -> Result<Option<(Attributes, Duration)>, Refusal> {
    let Some(Directory::Http(directory)) = &realm.directory else { return Ok(None) };
    let Some(lookup) = &directory.lookup else { return Ok(None) };
    let (answer, stays) = match inner.directory.get(&realm.realm, subject, directory.cache, now) {
        Some(known) => known,
        None => {
            let answer = Arc::new(http::look_up(inner, directory, lookup, subject, now).await?);
            inner.directory.keep(&realm.realm, subject, Arc::clone(&answer), now);
            let stays = stay(&answer, directory.cache);
            (answer, stays)
        }
    };
    Ok(Some((answer.as_ref().clone().unwrap_or_else(|| gone(subject)), stays)))
}

/// How long an answer is believed.
fn stay(answer: &Option<Attributes>, most: Duration) -> Duration {
    if answer.is_none() { most.min(GONE_STAYS) } else { most }
}

/// How a principal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// The store knows all there is.
    Stored,
    /// The directory has told.
    Told {
        /// Whether the principal may act.
        active: bool,
        /// How long that is believed.
        good_for: Duration,
    },
    /// The directory does not answer.
    Silent,
}

/// See [`super::Tokens::stand`].
pub(super) async fn stand(inner: &Inner, realm: &RealmTokens, record: &mut SessionInForce, now: UnixMillis) -> Live {
    let subject = &mut record.subject;
    realm.default_roles(subject);
    let Some(Directory::Http(_)) = &realm.directory else { return Live::Stored };
    if subject.source == ClientSource::Local {
        return Live::Stored;
    }
    match live(inner, realm, name_of(subject), now).await {
        Ok(None) => Live::Stored,
        Ok(Some((told, stays))) => {
            record.addresses.extend(as_entries(&told));
            (subject.roles, subject.plan, subject.tenant) = (told.roles, told.plan, told.tenant);
            subject.attributes = told.attributes;
            Live::Told { active: told.active, good_for: stays }
        }
        Err(_) => Live::Silent,
    }
}

/// A directory's addresses in the form of the store's.
pub(super) fn as_entries(attributes: &Attributes) -> Vec<AddressEntry> {
    let entry = |network: &ipnet::IpNet| AddressEntry {
        id: String::new(),
        holder: Holder::Client,
        holder_id: String::new(),
        network: *network,
        note: None,
        expires_at: None,
        created_by: "directory".to_owned(),
        created_at: UnixMillis(0),
    };
    attributes.addresses.iter().map(entry).collect()
}

/// Somebody whom the directory does not know any more.
fn gone(subject: &str) -> Attributes {
    Attributes { subject: subject.to_owned(), active: false, ..Attributes::default() }
}

/// The roles, or those of everybody who has none.
fn roles_or(roles: Vec<String>, default: &[Box<str>]) -> Vec<String> {
    if roles.is_empty() { default.iter().map(|role| role.to_string()).collect() } else { roles }
}

impl RealmTokens {
    /// Gives a user who has neither roles nor scopes the roles of everybody. Clients have what they were given: a machine
    /// that was given nothing may nothing.
    pub fn default_roles(&self, client: &mut Client) {
        if client.kind == ClientKind::User && client.scopes.is_none() {
            client.roles = self.roles_or_default(std::mem::take(&mut client.roles));
        }
    }

    fn roles_or_default(&self, roles: Vec<String>) -> Vec<String> {
        match &self.directory {
            Some(Directory::Local { default_roles }) => roles_or(roles, default_roles),
            Some(Directory::Http(http)) => roles_or(roles, &http.default_roles),
            None => roles,
        }
    }
}
