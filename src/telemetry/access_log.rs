//! Carries lines from request threads to a writer thread, and never makes a request wait for the sink.
//!
//! Lines gather in one bounded buffer; the writer takes it whole. A request wakes the writer only when the buffer was
//! empty, and the writer lets lines gather for a moment: under load there are a few wake-ups a second, not one a line.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;

/// So many bytes may wait for the sink; what comes on top is dropped and counted.
const CAPACITY: usize = 8 << 20;

/// Lines gather so long before they are written.
const GATHER: Duration = Duration::from_millis(10);

/// A buffer that grew beyond this is given back once it is empty.
const KEEP: usize = 1 << 20;

/// The access log.
#[derive(Debug)]
pub(super) struct AccessLog {
    queue: Arc<Queue>,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// There is something to write, or somebody waits for it, or the end has come.
    work: Condvar,
    /// Something was written.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// The writer has taken lines and not finished them.
    writing: bool,
    /// So many callers wait for everything to be written.
    flushing: usize,
    closed: bool,
}

impl Queue {
    /// Nothing is left half-changed when a thread panics with the lock: a poisoned one is as good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessLog {
    /// Starts the writer; `dropped` counts lines that were not written.
    ///
    /// # Errors
    /// No thread could be started.
    pub(super) fn start(sink: Box<dyn Write + Send>, dropped: IntCounter) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (theirs, lost) = (Arc::clone(&queue), dropped.clone());
        std::thread::Builder::new().name("access-log".into()).spawn(move || write_out(&theirs, sink, &lost))?;
        Ok(Self { queue, dropped })
    }

    /// Hands a line to the writer, or counts it as dropped.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.queue.lock();
        if state.closed || state.lines.len() + line.len() > CAPACITY {
            drop(state);
            return self.dropped.inc();
        }
        let idle = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        drop(state);
        if idle {
            self.queue.work.notify_one();
        }
    }

    /// Waits until everything that was recorded before is with the sink, at most `at_most` long.
    pub(super) fn flush(&self, at_most: Duration) {
        let mut state = self.queue.lock();
        state.flushing += 1;
        self.queue.work.notify_one();
        let pending = |state: &mut State| state.writing || !state.lines.is_empty();
        let waited = self.queue.done.wait_timeout_while(state, at_most, pending);
        waited.unwrap_or_else(PoisonError::into_inner).0.flushing -= 1;
    }
}

impl Drop for AccessLog {
    /// The writer ends by itself when it has written what is there: a sink that hangs must not hang the process.
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.work.notify_one();
    }
}

/// The writer: takes what has gathered, writes it, until the log is dropped.
fn write_out(queue: &Queue, mut sink: Box<dyn Write + Send>, lost: &IntCounter) {
    let mut batch = Vec::new();
    let mut failing = false;
    loop {
        let idle = |state: &mut State| state.lines.is_empty() && !state.closed;
        let state = queue.work.wait_while(queue.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let gathering = |state: &mut State| !state.closed && state.flushing == 0;
        let waited = queue.work.wait_timeout_while(state, GATHER, gathering);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.lines.is_empty() {
            return;
        }
        std::mem::swap(&mut state.lines, &mut batch);
        state.writing = true;
        drop(state);

        let written = sink.write_all(&batch).and_then(|()| sink.flush());
        if let Err(error) = &written {
            lost.inc_by(batch.iter().map(|byte| u64::from(*byte == b'\n')).sum());
            if !failing {
                tracing::error!(%error, "the access log cannot be written; lines are dropped");
            }
        }
        failing = written.is_err();
        batch.clear();
        batch.shrink_to(KEEP);
        queue.lock().writing = false;
        queue.done.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hands over each batch, and waits for permission before it takes the next.
    struct Slow(mpsc::Sender<Vec<u8>>, mpsc::Receiver<()>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).ok();
            self.1.recv().ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "dropped").unwrap()
    }

    #[test]
    fn a_sink_that_hangs_costs_lines_and_never_time() {
        let (batches, received) = mpsc::channel();
        let (go, permits) = mpsc::channel();
        let log = AccessLog::start(Box::new(Slow(batches, permits)), counter()).unwrap();
        log.push(b"first\n");
        assert_eq!(received.recv().unwrap(), b"first\n");

        let line = [b'x'; 1 << 20];
        for _ in 0..10 {
            log.push(&line);
        }
        assert_eq!(log.dropped.get(), 2, "eight lines fill the buffer");

        go.send(()).unwrap();
        assert_eq!(received.recv().unwrap().len(), CAPACITY);
        drop(go);
        log.push(b"last\n");
        log.flush(Duration::from_secs(10));
        assert_eq!(received.recv().unwrap(), b"last\n");
        assert_eq!(log.dropped.get(), 2);
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted() {
        let log = AccessLog::start(Box::new(Broken), counter()).unwrap();
        log.push(b"one\n");
        log.push(b"two\n");
        log.flush(Duration::from_secs(10));
        assert_eq!(log.dropped.get(), 2);
    }

    #[test]
    fn what_was_recorded_is_written_before_the_end() {
        let (batches, received) = mpsc::channel();
        let (_, permits) = mpsc::channel();
        let log = AccessLog::start(Box::new(Slow(batches, permits)), counter()).unwrap();
        log.push(b"last words\n");
        drop(log);
        assert_eq!(received.recv().unwrap(), b"last words\n");
        assert!(received.recv().is_err(), "the writer has ended");
    }
}
