//! How often and how soon an attempt that failed is made again.

use std::time::Duration;

use super::{Again, Failure, RetryBudget};
use crate::Error;
use crate::credential::TokenRequest;
use crate::runtime::{Runtime, random_fraction};

/// What a family of endpoints can stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Attempts in all.
    pub(crate) tries: u32,
    /// The wait after the first one, which doubles from then on. Up to half as
    /// much is added at random.
    pub(crate) base: Duration,
    /// What it doubles up to, unless a server asks for more.
    pub(crate) longest: Duration,
    /// What attempts and waits may take together.
    pub(crate) budget: Duration,
}

/// The attempts of one acquisition: each has [`limit`](Retries::limit) for its
/// time, and after each that failed [`wait`](Retries::wait) lets the next one
/// begin or ends it.
pub(crate) struct Retries<'a> {
    runtime: &'a dyn Runtime,
    /// Nobody waits, so what failed is left to the next acquisition: to retry
    /// in one place is enough.
    ahead_of_need: bool,
    budget: &'a RetryBudget,
    started: Duration,
    plan: Plan,
}

impl<'a> Retries<'a> {
    pub(crate) fn new(
        request: &'a TokenRequest,
        schedule: Schedule,
        budget: &'a RetryBudget,
    ) -> Self {
        let runtime = request.runtime();
        budget.acquisition();
        Self {
            runtime,
            ahead_of_need: request.is_ahead_of_need(),
            budget,
            started: runtime.now().monotonic,
            plan: Plan::new(schedule),
        }
    }

    fn elapsed(&self) -> Duration {
        self.runtime.now().monotonic.saturating_sub(self.started)
    }

    fn may_be_made(&self) -> bool {
        self.budget.take(self.runtime.now().monotonic)
    }

    /// How long the next attempt may take.
    pub(crate) fn limit(&self, attempt: Duration) -> Duration {
        attempt.min(self.plan.schedule.budget.saturating_sub(self.elapsed()))
    }

    /// Waits until the next attempt is due.
    ///
    /// # Errors
    ///
    /// The error of `failure`, at once, if there is to be none. If a server
    /// wants to be left alone for longer than there is time, it says so in its
    /// [`retry_after`](Error::retry_after).
    pub(crate) async fn wait(&mut self, failure: Failure) -> Result<(), Error> {
        let elapsed = self.elapsed();
        let random = random_fraction(self.runtime);
        let retry_after = failure.error.retry_after();
        let next = self.plan.next(failure.again, retry_after, elapsed, random);
        let worth_it = |wait: &Duration| wait.is_zero() || !self.ahead_of_need;
        match next.filter(|wait| worth_it(wait) && self.may_be_made()) {
            Some(wait) if wait.is_zero() => Ok(()),
            Some(wait) => {
                self.runtime.sleep(wait).await;
                Ok(())
            }
            None => Err(failure.error),
        }
    }
}

/// The pure part: no clock, no randomness of its own.
#[derive(Debug)]
struct Plan {
    schedule: Schedule,
    tried: u32,
    tried_at_once: bool,
    tried_once_more: bool,
    until: Duration,
}

impl Plan {
    fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            tried: 0,
            tried_at_once: false,
            tried_once_more: false,
            until: Duration::ZERO,
        }
    }

    /// The wait after an attempt that failed, or `None` if it was the last.
    fn next(
        &mut self,
        again: Again,
        retry_after: Option<Duration>,
        elapsed: Duration,
        random: f64,
    ) -> Option<Duration> {
        let doublings = self.tried.min(16);
        self.tried += 1;
        let out_of_tries = self.tried >= self.schedule.tries;
        match again {
            Again::Never => return None,
            Again::Once if self.tried_once_more => return None,
            Again::Once => self.tried_once_more = true,
            Again::AtOnce if !self.tried_at_once && !out_of_tries => {
                self.tried_at_once = true;
                return Some(Duration::ZERO);
            }
            Again::Until(moment) => self.until = self.until.max(moment),
            Again::AtOnce | Again::Later => {}
        }
        let base = self.schedule.base;
        let mut wait = (base * 2_u32.pow(doublings))
            .min(self.schedule.longest)
            .mul_f64(1.0 + random / 2.0);
        if out_of_tries {
            let left = self
                .until
                .checked_sub(elapsed)
                .filter(|left| !left.is_zero())?;
            // The last one comes when the time is over, not before.
            wait = wait.min(left + base.mul_f64(random));
        }
        if let Some(asked) = retry_after {
            wait = wait.max(asked);
        }
        (elapsed.checked_add(wait)? < self.schedule.budget).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const SCHEDULE: Schedule = Schedule {
        tries: 6,
        base: secs(1),
        longest: secs(16),
        budget: secs(80),
    };

    /// The moments of all attempts, if each fails at once and in the same way.
    fn moments(
        again: impl Fn(usize) -> Again,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Vec<f64> {
        let mut plan = Plan::new(SCHEDULE);
        let mut moments = vec![0.0];
        let mut elapsed = Duration::ZERO;
        while let Some(wait) = plan.next(again(moments.len()), retry_after, elapsed, random) {
            elapsed += wait;
            moments.push(elapsed.as_secs_f64());
        }
        moments
    }

    #[test]
    fn waits_double_and_end() {
        assert_eq!(
            moments(|_| Again::Later, None, 0.0),
            [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]
        );
        assert_eq!(
            moments(|_| Again::Later, None, 0.5),
            [0.0, 1.25, 3.75, 8.75, 18.75, 38.75]
        );
        assert_eq!(moments(|_| Again::Never, None, 0.0), [0.0]);
        assert_eq!(moments(|_| Again::Once, None, 0.0), [0.0, 1.0]);
        assert_eq!(moments(|_| Again::AtOnce, None, 0.0)[..3], [0.0, 0.0, 2.0]);
    }

    #[test]
    fn a_server_that_asks_for_more_time_than_there_is_ends_it_at_once() {
        assert_eq!(
            moments(|_| Again::Later, Some(secs(30)), 0.0),
            [0.0, 30.0, 60.0]
        );
        assert_eq!(moments(|_| Again::Later, Some(secs(80)), 0.0), [0.0]);
        assert_eq!(moments(|_| Again::Later, Some(Duration::MAX), 0.0), [0.0]);
    }

    #[test]
    fn until_goes_on_whatever_came_first() {
        for first_of_its_kind in [1, 3, 6] {
            for random in [0.0, 0.5, 0.999] {
                let moments = moments(
                    |tried| {
                        if tried < first_of_its_kind {
                            Again::Later
                        } else {
                            Again::Until(secs(70))
                        }
                    },
                    None,
                    random,
                );
                let last = moments.last().copied().unwrap();
                assert!((70.0..72.0).contains(&last), "{moments:?}");
                assert!(moments.len() <= 12, "{moments:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_endless_and_never_beyond_the_budget(
            kinds in prop::collection::vec(0_u8..5, 1..64),
            asked in prop::option::of(0_u64..200),
            random in 0.0..1.0_f64,
        ) {
            let mut plan = Plan::new(SCHEDULE);
            let mut elapsed = Duration::ZERO;
            let mut attempts = 1;
            for kind in kinds.iter().cycle() {
                let again = [
                    Again::Never,
                    Again::AtOnce,
                    Again::Once,
                    Again::Later,
                    Again::Until(secs(70)),
                ][usize::from(*kind)];
                let Some(wait) = plan.next(again, asked.map(secs), elapsed, random) else { break };
                elapsed += wait;
                attempts += 1;
                prop_assert!(elapsed < SCHEDULE.budget);
                prop_assert!(attempts <= 80);
            }
        }
    }
}
