//! Real time that can be moved on.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tower_bearer::{BoxFuture, Error, Runtime, Timestamp, TokioRuntime};

/// The default runtime, whose clocks run ahead by what [`advance`] has added.
///
/// [`advance`]: Self::advance
#[derive(Clone, Debug, Default)]
pub struct SteppedClock {
    real: TokioRuntime,
    ahead_secs: Arc<AtomicU64>,
}

impl SteppedClock {
    pub fn advance(&self, by: Duration) {
        self.ahead_secs.fetch_add(by.as_secs(), Ordering::Relaxed);
    }
}

impl Runtime for SteppedClock {
    fn now(&self) -> Timestamp {
        let now = self.real.now();
        let ahead = Duration::from_secs(self.ahead_secs.load(Ordering::Relaxed));
        Timestamp::new(now.monotonic + ahead, now.wall + ahead)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.real.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        self.real.spawn(task)
    }

    fn random(&self) -> u64 {
        self.real.random()
    }
}
