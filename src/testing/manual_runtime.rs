//! A runtime whose clock is moved by hand.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::state::splitmix;
use super::switches::lock;
use crate::Error;
use crate::runtime::{BoxFuture, Runtime, Timestamp, TokioRuntime};

/// 2027-01-15 08:00 UTC.
const START: Duration = Duration::from_secs(1_800_000_000);

/// So many rounds in which nothing happened mean that nothing will: each round
/// lets every task run that is ready, and a wake-up can take some rounds to
/// come through a chain of tasks.
const QUIET_ROUNDS: u32 = 16;
const MAX_ROUNDS: u32 = 10_000;

/// A [`Runtime`] whose clock stands still until it is moved, and whose random
/// numbers follow from a seed: days of refreshes play in milliseconds, and play
/// the same each time.
///
/// Clones share one clock. Tasks run on the Tokio runtime that they are
/// spawned on; on one with a single thread (the default of `#[tokio::test]`)
/// their order is the same in every run.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::Runtime;
/// use tower_bearer::testing::ManualRuntime;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let runtime = ManualRuntime::new();
/// let begun = runtime.now();
/// let alarm = tokio::spawn(runtime.sleep(Duration::from_secs(3600)));
/// runtime.run_for(Duration::from_secs(3599)).await;
/// assert!(!alarm.is_finished());
/// runtime.run_for(Duration::from_secs(1)).await;
/// assert!(alarm.is_finished());
/// assert_eq!(runtime.now().monotonic, begun.monotonic + Duration::from_secs(3600));
/// # }
/// ```
#[derive(Clone)]
pub struct ManualRuntime(Arc<Mutex<Inner>>);

struct Inner {
    monotonic: Duration,
    wall: SystemTime,
    random: u64,
    next_sleep: u64,
    /// By when they end; those that end together in the order in which they
    /// were begun.
    sleeps: BTreeMap<(Duration, u64), Option<Waker>>,
    tasks: usize,
    /// Grows whenever a sleep or a task of this runtime is polled or dropped.
    activity: u64,
}

impl ManualRuntime {
    /// A runtime with a fixed seed and a fixed start: the monotonic clock at
    /// zero, the wall clock in January 2027.
    #[must_use]
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// The same with another seed.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            monotonic: Duration::ZERO,
            wall: UNIX_EPOCH + START,
            random: seed,
            next_sleep: 0,
            sleeps: BTreeMap::new(),
            tasks: 0,
            activity: 0,
        })))
    }

    /// Moves both clocks by `duration` at once and wakes the sleeps that are
    /// over, in the order in which they end. Whoever was woken sees the new
    /// time, however long ago its sleep ended: a machine that was too busy
    /// looks like this.
    pub fn advance(&self, duration: Duration) {
        let woken = {
            let mut inner = lock(&self.0);
            inner.step(duration);
            inner.take_due()
        };
        // A waker may run code that comes back here, so not under the lock.
        for waker in woken {
            waker.wake();
        }
    }

    /// Lets `duration` pass on both clocks, from one sleep's end to the next,
    /// and lets the tasks [settle](Self::settle) at each. Everybody wakes when
    /// it wanted to.
    pub async fn run_for(&self, duration: Duration) {
        self.settle().await;
        let end = lock(&self.0).monotonic.saturating_add(duration);
        loop {
            let left = end.saturating_sub(lock(&self.0).monotonic);
            let next = self.next_wake().filter(|wake| *wake <= left);
            let Some(step) = next else {
                self.advance(left);
                self.settle().await;
                return;
            };
            self.advance(step);
            self.settle().await;
        }
    }

    /// Lets the tasks of this runtime run until all of them wait.
    ///
    /// Only what is asked of this runtime is seen: sleeps, and tasks that it
    /// has spawned. Whoever waits for a socket counts as waiting for ever, so
    /// with real connections wait for what they bring instead.
    pub async fn settle(&self) {
        let mut quiet = 0;
        let mut seen = lock(&self.0).activity;
        for _ in 0..MAX_ROUNDS {
            tokio::task::yield_now().await;
            let activity = lock(&self.0).activity;
            quiet = if activity == seen { quiet + 1 } else { 0 };
            seen = activity;
            if quiet == QUIET_ROUNDS {
                return;
            }
        }
    }

    /// Sets the wall clock forward. The monotonic clock does not notice.
    pub fn step_wall_forward(&self, step: Duration) {
        let mut inner = lock(&self.0);
        inner.wall = inner.wall.checked_add(step).unwrap_or(inner.wall);
    }

    /// Sets the wall clock back. The monotonic clock does not notice.
    pub fn step_wall_back(&self, step: Duration) {
        let mut inner = lock(&self.0);
        inner.wall = inner.wall.checked_sub(step).unwrap_or(inner.wall);
    }

    /// Lets the machine sleep for `duration`: the wall clock goes on, the
    /// monotonic clock stands still, as `CLOCK_MONOTONIC` does on Linux. No
    /// sleep ends.
    pub fn suspend(&self, duration: Duration) {
        self.step_wall_forward(duration);
    }

    /// How long until the next sleep ends; `None` if nobody sleeps.
    #[must_use]
    pub fn next_wake(&self) -> Option<Duration> {
        let inner = lock(&self.0);
        let ((end, _), _) = inner.sleeps.first_key_value()?;
        Some(end.saturating_sub(inner.monotonic))
    }

    /// Sleeps that have not ended and have not been dropped.
    #[must_use]
    pub fn pending_sleeps(&self) -> usize {
        lock(&self.0).sleeps.len()
    }

    /// Tasks that were spawned and neither ended nor were dropped.
    #[must_use]
    pub fn live_tasks(&self) -> usize {
        lock(&self.0).tasks
    }
}

impl Default for ManualRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.0);
        f.debug_struct("ManualRuntime")
            .field("monotonic", &inner.monotonic)
            .field("wall", &inner.wall)
            .field("pending_sleeps", &inner.sleeps.len())
            .field("live_tasks", &inner.tasks)
            .finish_non_exhaustive()
    }
}

impl Runtime for ManualRuntime {
    fn now(&self) -> Timestamp {
        let inner = lock(&self.0);
        Timestamp::new(inner.monotonic, inner.wall)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let key = {
            let mut inner = lock(&self.0);
            let key = (inner.monotonic.saturating_add(duration), inner.next_sleep);
            inner.next_sleep += 1;
            inner.activity += 1;
            if !duration.is_zero() {
                inner.sleeps.insert(key, None);
            }
            key
        };
        Box::pin(Sleep {
            runtime: self.clone(),
            key,
        })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        lock(&self.0).tasks += 1;
        let task = Task {
            runtime: self.clone(),
            task,
        };
        TokioRuntime::new().spawn(Box::pin(task))
    }

    fn random(&self) -> u64 {
        splitmix(&mut lock(&self.0).random)
    }
}

impl Inner {
    fn step(&mut self, duration: Duration) {
        self.monotonic = self.monotonic.saturating_add(duration);
        self.wall = self.wall.checked_add(duration).unwrap_or(self.wall);
    }

    fn take_due(&mut self) -> Vec<Waker> {
        let later = self.sleeps.split_off(&(self.monotonic, u64::MAX));
        let due = std::mem::replace(&mut self.sleeps, later);
        due.into_values().flatten().collect()
    }
}

struct Sleep {
    runtime: ManualRuntime,
    key: (Duration, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = lock(&self.runtime.0);
        inner.activity += 1;
        let Some(waker) = inner.sleeps.get_mut(&self.key) else {
            return Poll::Ready(());
        };
        let earlier = waker.replace(cx.waker().clone());
        // The last waker of a task takes the task with it, whose sleeps lock
        // this again.
        drop(inner);
        drop(earlier);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let mut inner = lock(&self.runtime.0);
        inner.activity += 1;
        let waker = inner.sleeps.remove(&self.key);
        drop(inner);
        drop(waker);
    }
}

struct Task {
    runtime: ManualRuntime,
    task: BoxFuture<'static, ()>,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        lock(&self.runtime.0).activity += 1;
        self.task.as_mut().poll(cx)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let mut inner = lock(&self.runtime.0);
        inner.activity += 1;
        inner.tasks -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Notes when it has slept for `seconds`, and then again.
    fn sleeper(runtime: &ManualRuntime, log: &Arc<Mutex<Vec<(u64, u64)>>>, seconds: u64) {
        let (clock, log) = (runtime.clone(), Arc::clone(log));
        let task = async move {
            for _ in 0..2 {
                clock.sleep(SECOND * u32::try_from(seconds).unwrap()).await;
                log.lock()
                    .unwrap()
                    .push((seconds, clock.now().monotonic.as_secs()));
            }
        };
        runtime.spawn(Box::pin(task)).unwrap();
    }

    #[tokio::test]
    async fn run_for_wakes_everybody_in_order_at_their_time() {
        let (runtime, log) = (ManualRuntime::new(), Arc::default());
        for seconds in [5, 2, 3] {
            sleeper(&runtime, &log, seconds);
        }
        runtime.run_for(SECOND * 6).await;
        // Those that end together do so in the order in which they began.
        let expected = [(2, 2), (3, 3), (2, 4), (5, 5), (3, 6)];
        assert_eq!(*log.lock().unwrap(), expected);
        assert_eq!(runtime.pending_sleeps(), 1);
        assert_eq!(runtime.live_tasks(), 1);
        assert_eq!(runtime.next_wake(), Some(SECOND * 4));
        runtime.run_for(SECOND * 4).await;
        assert_eq!((runtime.pending_sleeps(), runtime.live_tasks()), (0, 0));
    }

    #[tokio::test]
    async fn advance_jumps_and_wakes_in_order() {
        let (runtime, log) = (ManualRuntime::new(), Arc::default());
        for seconds in [5, 2] {
            sleeper(&runtime, &log, seconds);
        }
        runtime.settle().await;
        runtime.advance(SECOND * 100);
        runtime.settle().await;
        assert_eq!(*log.lock().unwrap(), [(2, 100), (5, 100)]);
    }

    #[tokio::test]
    async fn a_dropped_sleep_is_forgotten_and_one_of_no_length_is_over() {
        let runtime = ManualRuntime::new();
        let sleep = runtime.sleep(SECOND);
        assert_eq!(runtime.pending_sleeps(), 1);
        drop(sleep);
        assert_eq!(runtime.pending_sleeps(), 0);
        runtime.sleep(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn the_longest_sleep_of_all_overflows_nothing() {
        let runtime = ManualRuntime::new();
        let sleep = tokio::spawn(runtime.sleep(Duration::MAX));
        runtime.run_for(SECOND).await;
        runtime.advance(SECOND);
        assert!(!sleep.is_finished());
        sleep.abort();
    }

    #[test]
    fn the_clocks_move_apart_as_they_do_in_life() {
        let runtime = ManualRuntime::new();
        let begun = runtime.now();
        runtime.suspend(SECOND * 10);
        runtime.step_wall_forward(SECOND * 5);
        runtime.step_wall_back(SECOND * 3);
        runtime.advance(SECOND);
        let now = runtime.now();
        assert_eq!(now.monotonic, begun.monotonic + SECOND);
        assert_eq!(now.wall.duration_since(begun.wall).unwrap(), SECOND * 13);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| {
            let runtime = ManualRuntime::with_seed(seed);
            [runtime.random(), runtime.random(), runtime.random()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn a_task_that_cannot_run_is_not_counted() {
        let runtime = ManualRuntime::new();
        assert!(runtime.spawn(Box::pin(async {})).is_err());
        assert_eq!(runtime.live_tasks(), 0);
    }
}
