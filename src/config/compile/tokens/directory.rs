//! Where users and clients come from.

use super::template::Names;
use super::{callback, is_word};
use crate::config::compile::Compiler;
use crate::config::keys::{Directory as Raw, Translate};
use crate::config::problem::At;
use crate::config::value::issuing::DirectoryType;
use crate::config::walk::{Item, Slot};
use crate::gate::policy::Roles;
use crate::reply::Template;
use crate::tokens::policy::{CallbackUrl, Directory, Field, HttpDirectory, Translation};

/// A directory, and what grants ask of it.
pub(super) struct Source<'r> {
    raw: &'r Item<Raw>,
    /// None: a problem was noted.
    pub(super) directory: Option<Directory>,
}

impl<'r> Source<'r> {
    /// Compiles `[directory]`.
    pub(super) fn new(work: &mut Compiler<'_>, raw: &'r Item<Raw>, roles: &Roles) -> Self {
        let value = &raw.value;
        if let Some(field) = value.identifier.get().filter(|field| !is_word(&field.value)) {
            work.fault(&field.at, super::NO_WORD);
        }
        if let Some(role) = value.default_role.get().filter(|role| !roles.0.contains_key(role.value.as_str())) {
            work.unknown(&role.at, "role", &role.value, roles.0.keys().map(|known| &**known));
        }
        let directory = match value.r#type.value() {
            Some(DirectoryType::Local) => {
                only_for_http(work, value);
                Some(Directory::Local { default_roles: default_roles(value) })
            }
            Some(DirectoryType::Http) => http(work, value).map(Directory::Http),
            None => None,
        };
        Self { raw, directory }
    }

    /// The field that holds the identifier, where a grant does not say.
    pub(super) fn identifier(&self) -> Option<&'r str> {
        self.raw.value.identifier.value().map(String::as_str)
    }

    /// Whether the store is the directory; none where that is not known.
    pub(super) fn is_local(&self) -> Option<bool> {
        self.raw.value.r#type.value().map(|kind| *kind == DirectoryType::Local)
    }

    /// Whether it tells of users, but takes no password.
    pub(super) fn only_looks_up(&self) -> bool {
        let Raw { verify, lookup, .. } = &self.raw.value;
        self.is_local() == Some(false) && verify.absent().is_some() && lookup.absent().is_none()
    }

    /// Holds the body of the sign-in against the fields of a grant that signs in.
    pub(super) fn check_body(&self, work: &mut Compiler<'_>, place: &str, fields: &[Field]) {
        let Some(item) = self.raw.value.body.get() else { return };
        let Ok(template) = Template::parse(&item.value.0) else { return };
        Names::at(place).and(["identifier", "password"]).body(fields, &[]).check(work, &item.at, &template);
    }
}

fn default_roles(raw: &Raw) -> Vec<Box<str>> {
    raw.default_role.value().map(|role| role.as_str().into()).into_iter().collect()
}

fn only_for_http(work: &mut Compiler<'_>, raw: &Raw) {
    let given: [Option<&At>; 8] = [
        raw.verify.get().map(|item| &item.at),
        raw.lookup.get().map(|item| &item.at),
        raw.secret.get().map(|item| &item.at),
        raw.timeout.given.then_some(&raw.timeout.at),
        raw.cache.given.then_some(&raw.cache.at),
        raw.migrate.given.then_some(&raw.migrate.at),
        raw.translate.get().map(|item| &item.at),
        raw.body.get().map(|item| &item.at),
    ];
    for at in given.into_iter().flatten() {
        work.fault(at, "only means something with `type = \"http\"`: users of the store are not asked for elsewhere");
    }
}

fn http(work: &mut Compiler<'_>, raw: &Raw) -> Option<HttpDirectory> {
    callback::times(work, &raw.timeout, &raw.cache);
    let verify = url(work, &raw.verify, &[]);
    let lookup = url(work, &raw.lookup, &["subject"]);
    if let (Some(Some(url)), Some(item)) = (&lookup, raw.lookup.get())
        && callback::names(url).next().is_none()
    {
        work.fault(&item.at, "has no `{subject}` in it: of whom should it tell?");
    }
    if let (Slot::Absent(at), Slot::Absent(_)) = (&raw.verify, &raw.lookup) {
        work.fault(at, "is required with `type = \"http\"`, unless there is a `lookup`: whom should be asked?");
    }
    let secret = callback::secret(work, &raw.secret);
    if let (Slot::Absent(at), Slot::Absent(_)) = (&raw.secret, &raw.translate) {
        work.fault(at, "is required: the application must know that it is the gateway who asks; { env = \"NAME\" }");
    }
    for (given, at) in [
        (raw.migrate.value, &raw.migrate.at),
        (raw.body.get().is_some(), raw.body.get().map_or(&raw.migrate.at, |item| &item.at)),
    ] {
        if given && raw.verify.absent().is_some() {
            work.fault(at, "only means something with `verify`");
        }
    }
    let body = body(work, raw);
    let translate = match &raw.translate {
        Slot::Given(item) => translate(work, &item.value).map(Some),
        Slot::Absent(_) => Some(None),
        Slot::Bad => None,
    };
    Some(HttpDirectory {
        verify: verify?,
        lookup: lookup?,
        secret: secret?,
        timeout: raw.timeout.value,
        cache: raw.cache.value,
        migrate: raw.migrate.value,
        translate: translate?,
        body: body?,
        default_roles: default_roles(raw),
    })
}

/// Inside, none = it was left out. None outside: a problem was noted.
#[allow(clippy::option_option)] // the outer one is the compiler's habit, the inner one what is meant
fn url(work: &mut Compiler<'_>, slot: &Slot<String>, known: &[&str]) -> Option<Option<CallbackUrl>> {
    let item = match slot {
        Slot::Given(item) => item,
        Slot::Absent(_) => return Some(None),
        Slot::Bad => return None,
    };
    let url = callback::url(work, item)?;
    callback::check_names(work, &item.at, &url, "a directory's URL", known);
    Some(Some(url))
}

/// As above.
#[allow(clippy::option_option)] // as above
fn body(work: &mut Compiler<'_>, raw: &Raw) -> Option<Option<Template>> {
    match &raw.body {
        Slot::Given(item) => work.good(&item.at, Template::parse(&item.value.0)).map(Some),
        Slot::Absent(_) => Some(None),
        Slot::Bad => None,
    }
}

fn translate(work: &mut Compiler<'_>, raw: &Translate) -> Option<Translation> {
    let mut one = |slot: &Slot<String>| slot.get().map(|item| callback::pointer(work, item));
    let subject = one(&raw.subject);
    let (status, role, plan, tenant) = (one(&raw.status), one(&raw.role), one(&raw.plan), one(&raw.tenant));
    let attributes = raw.attributes.value.0.iter().map(|(name, item)| {
        if !is_word(name) {
            work.fault(&item.at, super::NO_WORD);
        }
        (name.as_str().into(), callback::pointer(work, item))
    });
    let attributes = attributes.collect();
    Some(Translation { subject: subject?, status, role, plan, tenant, attributes })
}
