//! SIGTERM under load: who is told that the gateway ends, who is not, and what is never lost.

use std::sync::atomic::{AtomicBool, Ordering};

use super::House;
use super::load::{Seen, ask};
use crate::support::eventually;

/// Clients of each kind.
const CLIENTS: usize = 8;

#[test]
fn sigterm_under_load_fails_no_request_before_the_listeners_close_and_cuts_no_answer() {
    let (house, mut served) = House::new("shutdown_delay = \"500ms\"\nshutdown_grace = \"60s\"");
    let (stop, caller) = (AtomicBool::new(false), served.caller());
    let mut seen: Vec<Seen> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2 * CLIENTS)
            .map(|name| {
                let (caller, token, stop) = (&caller, &house.token, &stop);
                scope.spawn(move || ask(caller, token, name, name < CLIENTS, stop))
            })
            .collect();
        eventually("the load is on", || (house.upstream.requests().len() > 400).then_some(()));
        served.process.signal("TERM");
        eventually("readiness flips", || (served.admin_get("/readyz").status == 503).then_some(()));
        let before = house.upstream.requests().len();
        eventually("more is answered", || (house.upstream.requests().len() > before + 100).then_some(()));
        assert_eq!(served.process.wait(), 0);
        stop.store(true, Ordering::Relaxed);
        // A client that is sent half an answer, or another's, panics.
        clients.into_iter().map(|client| client.join().expect("every answer was whole and right")).collect()
    });
    let fresh = seen.split_off(CLIENTS);
    let kept = seen;
    let count = |seen: &[Seen], count: fn(&Seen) -> usize| Seen::sum(seen, count);
    println!(
        "SIGTERM: kept connections: {} answered, {} told to close, {} raced, {} failed; one each: {} answered, {} failed",
        count(&kept, |seen| seen.answered),
        count(&kept, |seen| seen.ended),
        count(&kept, |seen| seen.raced),
        count(&kept, |seen| seen.failed.len()),
        count(&fresh, |seen| seen.answered),
        count(&fresh, |seen| seen.failed.len()),
    );
    for client in kept.iter().chain(&fresh) {
        assert!(client.answered > 0 && client.refused, "each has asked until nobody listened: {client:?}");
        // What waits in the kernel's queue when the listener closes is reset with it: at most the last one of a client.
        assert!(client.failed.len() <= 1, "{client:?}");
    }
    let told = kept.iter().filter(|client| client.ended + client.raced + client.failed.len() > 0).count();
    assert_eq!(told, CLIENTS, "nobody's kept connection outlives the gateway");
    let targets: std::collections::HashSet<_> = house.upstream.requests().into_iter().map(|seen| seen.target).collect();
    let lost: Vec<_> =
        kept.iter().chain(&fresh).flat_map(|seen| &seen.failed).filter(|one| targets.contains(*one)).collect();
    assert!(lost.is_empty(), "an upstream has worked on them: {lost:?}");
    let all = count(&kept, |seen| seen.answered) + count(&fresh, |seen| seen.answered);
    assert_eq!(targets.len(), all, "each request was worked on once");
}
