//! The threads in which passwords are hashed: as many as there are seats, and always the same ones. What a thread gives
//! back to the allocator stays with that thread, and a hash takes megabytes: a pool that grows and shrinks would keep
//! them many times over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::hashing::HashFault;

/// Slow work.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Threads that wait for work. They are started with the first, and end when this is dropped.
pub(super) struct Workers {
    count: u32,
    line: Mutex<Option<Sender<Job>>>,
}

impl Workers {
    pub(super) fn new(count: u32) -> Self {
        Self { count, line: Mutex::default() }
    }

    /// Gives a thread something to do.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn give(&self, job: Job) -> Result<(), HashFault> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.is_none() {
            *line = start(self.count);
        }
        let given = line.as_ref().map(|line| line.send(job).is_ok());
        if given == Some(true) { Ok(()) } else { Err(HashFault::Failed) }
    }
}

/// None: there is not a single thread. Fewer than `count` are enough, they take turns.
fn start(count: u32) -> Option<Sender<Job>> {
    let (line, jobs) = mpsc::channel();
    let jobs = Arc::new(Mutex::new(jobs));
    let started = (0..count).filter(|n| {
        let jobs = Arc::clone(&jobs);
        thread::Builder::new().name(format!("hashing-{n}")).spawn(move || work(&jobs)).is_ok()
    });
    (started.count() > 0).then_some(line)
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // Whoever has the lock waits for the next job, the others for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // Whoever waits for its outcome learns of a fault by getting none; the thread is for the next job.
        catch_unwind(AssertUnwindSafe(job)).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn work_is_done_by_the_same_few_threads_and_a_fault_in_one_job_ends_none() {
        let workers = Workers::new(2);
        let (tell, told) = mpsc::channel();
        for n in 0..50 {
            let tell = tell.clone();
            let job = move || {
                assert!(n % 5 != 0, "a fault");
                tell.send(thread::current().name().map(str::to_owned)).unwrap();
            };
            workers.give(Box::new(job)).unwrap();
        }
        drop(tell);
        let names: Vec<_> = told.into_iter().collect();
        assert_eq!(names.len(), 40);
        let names: HashSet<_> = names.into_iter().flatten().collect();
        assert!(names.iter().all(|name| name == "hashing-0" || name == "hashing-1"), "{names:?}");
    }
}
