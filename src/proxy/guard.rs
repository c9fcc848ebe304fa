//! A fault of the program in one request stays in that request.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The work panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panicked;

/// Runs `work` to its end, or to its panic.
///
/// # Errors
/// It panicked. What it was working on must not be used to decide anything.
pub(super) async fn contain<F: Future>(work: F) -> Result<F::Output, Panicked> {
    let mut work = pin!(work);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_not_the_end_of_the_connection() {
        let panicking = async {
            tokio::task::yield_now().await;
            assert_eq!(std::hint::black_box(1), 2, "on purpose");
        };
        assert_eq!(contain(panicking).await, Err(Panicked));
        assert_eq!(contain(async { 7 }).await, Ok(7));
    }
}
