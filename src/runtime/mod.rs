//! Time, randomness and tasks, which all come in from outside.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::Error;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod coarse;
mod system;

pub use system::TokioRuntime;

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
    /// Reads both clocks. Must not block.
    fn now(&self) -> Timestamp;

    /// Reads both clocks for a request whose token is at hand, so each request
    /// pays for it. May be some 20 ms behind [`now`](Self::now), never ahead of
    /// it, where that is cheaper to have. Must not block.
    ///
    /// Unless it is overridden this is [`now`](Self::now).
    fn coarse_now(&self) -> Timestamp {
        self.now()
    }

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

    fn coarse_now(&self) -> Timestamp {
        (**self).coarse_now()
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
