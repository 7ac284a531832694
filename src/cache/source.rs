//! What fetches for all keys of a cache have in common.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;

use super::permits::Permits;
use super::sync::Mutex;
use crate::Error;
use crate::credential::{Credential as _, SharedCredential};
use crate::runtime::{Runtime, Timestamp};

/// Added to the time limit of a fetch where somebody watches it, so that the
/// fetch's own error, which says more, comes first.
const GRACE: Duration = Duration::from_secs(5);

/// What a flight needs. It outlives the handles only as long as one flight
/// takes to hear that they are gone.
pub(crate) struct Source {
    pub(super) credential: SharedCredential,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(super) fetch_timeout: Duration,
    pub(super) permits: Arc<Permits>,
    closed: watch::Receiver<()>,
    throttle: Mutex<Option<Throttle>>,
}

#[derive(Clone)]
struct Throttle {
    until: Duration,
    error: Error,
}

impl Source {
    pub(super) fn new(
        credential: SharedCredential,
        runtime: Arc<dyn Runtime>,
        fetch_timeout: Duration,
        max_concurrency: Option<usize>,
        closed: watch::Receiver<()>,
    ) -> Self {
        let most = max_concurrency.unwrap_or_else(|| credential.max_concurrency());
        let lease = fetch_timeout.saturating_add(GRACE);
        Self {
            permits: Arc::new(Permits::new(most, lease, Arc::clone(&runtime))),
            credential,
            runtime,
            fetch_timeout,
            closed,
            throttle: Mutex::new(None),
        }
    }

    /// A flight that is older sits on a runtime that nobody drives any more.
    pub(super) fn flight_limit(&self) -> Duration {
        self.fetch_timeout.saturating_add(GRACE)
    }

    /// Runs `future` for as long as the cache has handles; `None` if the last
    /// one was dropped first.
    pub(super) async fn until_closed<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut closed = self.closed.clone();
        let mut last_handle_dropped = std::pin::pin!(closed.changed());
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if last_handle_dropped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// Until when the authority wants to be left alone.
    pub(super) fn throttled_until(&self, now: Timestamp) -> Option<Duration> {
        let throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        let until = throttle.as_ref()?.until;
        (now.monotonic < until).then_some(until)
    }

    pub(super) fn throttled(&self, now: Timestamp) -> Option<Error> {
        let throttle = self
            .throttle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let left = throttle.until.checked_sub(now.monotonic)?;
        (!left.is_zero()).then(|| throttle.error.with_retry_after(left))
    }

    pub(super) fn throttle(&self, error: &Error, until: Duration) {
        // Declared first, so dropped after the lock: errors hold sources of any
        // type.
        let _previous;
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        if throttle.as_ref().is_none_or(|known| known.until < until) {
            _previous = throttle.replace(Throttle {
                until,
                error: error.clone(),
            });
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}
