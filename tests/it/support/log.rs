//! Where the gateway under test writes its access log: lines that tests can ask for.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};

use portcullis::clock::Stopwatch;
use serde_json::Value;

use super::DEADLINE;

/// A log that is kept in memory. Clones are the same log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    bytes: Mutex<Vec<u8>>,
    grown: Condvar,
}

impl Log {
    /// Everything that was written.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.bytes.lock().expect("no panic under the lock").clone()).expect("a log is UTF-8")
    }

    /// Every complete line, read as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        complete_lines(&self.0.bytes.lock().expect("no panic under the lock"), None)
    }

    /// The one line about a request; waits until it is written.
    pub(crate) fn line_for(&self, request_id: &str) -> Value {
        let what = format!("request_id {request_id}");
        self.await_line(&what, Some(request_id), |line| line["request_id"] == request_id)
    }

    /// The first line that `fits`; waits until it is written.
    pub(crate) fn line_where(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.await_line(what, None, fits)
    }

    /// Where the text that the line must hold is known, others are not even read: a suite asks for hundreds of lines.
    fn await_line(&self, what: &str, text: Option<&str>, fits: impl Fn(&Value) -> bool) -> Value {
        let watch = Stopwatch::start();
        let mut bytes = self.0.bytes.lock().expect("no panic under the lock");
        loop {
            if let Some(line) = complete_lines(&bytes, text).into_iter().find(&fits) {
                return line;
            }
            let left = DEADLINE.saturating_sub(watch.elapsed());
            assert!(!left.is_zero(), "no line with {what} in the log:\n{}", String::from_utf8_lossy(&bytes));
            bytes = self.0.grown.wait_timeout(bytes, left).expect("no panic under the lock").0;
        }
    }
}

impl Write for Log {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.bytes.lock().expect("no panic under the lock").extend_from_slice(buffer);
        self.0.grown.notify_all();
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Complete lines, or those of them that hold a text.
fn complete_lines(bytes: &[u8], text: Option<&str>) -> Vec<Value> {
    let complete = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    bytes[..complete]
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .filter(|line| text.is_none_or(|text| String::from_utf8_lossy(line).contains(text)))
        .map(|line| serde_json::from_slice(line).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(line))))
        .collect()
}
