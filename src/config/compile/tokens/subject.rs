//! How the application is asked about somebody.

use std::sync::Arc;

use super::template::Names;
use super::{callback, is_word};
use crate::config::compile::Compiler;
use crate::config::compile::route::values;
use crate::config::keys::Subject as Raw;
use crate::config::value::Named;
use crate::config::value::issuing::AskMethod;
use crate::config::walk::{Item, Slot};
use crate::reply::Template;
use crate::tokens::policy::Subject;

/// The names in URLs that do not come from the path.
const OF_THE_KEY: [&str; 2] = ["key.owner", "key.id"];

/// The look-ups of a realm, in the order of the file; grants name them by position.
pub(super) struct Subjects<'r>(Vec<Entry<'r>>);

struct Entry<'r> {
    name: &'r str,
    raw: &'r Item<Raw>,
    /// None: a problem was noted.
    subject: Option<Subject>,
}

impl<'r> Subjects<'r> {
    /// Compiles `[subjects]`.
    pub(super) fn new(work: &mut Compiler<'_>, table: &'r Named<Raw>) -> Self {
        let each = table.0.iter().map(|(name, raw)| {
            if !is_word(name) {
                work.fault(&raw.at, super::NO_WORD);
            }
            Entry { name, raw, subject: subject(work, name, &raw.value) }
        });
        Self(each.collect())
    }

    /// The one that is meant. None: a problem was noted.
    pub(super) fn named(&self, work: &mut Compiler<'_>, name: &Item<String>) -> Option<usize> {
        let position = self.0.iter().position(|entry| entry.name == name.value);
        if position.is_none() {
            work.unknown(&name.at, "subject", &name.value, self.0.iter().map(|entry| entry.name));
        }
        position
    }

    /// What templates may use of one, `id` aside; none where there is no such subject.
    pub(super) fn fields(&self, name: &str) -> Option<impl Iterator<Item = &'r str>> {
        let entry = self.0.iter().find(|entry| entry.name == name)?;
        Some(entry.raw.value.fields.value.names())
    }

    /// Holds URL and body against a grant whose path has these names; `names` are those that its templates may use.
    pub(super) fn check(&self, work: &mut Compiler<'_>, index: usize, place: &str, path: &[Box<str>], names: &Names) {
        let Some(entry) = self.0.get(index) else { return };
        if let (Some(subject), Some(url)) = (&entry.subject, entry.raw.value.url.get()) {
            let known: Vec<_> = path.iter().map(|name| &**name).chain(OF_THE_KEY).collect();
            callback::check_names(work, &url.at, &subject.url, place, &known);
        }
        if let (Some(Some(template)), Some(body)) =
            (entry.subject.as_ref().map(|subject| &subject.body), entry.raw.value.body.get())
        {
            names.check(work, &body.at, template);
        }
    }

    /// Notes those that no grant asks: `asked` holds positions.
    pub(super) fn check_asked(&self, work: &mut Compiler<'_>, asked: &[usize]) {
        for (_, entry) in self.0.iter().enumerate().filter(|(n, _)| !asked.contains(n)) {
            work.warn(&entry.raw.at, "no grant has this as its `subject`");
        }
    }

    /// The look-ups. None: a problem was noted.
    pub(super) fn into_list(self) -> Option<Vec<Subject>> {
        self.0.into_iter().map(|entry| entry.subject).collect()
    }
}

fn subject(work: &mut Compiler<'_>, name: &str, raw: &Raw) -> Option<Subject> {
    let url = raw.url.get().and_then(|url| callback::url(work, url));
    let body = match &raw.body {
        Slot::Given(body) => {
            if raw.method.value == AskMethod::Get {
                work.fault(&body.at, "a GET has no body; write `method = \"POST\"`");
            }
            work.good(&body.at, Template::parse(&body.value.0)).map(Some)
        }
        Slot::Absent(_) => Some(None),
        Slot::Bad => None,
    };
    let id = raw.id.get().map(|id| callback::pointer(work, id));
    let named = |url| callback::names(url).any(|name| !OF_THE_KEY.contains(&name));
    if let (Slot::Absent(at), Some(url)) = (&raw.id, &url)
        && !named(url)
    {
        work.fault(at, "is required: the URL has no name of the path in it that could be the subject");
    }
    let fields = raw.fields.value.0.iter().map(|(name, item)| {
        if !is_word(name) {
            work.fault(&item.at, super::NO_WORD);
        } else if name == "id" {
            work.fault(&item.at, "`subject.id` is the subject itself: say where it stands by `id`");
        }
        (name.as_str().into(), callback::pointer(work, item))
    });
    let fields = fields.collect();
    let require = raw.require.value.0.iter().map(|(name, item)| {
        if name.starts_with('/') {
            work.fault(&item.at, "expected the name of a member of the answer, not a pointer");
        }
        work.plain(&item.at, name);
        (name.as_str().into(), values(work, item))
    });
    let require = require.collect();
    let secret = callback::secret(work, &raw.secret);
    callback::times(work, &raw.timeout, &raw.cache);
    Some(Subject {
        name: Arc::from(name),
        method: raw.method.value.method(),
        url: url?,
        body: body?,
        id,
        fields,
        require,
        secret: secret?,
        timeout: raw.timeout.value,
        cache: raw.cache.value,
    })
}
