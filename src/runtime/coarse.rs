//! The clocks that the kernel has at hand.
//!
//! It notes the time at each tick, every 1 to 10 ms. To read what it has noted
//! takes a fifth of what it takes to find out how much time has passed since. And
//! from tick to tick one of both clocks is enough, as each thread remembers what
//! the other one showed.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, DynamicClockId, Timespec, clock_gettime, clock_gettime_dynamic};

use super::Timestamp;
use super::system::MARGIN;

/// Whether tokio's clock has been found not to be the system's. These clocks
/// know nothing of that one.
static TIME_IS_PAUSED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static LAST: Cell<Reading> = const {
        Cell::new(Reading {
            tick: Timespec {
                tv_sec: -1,
                tv_nsec: 0,
            },
            shown: None,
        })
    };
}

/// What both clocks showed.
#[derive(Clone, Copy)]
struct Reading {
    /// The monotonic one, as the kernel has it.
    tick: Timespec,
    /// `None` if that is no time.
    shown: Option<Timestamp>,
}

/// What both clocks show, up to a tick ago. `None` if time is not the
/// system's.
#[inline]
pub(super) fn now() -> Option<Timestamp> {
    if TIME_IS_PAUSED.load(Ordering::Relaxed) {
        return None;
    }
    let tick = clock_gettime_dynamic(DynamicClockId::Known(ClockId::MonotonicCoarse)).ok()?;
    // Until the next tick the wall clock shows no other time either, unless it
    // is set meanwhile. A machine that was suspended ticks when it wakes.
    let last = LAST.get();
    if last.tick == tick {
        last.shown
    } else {
        read_at(tick)
    }
}

#[cold]
fn read_at(tick: Timespec) -> Option<Timestamp> {
    let shown = shown_at(tick);
    LAST.set(Reading { tick, shown });
    shown
}

fn shown_at(tick: Timespec) -> Option<Timestamp> {
    let wall = clock_gettime_dynamic(DynamicClockId::Known(ClockId::RealtimeCoarse)).ok()?;
    Some(Timestamp {
        monotonic: since_zero(tick)? + MARGIN,
        wall: SystemTime::UNIX_EPOCH.checked_add(since_zero(wall)?)?,
    })
}

/// The kernel's monotonic clock, which begins when the machine starts.
pub(super) fn monotonic() -> Duration {
    since_zero(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// `None` for times before zero.
fn since_zero(time: Timespec) -> Option<Duration> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    Some(Duration::new(seconds, u32::try_from(time.tv_nsec).ok()?))
}

/// Called by whoever fetches a token, as the clock must be right when it is
/// looked at again.
#[allow(clippy::disallowed_methods, reason = "this is where time comes from")]
pub(super) fn look_for_paused_time() {
    let before = tokio::time::Instant::now().into_std();
    let system = std::time::Instant::now();
    let after = tokio::time::Instant::now().into_std();
    if !(before..=after).contains(&system) {
        TIME_IS_PAUSED.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Runtime as _, TokioRuntime};

    /// Ticks are 10 ms apart at most; nothing is said of how long a thread may
    /// be kept from running between two readings.
    #[test]
    fn both_clocks_are_a_tick_behind_at_most_and_never_ahead() {
        let mut least = (Duration::MAX, Duration::MAX);
        for _ in 0..1000 {
            let Some(coarse) = now() else {
                // Another test has paused time.
                return;
            };
            let exact = TokioRuntime.now();
            let behind = |later: SystemTime| later.duration_since(coarse.wall);
            let monotonic = exact.monotonic.checked_sub(coarse.monotonic).unwrap();
            least.0 = least.0.min(monotonic);
            least.1 = least.1.min(behind(exact.wall).unwrap());
        }
        assert!(least.0 <= Duration::from_millis(20), "{least:?}");
        assert!(least.1 <= Duration::from_millis(20), "{least:?}");
    }
}
