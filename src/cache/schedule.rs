//! When to refresh, how long to back off, how often a refresh may be forced.
//! Pure: time and chance come in as arguments.

use std::time::Duration;

use crate::runtime::Timestamp;
use crate::token::Lifetime;
use crate::{AccessToken, Error, ErrorKind};

/// No token is used for longer than this, whatever its issuer says.
const MAX_LIFE: Duration = Duration::from_secs(48 * 3600);

/// A token is not sent in the last moments of its life: the request still has
/// to arrive.
const SKEW: Duration = Duration::from_secs(30);

/// Nor in the last of so many parts of a long life: clocks that are being set
/// right may be slow by half of that.
const DRIFT: u32 = 1000;

/// How far [`Runtime::coarse_now`](crate::Runtime::coarse_now) may be behind.
const COARSENESS: Duration = Duration::from_millis(20);

/// A refresh leaves at least this much time for retries, if the life allows.
const RESERVE: Duration = Duration::from_secs(5 * 60);

/// The two moments of a token's life, each on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// From here on a new token is fetched, while this one is still used.
    pub(crate) refresh_at: Timestamp,
    /// From here on this one is no longer used.
    pub(crate) unusable_at: Timestamp,
}

impl Window {
    /// Places the two moments for a token that was asked for at `asked_at` and
    /// has arrived by `now`. `chance` is drawn once per token, from `[0, 1)`.
    /// `known` is what was said of the same token when it came before: a wall
    /// clock that was set back since must not lengthen its life.
    pub(crate) fn of(
        token: &AccessToken,
        asked_at: Timestamp,
        now: Timestamp,
        chance: f64,
        known: Option<Self>,
    ) -> Result<Self, Error> {
        let anchor = token.anchor().unwrap_or(asked_at);
        let life = match token.lifetime() {
            Lifetime::In(life) => life,
            Lifetime::On(end) => end.duration_since(anchor.wall).unwrap_or_default(),
        }
        .min(MAX_LIFE);
        let skew = SKEW.max(life / DRIFT).min(life / 10).max(COARSENESS);
        let mut unusable_at = later(anchor, life.saturating_sub(skew));
        if let (Lifetime::On(_), Some(known)) = (token.lifetime(), known) {
            unusable_at.monotonic = unusable_at.monotonic.min(known.unusable_at.monotonic);
            unusable_at.wall = unusable_at.wall.min(known.unusable_at.wall);
        }
        let left = left_until(unusable_at, now);
        if left.is_zero() {
            return Err(Error::new(
                ErrorKind::InvalidResponse,
                "the token had already expired when it arrived",
            )
            .with_advice("compare this machine's clock with the identity provider's"));
        }

        let hinted = token
            .refresh_in()
            .map(|hint| left_until(later(anchor, hint.min(MAX_LIFE)), now))
            .filter(|wait| !wait.is_zero() && *wait < left);
        let wait = match hinted {
            // Spread over what comes after the hint: never before the server
            // wishes it, and not in step with the rest of a fleet.
            Some(wait) => wait + left.saturating_sub(wait).mul_f64(chance / 10.0),
            None => {
                // Where a life is too short for the whole reserve, half of it
                // is kept. However short, a fifth of it spreads a fleet out.
                let latest = (left + skew)
                    .saturating_sub(RESERVE)
                    .clamp(left / 2, left.mul_f64(0.7));
                latest.saturating_sub(left.mul_f64(0.2 * (1.0 - chance)))
            }
        };
        Ok(Self {
            refresh_at: later(now, wait),
            unusable_at,
        })
    }

    #[inline]
    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        now.monotonic < self.unusable_at.monotonic && now.wall < self.unusable_at.wall
    }

    #[inline]
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        now.monotonic >= self.refresh_at.monotonic || now.wall >= self.refresh_at.wall
    }

    pub(crate) fn left_until_due(&self, now: Timestamp) -> Duration {
        left_until(self.refresh_at, now)
    }
}

fn later(moment: Timestamp, by: Duration) -> Timestamp {
    Timestamp {
        monotonic: moment.monotonic.saturating_add(by),
        // A clock at the end of calendar time cannot vouch for anything.
        wall: moment.wall.checked_add(by).unwrap_or(moment.wall),
    }
}

/// The time left by the clock that says less.
fn left_until(end: Timestamp, now: Timestamp) -> Duration {
    let monotonic = end.monotonic.saturating_sub(now.monotonic);
    let wall = end.wall.duration_since(now.wall).unwrap_or_default();
    monotonic.min(wall)
}

/// How long nothing is fetched after the `failures`th failure in a row.
pub(crate) fn back_off(error: &Error, failures: u32, chance: f64) -> Duration {
    let (least, most) = if error.is_transient() {
        (1.0, 30.0)
    } else {
        (10.0, 60.0)
    };
    let doubled: f64 = least * f64::from(2_u32.saturating_pow(failures.min(10)));
    let drawn = Duration::from_secs_f64(least + (doubled.min(most) - least) * chance);
    match error.retry_after() {
        // A fleet that was told the same time must not come back together.
        Some(asked) => drawn.max(asked.min(MAX_RETRY_AFTER) + Duration::from_secs_f64(chance)),
        None => drawn,
    }
}

/// A server cannot silence a client for longer than this.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Why a token is replaced that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Force {
    /// It was refused, and had been accepted before.
    Revoked,
    /// It was refused, and had never been accepted.
    Unproven,
    /// The caller wants another one.
    Asked,
}

/// How often a fetch may be forced.
///
/// A token that has worked and is then refused was revoked, and is replaced at
/// once. One that never worked is replaced too, but then the fault is likely
/// elsewhere: the pause before the next such attempt grows. All draw from one
/// allowance, so that even a server that says 200 and 401 in turn costs the
/// identity provider a bounded number of calls.
#[derive(Debug)]
pub(crate) struct ForceLimit {
    allowance: f64,
    counted_at: Duration,
    paused_until: Duration,
    unproven_paused_until: Duration,
    unproven_in_a_row: u32,
}

impl ForceLimit {
    const ALLOWANCE: f64 = 8.0;
    const REFILL: Duration = Duration::from_secs(60);
    const PAUSE: Duration = Duration::from_secs(30);
    const MAX_PAUSE: Duration = Duration::from_secs(300);

    pub(crate) fn new() -> Self {
        Self {
            allowance: Self::ALLOWANCE,
            counted_at: Duration::ZERO,
            paused_until: Duration::ZERO,
            unproven_paused_until: Duration::ZERO,
            unproven_in_a_row: 0,
        }
    }

    /// Whether a fetch may be forced at `now`. Counts it if so.
    pub(crate) fn take(&mut self, now: Duration, why: Force) -> bool {
        let passed = now.saturating_sub(self.counted_at);
        self.counted_at = now;
        self.allowance = (self.allowance + passed.as_secs_f64() / Self::REFILL.as_secs_f64())
            .min(Self::ALLOWANCE);
        let paused =
            now < self.paused_until || (why == Force::Unproven && now < self.unproven_paused_until);
        if paused || self.allowance < 1.0 {
            return false;
        }
        self.allowance -= 1.0;
        match why {
            Force::Revoked => self.unproven_in_a_row = 0,
            Force::Unproven => self.unproven_in_a_row = self.unproven_in_a_row.saturating_add(1),
            // It says nothing about what servers think of the token.
            Force::Asked => return true,
        }
        let doublings = self.unproven_in_a_row.saturating_sub(1).min(8);
        let pause = (Self::PAUSE * 2_u32.pow(doublings)).min(Self::MAX_PAUSE);
        self.unproven_paused_until = now + pause;
        true
    }

    /// A forced fetch brought the refused token again: this source cannot be
    /// forced, so it is left alone for a while.
    pub(crate) fn same_token_came(&mut self, now: Duration) {
        self.paused_until = now + Self::PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::new(
            secs(1_000 + seconds),
            SystemTime::UNIX_EPOCH + secs(1_700_000_000 + seconds),
        )
    }

    fn token(life: u64) -> AccessToken {
        AccessToken::expiring_in("t", secs(life)).unwrap()
    }

    fn wait(window: Window, now: Timestamp) -> Duration {
        window.refresh_at.monotonic.saturating_sub(now.monotonic)
    }

    #[test]
    fn refresh_is_drawn_from_the_middle_of_what_is_left() {
        for (chance, expected) in [(0.0, 1785.0), (0.5, 2142.0), (0.999_999, 2499.0)] {
            let window = Window::of(&token(3600), at(0), at(0), chance, None).unwrap();
            assert!((wait(window, at(0)).as_secs_f64() - expected).abs() < 0.01);
            assert_eq!(window.unusable_at, at(3570));
        }
    }

    #[test]
    fn refresh_leaves_five_minutes_where_the_life_allows() {
        for (chance, expected) in [(0.0, 282.0), (0.999_999, 420.0)] {
            let window = Window::of(&token(720), at(0), at(0), chance, None).unwrap();
            assert!((wait(window, at(0)).as_secs_f64() - expected).abs() < 0.01);
        }
    }

    #[test]
    fn r04_refresh_leaves_half_of_a_short_life() {
        for (chance, expected) in [(0.0, 16.2), (0.999_999, 27.0)] {
            let window = Window::of(&token(60), at(0), at(0), chance, None).unwrap();
            assert!((wait(window, at(0)).as_secs_f64() - expected).abs() < 0.01);
            assert_eq!(window.unusable_at, at(54));
        }
    }

    #[test]
    fn the_servers_hint_comes_first_and_is_never_undercut() {
        let hinted = token(86_400).with_refresh_in(secs(43_200));
        for chance in [0.0, 0.3, 0.999] {
            let window = Window::of(&hinted, at(0), at(0), chance, None).unwrap();
            let wait = wait(window, at(0));
            assert!(wait >= secs(43_200) && wait < secs(47_600), "{wait:?}");
        }
        let absurd = token(3600).with_refresh_in(secs(7200));
        let window = Window::of(&absurd, at(0), at(0), 0.0, None).unwrap();
        assert!(wait(window, at(0)) < secs(1800));
    }

    #[test]
    fn r34_relative_life_counts_from_before_the_request() {
        let window = Window::of(&token(3600), at(0), at(20), 0.0, None).unwrap();
        assert_eq!(window.unusable_at, at(3570));
    }

    #[test]
    fn r34_a_clock_that_drifts_does_not_outlast_the_token() {
        for (life, skew) in [(60, 6), (3600, 30), (86_400, 86), (172_800, 172)] {
            let window = Window::of(&token(life), at(0), at(0), 0.0, None).unwrap();
            let left = left_until(at(life), window.unusable_at);
            assert_eq!(left.as_secs(), skew, "{life}");
        }
    }

    #[test]
    fn r16_r19_dead_on_arrival_is_an_error() {
        for (life, now) in [(0, 0), (10, 10), (10, 3600)] {
            let error = Window::of(&token(life), at(0), at(now), 0.5, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidResponse);
        }
        let past = AccessToken::expiring_on("t", at(0).wall - secs(1)).unwrap();
        assert!(Window::of(&past, at(0), at(0), 0.5, None).is_err());
    }

    #[test]
    fn i1_both_clocks_must_agree() {
        let window = Window::of(&token(3600), at(0), at(0), 0.0, None).unwrap();
        let stepped = |monotonic, wall: u64| Timestamp::new(at(monotonic).monotonic, at(wall).wall);
        assert!(window.is_usable(stepped(10, 10)));
        assert!(!window.is_usable(stepped(3570, 10)), "wall was set back");
        assert!(!window.is_usable(stepped(10, 3570)), "machine was asleep");
        assert!(window.is_due(stepped(10, 1800)));
    }

    #[test]
    fn back_off_grows_and_is_bounded() {
        let transient = Error::new(ErrorKind::Unreachable, "");
        let permanent = Error::new(ErrorKind::Rejected, "");
        for failures in 1..40 {
            for chance in [0.0, 0.5, 0.999] {
                let short = back_off(&transient, failures, chance);
                assert!(short >= secs(1) && short <= secs(30), "{short:?}");
                let long = back_off(&permanent, failures, chance);
                assert!(long >= secs(10) && long <= secs(60), "{long:?}");
            }
        }
        assert!(back_off(&transient, 1, 0.999) < secs(2));
        let told = transient.with_retry_after(secs(90));
        assert!(back_off(&told, 1, 0.0) >= secs(90));
        let silenced = told.with_retry_after(secs(1 << 40));
        assert!(back_off(&silenced, 1, 0.9) <= MAX_RETRY_AFTER + secs(1));
    }

    #[test]
    fn r38_unproven_tokens_are_replaced_less_and_less_often() {
        let mut limit = ForceLimit::new();
        let taken = (0..600)
            .filter(|second| limit.take(secs(*second), Force::Unproven))
            .count();
        assert_eq!(taken, 5, "after 0, 30, 90, 210 and 450 s");
    }

    #[test]
    fn r35_each_revocation_of_a_working_token_is_answered_at_once() {
        let mut limit = ForceLimit::new();
        for second in 0..5 {
            assert!(limit.take(secs(second), Force::Revoked));
        }
    }

    #[test]
    fn who_asks_for_another_token_is_held_back_by_the_allowance_alone() {
        let mut limit = ForceLimit::new();
        assert!(limit.take(secs(0), Force::Unproven));
        assert!(limit.take(secs(1), Force::Asked));
        assert!(limit.take(secs(1), Force::Asked));
        // It changes nothing for what servers refuse.
        assert!(!limit.take(secs(29), Force::Unproven));
        assert!(limit.take(secs(30), Force::Unproven));
        let taken = (31..631)
            .filter(|second| limit.take(secs(*second), Force::Asked))
            .count();
        assert_eq!(taken, 14, "4 are left, and 10 minutes bring as many more");
    }

    #[test]
    fn t26_taking_turns_with_200_is_bounded_too() {
        let mut limit = ForceLimit::new();
        let taken = (0..600_000_u64)
            .filter(|millis| {
                let why = if millis % 2 == 0 {
                    Force::Revoked
                } else {
                    Force::Unproven
                };
                limit.take(Duration::from_millis(*millis), why)
            })
            .count();
        assert!(taken <= 20, "{taken}");
    }

    #[test]
    fn r37_a_source_that_cannot_be_forced_is_left_alone() {
        let mut limit = ForceLimit::new();
        assert!(limit.take(secs(0), Force::Revoked));
        limit.same_token_came(secs(1));
        assert!(!limit.take(secs(30), Force::Revoked));
        assert!(limit.take(secs(31), Force::Revoked));
    }

    proptest! {
        #[test]
        fn t19_no_life_and_no_hint_panics(
            life in any::<u64>(),
            hint in any::<Option<u64>>(),
            flown in any::<u32>(),
            chance in 0.0..1.0_f64,
        ) {
            let Ok(mut token) = AccessToken::expiring_in("t", secs(life)) else {
                return Ok(());
            };
            if let Some(hint) = hint {
                token = token.with_refresh_in(secs(hint));
            }
            let now = at(u64::from(flown));
            if let Ok(window) = Window::of(&token, at(0), now, chance, None) {
                prop_assert!(window.is_usable(now));
                prop_assert!(window.refresh_at.monotonic <= window.unusable_at.monotonic);
                prop_assert!(window.refresh_at.wall <= window.unusable_at.wall);
                prop_assert!(window.unusable_at.monotonic <= at(0).monotonic + MAX_LIFE);
            }
        }
    }
}
