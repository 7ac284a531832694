//! A runtime on the checker's executor.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use shuttle::future::{JoinHandle, spawn};

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
    tasks: Vec<JoinHandle<()>>,
    /// What the model does beside the cache.
    asides: Vec<JoinHandle<()>>,
    spawned: usize,
    /// The first so many tasks are not driven any more.
    frozen: usize,
    /// Those that are being polled.
    driven: Vec<usize>,
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

    /// Lets `aside` happen some time, or not at all if the model ends before.
    pub(super) fn meanwhile(&self, aside: impl Future<Output = ()> + Send + 'static) {
        let aside = spawn(aside);
        lock(&self.0).asides.push(aside);
    }

    /// Drops what `callers` wait with, some time.
    pub(super) fn cancel<T>(&self, callers: &[JoinHandle<T>]) {
        for caller in callers {
            let caller = caller.abort_handle();
            self.meanwhile(async move { caller.abort() });
        }
    }

    /// From now on pauses between fetches pass, a few in a row as well, but no
    /// deadline.
    pub(super) fn keep_time(&self) {
        let runtime = self.clone();
        self.meanwhile(async move {
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
        let tasks: Vec<_> = {
            let state = lock(&self.0);
            state.tasks.iter().map(JoinHandle::abort_handle).collect()
        };
        for task in tasks {
            task.abort();
        }
    }

    /// What happens to tasks of a runtime that nobody drives. Comes back when
    /// none of them is in the middle of a step any more.
    pub(super) async fn freeze_tasks(&self) {
        let frozen = {
            let mut state = lock(&self.0);
            state.frozen = state.spawned;
            state.frozen
        };
        poll_fn(|cx| {
            let mut state = lock(&self.0);
            if state.driven.iter().all(|task| *task >= frozen) {
                return Poll::Ready(());
            }
            state.watchers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits until all tasks have ended, those as well that begin meanwhile.
    pub(super) async fn idle(&self) {
        let next = || lock(&self.0).tasks.pop();
        while let Some(task) = next() {
            drop(task.await);
        }
    }

    /// Brings all to an end that is still under way. At the end of a model the
    /// checker unwinds what is in the middle of a step, one task after the other:
    /// none can wait then for a lock that the next one holds.
    pub(super) async fn shut_down(&self) {
        let asides = std::mem::take(&mut lock(&self.0).asides);
        for aside in asides {
            aside.abort();
            drop(aside.await);
        }
        self.drop_tasks();
        self.idle().await;
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
        let number = {
            let mut state = lock(&self.0);
            state.spawned += 1;
            state.spawned - 1
        };
        let runtime = self.clone();
        let task = spawn(poll_fn(move |cx| {
            {
                let mut state = lock(&runtime.0);
                if number < state.frozen {
                    return Poll::Pending;
                }
                state.driven.push(number);
            }
            // As every executor does.
            let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx)));
            let watchers = {
                let mut state = lock(&runtime.0);
                state.driven.retain(|task| *task != number);
                std::mem::take(&mut state.watchers)
            };
            watchers.into_iter().for_each(Waker::wake);
            polled.unwrap_or(Poll::Ready(()))
        }));
        lock(&self.0).tasks.push(task);
        Ok(())
    }

    fn random(&self) -> u64 {
        0
    }
}
