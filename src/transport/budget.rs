//! How many retries are made in all.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The retries that all acquisitions of one credential share: a tenth of them
/// may be followed by one, and one more may be made a second. What is left is
/// saved up, but not beyond ten.
///
/// An identity provider that is overloaded gets hardly more requests than it
/// would if nobody tried again, so that retries cannot hold it down. The next
/// acquisition comes all the same.
#[derive(Debug)]
pub(crate) struct RetryBudget(Mutex<Balance>);

#[derive(Debug)]
struct Balance {
    retries: f64,
    counted_at: Duration,
}

impl RetryBudget {
    const MOST: f64 = 10.0;
    const PER_ACQUISITION: f64 = 0.1;
    const PER_SECOND: f64 = 1.0;

    /// Counts an acquisition.
    pub(super) fn acquisition(&self) {
        self.change(|balance| balance.earn(Self::PER_ACQUISITION));
    }

    /// Whether a retry may be made at `now` on the monotonic clock. Counts it
    /// if so.
    pub(super) fn take(&self, now: Duration) -> bool {
        self.change(|balance| {
            let passed = now.saturating_sub(balance.counted_at);
            balance.counted_at = now;
            balance.earn(passed.as_secs_f64() * Self::PER_SECOND);
            let taken = balance.retries >= 1.0;
            if taken {
                balance.retries -= 1.0;
            }
            taken
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Balance) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Balance {
    fn earn(&mut self, retries: f64) {
        self.retries = (self.retries + retries).min(RetryBudget::MOST);
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self(Mutex::new(Balance {
            retries: Self::MOST,
            counted_at: Duration::ZERO,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &RetryBudget, times: u32, now: Duration) -> usize {
        (0..times).filter(|_| budget.take(now)).count()
    }

    #[test]
    fn r10_retries_are_a_tenth_of_the_acquisitions_and_one_a_second() {
        let budget = RetryBudget::default();
        assert_eq!(taken(&budget, 100, Duration::ZERO), 10);
        for _ in 0..51 {
            budget.acquisition();
        }
        assert_eq!(taken(&budget, 100, Duration::ZERO), 5);
        assert_eq!(taken(&budget, 100, Duration::from_secs(3)), 3);
        assert_eq!(taken(&budget, 100, Duration::from_secs(3600)), 10);
    }
}
