//! When and from where keys were used; written in batches.

use std::collections::BTreeMap;

use super::backend::{Transaction, Value};
use super::statement::{Statement, TOGETHER};
use super::{KeyUse, Store, StoreError};

impl Store {
    /// Adds uses, all or none. Touches neither version nor feed; uses of a key that is gone are dropped.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn note_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        if uses.is_empty() {
            return Ok(());
        }
        let mut keys: BTreeMap<&str, KeyUse> = BTreeMap::new();
        let mut texts: BTreeMap<(&str, bool), &KeyUse> = BTreeMap::new();
        for one in uses {
            keys.entry(&one.key_id).and_modify(|sum| add(sum, one)).or_insert_with(|| one.clone());
            let text = texts.entry((&one.key_id, one.overlap)).or_insert(one);
            if one.at > text.at {
                *text = one;
            }
        }
        let mut transaction = self.inner.database.begin().await?;
        in_turn(&mut *transaction).await?;
        let keys: Vec<_> = keys.into_iter().collect();
        for some in keys.chunks(TOGETHER) {
            let rows = some.iter().map(|(id, sum)| {
                vec![(*id).into(), sum.count.into(), sum.at.into(), sum.ip.map(|ip| ip.to_string()).into()]
            });
            // Both databases call the columns of VALUES so.
            Statement::new(
                "UPDATE api_keys SET use_count = use_count + u.column2, \
                 last_used_at = CASE WHEN last_used_at > u.column3 THEN last_used_at ELSE u.column3 END, \
                 last_used_ip = CASE WHEN last_used_at > u.column3 THEN last_used_ip ELSE u.column4 END",
            )
            .bind_rows(" FROM (VALUES ", rows)
            .push(") AS u WHERE api_keys.id = u.column1")
            .execute(&mut *transaction)
            .await?;
        }
        let texts: Vec<_> = texts.into_iter().collect();
        for some in texts.chunks(TOGETHER) {
            let rows = some.iter().map(|((id, overlap), one)| -> Vec<Value> {
                vec![(*id).into(), if *overlap { "overlap" } else { "current" }.into(), one.at.into()]
            });
            // A use before the last rotation was not one of the text that is current now.
            Statement::new("UPDATE api_key_secrets SET last_used_at = u.column3")
                .bind_rows(" FROM (VALUES ", rows)
                .push(
                    ") AS u WHERE api_key_secrets.key_id = u.column1 AND api_key_secrets.state = u.column2 \
                     AND api_key_secrets.created_at <= u.column3 \
                     AND (api_key_secrets.last_used_at IS NULL OR api_key_secrets.last_used_at < u.column3)",
                )
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    }
}

/// One process at a time: two that write about the same keys in different orders would wait for each other.
async fn in_turn(transaction: &mut dyn Transaction) -> Result<(), StoreError> {
    Statement::new("INSERT INTO meta (name, value) VALUES ('uses', '') ON CONFLICT (name) DO UPDATE SET value = ''")
        .execute(transaction)
        .await?;
    Ok(())
}

fn add(sum: &mut KeyUse, one: &KeyUse) {
    sum.count = sum.count.saturating_add(one.count);
    if one.at > sum.at {
        (sum.at, sum.ip) = (one.at, one.ip);
    }
}
