//! Guessing is slow: failures are counted by account and by address, in the store, so that all nodes count together.
//!
//! Unknown names are counted like known ones. An address from which the account has signed in before has a count of its
//! own: whoever locks an account from elsewhere does not lock out its owner. On one node, only as many tries at one account
//! are under way as may fail before it is locked: else many at once would all be judged by the count before any of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;
use super::{Ask, Inner, Service};
use crate::clock::UnixMillis;
use crate::store::{AttemptRule, Attempts, Write};

/// By account: the fifth failure locks for a second, each further one for twice as long.
const ACCOUNT: AttemptRule = AttemptRule {
    free: 5,
    first_lock: Duration::from_secs(1),
    longest_lock: Duration::from_secs(15 * 60),
    window: Duration::from_secs(3600),
};

/// By address: many people may share one.
const ADDRESS: AttemptRule = AttemptRule { free: 50, ..ACCOUNT };

/// An address counts as known so long after the last sign-in from there.
const KNOWN: Duration = Duration::from_secs(30 * 24 * 3600);

/// So many tries at one account may be under way or wait for their turn.
const MOST_WAITING: usize = 32;
/// And so long one may wait.
const PATIENCE: Duration = Duration::from_secs(3);
/// Whoever is too many may come again after that.
const SOON: Duration = Duration::from_secs(1);

/// Tries that are under way on this node.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    lanes: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to try once, and what the outcome is counted by.
pub(super) struct Turn<'a> {
    throttle: &'a Throttle,
    account: String,
    network: String,
    /// The plain key of the account, by which addresses are known.
    name: String,
    /// There is nothing to forgive, and the address is known already.
    clean: bool,
    lane: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.lane = None;
        let mut lanes = self.throttle.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.get(&self.account).is_some_and(|lane| Arc::strong_count(lane) == 1) {
            lanes.remove(&self.account);
        }
    }
}

/// What addresses are counted by: an IPv6 site has 2^64 of them.
fn network(ip: Option<IpAddr>) -> String {
    match ip.map(|ip| ip.to_canonical()) {
        None => "unknown".to_owned(),
        Some(ip @ IpAddr::V4(_)) => IpNet::from(ip).to_string(),
        Some(IpAddr::V6(ip)) => Ipv6Net::new(ip, 64).map_or_else(|_| ip.to_string(), |net| net.trunc().to_string()),
    }
}

impl<'a> Service<'a> {
    /// Waits for the turn to try a secret of `account`, a canonical identifier; refuses while it is locked.
    pub(super) async fn turn(self, account: &str) -> Result<Turn<'a>, Refusal> {
        let Inner { store, throttle, .. } = self.inner;
        let Ask { client_ip, now, .. } = self.ask;
        let name = format!("account:{account}");
        let network = network(*client_ip);
        let from_here = format!("{name}@{network}");
        let by_address = format!("address:{network}");
        let realm = &*self.realm.realm;
        let since = UnixMillis(now.0.saturating_sub(i64::try_from(KNOWN.as_millis()).unwrap_or(i64::MAX)));
        let keys = [name.as_str(), &from_here, &by_address];
        let seen = store.attempts(realm, &keys, (&name, &network), since).await?;
        let account = if seen.known_address { from_here.clone() } else { name.clone() };
        // An address that is known for this account is not held up by what others do there.
        locked(&seen.attempts, &account, &by_address, seen.known_address, *now)?;
        let (name, network) = (name.clone(), network.clone());
        let mut turn = Turn { throttle, account, network, name, clean: false, lane: None };
        turn.lane = Some(throttle.enter(&turn.account).await?);
        // Whoever was before may have locked it.
        let seen = store.attempts(realm, &keys, (&turn.name, &turn.network), since).await?;
        locked(&seen.attempts, &turn.account, &by_address, seen.known_address, *now)?;
        turn.clean = seen.known_address && seen.attempts.iter().all(|attempts| attempts.key != turn.account);
        Ok(turn)
    }
}

fn locked(
    attempts: &[Attempts],
    account: &str,
    address: &str,
    known_address: bool,
    now: UnixMillis,
) -> Result<(), Refusal> {
    let counts = |key: &str| key == account || (key == address && !known_address);
    let until = attempts.iter().filter(|attempts| counts(&attempts.key)).filter_map(|attempts| attempts.locked_until);
    match until.max().filter(|until| now < *until) {
        Some(until) => Err(Refusal::LockedOut(until.since(now))),
        None => Ok(()),
    }
}

impl Throttle {
    async fn enter(&self, account: &str) -> Result<OwnedSemaphorePermit, Refusal> {
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            let at_once = usize::try_from(ACCOUNT.free).unwrap_or(1);
            let lane = lanes.entry(account.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(at_once)));
            if Arc::strong_count(lane) > MOST_WAITING {
                return Err(Refusal::Overloaded(SOON));
            }
            Arc::clone(lane)
        };
        match tokio::time::timeout(PATIENCE, lane.acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| Refusal::Internal), // nobody closes it
            Err(_) => Err(Refusal::Overloaded(SOON)),
        }
    }
}

impl Turn<'_> {
    /// The try has failed: what the account's failures are now.
    pub(super) async fn failed(&self, write: &mut Write, realm: &str, now: UnixMillis) -> Result<Attempts, Refusal> {
        let by_account = write.note_failure(realm, &self.account, &ACCOUNT, now).await?;
        write.note_failure(realm, &format!("address:{}", self.network), &ADDRESS, now).await?;
        Ok(by_account)
    }

    /// Whether a good try has anything to write.
    pub(super) fn is_clean(&self) -> bool {
        self.clean
    }

    /// The try was good: the account's failures are forgotten, and its address is known from now on. Of the address's
    /// failures one is, if this account had any: nobody wipes them out by signing in to an account of their own.
    pub(super) async fn succeeded(&self, write: &mut Write, realm: &str, now: UnixMillis) -> Result<(), Refusal> {
        if self.clean {
            return Ok(());
        }
        if write.clear_failures(realm, &self.account).await? {
            write.forgive_one(realm, &format!("address:{}", self.network)).await?;
        }
        write.know_address(realm, &self.name, &self.network, now).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_site_count_together() {
        let of = |text: &str| network(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(of("2001:db8:1:2:ffff::1"), of("2001:db8:1:2::9"));
        assert_eq!(of("::ffff:203.0.113.9"), "203.0.113.9/32");
        assert_ne!(of("203.0.113.9"), of("203.0.113.10"));
        assert_eq!(network(None), "unknown");
    }

    #[tokio::test]
    async fn no_more_tries_at_one_account_are_under_way_than_may_fail() {
        let throttle = Throttle::default();
        let mut under_way = Vec::new();
        for _ in 0..ACCOUNT.free {
            under_way.push(throttle.enter("a").await.unwrap());
        }
        drop(throttle.enter("b").await.unwrap());
        let mut waiting: Vec<_> = (under_way.len()..MOST_WAITING).map(|_| Box::pin(throttle.enter("a"))).collect();
        for one in &mut waiting {
            assert!(tokio::time::timeout(Duration::from_millis(1), one).await.is_err());
        }
        assert_eq!(throttle.enter("a").await.err(), Some(Refusal::Overloaded(SOON)));
        under_way.clear();
        drop(waiting.remove(0).await.unwrap());
    }
}
