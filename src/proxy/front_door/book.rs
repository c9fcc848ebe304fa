//! Rules for tests of connections: they remember what became of each request that did not get past the check of its head.

use std::sync::Mutex;

use super::connection::{Refused, Rules};
use super::head::Limits;
use crate::gate::dialect::Rendered;
use crate::gate::outcome::Reason;

/// What was refused, with its path, and what was ended without an answer, with `-`.
#[derive(Default)]
pub(super) struct Book(pub(super) Mutex<Vec<(Reason, String)>>);

impl Rules for Book {
    fn limits(&self) -> Limits {
        Limits::new(64, 4096)
    }

    fn refuse(&self, refused: &Refused<'_>) -> Rendered {
        self.0.lock().unwrap().push((refused.denial.reason, refused.sketch.path.to_owned()));
        Rendered { status: refused.denial.reason.public().status, headers: Vec::new(), body: b"no".to_vec() }
    }

    fn is_question(&self, _target: &[u8]) -> bool {
        false
    }

    fn ended(&self, refused: &Refused<'_>) {
        assert_eq!(refused.sketch.version, "2", "over HTTP/1 every refusal is answered");
        self.0.lock().unwrap().push((refused.denial.reason, "-".to_owned()));
    }
}
