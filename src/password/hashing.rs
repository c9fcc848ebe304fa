//! The pool in which passwords are hashed: as many at once as half the cores, some more that wait, and no others.
//!
//! A hash of now takes 19 MiB, and one seat. So the pool takes seats × 19 MiB at most; a thread for each seat sees to it
//! that no more stays behind, either ([`super::workers`]). Hashes that were made elsewhere
//! take as many seats as they need times 19 MiB, or all of them: where such were imported that need more than the
//! whole pool (256 MiB at most), one of them is computed alone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Attempted;
use super::phc::{Phc, Stored};
use super::workers::Workers;

/// How many may wait for a seat.
pub const QUEUE: usize = 64;

/// So long somebody waits for a seat.
const PATIENCE: Duration = Duration::from_secs(5);

/// By then the queue has moved on.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Why there is no hash, or no comparison with one. Says nothing about the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashFault {
    /// Too many want one.
    #[error("too many passwords are being hashed")]
    Busy {
        /// After so long it is worth asking again.
        retry_after: Duration,
    },
    /// The system has no randomness to give.
    #[error("the system gives no randomness")]
    NoRandomness,
    /// The hash could not be computed, for want of memory or of a thread.
    #[error("the password cannot be hashed now")]
    Failed,
    /// What is stored is no hash that is understood, or too dear a one.
    #[error("the stored hash is none")]
    Malformed,
}

/// Hashes passwords, off the threads that ask. Clones share the pool.
#[derive(Clone)]
pub struct Hasher {
    pool: Arc<Pool>,
}

struct Pool {
    seats: Arc<Semaphore>,
    workers: Workers,
    total: u32,
    waiting: AtomicUsize,
    queue: usize,
    dummy: Stored,
    current: AtomicU64,
    foreign: AtomicU64,
    taken: AtomicUsize,
    most_taken: AtomicUsize,
}

/// What a [`Hasher`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Hashes with the parameters of now.
    pub current: u64,
    /// Hashes of other algorithms or parameters.
    pub foreign: u64,
    /// Most seats that were taken at once.
    pub most_seats: usize,
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl Hasher {
    /// A pool for this machine: a seat for every two cores, [`QUEUE`] that wait.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::sized(cores / 2, QUEUE)
    }

    /// A pool with so many seats (one at least) where so many wait.
    pub fn sized(seats: usize, queue: usize) -> Self {
        let total = u32::try_from(seats.clamp(1, 1024)).unwrap_or(1);
        let pool = Pool {
            seats: Arc::new(Semaphore::new(seats.clamp(1, 1024))),
            workers: Workers::new(total),
            total,
            waiting: AtomicUsize::new(0),
            queue,
            dummy: Stored::dummy(),
            current: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
            taken: AtomicUsize::new(0),
            most_taken: AtomicUsize::new(0),
        };
        Self { pool: Arc::new(pool) }
    }

    /// What is stored: argon2id with 19 MiB, two passes, one lane and a salt of its own, as a PHC string.
    ///
    /// # Errors
    /// See [`HashFault`].
    pub async fn hash(&self, password: &Attempted) -> Result<Phc, HashFault> {
        let password = password.clone();
        self.seated(1, move |pool| {
            pool.current.fetch_add(1, Ordering::Relaxed);
            Stored::make(password.expose().as_bytes())
        })
        .await
    }

    /// Whether this is the password that `phc` was made of. None: there is nobody to have one, and the answer is no.
    ///
    /// However it ends, one hash of now is computed, so that a stopwatch cannot tell who is known. A hash of another
    /// algorithm or other parameters is computed besides: whoever has such a one is told by it, if by anything, for as
    /// long as it takes more time than that ([`super::needs_rehash`]) — never because it takes less.
    ///
    /// # Errors
    /// See [`HashFault`]; then nothing is known about the password.
    pub async fn verify(&self, password: &Attempted, phc: Option<&Phc>) -> Result<bool, HashFault> {
        let stored = phc.map(|phc| Stored::read(phc.expose()).map_err(|_| HashFault::Malformed)).transpose();
        let seats = stored.as_ref().ok().and_then(Option::as_ref).map_or(1, |stored| stored.scheme.seats());
        let password = password.clone();
        self.seated(seats, move |pool| pool.compare(password.expose().as_bytes(), stored)).await
    }

    /// What was done so far.
    pub fn work(&self) -> Work {
        Work {
            current: self.pool.current.load(Ordering::Relaxed),
            foreign: self.pool.foreign.load(Ordering::Relaxed),
            most_seats: self.pool.most_taken.load(Ordering::Relaxed),
        }
    }

    /// Does slow work where it may block, when there are seats. The seats go with the work: whoever stops waiting for
    /// it does not free a core that is still at it.
    async fn seated<T: Send + 'static>(
        &self,
        seats: u32,
        work: impl FnOnce(&Pool) -> Result<T, HashFault> + Send + 'static,
    ) -> Result<T, HashFault> {
        let seats = seats.clamp(1, self.pool.total);
        let seat = self.pool.seat(seats).await?;
        let pool = Arc::clone(&self.pool);
        let (tell, told) = oneshot::channel();
        self.pool.workers.give(Box::new(move || {
            let outcome = {
                let _seat = seat;
                let _taken = Taken::new(&pool, usize::try_from(seats).unwrap_or(1));
                work(&pool)
            };
            drop(pool);
            tell.send(outcome).ok(); // nobody may be waiting any more
        }))?;
        told.await.map_err(|_| HashFault::Failed)?
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("seats", &self.pool.total).field("work", &self.work()).finish_non_exhaustive()
    }
}

impl Pool {
    /// Waits for seats, as long as that is bearable.
    async fn seat(&self, seats: u32) -> Result<OwnedSemaphorePermit, HashFault> {
        if let Ok(seat) = Arc::clone(&self.seats).try_acquire_many_owned(seats) {
            return Ok(seat);
        }
        let busy = HashFault::Busy { retry_after: RETRY_AFTER };
        let _waiting = Waiting::in_line(&self.waiting, self.queue).ok_or(busy)?;
        let seat = tokio::time::timeout(PATIENCE, Arc::clone(&self.seats).acquire_many_owned(seats)).await;
        seat.map_err(|_| busy)?.map_err(|_| HashFault::Failed)
    }

    fn compare(&self, password: &[u8], stored: Result<Option<Stored>, HashFault>) -> Result<bool, HashFault> {
        let (known, current) = match stored {
            Ok(None) => (Ok(false), false),
            Err(fault) => (Err(fault), false),
            Ok(Some(stored)) => {
                let current = stored.is_current();
                let count = if current { &self.current } else { &self.foreign };
                count.fetch_add(1, Ordering::Relaxed);
                (stored.fits(password), current)
            }
        };
        if !current {
            self.current.fetch_add(1, Ordering::Relaxed);
            std::hint::black_box(self.dummy.fits(password))?;
        }
        known
    }
}

/// A place in the line.
struct Waiting<'p>(&'p AtomicUsize);

impl<'p> Waiting<'p> {
    /// None: the line is full.
    fn in_line(count: &'p AtomicUsize, most: usize) -> Option<Self> {
        let place = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) < most { Some(place) } else { None }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Seats while they are worked on.
struct Taken<'p> {
    pool: &'p Pool,
    seats: usize,
}

impl<'p> Taken<'p> {
    fn new(pool: &'p Pool, seats: usize) -> Self {
        let now = pool.taken.fetch_add(seats, Ordering::Relaxed) + seats;
        pool.most_taken.fetch_max(now, Ordering::Relaxed);
        Self { pool, seats }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.pool.taken.fetch_sub(self.seats, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A cheap one, of bcrypt, made of `a`.
    const FOREIGN: &str = "$2b$04$8YG7Yg5bDp1N.2.BVBimrekKfckAilkbE/joXpI0TChldxPJoNabC";

    fn attempted(text: &str) -> Attempted {
        Attempted::new(text.to_owned()).unwrap()
    }

    fn work(current: u64, foreign: u64, most_seats: usize) -> Work {
        Work { current, foreign, most_seats }
    }

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_no_other_does() {
        let hasher = Hasher::new();
        let password = attempted("correct horse battery staple \u{fc}");
        let phc = hasher.hash(&password).await.unwrap();
        assert!(!phc.expose().contains("horse"), "{}", phc.expose());
        assert_eq!(hasher.verify(&password, Some(&phc)).await, Ok(true));
        assert_eq!(hasher.verify(&attempted("correct horse battery staple u"), Some(&phc)).await, Ok(false));
        assert_ne!(hasher.hash(&password).await.unwrap(), phc);
        assert_eq!(hasher.work(), work(4, 0, 1));
    }

    #[tokio::test]
    async fn every_answer_takes_one_hash_of_now_whoever_is_known() {
        let hasher = Hasher::sized(1, 1);
        let current = hasher.hash(&attempted("a")).await.unwrap();
        assert_eq!(hasher.verify(&attempted("a"), None).await, Ok(false));
        assert_eq!(hasher.work(), work(2, 0, 1));
        assert_eq!(hasher.verify(&attempted("a"), Some(&current)).await, Ok(true));
        assert_eq!(hasher.verify(&attempted("b"), Some(&current)).await, Ok(false));
        assert_eq!(hasher.work(), work(4, 0, 1));
        let foreign = Phc::stored(FOREIGN);
        assert_eq!(hasher.verify(&attempted("a"), Some(&foreign)).await, Ok(true));
        assert_eq!(hasher.verify(&attempted("b"), Some(&foreign)).await, Ok(false));
        assert_eq!(hasher.work(), work(6, 2, 1));
        for no_hash in ["", "hunter2", "$argon2id$v=19$m=4194304,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert_eq!(hasher.verify(&attempted("a"), Some(&Phc::stored(no_hash))).await, Err(HashFault::Malformed));
        }
        assert_eq!(hasher.work(), work(9, 2, 1));
    }

    #[tokio::test]
    async fn no_more_are_hashed_at_once_than_there_are_seats() {
        let hasher = Hasher::sized(2, 64);
        let running: Vec<_> = (0..12)
            .map(|_| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.verify(&attempted("a"), None).await })
            })
            .collect();
        for one in running {
            assert_eq!(one.await.unwrap(), Ok(false));
        }
        assert_eq!(hasher.work(), work(12, 0, 2));
    }

    #[tokio::test]
    async fn what_needs_more_memory_takes_more_seats_or_all_of_them() {
        // 40 MiB of scrypt: three seats. 64 MiB: four. Nothing fits; it is the memory that counts.
        let dear = "$scrypt$ln=15,r=10,p=1$EJ4AAQIDBAUGBwgJCgsMDQ$7IODqJw7l/HwccgSkfGGMuPkS24Dm1Jn20lW4XC3/TQ";
        let dearer = "$scrypt$ln=16,r=8,p=1$EJ4AAQIDBAUGBwgJCgsMDQ$7IODqJw7l/HwccgSkfGGMuPkS24Dm1Jn20lW4XC3/TQ";
        let hasher = Hasher::sized(8, 0);
        assert_eq!(hasher.verify(&attempted("a"), Some(&Phc::stored(dear))).await, Ok(false));
        assert_eq!(hasher.work(), work(1, 1, 3));
        assert_eq!(hasher.verify(&attempted("a"), Some(&Phc::stored(dearer))).await, Ok(false));
        assert_eq!(hasher.work(), work(2, 2, 4));
        let small = Hasher::sized(2, 0);
        assert_eq!(small.verify(&attempted("a"), Some(&Phc::stored(dearer))).await, Ok(false));
        assert_eq!(small.work(), work(1, 1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_the_line_full_is_told_at_once_and_whoever_waits_too_long_after_five_seconds() {
        let hasher = Hasher::sized(1, 2);
        let busy = Err(HashFault::Busy { retry_after: RETRY_AFTER });
        let seat = Arc::clone(&hasher.pool.seats).acquire_owned().await.unwrap();
        let begun = tokio::time::Instant::now();
        let first = attempted("a");
        let mut waiting = Box::pin(hasher.verify(&first, None));
        let mut gone = Box::pin(hasher.verify(&first, None));
        for one in [&mut waiting, &mut gone] {
            assert!(tokio::time::timeout(Duration::ZERO, one).await.is_err());
        }
        assert_eq!(hasher.verify(&attempted("a"), None).await, busy);
        assert_eq!(begun.elapsed().as_secs(), 0);
        // Who gives up leaves a place.
        drop(gone);
        let mut next = Box::pin(hasher.verify(&first, None));
        assert!(tokio::time::timeout(Duration::ZERO, &mut next).await.is_err());
        assert_eq!(waiting.await, busy);
        assert_eq!(next.await, busy);
        assert_eq!(begun.elapsed().as_secs(), 5);
        assert_eq!(hasher.work(), work(0, 0, 0));
        drop(seat);
        assert_eq!(hasher.verify(&attempted("a"), None).await, Ok(false));
        assert_eq!(hasher.pool.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn whoever_stops_waiting_frees_no_core_that_is_still_at_it() {
        let hasher = Hasher::sized(1, 0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (open, opened) = std::sync::mpsc::channel::<()>();
            let work = hasher.seated(1, move |_| {
                assert!(opened.recv().is_err());
                Ok(())
            });
            let mut work = Box::pin(work);
            assert!(
                std::future::poll_fn(|context| std::task::Poll::Ready(work.as_mut().poll(context))).await.is_pending()
            );
            drop(work);
            assert_eq!(hasher.pool.seats.available_permits(), 0);
            drop(open);
        });
        while hasher.pool.seats.available_permits() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(hasher.pool.seats.available_permits(), 1);
        assert_eq!(hasher.work().most_seats, 1);
    }
}
