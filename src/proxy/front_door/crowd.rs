//! How many connections one address has, where that is limited.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections that arrive at the same time seldom wait for each other.
const PARTS: usize = 16;

type Part = Mutex<HashMap<IpAddr, u32>>;

/// Counts connections by address. It remembers those addresses only that have one, so connections bound it.
#[derive(Debug)]
pub struct Crowd {
    most: u32,
    parts: [Part; PARTS],
    hash: RandomState,
}

impl Crowd {
    /// At most so many of one address; 0 = any number, and nothing is counted.
    pub fn new(most: u32) -> Arc<Self> {
        Arc::new(Self { most, parts: Default::default(), hash: RandomState::new() })
    }

    /// Whether there is a limit at all.
    pub(super) fn limited(&self) -> bool {
        self.most > 0
    }

    /// A place for a connection of `address`; none where it has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = holder(address);
        let mut part = self.part(address);
        let count = part.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(part);
        Some(Place { crowd: Arc::clone(self), address })
    }

    fn part(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        let hash = self.hash.hash_one(address);
        let index = usize::try_from(hash % PARTS as u64).unwrap_or(0);
        let part = self.parts.get(index).unwrap_or(&self.parts[0]);
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom an address belongs to: a subscriber has a /64 of IPv6 at least, and may use all of it.
fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

/// A connection counts for as long as this lives.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut part = self.crowd.part(self.address);
        if let Some(count) = part.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                part.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn remembered(crowd: &Crowd) -> usize {
        crowd.parts.iter().map(|part| part.lock().unwrap().len()).sum()
    }

    #[test]
    fn an_address_has_as_many_places_as_it_may_and_gets_them_back() {
        let crowd = Crowd::new(2);
        let one = crowd.enter(ip("192.0.2.1")).unwrap();
        let _two = crowd.enter(ip("::ffff:192.0.2.1")).unwrap();
        assert!(crowd.enter(ip("192.0.2.1")).is_none());
        assert!(crowd.enter(ip("192.0.2.2")).is_some());
        drop(one);
        assert!(crowd.enter(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn a_network_of_a_subscriber_counts_as_one_address() {
        let crowd = Crowd::new(1);
        let _one = crowd.enter(ip("2001:db8::1")).unwrap();
        assert!(crowd.enter(ip("2001:db8::ffff:ffff:ffff:ffff")).is_none());
        assert!(crowd.enter(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn nothing_is_remembered_of_an_address_without_connections() {
        let crowd = Crowd::new(3);
        let places: Vec<_> = (0..1000_u32).map(|n| crowd.enter(IpAddr::V4(n.into())).unwrap()).collect();
        assert_eq!(remembered(&crowd), 1000);
        drop(places);
        assert_eq!(remembered(&crowd), 0);
    }
}
