//! What the admin API needs of the gateway that it is a part of.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::feed::Feed;
use crate::admin::api::Surroundings;
use crate::config::Problem;
use crate::explain::{self, Question};
use crate::gate::policy::Realm;
use crate::gate::verify::stored::StoredKeys;
use crate::proxy::Gateway;
use crate::reload::Reloader;
use crate::tokens::policy::Issuing;

/// A running gateway with a store.
pub(super) struct Here {
    pub(super) gateway: Arc<Gateway>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) keys: Arc<StoredKeys>,
    pub(super) feed: Arc<Feed>,
}

#[async_trait]
impl Surroundings for Here {
    fn realms(&self) -> Vec<Arc<Realm>> {
        self.gateway.live.load().snapshot.realms.clone()
    }

    fn issuing(&self) -> Arc<Issuing> {
        Arc::clone(&self.gateway.live.load().issuing)
    }

    fn generation(&self) -> Option<u64> {
        Some(self.gateway.live.load().snapshot.generation)
    }

    async fn reload(&self) -> Result<u64, Vec<String>> {
        let reloader = Arc::clone(&self.reloader);
        match tokio::task::spawn_blocking(move || reloader.reload_now()).await {
            Ok(Ok(generation)) => Ok(generation),
            Ok(Err(problems)) => Err(problems.0.iter().map(Problem::to_string).collect()),
            Err(_) => Err(vec!["the reload ended by a fault of the program; the configuration in force stays".into()]),
        }
    }

    async fn explain(&self, question: Value) -> Result<Value, String> {
        let question = Question::from_json(&question, self.gateway.clock.now())?;
        let live = self.gateway.live.load_full();
        Ok(explain::judge(&live.snapshot, Arc::clone(&self.keys), &question).await.to_json())
    }

    fn refused(&self, request_id: &str) -> Option<Value> {
        self.gateway.telemetry.refused(request_id)
    }

    async fn applied(&self, seq: i64) {
        self.feed.applied(seq).await;
    }

    async fn signing_keys_applied(&self, seq: i64) {
        self.feed.signing_keys_applied(seq).await;
    }

    /// A node that has lost the store answers from memory for so long; others learn of a change within a poll.
    fn propagation(&self) -> Duration {
        self.feed.max_staleness()
    }
}
