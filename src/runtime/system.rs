//! The runtime that users have unless they say otherwise.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::coarse;
use super::{BoxFuture, Runtime, Timestamp};
use crate::{Error, ErrorKind};

/// What the monotonic clock shows at least when it is first read: a test's
/// paused clock may run ahead of others in the process, and is perhaps the
/// first to be read.
pub(super) const MARGIN: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The default [`Runtime`]: tokio's timer and tasks, the system's clocks.
///
/// Tasks are spawned on the runtime that the call is made on.
///
/// # Paused time
///
/// Follows the clock of a tokio runtime that is paused (`start_paused`,
/// `tokio::time::pause`), with one exception: on Linux, requests whose token
/// is at hand read clocks of the system that are cheaper, until a token has been
/// fetched while time was paused. So pause it before the first request.
///
/// # Panics
///
/// [`sleep`](Runtime::sleep) panics on a tokio runtime that was built without
/// its timer (`enable_time`), as everything of tokio that waits does.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TokioRuntime;

impl TokioRuntime {
    /// The default runtime.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Runtime for TokioRuntime {
    #[allow(clippy::disallowed_methods, reason = "this is where time comes from")]
    fn now(&self) -> Timestamp {
        // tokio's clock is the system's unless a test has paused it.
        Timestamp {
            monotonic: monotonic(Instant::now()),
            wall: SystemTime::now(),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[inline]
    fn coarse_now(&self) -> Timestamp {
        coarse::now().unwrap_or_else(exact_now)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        coarse::look_for_paused_time();
        match tokio::runtime::Handle::try_current() {
            Ok(handle) => {
                handle.spawn(task);
                Ok(())
            }
            Err(_) => Err(Error::new(
                ErrorKind::Configuration,
                "a token can only be fetched inside a Tokio runtime",
            )
            .with_advice("await the request on one, or give the cache a Runtime of your own")),
        }
    }

    fn random(&self) -> u64 {
        // Each RandomState has keys of its own, so each hash is a new number.
        RandomState::new().build_hasher().finish()
    }
}

/// Apart, so that what leads here stays short enough for the compiler to put it
/// into requests.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[cold]
fn exact_now() -> Timestamp {
    TokioRuntime.now()
}

/// What the monotonic clock shows when tokio's shows `now`.
fn monotonic(now: Instant) -> Duration {
    static ORIGIN: OnceLock<(Instant, Duration)> = OnceLock::new();
    let (origin, then) = *ORIGIN.get_or_init(origin);
    match now.checked_duration_since(origin) {
        Some(since) => then + since,
        None => then.saturating_sub(origin.duration_since(now)),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn origin() -> (Instant, Duration) {
    let mut origin = Instant::now();
    for _ in 0..100 {
        // Read after the other one, so that coarse time is never ahead; and at
        // once after it, so that it is not far behind.
        let then = coarse::monotonic() + MARGIN;
        if origin.elapsed() < Duration::from_millis(1) {
            return (origin, then);
        }
        origin = Instant::now();
    }
    (origin, coarse::monotonic() + MARGIN)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn origin() -> (Instant, Duration) {
    (Instant::now(), MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::random_fraction;

    #[test]
    fn random_numbers_differ() {
        let runtime = TokioRuntime::new();
        assert_ne!(runtime.random(), runtime.random());
        let fraction = random_fraction(&runtime);
        assert!((0.0..1.0).contains(&fraction));
    }

    #[test]
    fn without_a_runtime_a_task_is_refused_with_advice() {
        let error = TokioRuntime::new()
            .spawn(Box::pin(async {}))
            .expect_err("no runtime here");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.advice().is_some());
    }
}
