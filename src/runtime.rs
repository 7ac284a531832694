//! Time, randomness and tasks, which all come in from outside.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::{Error, ErrorKind};

/// A boxed future, as it is used on the ways that are not hot.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One moment on both clocks.
///
/// The monotonic clock cannot be set but may stand still while a machine
/// sleeps; the wall clock goes on but may be set. A token is good only while
/// both say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timestamp {
    /// Time since a fixed moment in the past that differs from process to
    /// process.
    pub monotonic: Duration,
    /// Calendar time.
    pub wall: SystemTime,
}

impl Timestamp {
    /// A moment that both clocks were read at.
    #[must_use]
    pub fn new(monotonic: Duration, wall: SystemTime) -> Self {
        Self { monotonic, wall }
    }
}

/// Where the crate takes time, randomness and tasks from.
///
/// The default is [`TokioRuntime`]. Tests put in a clock that is moved by hand
/// (`testing::ManualRuntime` under the feature `test-util`), which plays days
/// of refreshes in milliseconds.
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// Reads both clocks. Called on every request: must not block.
    fn now(&self) -> Timestamp;

    /// Waits for `duration` on the monotonic clock. Whoever waits may do so in a
    /// loop, so it must not return early.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs `task` to its end, independently of the caller.
    ///
    /// # Errors
    ///
    /// When there is nothing to run it on. The task is dropped.
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error>;

    /// A random number, for jitter. Need not be unpredictable.
    fn random(&self) -> u64;
}

impl<R: Runtime + ?Sized> Runtime for Arc<R> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        (**self).sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        (**self).spawn(task)
    }

    fn random(&self) -> u64 {
        (**self).random()
    }
}

const MARGIN: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The default [`Runtime`]: tokio's timer and tasks, the system's clocks.
///
/// Tasks are spawned on the runtime that the call is made on.
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
        static ORIGIN: OnceLock<tokio::time::Instant> = OnceLock::new();
        let now = tokio::time::Instant::now();
        // A test's paused clock may run ahead of others in the process, and is
        // perhaps the first to be read here.
        let origin = *ORIGIN.get_or_init(|| now.checked_sub(MARGIN).unwrap_or(now));
        Timestamp {
            monotonic: now.saturating_duration_since(origin),
            wall: SystemTime::now(),
        }
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
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

/// A random point of `[0, 1)`.
pub(crate) fn random_fraction(runtime: &dyn Runtime) -> f64 {
    // 53 bits are what an f64 holds exactly.
    (runtime.random() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Runs `future` for at most `limit`; `None` when that was too short.
pub(crate) async fn within<F: Future>(
    runtime: &dyn Runtime,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    // Begun when it is needed: whoever is ready needs no timer.
    let mut sleep = None;
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(cx) {
            return std::task::Poll::Ready(Some(output));
        }
        let sleep = sleep.get_or_insert_with(|| runtime.sleep(limit));
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

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
