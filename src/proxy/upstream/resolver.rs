//! Names of upstream servers to addresses, in the background: a request never waits for DNS.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::server::Server;
use crate::gate::policy::{ServerAddress, Snapshot};

/// How often names are asked for again.
const REFRESH: Duration = Duration::from_secs(10);
/// How long is waited for all names at start and at a reload, and for the answers of one refresh.
const PATIENCE: Duration = Duration::from_secs(3);

/// All servers of the snapshots in use. Outlives reloads: a name that is known stays known.
#[derive(Debug, Default)]
pub struct Resolver {
    servers: Mutex<HashMap<ServerAddress, Arc<Server>>>,
}

impl Resolver {
    /// Looks up what `snapshot` needs and is not known yet, and forgets what nobody uses any more. Returns when all is
    /// known, but after three seconds at the latest: what is still unknown then is a warning in the log, and its
    /// requests get 502 until [`Resolver::maintain`] finds it.
    pub async fn resolve_all(&self, snapshot: &Snapshot) {
        let upstreams = snapshot.realms.iter().flat_map(|realm| &realm.upstreams);
        let wanted: Vec<_> =
            upstreams.flat_map(|upstream| &upstream.servers).map(|address| self.server(address)).collect();
        // One reference is the table's own.
        self.table().retain(|_, server| Arc::strong_count(server) > 1);
        let unknown = self.all().into_iter().filter(|server| !server.resolved());
        look_up(unknown).await;
        let missing: Vec<_> = wanted.iter().filter(|server| !server.resolved()).map(|server| server.label()).collect();
        if !missing.is_empty() {
            tracing::warn!(servers = ?missing, "upstream servers have no address yet; their requests get 502");
        }
    }

    /// Asks for all names again and again; runs until dropped. Belongs in the runtime for background work.
    pub async fn maintain(&self) {
        loop {
            tokio::time::sleep(REFRESH).await;
            look_up(self.all().into_iter().filter(|server| !server.is_literal())).await;
        }
    }

    /// The server at `address`, new or known.
    pub(super) fn server(&self, address: &ServerAddress) -> Arc<Server> {
        let mut table = self.table();
        let server = table.entry(address.clone()).or_insert_with(|| Arc::new(Server::new(address)));
        Arc::clone(server)
    }

    fn all(&self) -> Vec<Arc<Server>> {
        self.table().values().cloned().collect()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<ServerAddress, Arc<Server>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look_up(servers: impl Iterator<Item = Arc<Server>>) {
    let mut running: JoinSet<()> = servers.map(Server::look_up).collect();
    let all = async { while running.join_next().await.is_some() {} };
    if timeout(PATIENCE, all).await.is_err() {
        tracing::warn!("some names of upstream servers were not answered in time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str) -> ServerAddress {
        ServerAddress { host: host.into(), port: 8080 }
    }

    #[test]
    fn a_known_server_is_shared() {
        let resolver = Resolver::default();
        assert!(Arc::ptr_eq(&resolver.server(&at("a")), &resolver.server(&at("a"))));
        assert!(!Arc::ptr_eq(&resolver.server(&at("a")), &resolver.server(&at("b"))));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_resolved() {
        let server = Arc::new(Server::new(&at("localhost")));
        assert!(!server.resolved());
        look_up(std::iter::once(Arc::clone(&server))).await;
        assert!(server.resolved());
    }
}
