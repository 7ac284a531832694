//! A runtime on the checker's executor.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use shuttle::future::{AbortHandle, spawn};

use super::lock;
use crate::Error;
use crate::runtime::{BoxFuture, Runtime, Timestamp};

/// Fetches for one key start at least this far apart.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Time stands still until it is moved; tasks run on the checker's executor and
/// can be disturbed.
#[derive(Clone, Default)]
pub(super) struct CheckedRuntime(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: Duration,
    sleepers: Vec<(Duration, Waker)>,
    tasks: Vec<AbortHandle>,
    /// The first so many tasks are not driven any more.
    frozen: usize,
    /// Those that are being polled.
    driven: Vec<usize>,
    live: usize,
    watchers: Vec<Waker>,
    clock: Option<Waker>,
}

impl std::fmt::Debug for CheckedRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckedRuntime").finish_non_exhaustive()
    }
}

impl CheckedRuntime {
    pub(super) fn advance(&self, by: Duration) {
        let woken = {
            let mut state = lock(&self.0);
            state.now += by;
            let now = state.now;
            let (woken, asleep) = std::mem::take(&mut state.sleepers)
                .into_iter()
                .partition(|(end, _)| *end <= now);
            state.sleepers = asleep;
            woken
        };
        for (_, waker) in woken {
            waker.wake();
        }
    }

    /// From now on pauses between fetches pass, a few in a row as well, but no
    /// deadline.
    pub(super) fn keep_time(&self) {
        let runtime = self.clone();
        spawn(async move {
            loop {
                poll_fn(|cx| {
                    let mut state = lock(&runtime.0);
                    let soon = state.now + 10 * PAUSE;
                    if state.sleepers.iter().any(|(end, _)| *end <= soon) {
                        return Poll::Ready(());
                    }
                    state.clock = Some(cx.waker().clone());
                    Poll::Pending
                })
                .await;
                runtime.advance(PAUSE);
            }
        });
    }

    /// What happens to a runtime's tasks when it is shut down.
    pub(super) fn drop_tasks(&self) {
        let tasks = std::mem::take(&mut lock(&self.0).tasks);
        for task in tasks {
            task.abort();
        }
    }

    /// What happens to tasks of a runtime that nobody drives. Comes back when
    /// none of them is in the middle of a step any more.
    pub(super) async fn freeze_tasks(&self) {
        let frozen = {
            let mut state = lock(&self.0);
            state.frozen = state.tasks.len();
            state.frozen
        };
        self.until(|state| state.driven.iter().all(|task| *task >= frozen))
            .await;
    }

    /// Waits until all tasks have ended.
    pub(super) async fn idle(&self) {
        self.until(|state| state.live == 0).await;
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        poll_fn(|cx| {
            let mut state = lock(&self.0);
            if reached(&state) {
                return Poll::Ready(());
            }
            state.watchers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let woken = {
            let mut state = lock(&self.0);
            change(&mut state);
            std::mem::take(&mut state.watchers)
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Runtime for CheckedRuntime {
    fn now(&self) -> Timestamp {
        let now = lock(&self.0).now;
        Timestamp::new(now, UNIX_EPOCH + now)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let runtime = self.clone();
        let end = lock(&self.0).now + duration;
        Box::pin(poll_fn(move |cx| {
            let clock = {
                let mut state = lock(&runtime.0);
                if state.now >= end {
                    return Poll::Ready(());
                }
                state.sleepers.push((end, cx.waker().clone()));
                state.clock.take()
            };
            clock.into_iter().for_each(Waker::wake);
            Poll::Pending
        }))
    }

    fn spawn(&self, mut task: BoxFuture<'static, ()>) -> Result<(), Error> {
        struct Ended(CheckedRuntime);
        impl Drop for Ended {
            fn drop(&mut self) {
                self.0.change(|state| state.live -= 1);
            }
        }
        let number = {
            let mut state = lock(&self.0);
            state.live += 1;
            state.tasks.len()
        };
        let ended = Ended(self.clone());
        let runtime = self.clone();
        let handle = spawn(async move {
            let _ended = ended;
            poll_fn(|cx| {
                {
                    let mut state = lock(&runtime.0);
                    if number < state.frozen {
                        return Poll::Pending;
                    }
                    state.driven.push(number);
                }
                // As every executor does.
                let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx)));
                runtime.change(|state| state.driven.retain(|task| *task != number));
                polled.unwrap_or(Poll::Ready(()))
            })
            .await;
        });
        lock(&self.0).tasks.push(handle.abort_handle());
        Ok(())
    }

    fn random(&self) -> u64 {
        0
    }
}
