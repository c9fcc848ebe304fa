//! Where allowed requests go: which server, and how a connection to one is made and verified. Prepared with a snapshot; a
//! request only copies. Which upstream a request may reach is the gate's business.

mod balance;
mod checks;
pub(super) mod fault;
mod member;
mod resolver;
mod server;
mod shared;
mod template;
mod tunnel;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::upstreams::peer::HttpPeer;

pub use checks::Checks;
pub(super) use member::{Flight, Member, Seat};
pub use resolver::Resolver;
pub(super) use tunnel::Agreed;

use crate::clock::UnixMillis;
use crate::gate::outcome::Permit;
use crate::gate::policy::{Balance, Ejection, Protocol, Snapshot, Timeouts, Upstream};
use checks::Examiner;
use member::Crowd;
use server::Wanted;

/// The upstreams of a snapshot, ready to be connected to.
#[derive(Debug)]
pub struct Upstreams(Box<[Box<[Target]>]>);

/// How a server of an upstream fares, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// The realm.
    pub realm: Arc<str>,
    /// The upstream.
    pub upstream: Arc<str>,
    /// The server, as configured.
    pub server: Box<str>,
    /// Whether requests go there first: checks, if there are any, find it well, it does not fail requests, and an address of
    /// it is known that could be connected to, as far as it was tried.
    pub healthy: bool,
}

impl Upstreams {
    /// Prepares the upstreams of `snapshot`. Names are looked up by [`Resolver::resolve_all`], before this or later.
    pub fn prepare(snapshot: &Snapshot, resolver: &Resolver) -> Self {
        let of = |realm: &Arc<str>, upstreams: &[Arc<Upstream>]| {
            upstreams.iter().map(|upstream| Target::new(realm, upstream, resolver)).collect()
        };
        Self(snapshot.realms.iter().map(|realm| of(&realm.name, &realm.upstreams)).collect())
    }

    /// Where the permitted request goes.
    pub(super) fn of(&self, permit: &Permit) -> Option<&Target> {
        self.0.get(permit.realm().index)?.get(permit.route().upstream.as_ref()?.index)
    }

    /// How every server fares at `now`, in the order of the configuration.
    pub fn states(&self, now: UnixMillis) -> Vec<ServerState> {
        let targets = self.0.iter().flatten();
        targets.flat_map(|target| target.slots.iter().map(|slot| target.state(slot, now))).collect()
    }

    /// The servers that are to be checked, and how.
    fn examined(&self) -> Vec<(Arc<Member>, Arc<Examiner>)> {
        let mut examined = Vec::new();
        for target in self.0.iter().flatten() {
            let Some(examiner) = &target.examiner else { continue };
            // Who gets no requests is not asked how it is.
            let asked = target.slots.iter().filter(|slot| slot.weight > 0);
            examined.extend(asked.map(|slot| (Arc::clone(&slot.member), Arc::clone(examiner))));
        }
        examined
    }
}

/// One upstream.
#[derive(Debug)]
pub(super) struct Target {
    turn: AtomicUsize,
    slots: Box<[Slot]>,
    /// Indices of `slots`, as they take turns.
    round: Box<[u8]>,
    balance: Balance,
    ejection: Option<Ejection>,
    most: Option<u32>,
    crowd: Arc<Crowd>,
    /// Of all upstreams together, and how many it may be.
    everybody: (Arc<Crowd>, Option<u32>),
    template: Option<HttpPeer>,
    /// Whether requests share connections.
    shared: bool,
    examiner: Option<Arc<Examiner>>,
}

/// A server and its share.
#[derive(Debug)]
struct Slot {
    member: Arc<Member>,
    weight: u16,
    seed: u64,
}

/// What the choice of a server depends on.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// How long is waited.
    pub(super) timeouts: Timeouts,
    /// The time.
    pub(super) now: UnixMillis,
    /// Who asks.
    pub(super) client: Option<IpAddr>,
    /// Servers that this request has been sent to, as bits: others come first.
    pub(super) tried: u64,
    /// Of a request for a WebSocket: whether there is a tunnel. Its answer is waited for as for any other until then.
    pub(super) tunnel: Option<Agreed>,
}

/// A server for a request, and how to connect to it.
pub(super) struct Chosen<'t> {
    /// Its bit in [`Call::tried`].
    pub(super) bit: u64,
    /// The server.
    pub(super) member: &'t Arc<Member>,
    /// The connection.
    pub(super) peer: Box<HttpPeer>,
}

/// How gladly a server is taken; the first is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Nothing speaks against it.
    Sound,
    /// This request was sent to it before.
    Tried,
    /// It fails requests, or none of its addresses could be connected to lately.
    Doubtful,
    /// Both.
    DoubtfulAndTried,
}

impl Target {
    fn new(realm: &Arc<str>, upstream: &Upstream, resolver: &Resolver) -> Self {
        let slot = |server: &crate::gate::policy::UpstreamServer| Slot {
            member: resolver.member(realm, &upstream.name, &server.address),
            weight: server.weight,
            seed: balance::hash(&server.address),
        };
        // More than that the configuration lets nobody have; and none is more than there are bits for.
        let slots: Box<[_]> = upstream.servers.iter().take(Upstream::MOST_SERVERS).map(slot).collect();
        let template = match template::template(upstream.tls.as_ref(), upstream.protocol) {
            Ok(template) => Some(template),
            Err(fault) => {
                tracing::error!(
                    upstream = &*upstream.name,
                    fault,
                    "an upstream cannot be verified; its requests get 502"
                );
                None
            }
        };
        let examiner = template.as_ref().and_then(|template| Examiner::of(upstream, template)).map(Arc::new);
        if examiner.is_none() {
            // Nobody would ever find it well again.
            slots.iter().for_each(|slot| slot.member.turn(true, "it is not checked any more"));
        }
        let weights: Vec<_> = slots.iter().map(|slot| slot.weight).collect();
        Self {
            turn: AtomicUsize::new(0),
            round: balance::round(&weights),
            slots,
            balance: upstream.balance,
            ejection: upstream.ejection.clone(),
            most: upstream.max_connections,
            crowd: resolver.crowd(realm, &upstream.name),
            everybody: resolver.everybody(),
            template,
            shared: upstream.protocol == Protocol::Http2,
            examiner,
        }
    }

    /// Whether there is a server to connect to.
    pub(super) fn reachable(&self) -> bool {
        self.template.is_some() && self.slots.iter().any(|slot| slot.usable() && slot.member.server.resolved())
    }

    /// A place for another request on its way, and one among all that are on their way anywhere; none when there are as
    /// many as may be.
    pub(super) fn seat(&self) -> Option<(Seat, Seat)> {
        let (everybody, most) = &self.everybody;
        Some((self.crowd.enter(self.most)?, everybody.enter(*most)?))
    }

    /// The server for a request, and how to connect to it. None while no name is resolved, or none is healthy.
    pub(super) fn next(&self, call: Call) -> Option<Chosen<'_>> {
        let template = self.template.as_ref()?;
        let (index, address) = self.choose(&call)?;
        let member = &self.slots.get(index)?.member;
        let mut peer = Box::new(template.clone());
        peer._address = address;
        peer.options.connection_timeout = call.timeouts.connect;
        peer.options.total_connection_timeout = call.timeouts.connect;
        peer.options.read_timeout = call.timeouts.read;
        peer.options.write_timeout = call.timeouts.write;
        peer.options.idle_timeout = call.timeouts.idle;
        if self.shared {
            peer.group_key ^= member.server.shared().key();
        }
        if let Some(agreed) = call.tunnel {
            // On a connection of its own, and in HTTP/1.1: only that can be upgraded here.
            peer.options.set_http_version(1, 1);
            peer.options.custom_l4 = Some(Arc::new(tunnel::Unhurried { patience: call.timeouts.read, agreed }));
            peer.options.read_timeout = call.timeouts.tunnel;
            peer.options.idle_timeout = Some(Duration::ZERO);
            // Those that wait for other requests are not of its kind.
            peer.group_key = !peer.group_key;
        }
        Some(Chosen { bit: 1 << index, member, peer })
    }

    fn choose(&self, call: &Call) -> Option<(usize, PeerAddress)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let wanted = match self.balance {
            Balance::RoundRobin | Balance::LeastConnections => {
                Wanted::Turn(turn.checked_div(self.round.len()).unwrap_or(turn))
            }
            Balance::HashAddress => Wanted::For(balance::key(call.client)),
        };
        let judge = |index: usize| self.judge(index, wanted, call);
        // Mostly the one whose turn it is will do, and nobody else has to be looked at.
        let next =
            turn.checked_rem(self.round.len()).and_then(|at| self.round.get(at)).map(|index| usize::from(*index));
        if self.balance == Balance::RoundRobin
            && let Some(index) = next
            && let Some((Rank::Sound, address)) = judge(index)
        {
            return Some((index, address));
        }
        let ranks: [Option<Rank>; Upstream::MOST_SERVERS] = std::array::from_fn(|index| judge(index).map(|it| it.0));
        let best = ranks.iter().flatten().min()?;
        let slots = self.slots.iter().zip(&ranks).enumerate();
        let among = slots.filter(|(_, (_, rank))| rank.as_ref() == Some(best)).map(|(index, (slot, _))| (index, slot));
        let index = match (self.balance, wanted) {
            (Balance::HashAddress, Wanted::For(key)) => {
                let drawn = |slot: &Slot| balance::attraction(key, slot.seed, slot.weight);
                among.max_by(|(_, a), (_, b)| drawn(a).total_cmp(&drawn(b)))?.0
            }
            (Balance::LeastConnections, _) => {
                let first = next.unwrap_or(0);
                let distance = |index: usize| index.wrapping_sub(first).checked_rem(self.slots.len()).unwrap_or(index);
                among.min_by(|(a, one), (b, other)| one.load(other).then(distance(*a).cmp(&distance(*b))))?.0
            }
            (Balance::RoundRobin | Balance::HashAddress, _) => {
                balance::share(among.map(|(index, slot)| (index, slot.weight)), turn)?
            }
        };
        Some((index, judge(index)?.1))
    }

    /// How gladly a server is taken, and which address of it; none: not at all.
    fn judge(&self, index: usize, wanted: Wanted, call: &Call) -> Option<(Rank, PeerAddress)> {
        let slot = self.slots.get(index).filter(|slot| slot.usable())?;
        let (address, sound) = slot.member.server.address(wanted, call.now)?;
        let sound = sound && !slot.member.is_left_alone(call.now, self.ejection.as_ref());
        let rank = match (sound, call.tried & (1 << index) != 0) {
            (true, false) => Rank::Sound,
            (true, true) => Rank::Tried,
            (false, false) => Rank::Doubtful,
            (false, true) => Rank::DoubtfulAndTried,
        };
        Some((rank, address))
    }

    fn state(&self, slot: &Slot, now: UnixMillis) -> ServerState {
        let member = &slot.member;
        let address = member.server.address(Wanted::Turn(0), now);
        let healthy = member.up()
            && !member.is_left_alone(now, self.ejection.as_ref())
            && address.is_some_and(|(_, sound)| sound);
        let (realm, upstream) = (Arc::clone(&member.realm), Arc::clone(&member.upstream));
        ServerState { realm, upstream, server: member.label().into(), healthy }
    }
}

impl Slot {
    /// Whether it may get requests at all.
    fn usable(&self) -> bool {
        self.weight > 0 && self.member.up()
    }

    /// Which of two has less to do, for its weight, if it got this request too.
    fn load(&self, other: &Self) -> std::cmp::Ordering {
        let work = |slot: &Self| slot.member.in_flight().saturating_add(1);
        let weighed = |slot: &Self, other: &Self| work(slot).saturating_mul(usize::from(other.weight));
        weighed(self, other).cmp(&weighed(other, self))
    }
}

#[cfg(test)]
mod tests;
