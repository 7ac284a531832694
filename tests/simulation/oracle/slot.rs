//! One key of one cache, as it is seen from outside.

use std::time::Duration;

use tower_bearer::{ErrorKind, Timestamp};

use super::{ROUNDING, SECOND, TokenId};

/// Nothing may happen before `least`, and after `most` nothing hinders it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) least: Duration,
    pub(super) most: Duration,
}

/// One key of one cache.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) airborne: Option<Airborne>,
    pub(super) newest: u64,
    pub(super) last_start: Option<Duration>,
    pub(super) held: Option<Held>,
    /// What a late fetch brought, which may or may not have been given up
    /// before for one that has not started yet.
    pub(super) perhaps: Option<Held>,
    /// The last fetch that ended was late.
    pub(super) is_late: bool,
    /// One that ended ever was.
    pub(super) was_late: bool,
    pub(super) failed: Span,
    pub(super) trouble: Duration,
    pub(super) forced: Forced,
    pub(super) counts: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) fetches: u64,
    pub(super) failures: u64,
    pub(super) forced: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Airborne {
    pub(super) started: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) token: TokenId,
    /// When it may no longer be sent.
    pub(super) ends: Timestamp,
}

/// How often a refused token has forced a fetch.
#[derive(Default)]
pub(super) struct Forced {
    spent: f64,
    counted_at: Duration,
    last: Option<Duration>,
    pub(super) same_came: Option<Duration>,
    pub(super) under_way: bool,
}

impl Held {
    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        now.monotonic < self.ends.monotonic && now.wall < self.ends.wall
    }
}

impl Slot {
    pub(super) fn holds_another_than(&self, token: TokenId) -> bool {
        let other = |held: Option<Held>| held.is_none_or(|held| held.token != token);
        self.held.is_some() && other(self.held) && other(self.perhaps)
    }

    pub(super) fn fail(
        &mut self,
        kind: ErrorKind,
        retry_after: Option<Duration>,
        now: Duration,
    ) -> Span {
        let permanent = matches!(
            kind,
            ErrorKind::Rejected | ErrorKind::Configuration | ErrorKind::Unavailable
        );
        let (least, most) = if permanent { (10, 60) } else { (1, 30) };
        let asked = retry_after.unwrap_or_default();
        self.trouble = now;
        self.counts.failures += 1;
        let least = now + asked.max(SECOND * least);
        self.failed = Span {
            least: if self.is_late {
                self.failed.least
            } else {
                least
            },
            most: now + (SECOND * most).max(asked + SECOND),
        };
        self.failed
    }
}

impl Forced {
    const ALLOWANCE: f64 = 8.0;
    const REFILL: Duration = Duration::from_secs(60);
    const PAUSE: Duration = Duration::from_secs(30);

    pub(super) fn take(&mut self, now: Duration, proven: bool, steady: bool) -> Result<(), String> {
        let passed = now.saturating_sub(self.counted_at).as_secs_f64();
        self.counted_at = now;
        self.spent = (self.spent - passed / Self::REFILL.as_secs_f64()).max(0.0) + 1.0;
        let last = self.last.replace(now);
        let soon =
            |at: Option<Duration>| at.is_some_and(|at| steady && now + ROUNDING < at + Self::PAUSE);
        // One that waited for its turn was counted when it began to wait.
        let slack = if steady { 0.001 } else { 4.0 };
        if self.spent > Self::ALLOWANCE + slack {
            Err(format!(
                "{:.2} forced fetches at once, of at most eight",
                self.spent
            ))
        } else if soon(last) && !proven {
            Err(format!(
                "forced at {last:?} already, and the token never worked"
            ))
        } else if soon(self.same_came) {
            Err(format!(
                "the same token had come again at {:?}",
                self.same_came
            ))
        } else {
            Ok(())
        }
    }
}
