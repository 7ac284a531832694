//! One thread, two clocks that are moved by events alone, and a choice of what
//! runs next that is the seed's.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_bearer::{BoxFuture, Error, Runtime, Timestamp};

use crate::random::Random;

/// Tasks and timers that belong together: those of one cache, say.
pub type Group = u32;

/// Those of the world itself.
pub const WORLD: Group = 0;

pub struct Executor {
    state: Mutex<State>,
    // Apart from the state, since wakers run wherever futures are dropped.
    woken: Arc<Mutex<Vec<u64>>>,
}

struct State {
    monotonic: Duration,
    /// What a faultless clock on the wall would show.
    true_time: SystemTime,
    wall: SystemTime,
    timers: BTreeMap<(Duration, u64), Timer>,
    tasks: BTreeMap<u64, Task>,
    /// In order, so that the order in which they were woken means nothing.
    runnable: Vec<u64>,
    count: u64,
    order: Random,
    chance: Random,
}

struct Timer {
    waker: Waker,
    group: Group,
}

struct Task {
    group: Group,
    /// Taken out while it runs.
    future: Option<BoxFuture<'static, ()>>,
    waker: Waker,
    frozen: bool,
    woken_while_frozen: bool,
}

struct TaskWaker {
    id: u64,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.lock().unwrap().push(self.id);
    }
}

/// How a task's turn went.
pub enum Turn {
    /// Nothing can run before a timer fires.
    Idle,
    Ran,
    Panicked(Box<dyn Any + Send>),
}

impl Executor {
    pub fn new(seed: u64) -> Arc<Self> {
        let start = UNIX_EPOCH + Duration::from_secs(1_750_032_000);
        Arc::new(Self {
            state: Mutex::new(State {
                monotonic: Duration::from_secs(1_000_000),
                true_time: start,
                wall: start,
                timers: BTreeMap::new(),
                tasks: BTreeMap::new(),
                runnable: Vec::new(),
                count: 0,
                order: Random::new(seed, 1),
                chance: Random::new(seed, 2),
            }),
            woken: Arc::default(),
        })
    }

    pub fn now(&self) -> Timestamp {
        let state = self.state.lock().unwrap();
        Timestamp::new(state.monotonic, state.wall)
    }

    pub fn true_time(&self) -> SystemTime {
        self.state.lock().unwrap().true_time
    }

    /// Somebody sets the wall clock, wrong by `ahead` milliseconds.
    pub fn set_wall(&self, ahead: i64) {
        let mut state = self.state.lock().unwrap();
        let by = Duration::from_millis(ahead.unsigned_abs());
        state.wall = if ahead < 0 {
            state.true_time - by
        } else {
            state.true_time + by
        };
    }

    /// The machine sleeps: the monotonic clock and every timer stand still.
    pub fn suspend(&self, duration: Duration) {
        let mut state = self.state.lock().unwrap();
        state.true_time += duration;
        state.wall += duration;
    }

    pub fn spawn(&self, group: Group, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn_boxed(group, Box::pin(future));
    }

    fn spawn_boxed(&self, group: Group, future: BoxFuture<'static, ()>) {
        let mut state = self.state.lock().unwrap();
        state.count += 1;
        let id = state.count;
        let woken = Arc::clone(&self.woken);
        let task = Task {
            group,
            future: Some(future),
            waker: Waker::from(Arc::new(TaskWaker { id, woken })),
            frozen: false,
            woken_while_frozen: false,
        };
        state.tasks.insert(id, task);
        drop(state);
        self.woken.lock().unwrap().push(id);
    }

    pub fn sleep(self: &Arc<Self>, group: Group, duration: Duration) -> Sleep {
        Sleep {
            until: self.now().monotonic.saturating_add(duration),
            executor: Arc::clone(self),
            group,
            timer: None,
        }
    }

    /// Gives one task its turn.
    pub fn turn(&self) -> Turn {
        let mut state = self.state.lock().unwrap();
        state.take_woken(&self.woken);
        if state.runnable.is_empty() {
            return Turn::Idle;
        }
        let waiting = state.runnable.len();
        let chosen = state.order.below(waiting);
        let id = state.runnable.remove(chosen);
        let Some(task) = state.tasks.get_mut(&id) else {
            return Turn::Ran;
        };
        let Some(mut future) = task.future.take() else {
            return Turn::Ran;
        };
        let waker = task.waker.clone();
        drop(state);

        let mut context = Context::from_waker(&waker);
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let polled = future.as_mut().poll(&mut context);
            (polled.is_pending()).then_some(future)
        }));
        match polled {
            Ok(Some(future)) => {
                if let Some(task) = self.state.lock().unwrap().tasks.get_mut(&id) {
                    task.future = Some(future);
                    return Turn::Ran;
                }
            }
            Ok(None) => self.forget(id),
            Err(panic) => {
                self.forget(id);
                return Turn::Panicked(panic);
            }
        }
        Turn::Ran
    }

    fn forget(&self, id: u64) {
        let task = self.state.lock().unwrap().tasks.remove(&id);
        drop(task);
    }

    /// Moves both clocks to the next timer. `false` if there is none before
    /// `end`.
    pub fn advance(&self, end: Duration) -> bool {
        let mut state = self.state.lock().unwrap();
        let at = match state.timers.first_key_value() {
            Some((&(at, _), _)) if at < end => at,
            _ => return false,
        };
        let passed = at.saturating_sub(state.monotonic);
        state.monotonic += passed;
        state.true_time += passed;
        state.wall += passed;
        let mut due = Vec::new();
        while let Some(first) = state.timers.first_entry() {
            if first.key().0 > at {
                break;
            }
            due.push(first.remove());
        }
        drop(state);
        for timer in due {
            timer.waker.wake();
        }
        true
    }

    /// The tasks that `group` has now get no turn until they are thawed, as if
    /// they were on a runtime that nobody drives.
    pub fn freeze(&self, group: Group) {
        let mut state = self.state.lock().unwrap();
        state.take_woken(&self.woken);
        let State {
            tasks, runnable, ..
        } = &mut *state;
        for (id, task) in tasks.iter_mut().filter(|(_, task)| task.group == group) {
            task.frozen = true;
            if let Ok(place) = runnable.binary_search(id) {
                runnable.remove(place);
                task.woken_while_frozen = true;
            }
        }
    }

    pub fn thaw(&self, group: Group) {
        let mut state = self.state.lock().unwrap();
        let mut woken = self.woken.lock().unwrap();
        for (id, task) in &mut state.tasks {
            if task.group == group && task.frozen {
                task.frozen = false;
                if std::mem::take(&mut task.woken_while_frozen) {
                    woken.push(*id);
                }
            }
        }
    }

    /// Drops the tasks of `group` that `which` says, as a runtime does that is
    /// shut down.
    pub fn kill(&self, group: Group, which: Which) {
        let mut state = self.state.lock().unwrap();
        let ids: Vec<u64> = state
            .tasks
            .iter()
            .filter(|(_, task)| task.group == group && (which == Which::All || task.frozen))
            .map(|(id, _)| *id)
            .collect();
        let killed: Vec<_> = ids.iter().map(|id| state.tasks.remove(id)).collect();
        drop(state);
        drop(killed);
    }

    /// How many tasks and timers `group` has, and how many of them are frozen.
    pub fn left_of(&self, group: Group) -> Left {
        let state = self.state.lock().unwrap();
        let tasks = || state.tasks.values().filter(|task| task.group == group);
        Left {
            tasks: tasks().count(),
            frozen: tasks().filter(|task| task.frozen).count(),
            timers: state.timers.values().filter(|t| t.group == group).count(),
        }
    }

    pub fn is_empty(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.tasks.is_empty() && state.timers.is_empty()
    }

    /// Drops everything, so that nothing keeps itself alive.
    pub fn clear(&self) {
        let mut state = self.state.lock().unwrap();
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        drop(tasks);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    All,
    Frozen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub tasks: usize,
    pub frozen: usize,
    pub timers: usize,
}

impl State {
    fn take_woken(&mut self, woken: &Mutex<Vec<u64>>) {
        for id in woken.lock().unwrap().drain(..) {
            let Some(task) = self.tasks.get_mut(&id) else {
                continue;
            };
            if task.frozen {
                task.woken_while_frozen = true;
            } else if let Err(place) = self.runnable.binary_search(&id) {
                self.runnable.insert(place, id);
            }
        }
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").finish_non_exhaustive()
    }
}

/// Waits on the monotonic clock.
pub struct Sleep {
    executor: Arc<Executor>,
    until: Duration,
    group: Group,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let executor = Arc::clone(&self.executor);
        let mut state = executor.state.lock().unwrap();
        if state.monotonic >= self.until {
            if let Some(timer) = self.timer.take() {
                state.timers.remove(&(self.until, timer));
            }
            return Poll::Ready(());
        }
        let timer = *self.timer.get_or_insert_with(|| {
            state.count += 1;
            state.count
        });
        let group = self.group;
        state
            .timers
            .entry((self.until, timer))
            .and_modify(|timer| timer.waker.clone_from(cx.waker()))
            .or_insert_with(|| Timer {
                waker: cx.waker().clone(),
                group,
            });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            let mut state = self.executor.state.lock().unwrap();
            state.timers.remove(&(self.until, timer));
        }
    }
}

/// What one cache takes time, chance and tasks from.
#[derive(Clone, Debug)]
pub struct GroupRuntime {
    pub executor: Arc<Executor>,
    pub group: Group,
}

impl Runtime for GroupRuntime {
    fn now(&self) -> Timestamp {
        self.executor.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.executor.sleep(self.group, duration))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        self.executor.spawn_boxed(self.group, task);
        Ok(())
    }

    fn random(&self) -> u64 {
        self.executor.state.lock().unwrap().chance.next()
    }
}
