//! Values on their way into statements and out of rows: the three kinds both databases know alike.

use serde_json::{Map, Value as Json};

use crate::clock::UnixMillis;
use crate::store::StoreError;

/// A parameter or a column. What is absent has a kind, too: PostgreSQL wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<UnixMillis> for Value {
    fn from(value: UnixMillis) -> Self {
        Self::Int(Some(value.0))
    }
}

impl From<Option<UnixMillis>> for Value {
    fn from(value: Option<UnixMillis>) -> Self {
        Self::Int(value.map(|at| at.0))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<Option<&[u8]>> for Value {
    fn from(value: Option<&[u8]>) -> Self {
        Self::Bytes(value.map(<[u8]>::to_vec))
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

/// A list of texts is a text of JSON, see [`Row::texts`].
impl From<&[String]> for Value {
    fn from(value: &[String]) -> Self {
        Self::Text(Some(Json::from(value.to_vec()).to_string()))
    }
}

impl From<Option<&[String]>> for Value {
    fn from(value: Option<&[String]>) -> Self {
        value.map_or(Self::Text(None), Self::from)
    }
}

/// So is an object, see [`Row::object`].
impl From<&Map<String, Json>> for Value {
    fn from(value: &Map<String, Json>) -> Self {
        Self::Text(Some(Json::Object(value.clone()).to_string()))
    }
}

/// One row of an answer; columns are taken in the order of the statement.
#[derive(Clone, Debug)]
pub(in crate::store) struct Row {
    columns: std::vec::IntoIter<Value>,
}

impl Row {
    pub(super) fn new(columns: Vec<Value>) -> Self {
        Self { columns: columns.into_iter() }
    }

    /// Passes over so many columns.
    pub(in crate::store) fn skip(&mut self, columns: usize) {
        self.columns.by_ref().take(columns).for_each(drop);
    }

    pub(in crate::store) fn int(&mut self) -> Result<i64, StoreError> {
        self.opt_int()?.ok_or_else(unexpected)
    }

    pub(in crate::store) fn opt_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.columns.next() {
            Some(Value::Int(value)) => Ok(value),
            // SQLite does not tell of what kind an absent value would have been.
            Some(Value::Text(None) | Value::Bytes(None)) => Ok(None),
            Some(Value::Text(Some(_)) | Value::Bytes(Some(_))) | None => Err(unexpected()),
        }
    }

    pub(in crate::store) fn time(&mut self) -> Result<UnixMillis, StoreError> {
        self.int().map(UnixMillis)
    }

    pub(in crate::store) fn opt_time(&mut self) -> Result<Option<UnixMillis>, StoreError> {
        Ok(self.opt_int()?.map(UnixMillis))
    }

    pub(in crate::store) fn text(&mut self) -> Result<String, StoreError> {
        self.opt_text()?.ok_or_else(unexpected)
    }

    pub(in crate::store) fn opt_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.columns.next() {
            Some(Value::Text(value)) => Ok(value),
            Some(Value::Int(None) | Value::Bytes(None)) => Ok(None),
            Some(Value::Int(Some(_)) | Value::Bytes(Some(_))) | None => Err(unexpected()),
        }
    }

    pub(in crate::store) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        match self.columns.next() {
            Some(Value::Bytes(Some(value))) => Ok(value),
            Some(_) | None => Err(unexpected()),
        }
    }

    /// One of a few words.
    pub(in crate::store) fn word<T>(&mut self, by_name: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
        by_name(&self.text()?).ok_or_else(unexpected)
    }

    /// One of a few words, or nothing.
    pub(in crate::store) fn opt_word<T>(
        &mut self,
        by_name: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        self.opt_text()?.map(|text| by_name(&text).ok_or_else(unexpected)).transpose()
    }

    /// A JSON list of texts.
    pub(in crate::store) fn texts(&mut self) -> Result<Vec<String>, StoreError> {
        self.opt_texts()?.ok_or_else(unexpected)
    }

    /// A JSON list of texts, or nothing.
    pub(in crate::store) fn opt_texts(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        self.opt_text()?.map(|text| serde_json::from_str(&text).map_err(|_| unexpected())).transpose()
    }

    /// A JSON object.
    pub(in crate::store) fn object(&mut self) -> Result<Map<String, Json>, StoreError> {
        serde_json::from_str(&self.text()?).map_err(|_| unexpected())
    }
}

fn unexpected() -> StoreError {
    StoreError::corrupt("a row is not as this version writes it")
}
