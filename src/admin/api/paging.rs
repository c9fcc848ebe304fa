//! Parts of lists: what is stored comes first, by id, then what the configuration declares, by its order there.

use serde_json::Value;

use super::call::Call;
use super::fields::{Field, Kind};
use super::{Answer, Refusal};
use crate::store::{IdKind, Page};

/// The query of every list.
pub(super) const CURSOR: Field =
    Field::optional("cursor", Kind::Text(100), "`next_cursor` of the part before; the other parameters stay the same.");
pub(super) const LIMIT: Field = Field::optional("limit", Kind::Integer(1, 200), "Most items of a part; default 50.");

const DEFAULT_LIMIT: i64 = 50;

/// What declared items are counted by in a cursor.
const DECLARED: &str = "cfg.";

/// A part of a list that is to be answered.
#[derive(Debug)]
pub(super) struct Part {
    from: From,
    limit: usize,
}

#[derive(Debug)]
enum From {
    /// Behind this id.
    Stored(Option<String>),
    /// So many declared items were shown.
    Declared(usize),
}

impl Part {
    /// The part that the query asks for, of a list of things with such ids.
    pub(super) fn asked(call: &Call<'_>, kinds: &[IdKind]) -> Result<Self, Refusal> {
        let limit = usize::try_from(call.query.integer("limit").unwrap_or(DEFAULT_LIMIT)).unwrap_or(1);
        let from = match call.query.text("cursor") {
            None => From::Stored(None),
            Some(cursor) if kinds.iter().any(|kind| kind.fits(cursor)) => From::Stored(Some(cursor.to_owned())),
            Some(cursor) => match cursor.strip_prefix(DECLARED).and_then(|shown| shown.parse().ok()) {
                Some(shown) => From::Declared(shown),
                None => return Err(Refusal::field("cursor", "is no cursor of this list: take `next_cursor` as it is")),
            },
        };
        Ok(Self { from, limit })
    }

    /// What to read of the store; none where all of it was shown already. One more than is shown: whether there is more.
    pub(super) fn page(&self) -> Option<Page> {
        match &self.from {
            From::Stored(after) => Some(Page { after: after.clone(), limit: self.limit + 1 }),
            From::Declared(_) => None,
        }
    }

    /// The same of a list that was read whole.
    pub(super) fn cut<T>(&self, all: Vec<T>, id: impl Fn(&T) -> &str) -> Vec<T> {
        match self.page() {
            None => Vec::new(),
            Some(page) => {
                let behind = |item: &T| page.after.as_deref().is_none_or(|after| id(item) > after);
                all.into_iter().filter(behind).take(page.limit).collect()
            }
        }
    }

    /// The answer: of `stored`, what [`Part::page`] gave, as `(id, item)`; of `declared`, all there is.
    pub(super) fn answer<T>(
        &self,
        mut stored: Vec<(String, Value)>,
        declared: &[T],
        to_json: impl Fn(&T) -> Value,
    ) -> Answer {
        let more_stored = stored.len() > self.limit;
        stored.truncate(self.limit);
        let last = stored.last().map(|(id, _)| id.clone());
        let mut data: Vec<Value> = stored.into_iter().map(|(_, item)| item).collect();
        if more_stored {
            return Answer::list(data, last);
        }
        let shown = if let From::Declared(shown) = self.from { shown } else { 0 };
        let room = self.limit.saturating_sub(data.len());
        data.extend(declared.iter().skip(shown).take(room).map(to_json));
        let shown = shown.saturating_add(room);
        Answer::list(data, (shown < declared.len()).then(|| format!("{DECLARED}{shown}")))
    }
}
