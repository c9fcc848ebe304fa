//! The vigil over what goes on for long: while an exchange is open, the request that began it is judged again and again,
//! and the exchange ends when it would be refused by now.
//!
//! A tunnel, a stream of events and an answer to a gRPC call have a vigil from their start. Every other exchange gets one
//! when its answer begins, or a part of it passes, after [`PERIOD`]: most end long before, and cost nothing. A vigil takes a
//! task and a copy of the request's head, about 1 KiB and what the head takes; it ends with the exchange.

use std::collections::hash_map::RandomState;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderMap, Method};
use pingora::http::RequestHeader;
use tokio::task::AbortHandle;

use super::{Gateway, adapt, guard};
use crate::clock::UnixMillis;
use crate::gate::outcome::{Decision, Denial, Permit, Reason, Why};
use crate::gate::request::{Handshake, Request};
use crate::gate::trail::Trail;

/// An open exchange is judged again this often.
pub(super) const PERIOD: Duration = Duration::from_secs(5);

/// Tells everybody who works on an exchange that it is over, and why.
#[derive(Debug, Default)]
pub(super) struct End {
    verdict: OnceLock<Denial>,
    waker: Mutex<Option<Waker>>,
}

impl End {
    /// Why it is over; none as long as it is not.
    pub(super) fn verdict(&self) -> Option<&Denial> {
        self.verdict.get()
    }

    /// Ready when it is over. One task at a time is woken: the one that asked last.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.verdict.get().is_none() {
            let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        // After the waker is in its place: a verdict that came meanwhile is seen here, a later one wakes.
        if self.verdict.get().is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// It is over. Only the first time counts.
    pub(super) fn declare(&self, denial: Denial) {
        if self.verdict.set(denial).is_ok()
            && let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            waker.wake();
        }
    }
}

tokio::task_local! {
    /// Where a task works on a stream of HTTP/2: what breaks it off.
    static OF_STREAM: OnceLock<Arc<End>>;
}

/// Works on a stream of HTTP/2 until that is done, or what goes on there is over: none then, and the work is dropped.
pub(super) async fn until_over<T>(work: impl Future<Output = T>) -> Option<T> {
    let guarded = async {
        // It is asked after the work each time: an end that the work has named is waited for from then on.
        let over = poll_fn(|cx| OF_STREAM.with(|end| end.get().map_or(Poll::Pending, |end| end.poll(cx))));
        tokio::select! {
            biased;
            done = work => Some(done),
            () = over => None,
        }
    };
    OF_STREAM.scope(OnceLock::new(), guarded).await
}

/// From now on the stream that this task works on breaks off when `end` is declared. Only the first one counts. False: it
/// works on none.
pub(super) fn stream_ends_with(end: &Arc<End>) -> bool {
    OF_STREAM.try_with(|own| _ = own.get_or_init(|| Arc::clone(end))).is_ok()
}

/// The vigil over one exchange. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Vigil {
    end: Arc<End>,
    task: AbortHandle,
}

impl Vigil {
    /// Keeps a vigil over what is `watched`. The first look comes within a [`PERIOD`], at a moment of its own, so that many
    /// that begin together are not judged together.
    pub(super) fn keep(watched: Watched) -> Self {
        Self::begin(watched, any_part_of(PERIOD))
    }

    /// The same over what has been open for longer than a [`PERIOD`], and was not looked at: that is done at once.
    pub(super) fn keep_late(watched: Watched) -> Self {
        Self::begin(watched, Duration::ZERO)
    }

    /// The same, but the first look is waited for.
    pub(super) async fn look_and_keep(mut watched: Watched) -> Self {
        let verdict = watched.look().await;
        let vigil = Self::begin(watched, PERIOD);
        if let Some(denial) = verdict {
            vigil.end.declare(denial);
        }
        vigil
    }

    fn begin(watched: Watched, pause: Duration) -> Self {
        let end = Arc::<End>::default();
        let task = tokio::spawn(watched.watch(pause, Arc::clone(&end))).abort_handle();
        Self { end, task }
    }

    /// Tells of the end.
    pub(super) fn end(&self) -> &Arc<End> {
        &self.end
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn any_part_of(period: Duration) -> Duration {
    let millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(RandomState::new().build_hasher().finish().checked_rem(millis).unwrap_or(0))
}

fn expiry(permit: &Permit) -> Option<UnixMillis> {
    permit.identity().and_then(|identity| identity.expires)
}

fn place(permit: &Permit) -> (Arc<str>, Arc<str>) {
    (Arc::clone(&permit.realm().name), Arc::clone(&permit.route().name))
}

/// What has to be known to judge a request again.
pub(super) struct Watched {
    gateway: Arc<Gateway>,
    method: Method,
    target: Box<str>,
    host: Option<Box<str>>,
    headers: HeaderMap,
    peer: Option<IpAddr>,
    handshake: Option<Arc<Handshake>>,
    /// Names of its realm and its route.
    place: (Arc<str>, Arc<str>),
    /// The end of its credential, as it was told last.
    expires: Option<UnixMillis>,
}

impl Watched {
    /// The request that `header` told and `permit` allowed.
    pub(super) fn new(
        gateway: &Arc<Gateway>,
        header: &RequestHeader,
        permit: &Permit,
        peer: Option<IpAddr>,
        handshake: Option<&Arc<Handshake>>,
    ) -> Self {
        Self {
            gateway: Arc::clone(gateway),
            method: header.method.clone(),
            target: adapt::target(header).unwrap_or_default().into(),
            host: adapt::host(header).ok().flatten().map(Box::from),
            headers: header.headers.clone(),
            peer,
            handshake: handshake.cloned(),
            place: place(permit),
            expires: expiry(permit),
        }
    }

    async fn watch(mut self, mut pause: Duration, end: Arc<End>) {
        loop {
            tokio::time::sleep(pause).await;
            // Apart: what a decision takes is not held between the looks.
            if let Some(denial) = Box::pin(self.look()).await {
                return end.declare(denial);
            }
            pause = PERIOD;
        }
    }

    /// Judges the request as if it came now, by the configuration in force; nothing is counted or noted for it.
    async fn look(&mut self) -> Option<Denial> {
        let live = self.gateway.live.load_full();
        let (path, query) = adapt::split_query(&self.target);
        let request = Request {
            method: &self.method,
            path,
            query,
            host: self.host.as_deref(),
            headers: &self.headers,
            peer: self.peer,
            handshake: self.handshake.as_deref(),
            now: self.gateway.clock.now(),
        };
        let mut trail = Trail::of_open();
        match guard::contain(self.gateway.gate.decide(&live.snapshot, &request, &mut trail)).await {
            // Allowed or answered, but elsewhere: what is open does not lead there.
            Ok(Ok(Decision::Preflight(_))) => Some(Reason::NoRoute.into()),
            Ok(Ok(Decision::Forward(permit))) if self.place != place(&permit) => Some(Reason::NoRoute.into()),
            Ok(Ok(Decision::Forward(permit))) => {
                self.expires = expiry(&permit);
                None
            }
            Ok(Err(denial)) if !denial.reason.is_passing() => Some(denial),
            // An outage must not end everything that is open; but what is over by its own word is over.
            Ok(Err(_)) => {
                let over = self.expires.is_some_and(|expires| request.now >= expires);
                over.then(|| Denial::because(Reason::TokenExpired, Why::Expired))
            }
            Err(guard::Panicked) => Some(Denial::new(Reason::Internal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn an_end_wakes_whoever_waits_for_it_and_only_the_first_verdict_counts() {
        let (end, woken) = (End::default(), Arc::<Woken>::default());
        let waker = Waker::from(Arc::clone(&woken));
        assert_eq!(end.poll(&mut Context::from_waker(&waker)), Poll::Pending);
        assert_eq!(end.poll(&mut Context::from_waker(&waker)), Poll::Pending);
        end.declare(Reason::TokenExpired.into());
        end.declare(Reason::KeyRevoked.into());
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert_eq!(end.poll(&mut Context::from_waker(&waker)), Poll::Ready(()));
        assert_eq!(end.verdict().map(|denial| denial.reason), Some(Reason::TokenExpired));
    }

    #[tokio::test]
    async fn work_on_a_stream_is_dropped_when_it_is_over_and_not_before() {
        assert_eq!(until_over(async { 7 }).await, Some(7));
        let end = Arc::<End>::default();
        assert!(!stream_ends_with(&end), "there is no stream");
        let work = async {
            assert!(stream_ends_with(&end));
            tokio::task::yield_now().await;
            assert!(stream_ends_with(&Arc::default()), "the first one counts");
            std::future::pending::<()>().await;
        };
        let declare = async {
            tokio::task::yield_now().await;
            end.declare(Reason::KeyRevoked.into());
        };
        let (done, ()) = tokio::join!(until_over(work), declare);
        assert_eq!(done, None);
    }

    #[test]
    fn an_outage_and_a_limit_end_nothing() {
        for reason in Reason::ALL {
            let status = reason.public().status;
            assert_eq!(reason.is_passing(), matches!(status, 429 | 502..=504), "{reason}");
        }
    }

    #[test]
    fn first_looks_are_spread_over_the_period() {
        let pauses: Vec<_> = (0..64).map(|_| any_part_of(PERIOD)).collect();
        assert!(pauses.iter().all(|pause| *pause < PERIOD));
        assert!(pauses.iter().any(|pause| *pause < PERIOD / 2) && pauses.iter().any(|pause| *pause > PERIOD / 2));
    }

    /// See what the module says of memory. The fields of a head share their bytes with it; each takes about 100 besides.
    #[test]
    fn a_vigil_takes_little() {
        fn size<F, Task>(_: F) -> usize
        where
            F: Fn(Watched, Duration, Arc<End>) -> Task,
        {
            size_of::<Task>()
        }
        let taken = size(Watched::watch) + size_of::<End>() + size_of::<Denial>();
        assert!(taken <= 1024, "{taken}");
    }
}
