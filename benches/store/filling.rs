//! A store that grows, and what is asked of it at each size.

use std::fmt::Display;
use std::time::Duration;

use portcullis::clock::{Clock, Stopwatch, SystemClock};
use portcullis::gate::verify::api_key::PlainKey;
use portcullis::secret::CredentialDigest;
use portcullis::store::{
    AuditEntry, AuditOutcome, ClientKind, IdKind, ImportedKey, KeyFilter, KeyStatus, KeyUse, NewClient, Opening, Page,
    Store,
};
use serde_json::Map;

use crate::place::Place;
use crate::{HOT, latency};

pub(crate) const REALM: &str = "api";
pub(crate) const PREFIX: &str = "bench_";
const OWNERS: usize = 1000;
/// As many as the command line sends at once.
const BATCH: usize = 1000;
const SAMPLES: usize = 2000;
/// Audit events: a batch each, as an administrator's program would make them.
const EVENTS: usize = 100_000;

pub(crate) struct Filled<'p> {
    place: &'p Place,
    pub(crate) store: Store,
    owners: Vec<String>,
    digests: Vec<CredentialDigest>,
    /// Texts of the first ones.
    pub(crate) hot: Vec<PlainKey>,
}

impl<'p> Filled<'p> {
    pub(crate) async fn new(place: &'p Place) -> Self {
        let now = SystemClock.now();
        let store = Store::open(&place.settings(), Opening::Create, now).await.expect("a store");
        let owners: Vec<_> = (0..OWNERS).map(|_| IdKind::Owner.generate(now).expect("randomness")).collect();
        let mut write = store.begin().await.expect("a transaction");
        for (n, id) in owners.iter().enumerate() {
            let owner = NewClient {
                id: id.clone(),
                realm: REALM.to_owned(),
                kind: ClientKind::Owner,
                identifier: format!("team_{n}"),
                roles: Vec::new(),
                plan: Some("growth".to_owned()),
                tenant: Some("acme".to_owned()),
                scopes: Some(vec!["orders:read".to_owned(), "orders:write".to_owned()]),
                attributes: Map::new(),
                password_phc: None,
                created_by: "bench".to_owned(),
                at: now,
            };
            write.create_client(&owner).await.expect("an owner");
        }
        write.commit().await.expect("a commit");
        Self { place, store, owners, digests: Vec::new(), hot: Vec::new() }
    }

    /// Imports keys until there are `size`.
    pub(crate) async fn grow_to(&mut self, size: usize) {
        let before = self.digests.len();
        let mut taken = Duration::ZERO;
        while self.digests.len() < size {
            let now = SystemClock.now();
            let first = self.digests.len();
            let keys: Vec<_> = (first..size.min(first + BATCH)).map(|n| self.key(n)).collect();
            let watch = Stopwatch::start();
            let mut write = self.store.begin().await.expect("a transaction");
            let imported = write.import_keys(REALM, &keys, "bench", now).await.expect("keys");
            write.commit().await.expect("a commit");
            taken += watch.elapsed();
            assert_eq!(imported.added, keys.len() as u64);
            self.digests.extend(keys.iter().map(|key| key.digest));
        }
        let added = size - before;
        println!("\n{size} keys");
        row("import", format!("{:.0} keys/s", added as f64 / taken.as_secs_f64()));
        row("on the disk", format!("{:.0} MB", self.place.bytes() as f64 / 1e6));
    }

    fn key(&mut self, n: usize) -> ImportedKey {
        let digest = if n < HOT {
            let text = PlainKey::generate(PREFIX).expect("randomness");
            let digest = text.digest();
            self.hot.push(text);
            digest
        } else {
            CredentialDigest::of(&n.to_be_bytes())
        };
        ImportedKey {
            digest,
            // Spread as in life: four characters.
            hint: digest.to_hex()[..4].to_owned(),
            prefix: PREFIX.to_owned(),
            owner_id: self.owners[n % OWNERS].clone(),
            name: format!("key {n}"),
            scopes: None,
            attributes: Map::new(),
            expires_at: n.is_multiple_of(2).then(|| SystemClock.now().plus(Duration::from_secs(90 * 86_400))),
        }
    }

    /// What is to take the same time at every size.
    pub(crate) async fn measure(&self) {
        let (store, size) = (&self.store, self.digests.len());
        // Far apart, each once while there are enough.
        let nth = |n: usize| n.wrapping_mul(7_368_787) % size;
        let find =
            |digest: CredentialDigest| async move { store.key_in_force(REALM, &digest).await.expect("an answer") };
        let known = latency(SAMPLES, |n| {
            let found = find(self.digests[nth(n)]);
            async { found.await.expect("it is there") }
        });
        row("key_in_force, known", known.await);
        row("key_in_force, unknown", latency(SAMPLES, |n| find(CredentialDigest::of(&(n as u32).to_le_bytes()))).await);

        let all = KeyFilter { realms: Some(vec![REALM.to_owned()]), ..KeyFilter::default() };
        let ids = self.some_ids(&all, nth).await;
        let newest = ids.iter().max().expect("keys").clone();
        let pages = |filter: KeyFilter, after: Option<String>| async move {
            let taken = latency(20, |_| async {
                store.keys(&filter, &Page { after: after.clone(), limit: 50 }).await.expect("a page")
            });
            taken.await
        };
        row("list, first page", pages(all.clone(), None).await);
        row("list, page at the far end", pages(all.clone(), Some(newest)).await);
        let owner_id = Some(self.owners[7].clone());
        row("list, by owner", pages(KeyFilter { owner_id, ..all.clone() }, None).await);
        row("list, by hint", pages(KeyFilter { hint: Some("0a1b".to_owned()), ..all.clone() }, None).await);
        let revoked = KeyFilter { status: Some(KeyStatus::Revoked), ..all.clone() };
        row("list, revoked", pages(revoked, None).await);
        let now = Some(SystemClock.now());
        row("list, unused", pages(KeyFilter { unused_since: now, ..all.clone() }, None).await);
        let soon = Some(SystemClock.now().plus(Duration::from_secs(86_400)));
        row("list, expiring (none)", pages(KeyFilter { expiring_before: soon, ..all }, None).await);

        let uses: Vec<_> = ids
            .iter()
            .map(|id| KeyUse { key_id: id.clone(), overlap: false, count: 1, at: SystemClock.now(), ip: None })
            .collect();
        let watch = Stopwatch::start();
        store.note_uses(&uses).await.expect("written");
        let each = watch.elapsed().as_secs_f64() * 1e6 / uses.len() as f64;
        row("uses, written together", format!("{each:.0} µs a key ({} keys)", uses.len()));

        let revoke = latency(20, |n| {
            let id = &ids[n];
            async move {
                let mut write = store.begin().await.expect("a transaction");
                assert!(write.revoke_key(id, Some("measured"), SystemClock.now()).await.expect("an answer"));
                write.audit(event(n));
                write.commit().await.expect("a commit")
            }
        });
        row("revoke, with its audit event", revoke.await);
        let feed = latency(200, |_| async { store.feed_span().await.expect("an answer") });
        row("feed, a look", feed.await);
        let watch = Stopwatch::start();
        store.realms().await.expect("an answer");
        row("realms, counted at start", format!("{:.1} ms", watch.elapsed().as_secs_f64() * 1e3));
    }

    /// Ids of keys all over the store.
    async fn some_ids(&self, filter: &KeyFilter, nth: impl Fn(usize) -> usize) -> Vec<String> {
        let mut ids = Vec::new();
        for n in 0..SAMPLES.min(self.digests.len()) {
            let found = self.store.key_in_force(REALM, &self.digests[nth(n)]).await.expect("an answer");
            ids.extend(found.filter(|found| found.key.status == KeyStatus::Active).map(|found| found.key.id));
        }
        ids.sort_unstable();
        ids.dedup();
        let page = Page { after: ids.last().cloned(), limit: 1 };
        let last = self.store.keys(filter, &page).await.expect("a page");
        ids.extend(last.into_iter().map(|key| key.id));
        ids
    }

    /// What takes longer the more there is.
    pub(crate) async fn measure_whole(&self) {
        println!("\nthe whole of it");
        let events = EVENTS.min(self.digests.len());
        let watch = Stopwatch::start();
        for first in (0..events).step_by(100) {
            let mut write = self.store.begin().await.expect("a transaction");
            (first..events.min(first + 100)).for_each(|n| write.audit(event(n)));
            write.commit().await.expect("a commit");
        }
        row(
            "audit events, 100 a transaction",
            format!("{:.0} a second", events as f64 / watch.elapsed().as_secs_f64()),
        );
        let watch = Stopwatch::start();
        let verdict = self.store.verify_audit().await.expect("a verdict");
        assert_eq!(verdict.broken, None);
        let rate = verdict.events as f64 / watch.elapsed().as_secs_f64();
        row("audit verify", format!("{rate:.0} a second ({} events)", verdict.events));
        let watch = Stopwatch::start();
        let health = self.store.check().await.expect("an answer");
        assert_eq!(health.problems, Vec::<String>::new());
        row("check", format!("{:.1} s", watch.elapsed().as_secs_f64()));
        let watch = Stopwatch::start();
        for (from, to) in [(REALM, "other"), ("other", REALM)] {
            let mut write = self.store.begin().await.expect("a transaction");
            let renamed = write.rename_realm(from, to, SystemClock.now()).await;
            match renamed {
                Ok(_) => _ = write.commit().await.expect("a commit"),
                Err(error) => {
                    row("rename of the realm", error);
                    return;
                }
            }
        }
        row("rename of the realm", format!("{:.1} s", watch.elapsed().as_secs_f64() / 2.0));
    }
}

/// One as the admin API makes them.
fn event(n: usize) -> AuditEntry {
    let detail = serde_json::json!({ "changes": { "name": ["continuous integration", "ci"] }, "n": n });
    AuditEntry {
        at: SystemClock.now(),
        realm: Some(REALM.to_owned()),
        actor_kind: "admin_token".to_owned(),
        actor_id: "adm_01KA9XW4V5N2J6M8Q0R3S7T9ZB".to_owned(),
        actor_ip: Some([127, 0, 0, 1].into()),
        action: "key.updated".to_owned(),
        target_kind: Some("key".to_owned()),
        target_id: Some(format!("key_{n:026}")),
        outcome: AuditOutcome::Ok,
        reason: None,
        request_id: None,
        detail: detail.as_object().cloned().unwrap_or_default(),
    }
}

pub(crate) fn row(what: &str, figure: impl Display) {
    println!("  {what:<34} {figure}");
}
