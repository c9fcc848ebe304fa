//! Whose turn it is: arithmetic only. No locks, no allocation.

use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv6Addr};

use foldhash::quality::FixedState;

/// How often each of `weights` comes in a round, spread as evenly as can be (the smooth weighted round robin of nginx):
/// the round, as indices. Empty where all weights are 0.
pub(super) fn round(weights: &[u16]) -> Box<[u8]> {
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, *weight)).max(1);
    let weights: Vec<i32> = weights.iter().map(|weight| i32::from(weight / divisor)).collect();
    let total: i32 = weights.iter().sum();
    let mut credit = vec![0; weights.len()];
    let mut round = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
    for _ in 0..total {
        for (credit, weight) in credit.iter_mut().zip(&weights) {
            *credit += weight;
        }
        // The first of the richest.
        let Some((index, richest)) = credit.iter_mut().enumerate().rev().max_by_key(|(_, credit)| **credit) else {
            break;
        };
        *richest -= total;
        round.extend(u8::try_from(index));
    }
    round.into()
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One of `weights`, each as often as it is heavy; `turn` counts up.
pub(super) fn share(weights: impl Iterator<Item = (usize, u16)> + Clone, turn: usize) -> Option<usize> {
    let total: u64 = weights.clone().map(|(_, weight)| u64::from(weight)).sum();
    // Scattered: neighbours in the count are none in the round.
    let mut at = FixedState::with_seed(0).hash_one(turn).checked_rem(total)?;
    for (index, weight) in weights {
        match at.checked_sub(u64::from(weight)) {
            Some(rest) => at = rest,
            None => return Some(index),
        }
    }
    None
}

/// What a client is known by. The last half of an IPv6 address is the client's to choose.
pub(super) fn key(client: Option<IpAddr>) -> u64 {
    let client = client.map(|client| match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    });
    hash(client)
}

/// The same for the same value in every process of every machine: gateways beside each other choose alike.
pub(super) fn hash(value: impl Hash) -> u64 {
    FixedState::with_seed(0).hash_one(value)
}

/// How much a client (`key`) is drawn to a server (`seed`) of this weight: weighted rendezvous hashing. The highest wins;
/// when that one is lost, its clients go to their next ones, and nobody else moves.
pub(super) fn attraction(key: u64, seed: u64, weight: u16) -> f64 {
    let mixed = hash((key, seed)) >> 11;
    // 53 bits: exact, and never 0 or 1.
    #[allow(clippy::cast_precision_loss)]
    let unit = (mixed as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(weight) / unit.ln()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_round_keeps_the_weights_and_spreads_them() {
        assert_eq!(*round(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*round(&[1, 1]), [0, 1]);
        assert_eq!(*round(&[1000, 1000, 500]), [0, 1, 2, 0, 1]);
        assert_eq!(*round(&[0, 3]), [1]);
        assert_eq!(round(&[0, 0]).len(), 0);
        let uneven = round(&[1000, 999]);
        assert_eq!((uneven.len(), uneven.iter().filter(|index| **index == 0).count()), (1999, 1000));
    }

    #[test]
    fn a_share_is_as_large_as_the_weight() {
        let mut counts = [0_usize; 3];
        for turn in 0..10_000 {
            counts[share([(0, 1), (2, 3)].into_iter(), turn).unwrap()] += 1;
        }
        assert!(counts[1] == 0 && (2_300..2_700).contains(&counts[0]), "{counts:?}");
        assert_eq!(share(std::iter::empty(), 7), None);
        assert_eq!(share([(0, 0)].into_iter(), 7), None);
    }

    fn home(client: u32, servers: &[(u64, u16)]) -> u64 {
        let key = key(Some(IpAddr::from(client.to_be_bytes())));
        let drawn = |server: &(u64, u16)| attraction(key, server.0, server.1);
        servers.iter().max_by(|a, b| drawn(a).total_cmp(&drawn(b))).unwrap().0
    }

    #[test]
    fn clients_spread_by_weight_and_only_those_of_a_lost_server_move() {
        let all = [(11, 1), (22, 1), (33, 2)];
        let before: Vec<_> = (0..8_000).map(|client| home(client, &all)).collect();
        let count = |server| before.iter().filter(|home| **home == server).count();
        assert!((1_800..2_200).contains(&count(11)) && (3_700..4_300).contains(&count(33)), "{}", count(33));
        let mut moved = HashMap::new();
        for (client, before) in (0..8_000).zip(&before) {
            let after = home(client, &all[..2]);
            assert!(after == *before || *before == 33);
            *moved.entry(after).or_insert(0) += usize::from(*before == 33);
        }
        assert!(moved.values().all(|count| *count > 1_500), "the lost server's clients are shared: {moved:?}");
    }

    #[test]
    fn a_client_is_its_network_and_not_how_its_address_is_written() {
        let key = |text: &str| key(Some(text.parse().unwrap()));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }
}
