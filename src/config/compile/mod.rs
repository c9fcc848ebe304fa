//! From what was written to what was meant: references are resolved, rules that span keys are checked, and everything the
//! request path needs is prepared. Nothing stops at the first problem.

mod api_key;
mod certificate;
mod client;
mod cors;
mod decision;
mod errors;
mod header;
mod identity;
mod issuer;
mod limit;
mod listener;
mod realm;
mod route;
mod scope;
mod secret;
mod settings;
mod store;
mod tls;
mod tokens;
mod upstream;
mod url;
mod view;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::files::{Files, MAX_KEYS};
use super::keys::{Admin, Cache, Decision, Log, Realm, Server, Store};
use super::problem::{At, Problem, Problems};
use super::value::measure::duration_text;
use super::walk::{Item, Slot};
use super::{Config, RouteSummary, Sources};
use crate::gate::dialect;
use crate::gate::policy::Snapshot;
use crate::gate::route::HostTable;
use crate::nearest::hint;
use crate::tokens::policy::Issuing;

/// What was read.
#[derive(Debug)]
pub(crate) struct Input {
    /// The directory of the configuration: places are told from here on.
    pub(crate) root: PathBuf,
    /// Whether the store's secrets are read, whatever becomes of the others.
    pub(crate) store_secrets: bool,
    pub(crate) server: Server,
    pub(crate) admin: Admin,
    pub(crate) decision: Slot<Decision>,
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) cache: Cache,
    pub(crate) realms: Vec<RealmInput>,
}

/// A realm that was read.
#[derive(Debug)]
pub(crate) struct RealmInput {
    /// Its name.
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) at: At,
    /// All else.
    pub(crate) keys: Realm,
}

/// Compiles; `problems` are those found so far.
///
/// # Errors
/// Every problem there is.
pub(crate) fn compile(
    input: Input,
    sources: &Sources<'_>,
    files: &mut Files,
    problems: Vec<Problem>,
) -> Result<Config, Problems> {
    let root = input.root.clone();
    let mut work = Compiler { sources, root, files, problems, warnings: Vec::new(), routes: Vec::new() };
    let settings = settings::settings(&mut work, &input);
    let tls = tls::listeners(&mut work, &input);
    let sizes = settings::sizes(&mut work, &input.server);
    work.at_most(&input.server.clock_skew, Duration::from_secs(600));
    let failure_limit = limit::failure_limit(&input.server);
    let trusted_proxies = settings::trusted_proxies(&input.server);
    let decision = decision::endpoint(&mut work, &input);

    let mut hosts = HostTable::default();
    let around = realm::Around {
        max_body: sizes.body,
        clock_skew: input.server.clock_skew.value,
        asks_for_certificates: certificate::are_asked_for(&input.server),
    };
    let (mut realms, mut issuing) = (Vec::new(), Issuing::default());
    for (index, realm) in input.realms.iter().enumerate() {
        if input.realms.iter().take(index).any(|earlier| earlier.name == realm.name) {
            work.fault(&realm.at, format!("another realm is called {:?}, too", realm.name));
        }
        if let Some(compiled) = realm::realm(&mut work, realm, index, &mut hosts, &around) {
            realms.push(Arc::new(compiled.realm));
            issuing.realms.push(compiled.tokens.map(Arc::new));
        }
    }
    if settings.as_ref().is_some_and(|settings| settings.store.is_none()) {
        input.realms.iter().for_each(|realm| store::needed(&mut work, &realm.keys));
    }

    let Compiler { files, problems, warnings, routes, .. } = work;
    match settings {
        Some(settings) if problems.is_empty() && realms.len() == input.realms.len() => Ok(Config {
            settings,
            snapshot: Snapshot {
                generation: 0,
                realms,
                hosts,
                owned_hosts: Arc::default(),
                trusted_proxies,
                sizes,
                clock_skew: input.server.clock_skew.value,
                failure_limit,
                dialect: dialect::nameless(),
                decision,
            },
            issuing,
            tls,
            routes,
            files: files.list().to_vec(),
            warnings: Problems::collect(warnings),
        }),
        _ => Err(Problems::collect(problems)),
    }
}

/// What compiling needs all over: where secrets come from, and where problems go.
pub(crate) struct Compiler<'a> {
    sources: &'a Sources<'a>,
    root: PathBuf,
    files: &'a mut Files,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    routes: Vec<RouteSummary>,
}

impl Compiler<'_> {
    /// Notes a problem.
    fn fault(&mut self, at: &At, text: impl Into<String>) {
        self.problems.push(at.problem(text));
    }

    /// Notes what is allowed but should be looked at.
    fn warn(&mut self, at: &At, text: impl AsRef<str>) {
        self.warnings.push(at.problem(format!("warning: {}", text.as_ref())));
    }

    /// The value of a result whose error is a text for people.
    fn good<T>(&mut self, at: &At, result: Result<T, String>) -> Option<T> {
        result.map_err(|fault| self.fault(at, fault)).ok()
    }

    /// A file of up to `limit` bytes that the configuration names.
    fn file(&mut self, at: &At, name: &str, limit: u64) -> Option<(PathBuf, zeroize::Zeroizing<Vec<u8>>)> {
        let path = at.resolve(name);
        match self.files.read(&path, limit) {
            Ok(bytes) => Some((path, bytes)),
            Err(fault) => {
                self.fault(at, format!("the file {} {fault}", path.display()));
                None
            }
        }
    }

    /// PEM of authorities: at least one certificate, and nothing that cannot be read.
    fn authorities(&mut self, at: &At, name: &str) -> Option<Arc<[u8]>> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;

        let (path, bytes) = self.file(at, name, MAX_KEYS)?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        if certificates.is_ok_and(|certificates| !certificates.is_empty()) {
            return Some(Arc::from(bytes.as_slice()));
        }
        self.fault(at, format!("the file {} holds no certificates as PEM", path.display()));
        None
    }

    /// A name for labels: 1 to 64 characters that need no quoting anywhere.
    fn label(&mut self, at: &At, name: &str) {
        if !is_label(name) {
            self.fault(at, "expected a name of 1 to 64 letters, digits, `_`, `-` or `.`");
        }
    }

    /// Text that goes to logs and upstreams: not empty, no control characters, not endless.
    fn plain(&mut self, at: &At, text: &str) {
        if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
            self.fault(at, "expected 1 to 256 characters, no control characters");
        }
    }

    /// A list that says nothing when it is empty.
    fn not_empty<T>(&mut self, list: &Item<Vec<Item<T>>>) {
        if list.value.is_empty() {
            self.fault(&list.at, "the list is empty");
        }
    }

    /// A list of texts in which each stands once.
    fn distinct(&mut self, list: &[Item<String>]) {
        for (index, item) in list.iter().enumerate() {
            if list.iter().take(index).any(|earlier| earlier.value == item.value) {
                self.fault(&item.at, format!("{:?} stands here twice", item.value));
            }
        }
    }

    /// An upper bound of a duration.
    fn at_most(&mut self, item: &Item<Duration>, most: Duration) {
        if item.value > most {
            self.fault(&item.at, format!("at most \"{}\"", duration_text(most)));
        }
    }

    /// A duration that is not zero, with its upper bound.
    fn positive(&mut self, item: &Item<Duration>, most: Duration) {
        if item.value.is_zero() {
            self.fault(&item.at, "must not be zero");
        }
        self.at_most(item, most);
    }

    /// Notes that nothing is called `name`.
    fn unknown<'n>(&mut self, at: &At, what: &str, name: &str, known: impl IntoIterator<Item = &'n str>) {
        let hint = hint(name, known);
        self.fault(at, format!("there is no {what} called {:?}{hint}", super::walk::shorten(name)));
    }
}

fn is_label(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}
