//! What applications have told, for a while. Bounded: where there would be too much, all of it is asked for again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::UnixMillis;

/// Answers that are remembered.
const MOST: usize = 20_000;

/// Realm and question.
type Question = (String, String);

/// Answers by their question, each with the time it was given.
pub(super) struct Memory<T>(Mutex<HashMap<Question, (UnixMillis, Arc<T>)>>);

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> fmt::Debug for Memory<T> {
    /// Without the answers: they are about people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl<T> Memory<T> {
    /// An answer that is to be believed still, and for how long. `stays`: how long it is from the beginning. A clock that
    /// was put back ends it.
    pub(super) fn get(
        &self,
        realm: &str,
        question: &str,
        stays: impl Fn(&T) -> Duration,
        now: UnixMillis,
    ) -> Option<(Arc<T>, Duration)> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = answers.get(&(realm.to_owned(), question.to_owned()))?;
        let left = stays(answer).checked_sub(now.since(*at)).filter(|left| !left.is_zero() && *at <= now)?;
        Some((Arc::clone(answer), left))
    }

    /// Remembers an answer that was given `now`.
    pub(super) fn keep(&self, realm: &str, question: &str, answer: Arc<T>, now: UnixMillis) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.clear();
        }
        answers.insert((realm.to_owned(), question.to_owned()), (now, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_believed_for_its_time_and_not_by_a_clock_that_was_put_back() {
        let (memory, start, stays) = (Memory::default(), UnixMillis(1_000_000), |_: &u8| Duration::from_secs(30));
        memory.keep("a", "q", Arc::new(7), start);
        let at =
            |secs: i64| memory.get("a", "q", stays, UnixMillis(start.0 + secs * 1000)).map(|(_, left)| left.as_secs());
        assert_eq!((at(0), at(29), at(30), at(-1)), (Some(30), Some(1), None, None));
        assert!(memory.get("b", "q", stays, start).is_none());
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let memory = Memory::default();
        for n in 0..MOST + 10 {
            memory.keep("a", &n.to_string(), Arc::new(n), UnixMillis(0));
        }
        assert!(memory.0.lock().unwrap().len() <= MOST);
    }
}
