//! How a row of the audit trail is bound to the one before it.
//!
//! `hash = SHA-256(hash of the row before ‖ row)`; before the first row there are 32 zero bytes. `row` is made of these
//! fields in this order: the word `portcullis-audit-1`, chain, position, at, realm, actor_kind, actor_id, actor_ip, action,
//! target_kind, target_id, outcome, reason, request_id, detail (the text of the JSON as it is stored). A text is its
//! length in bytes (8 bytes, big-endian), then its bytes in UTF-8; one that is absent is 8 bytes of ones and nothing
//! else; a number is 8 bytes, big-endian, two's complement. So no two different rows are the same bytes.

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::store::backend::{Row, Transaction};
use crate::store::statement::Statement;
use crate::store::{AuditEntry, StoreError, feed};

/// Stands before the first row.
pub(super) const GENESIS: [u8; 32] = [0; 32];

/// What [`Chained::read`] takes, in its order.
pub(super) const COLUMNS: &str = "seq, chain, position, at, realm, actor_kind, actor_id, actor_ip, action, \
     target_kind, target_id, outcome, reason, request_id, detail, prev_hash, hash";

/// A row as it is stored and hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) chain: String,
    pub(super) position: i64,
    pub(super) at: i64,
    pub(super) realm: Option<String>,
    pub(super) actor_kind: String,
    pub(super) actor_id: String,
    pub(super) actor_ip: Option<String>,
    pub(super) action: String,
    pub(super) target_kind: Option<String>,
    pub(super) target_id: Option<String>,
    pub(super) outcome: String,
    pub(super) reason: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) detail: String,
}

/// A row with its place in the table and its hashes.
#[derive(Clone, Debug)]
pub(super) struct Chained {
    pub(super) seq: i64,
    pub(super) link: Link,
    pub(super) prev_hash: Vec<u8>,
    pub(super) hash: Vec<u8>,
}

impl Link {
    fn of(chain: &str, position: i64, entry: &AuditEntry) -> Self {
        Self {
            chain: chain.to_owned(),
            position,
            at: entry.at.0,
            realm: entry.realm.clone(),
            actor_kind: entry.actor_kind.clone(),
            actor_id: entry.actor_id.clone(),
            actor_ip: entry.actor_ip.map(|ip| ip.to_string()),
            action: entry.action.clone(),
            target_kind: entry.target_kind.clone(),
            target_id: entry.target_id.clone(),
            outcome: entry.outcome.as_str().to_owned(),
            reason: entry.reason.clone(),
            request_id: entry.request_id.clone(),
            detail: Json::Object(entry.detail.clone()).to_string(),
        }
    }

    /// See the module.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256 + self.detail.len());
        text(&mut bytes, Some("portcullis-audit-1"));
        text(&mut bytes, Some(&self.chain));
        bytes.extend_from_slice(&self.position.to_be_bytes());
        bytes.extend_from_slice(&self.at.to_be_bytes());
        text(&mut bytes, self.realm.as_deref());
        text(&mut bytes, Some(&self.actor_kind));
        text(&mut bytes, Some(&self.actor_id));
        text(&mut bytes, self.actor_ip.as_deref());
        text(&mut bytes, Some(&self.action));
        text(&mut bytes, self.target_kind.as_deref());
        text(&mut bytes, self.target_id.as_deref());
        text(&mut bytes, Some(&self.outcome));
        text(&mut bytes, self.reason.as_deref());
        text(&mut bytes, self.request_id.as_deref());
        text(&mut bytes, Some(&self.detail));
        bytes
    }

    /// The hash of this row behind one with the hash `before`.
    pub(super) fn hash(&self, before: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(before).chain_update(self.bytes()).finalize().into()
    }
}

impl Chained {
    pub(super) fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            seq: row.int()?,
            link: Link {
                chain: row.text()?,
                position: row.int()?,
                at: row.int()?,
                realm: row.opt_text()?,
                actor_kind: row.text()?,
                actor_id: row.text()?,
                actor_ip: row.opt_text()?,
                action: row.text()?,
                target_kind: row.opt_text()?,
                target_id: row.opt_text()?,
                outcome: row.text()?,
                reason: row.opt_text()?,
                request_id: row.opt_text()?,
                detail: row.text()?,
            },
            prev_hash: row.bytes()?,
            hash: row.bytes()?,
        })
    }
}

fn text(bytes: &mut Vec<u8>, text: Option<&str>) {
    // No text is so long.
    let length = text.map_or(u64::MAX, |text| u64::try_from(text.len()).unwrap_or(u64::MAX - 1));
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text.unwrap_or_default().as_bytes());
}

/// Appends to the chain of `node`. Its row is taken first, so that two processes of one name extend it one after the
/// other; the feed's before it, so that `seq` grows in the order of commits over all chains.
pub(in crate::store) async fn append(
    transaction: &mut dyn Transaction,
    node: &str,
    entries: &[AuditEntry],
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    feed::in_turn(transaction).await?;
    Statement::new("INSERT INTO audit_chains (chain, position, hash, pruned_hash)")
        .bind(" VALUES (", node)
        .bind(", 0, ", GENESIS.as_slice())
        .bind(", ", GENESIS.as_slice())
        .push(") ON CONFLICT (chain) DO NOTHING")
        .execute(transaction)
        .await?;
    let count = i64::try_from(entries.len()).unwrap_or(i64::MAX);
    let rows = Statement::new("UPDATE audit_chains SET")
        .bind(" position = position + ", count)
        .bind(" WHERE chain = ", node)
        .push(" RETURNING position, hash")
        .fetch(transaction)
        .await?;
    let mut row = rows.into_iter().next().ok_or_else(|| StoreError::corrupt("an audit chain has no head"))?;
    let mut position = row.int()? - count;
    let mut before = row.bytes()?;
    for entry in entries {
        position += 1;
        let link = Link::of(node, position, entry);
        let hash = link.hash(&before).to_vec();
        let values = vec![
            link.chain.into(),
            link.position.into(),
            link.at.into(),
            link.realm.into(),
            link.actor_kind.into(),
            link.actor_id.into(),
            link.actor_ip.into(),
            link.action.into(),
            link.target_kind.into(),
            link.target_id.into(),
            link.outcome.into(),
            link.reason.into(),
            link.request_id.into(),
            link.detail.into(),
            before.as_slice().into(),
            hash.as_slice().into(),
        ];
        Statement::new(
            "INSERT INTO audit_events (chain, position, at, realm, actor_kind, actor_id, actor_ip, action, \
             target_kind, target_id, outcome, reason, request_id, detail, prev_hash, hash)",
        )
        .bind_rows(" VALUES ", [values])
        .execute(transaction)
        .await?;
        before = hash;
    }
    Statement::new("UPDATE audit_chains SET")
        .bind(" hash = ", before.as_slice())
        .bind(" WHERE chain = ", node)
        .execute(transaction)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Short texts of few characters: so that borders between fields are where mistakes would be found.
    fn word() -> impl Strategy<Value = String> {
        "[ab\\x00\\xff]{0,3}"
    }

    fn link() -> impl Strategy<Value = Link> {
        let maybe = || proptest::option::of(word());
        let who = (word(), 0..3_i64, 0..3_i64, maybe(), word(), word(), maybe());
        let what = (word(), maybe(), maybe(), word(), maybe(), maybe(), word());
        (who, what).prop_map(|(who, what)| Link {
            chain: who.0,
            position: who.1,
            at: who.2,
            realm: who.3,
            actor_kind: who.4,
            actor_id: who.5,
            actor_ip: who.6,
            action: what.0,
            target_kind: what.1,
            target_id: what.2,
            outcome: what.3,
            reason: what.4,
            request_id: what.5,
            detail: what.6,
        })
    }

    /// Reads the bytes back, by the description in the module's documentation alone.
    fn read_back(mut bytes: &[u8]) -> Link {
        fn number(bytes: &mut &[u8]) -> u64 {
            let (number, rest) = bytes.split_at(8);
            *bytes = rest;
            u64::from_be_bytes(number.try_into().unwrap())
        }
        fn maybe(bytes: &mut &[u8]) -> Option<String> {
            let length = number(bytes);
            if length == u64::MAX {
                return None;
            }
            let (text, rest) = bytes.split_at(usize::try_from(length).unwrap());
            *bytes = rest;
            Some(String::from_utf8(text.to_vec()).unwrap())
        }
        let bytes = &mut bytes;
        assert_eq!(maybe(bytes).unwrap(), "portcullis-audit-1");
        let link = Link {
            chain: maybe(bytes).unwrap(),
            position: i64::from_be_bytes(number(bytes).to_be_bytes()),
            at: i64::from_be_bytes(number(bytes).to_be_bytes()),
            realm: maybe(bytes),
            actor_kind: maybe(bytes).unwrap(),
            actor_id: maybe(bytes).unwrap(),
            actor_ip: maybe(bytes),
            action: maybe(bytes).unwrap(),
            target_kind: maybe(bytes),
            target_id: maybe(bytes),
            outcome: maybe(bytes).unwrap(),
            reason: maybe(bytes),
            request_id: maybe(bytes),
            detail: maybe(bytes).unwrap(),
        };
        assert!(bytes.is_empty());
        link
    }

    proptest! {
        #[test]
        fn two_different_events_are_never_the_same_bytes(one in link(), other in link()) {
            prop_assert_eq!(one == other, one.bytes() == other.bytes());
            prop_assert_eq!(read_back(&one.bytes()), one);
        }
    }

    #[test]
    fn a_hash_is_made_as_it_is_documented() {
        let link = Link {
            chain: "a".into(),
            position: 1,
            at: -1,
            realm: None,
            actor_kind: "cli".into(),
            actor_id: "root".into(),
            actor_ip: None,
            action: "key.created".into(),
            target_kind: Some("key".into()),
            target_id: Some(String::new()),
            outcome: "ok".into(),
            reason: None,
            request_id: None,
            detail: "{}".into(),
        };
        let mut row = Vec::new();
        let mut text = |text: &[u8]| {
            row.extend((text.len() as u64).to_be_bytes());
            row.extend(text);
        };
        text(b"portcullis-audit-1");
        text(b"a");
        row.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        row.extend([0xff; 8]); // at
        row.extend([0xff; 8]); // realm
        let mut text = |text: &[u8]| {
            row.extend((text.len() as u64).to_be_bytes());
            row.extend(text);
        };
        text(b"cli");
        text(b"root");
        row.extend([0xff; 8]); // actor_ip
        for field in [&b"key.created"[..], b"key", b"", b"ok"] {
            row.extend((field.len() as u64).to_be_bytes());
            row.extend(field);
        }
        row.extend([0xff; 16]); // reason, request_id
        row.extend([0, 0, 0, 0, 0, 0, 0, 2]);
        row.extend(b"{}");
        assert_eq!(link.bytes(), row);
        let mut all = GENESIS.to_vec();
        all.extend(row);
        assert_eq!(link.hash(&GENESIS), <[u8; 32]>::from(Sha256::digest(&all)));
    }
}
