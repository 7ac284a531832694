//! What is known about whether there is a metadata service here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Error;

/// A machine gets no metadata service while it runs, but its network may come
/// up late.
const REMEMBER_FAILURE: Duration = Duration::from_secs(30);

/// What earlier looks have found. That there is one is remembered for ever.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: AtomicBool,
    last_failure: Mutex<Option<(Duration, Error)>>,
}

pub(super) enum Finding {
    Found,
    NotFound(Error),
    NotLookedFor,
}

impl Findings {
    /// What is known at `now` on the monotonic clock.
    pub(super) fn at(&self, now: Duration) -> Finding {
        if self.found.load(Ordering::Acquire) {
            return Finding::Found;
        }
        let last = self
            .last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((when, error)) if now.saturating_sub(*when) < REMEMBER_FAILURE => {
                Finding::NotFound(error.clone())
            }
            _ => Finding::NotLookedFor,
        }
    }

    pub(super) fn found(&self) {
        self.found.store(true, Ordering::Release);
    }

    pub(super) fn not_found(&self, now: Duration, error: Error) {
        *self
            .last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((now, error));
    }
}
