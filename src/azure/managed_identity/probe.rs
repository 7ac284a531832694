//! What is known about whether there is a metadata service here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::attempt::Attempt;
use super::imds::Imds;
use crate::{Error, ErrorKind};

/// A machine gets no metadata service while it runs, but its network may come
/// up late.
const REMEMBER_FAILURE: Duration = Duration::from_secs(30);

/// What earlier looks have found. That there is one is remembered for ever.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: AtomicBool,
    last_failure: Mutex<Option<(Duration, Error)>>,
}

enum Finding {
    Found,
    NotFound(Error),
    NotLookedFor,
}

impl Findings {
    /// Looks for `imds`, unless it is known whether it is there.
    ///
    /// # Errors
    ///
    /// That it is not, or why that could not be found out.
    pub(super) async fn look(&self, imds: &Imds, attempt: &Attempt<'_>) -> Result<(), Error> {
        match self.at(attempt.runtime().now().monotonic) {
            Finding::Found => return Ok(()),
            Finding::NotFound(error) => return Err(error),
            Finding::NotLookedFor => {}
        }
        let looked = imds.look(attempt).await;
        match &looked {
            Ok(()) => self.found.store(true, Ordering::Release),
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                self.not_found(attempt.runtime().now().monotonic, error.clone());
            }
            Err(_) => {}
        }
        looked
    }

    /// What is known at `now` on the monotonic clock.
    fn at(&self, now: Duration) -> Finding {
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

    fn not_found(&self, now: Duration, error: Error) {
        *self
            .last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((now, error));
    }
}
