//! The store: where it is, and with which secrets it works.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use super::secret::{Found, secret_if, stand_in};
use super::{Compiler, is_label};
use crate::config::keys::{Realm, Store as Raw};
use crate::config::problem::At;
use crate::config::value::secret::SecretRef;
use crate::config::value::store_url::{StorePlace, StoreUrl, has_password, place};
use crate::config::walk::{Item, Slot};
use crate::secret::Secret;
use crate::store::{Location, StoreSettings};

/// Least length of a secret that keys a hash or a cipher of 256 bits.
const SECRET_BYTES: usize = 32;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What a store is taken for whose URL is not to be read: who keeps a URL secret has a password in it.
const UNREAD: &[u8] = b"postgres://unread";

/// How the store is opened, its secrets read or not; inside, none = there is to be none. None outside: problems were noted.
#[allow(clippy::option_option)] // the outer one is the compiler's habit, the inner one what is meant
pub(super) fn store(work: &mut Compiler<'_>, raw: &Raw, secrets: bool) -> Option<Option<StoreSettings>> {
    let location = location(work, &raw.url, secrets);
    let pepper = store_secret(work, &raw.pepper, secrets);
    let seal_key = store_secret(work, &raw.seal_key, secrets);
    if let (Some(Some(pepper)), Some(Some(seal_key)), Some(given)) = (&pepper, &seal_key, raw.seal_key.get())
        && pepper == seal_key
    {
        work.fault(&given.at, "is the same secret as `store.pepper`: each needs one of its own");
    }
    // Of a URL that was not read nobody knows what it needs.
    let read = secrets || matches!(&raw.url.value, StoreUrl::Here(_));
    if read && matches!(location, Some(Some(Location::Postgres(_)))) {
        required(work, &raw.pepper, "it keys the digests of API keys");
        required(work, &raw.seal_key, "it encrypts what must be read again");
    }
    let staleness = &raw.max_staleness;
    if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&staleness.value) {
        work.fault(&staleness.at, "expected a duration from \"1s\" to \"1h\"");
    }
    if let Some(retention) = raw.audit_retention.get().filter(|retention| retention.value < DAY) {
        work.fault(&retention.at, "at least \"1d\"");
    }
    if let Some(node) = raw.node.get() {
        work.label(&node.at, &node.value);
    }
    let (location, pepper, seal_key) = (location?, pepper?, seal_key?);
    Some(location.map(|location| StoreSettings {
        location,
        pepper,
        seal_key,
        max_staleness: staleness.value,
        node: raw.node.value().cloned().unwrap_or_else(machine_name),
        audit_retention: raw.audit_retention.value().copied(),
    }))
}

/// Notes what of a realm cannot be without a store, where there is to be none.
pub(super) fn needed(work: &mut Compiler<'_>, realm: &Realm) {
    let needs = [
        realm.tokens.get().map(|item| (&item.at, "sessions and signing keys are kept in the store")),
        realm.hosts_from.get().map(|item| (&item.at, "hosts of owners are kept in the store")),
    ];
    for (at, why) in needs.into_iter().flatten() {
        work.fault(at, format!("{why}, but `store.url` is \"none\""));
    }
}

/// Where the store is; inside, none = nowhere.
#[allow(clippy::option_option)] // as above
fn location(work: &mut Compiler<'_>, url: &Item<StoreUrl>, secrets: bool) -> Option<Option<Location>> {
    let found = match &url.value {
        StoreUrl::Here(place) => {
            if let StorePlace::Postgres(text) = place
                && has_password(&String::from_utf8_lossy(text.expose()))
            {
                let text = "the URL holds a password; everybody who reads the file knows it: \
                            put the URL into an environment variable, and write { env = \"NAME\" }";
                work.warn(&url.at, text);
            }
            place.clone()
        }
        StoreUrl::There(reference) => {
            let reference = Item { value: reference.clone(), at: url.at.clone(), given: url.given };
            match secret_if(secrets, work, &reference) {
                Found::Bytes(bytes) => {
                    let text = std::str::from_utf8(bytes.expose()).unwrap_or_default();
                    let read = place(text).map_err(|fault| format!("what was found is no URL of a store: {fault}"));
                    work.good(&url.at, read)?
                }
                Found::StandIn => StorePlace::Postgres(Secret::new(UNREAD.to_vec())),
                Found::Nothing => return None,
            }
        }
    };
    Some(match found {
        StorePlace::Nowhere => None,
        StorePlace::Sqlite(path) if url.given => Some(Location::Sqlite(url.at.resolve(&path))),
        StorePlace::Sqlite(path) => Some(Location::Sqlite(state_directory(work).join(path))),
        StorePlace::Postgres(text) => Some(Location::Postgres(text)),
    })
}

/// Where the service may write: the first directory that systemd names, else the working directory.
pub(super) fn state_directory(work: &Compiler<'_>) -> PathBuf {
    let named = (work.sources.env)("STATE_DIRECTORY").unwrap_or_default();
    PathBuf::from(named.split(':').next().unwrap_or_default())
}

/// A secret of the store; inside, none = it was left out.
#[allow(clippy::option_option)] // as above
fn store_secret(work: &mut Compiler<'_>, slot: &Slot<SecretRef>, secrets: bool) -> Option<Option<Secret>> {
    let reference = match slot {
        Slot::Given(reference) => reference,
        Slot::Absent(_) => return Some(None),
        Slot::Bad => return None,
    };
    match secret_if(secrets, work, reference) {
        Found::Bytes(secret) if secret.expose().len() < SECRET_BYTES => {
            let text = format!("the secret is shorter than {SECRET_BYTES} bytes; {MAKE_ONE}");
            work.fault(&reference.at, text);
            None
        }
        Found::Bytes(secret) => Some(Some(secret)),
        Found::StandIn => stand_in(work, &reference.at).map(Some),
        Found::Nothing => None,
    }
}

const MAKE_ONE: &str = "`openssl rand -hex 32` makes one";

fn required(work: &mut Compiler<'_>, slot: &Slot<SecretRef>, purpose: &str) {
    if let Slot::Absent(at) = slot {
        missing(work, at, purpose);
    }
}

fn missing(work: &mut Compiler<'_>, at: &At, purpose: &str) {
    let text = format!(
        "is required with PostgreSQL, the same on every node: {purpose}; {MAKE_ONE}, to be referred to as {{ env = \"NAME\" }} or {{ file = \"path\" }}"
    );
    work.fault(at, text);
}

/// What this machine is called. Asked once: a machine that is renamed under way must not refuse the next reload.
fn machine_name() -> String {
    static NAME: OnceLock<String> = OnceLock::new();
    let ask = || {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        if is_label(name) { name.to_owned() } else { String::from("node") }
    };
    NAME.get_or_init(ask).clone()
}
