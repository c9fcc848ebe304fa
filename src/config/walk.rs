//! The walk over a parsed file: every value is read by its [`Shape`], every problem is noted with its place, and the
//! walk goes on.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::keys::elsewhere;
use super::problem::{At, Problem};
use crate::nearest::hint;

/// A value as the TOML reader hands it over.
pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

/// Something that can stand in a configuration: how it is read, and how it is described.
pub(crate) trait Shape: Sized {
    /// How it is described: for the reference and the JSON Schema.
    fn kind() -> Kind;

    /// Reads it. None: a problem was noted.
    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self>;
}

/// What may stand at a place.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A single value: its name for people, its JSON Schema.
    Leaf(&'static str, serde_json::Value),
    /// A list of such.
    List(Box<Kind>),
    /// A table with free names.
    Named(Box<Kind>),
    /// A table with known keys.
    Table(Section),
    /// Any of these.
    OneOf(Vec<Kind>),
}

impl Kind {
    /// A table with known keys in which there may be others, described by `key`.
    pub(crate) fn open(self, key: Key) -> Self {
        match self {
            Self::Table(section) => Self::Table(Section { open: Some(Box::new(key)), ..section }),
            other @ (Self::Leaf(..) | Self::List(_) | Self::Named(_) | Self::OneOf(_)) => other,
        }
    }
}

/// The keys of a table.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// The keys, in the order of the documentation.
    pub(crate) keys: Vec<Key>,
    /// What stands under further names, if there may be any: a key whose name stands for theirs.
    pub(crate) open: Option<Box<Key>>,
}

/// One key of a table.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// Whether it must be there.
    pub(crate) required: bool,
    /// What holds where it is left out, as TOML.
    pub(crate) default: Option<&'static str>,
    /// What may stand there.
    pub(crate) kind: Kind,
    /// What it means.
    pub(crate) doc: String,
}

/// A value with its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Item<T> {
    /// The value.
    pub(crate) value: T,
    /// Its place.
    pub(crate) at: At,
    /// Whether it stands in the file; else it is the default.
    pub(crate) given: bool,
}

/// What became of a key that may be left out, or must not be but was.
#[derive(Clone, Debug, Default)]
pub(crate) enum Slot<T> {
    /// It is there.
    Given(Item<T>),
    /// It is not; it would stand here.
    Absent(At),
    /// It could not be read, which has been said: no further complaints about it.
    #[default]
    Bad,
}

impl<T> Slot<T> {
    /// The value, if there is a good one.
    pub(crate) fn get(&self) -> Option<&Item<T>> {
        match self {
            Self::Given(item) => Some(item),
            Self::Absent(_) | Self::Bad => None,
        }
    }

    /// The value without its place.
    pub(crate) fn value(&self) -> Option<&T> {
        self.get().map(|item| &item.value)
    }

    /// Where it would stand, if it was left out.
    pub(crate) fn absent(&self) -> Option<&At> {
        match self {
            Self::Absent(at) => Some(at),
            Self::Given(_) | Self::Bad => None,
        }
    }
}

/// A file's text with its lines, so that an offset becomes a line and a column. Wiped when dropped: it may hold secrets.
pub(crate) struct Source {
    /// The file.
    pub(crate) path: Arc<Path>,
    text: Zeroizing<String>,
    lines: Vec<usize>,
}

impl Source {
    /// Takes over a text.
    pub(crate) fn new(path: Arc<Path>, text: Zeroizing<String>) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path, text, lines }
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Line and column (in characters), from 1.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        (line, column + 1)
    }
}

/// The walk over one file.
pub(crate) struct Walk<'s> {
    source: &'s Source,
    path: String,
    /// Set while a default is read: it stands nowhere.
    fixed: Option<At>,
    problems: &'s mut Vec<Problem>,
}

impl<'s> Walk<'s> {
    /// A walk that begins at the root of a file.
    pub(crate) fn new(source: &'s Source, problems: &'s mut Vec<Problem>) -> Self {
        Self { source, path: String::new(), fixed: None, problems }
    }

    /// The current key, at a place of the text.
    pub(crate) fn at(&self, span: Range<usize>) -> At {
        self.fixed.clone().unwrap_or_else(|| At {
            file: Arc::clone(&self.source.path),
            position: Some(self.source.position(span.start)),
            key: self.path.clone(),
        })
    }

    /// Notes a problem of the current key.
    pub(crate) fn fault(&mut self, span: Range<usize>, text: impl Into<String>) {
        let problem = self.at(span).problem(text);
        self.problems.push(problem);
    }

    /// Notes that `value` is of the wrong type. The value itself is never told.
    pub(crate) fn unexpected(&mut self, value: &Value<'_>, expected: &str) {
        self.fault(value.span(), format!("expected {expected}, found {}", type_name(value.get_ref())));
    }

    /// Goes into a key for the time of `then`.
    pub(crate) fn inside<R>(&mut self, key: &str, then: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if bare {
            self.path.push_str(key);
        } else {
            self.path.push_str(&format!("{:?}", shorten(key)));
        }
        let result = then(self);
        self.path.truncate(length);
        result
    }

    /// Goes to an element of a list for the time of `then`.
    pub(crate) fn element<R>(&mut self, index: usize, then: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        let result = then(self);
        self.path.truncate(length);
        result
    }

    /// Reads a value and keeps its place.
    pub(crate) fn item<T: Shape>(&mut self, value: &Value<'_>) -> Option<Item<T>> {
        let at = self.at(value.span());
        let given = self.fixed.is_none();
        T::read(value, self).map(|value| Item { value, at, given })
    }

    /// The table that `value` must be.
    pub(crate) fn table<'v, 'i>(&mut self, value: &'v Value<'i>) -> Option<&'v DeTable<'i>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.unexpected(value, "a table");
                None
            }
        }
    }

    /// The text that `value` must be.
    pub(crate) fn text<'v>(&mut self, value: &'v Value<'_>, expected: &str) -> Option<&'v str> {
        match value.get_ref() {
            DeValue::String(text) => Some(text),
            _ => {
                self.unexpected(value, expected);
                None
            }
        }
    }

    /// Notes every name of `table` that is not known.
    pub(crate) fn names(&mut self, table: &DeTable<'_>, known: &[&str], later: &[&str]) {
        for name in table.keys() {
            let text: &str = name.get_ref();
            if known.contains(&text) {
                continue;
            }
            let problem = if later.contains(&text) {
                String::from("not available in this version")
            } else {
                let hint = elsewhere(text, known).unwrap_or_else(|| hint(text, known.iter().copied()));
                format!("unknown key{hint}")
            };
            self.inside(text, |walk| walk.fault(name.span(), problem));
        }
    }

    /// A key that may be left out.
    pub(crate) fn optional<T: Shape>(&mut self, table: &DeTable<'_>, span: Range<usize>, key: &str) -> Slot<T> {
        self.inside(key, |walk| match table.get(key) {
            Some(value) => walk.item(value).map_or(Slot::Bad, Slot::Given),
            None => Slot::Absent(walk.at(span)),
        })
    }

    /// A key that must be there.
    pub(crate) fn required<T: Shape>(&mut self, table: &DeTable<'_>, span: Range<usize>, key: &str) -> Slot<T> {
        let slot = self.optional(table, span.clone(), key);
        if slot.absent().is_some() {
            self.inside(key, |walk| walk.fault(span, "is required"));
        }
        slot
    }

    /// A key with a default. What could not be read counts as the default: the problem has been noted.
    pub(crate) fn default<T: Shape + Default>(
        &mut self,
        table: &DeTable<'_>,
        span: Range<usize>,
        key: &str,
        default: &'static str,
    ) -> Item<T> {
        self.inside(key, |walk| {
            if let Some(item) = table.get(key).and_then(|value| walk.item(value)) {
                return item;
            }
            let at = walk.at(span);
            let outer = walk.fixed.replace(at.clone());
            // The defaults are ours; a test reads every one of them.
            let value = DeValue::parse(default).ok().and_then(|value| T::read(&value, walk)).unwrap_or_default();
            walk.fixed = outer;
            Item { value, at, given: false }
        })
    }
}

/// What a table is when nothing is said in it.
pub(crate) fn defaults<T: Shape + Default>() -> T {
    let (nowhere, mut problems) = (Source::new(At::default().file, Zeroizing::default()), Vec::new());
    let table = DeValue::parse("{}").ok();
    table.and_then(|table| T::read(&table, &mut Walk::new(&nowhere, &mut problems))).unwrap_or_default()
}

/// What a value is, for people.
pub(crate) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A name for a message: never longer than a line can bear.
pub(crate) fn shorten(name: &str) -> &str {
    name.char_indices().nth(64).and_then(|(end, _)| name.get(..end)).unwrap_or(name)
}
