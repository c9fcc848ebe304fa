//! Statements whose shape depends on what is asked: put together from static pieces, with every value bound.

use super::StoreError;
use super::backend::{Database, Row, Transaction, Value};

/// Rows of one statement. Not more: SQLite finds each parameter by walking through all before it, so that the time for
/// a row grows with their number. Not fewer: PostgreSQL answers each statement over the network.
pub(super) const TOGETHER: usize = 50;

/// A statement in the making.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    pub(super) fn new(sql: &'static str) -> Self {
        Self { sql: sql.to_owned(), values: Vec::new() }
    }

    /// Adds text.
    pub(super) fn push(mut self, sql: &'static str) -> Self {
        self.sql.push_str(sql);
        self
    }

    /// Adds so many columns with nothing in them.
    pub(super) fn nulls(mut self, count: usize) -> Self {
        self.sql.push_str(&vec!["NULL"; count].join(", "));
        self
    }

    /// Adds text and a value behind it.
    pub(super) fn bind(mut self, sql: &'static str, value: impl Into<Value>) -> Self {
        self.sql.push_str(sql);
        self.value(value.into());
        self
    }

    /// Adds text and a value, if there is one.
    pub(super) fn bind_some(self, sql: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.bind(sql, value),
            None => self,
        }
    }

    /// Adds text and a list in brackets; nothing is in an empty one.
    pub(super) fn bind_list<T: Into<Value>>(mut self, sql: &'static str, values: impl IntoIterator<Item = T>) -> Self {
        self.sql.push_str(sql);
        self.row(values.into_iter().map(Into::into));
        self
    }

    /// Adds text and rows of values (`VALUES` of many).
    pub(super) fn bind_rows(mut self, sql: &'static str, rows: impl IntoIterator<Item = Vec<Value>>) -> Self {
        self.sql.push_str(sql);
        for (index, row) in rows.into_iter().enumerate() {
            if index > 0 {
                self.sql.push_str(", ");
            }
            self.row(row);
        }
        self
    }

    /// Reads outside of any transaction.
    pub(super) async fn read(self, database: &dyn Database) -> Result<Vec<Row>, StoreError> {
        database.fetch(&self.sql, self.values).await
    }

    /// Runs it for its rows.
    pub(super) async fn fetch(self, transaction: &mut dyn Transaction) -> Result<Vec<Row>, StoreError> {
        transaction.fetch(&self.sql, self.values).await
    }

    /// Runs it for the number of rows it changes.
    pub(super) async fn execute(self, transaction: &mut dyn Transaction) -> Result<u64, StoreError> {
        transaction.execute(&self.sql, self.values).await
    }

    fn row(&mut self, values: impl IntoIterator<Item = Value>) {
        self.sql.push('(');
        let before = self.values.len();
        for value in values {
            if self.values.len() > before {
                self.sql.push_str(", ");
            }
            self.value(value);
        }
        self.sql.push_str(if self.values.len() == before { "NULL)" } else { ")" });
    }

    fn value(&mut self, value: Value) {
        self.values.push(value);
        self.sql.push('$');
        self.sql.push_str(&self.values.len().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_in_their_order_and_never_part_of_the_text() {
        let statement = Statement::new("SELECT id FROM t WHERE 1 = 1")
            .bind(" AND a = ", "x'; DROP TABLE t")
            .bind_some(" AND b = ", None::<i64>)
            .bind_list(" AND c IN ", ["y", "z"])
            .push(" ORDER BY id")
            .bind(" LIMIT ", 5);
        assert_eq!(statement.sql, "SELECT id FROM t WHERE 1 = 1 AND a = $1 AND c IN ($2, $3) ORDER BY id LIMIT $4");
        assert_eq!(statement.values, ["x'; DROP TABLE t".into(), "y".into(), "z".into(), Value::from(5)]);
    }

    #[test]
    fn nothing_is_in_an_empty_list() {
        assert_eq!(Statement::new("").bind_list("c IN ", Vec::<String>::new()).sql, "c IN (NULL)");
    }
}
