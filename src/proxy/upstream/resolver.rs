//! What is known of servers, whichever configuration is in force: their names' addresses, looked up in the background, so
//! that a request never waits for DNS; and how they fare.
//!
//! Names are asked for every ten seconds: the resolver of the system does not tell how long an answer holds (its TTL).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::member::{Crowd, Member};
use super::server::Server;
use crate::gate::policy::{ServerAddress, Snapshot};

/// How often names are asked for again.
const REFRESH: Duration = Duration::from_secs(10);
/// How long is waited for all names at start and at a reload, and for the answers of one refresh.
const PATIENCE: Duration = Duration::from_secs(3);

type Table<K, V> = HashMap<K, Arc<V>>;
/// A realm and an upstream of it.
type Name = (Arc<str>, Arc<str>);

/// All servers of the snapshots in use. Outlives reloads: a name that is known stays known.
#[derive(Debug, Default)]
pub struct Resolver {
    servers: Mutex<Table<ServerAddress, Server>>,
    members: Mutex<Table<(Name, ServerAddress), Member>>,
    crowds: Mutex<Table<Name, Crowd>>,
}

impl Resolver {
    /// Looks up what `snapshot` needs and is not known yet, and forgets what nobody uses any more. Returns when all is
    /// known, but after three seconds at the latest: what is still unknown then is a warning in the log, and its
    /// requests get 502 until [`Resolver::maintain`] finds it.
    pub async fn resolve_all(&self, snapshot: &Snapshot) {
        let upstreams = snapshot.realms.iter().flat_map(|realm| &realm.upstreams);
        let wanted: Vec<_> =
            upstreams.flat_map(|upstream| &upstream.servers).map(|server| self.server(&server.address)).collect();
        // One reference is the table's own. Members first: they hold servers.
        lock(&self.members).retain(|_, member| Arc::strong_count(member) > 1);
        lock(&self.crowds).retain(|_, crowd| Arc::strong_count(crowd) > 1);
        lock(&self.servers).retain(|_, server| Arc::strong_count(server) > 1);
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
        let mut table = lock(&self.servers);
        let server = table.entry(address.clone()).or_insert_with(|| Arc::new(Server::new(address)));
        Arc::clone(server)
    }

    /// The same as a member of an upstream of a realm.
    pub(super) fn member(&self, realm: &Arc<str>, upstream: &Arc<str>, address: &ServerAddress) -> Arc<Member> {
        let server = self.server(address);
        let mut table = lock(&self.members);
        let key = ((Arc::clone(realm), Arc::clone(upstream)), address.clone());
        let new = || Arc::new(Member::new(server, Arc::clone(realm), Arc::clone(upstream)));
        Arc::clone(table.entry(key).or_insert_with(new))
    }

    /// Those on their way to an upstream of a realm.
    pub(super) fn crowd(&self, realm: &Arc<str>, upstream: &Arc<str>) -> Arc<Crowd> {
        let mut table = lock(&self.crowds);
        Arc::clone(table.entry((Arc::clone(realm), Arc::clone(upstream))).or_default())
    }

    fn all(&self) -> Vec<Arc<Server>> {
        lock(&self.servers).values().cloned().collect()
    }
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn look_up(servers: impl Iterator<Item = Arc<Server>>) {
    // Each goes on where the wait ends.
    let running: Vec<_> = servers.map(|server| tokio::spawn(server.look_up())).collect();
    let all = async {
        for look_up in running {
            // A fault in one leaves its name as it was.
            look_up.await.ok();
        }
    };
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
