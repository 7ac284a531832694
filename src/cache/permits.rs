//! How many fetches may be under way at once, in the order in which they came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::runtime::{Runtime, within};

/// A fair semaphore whose permits run out.
///
/// A fetch can sit on a runtime that nobody drives any more. It would keep its
/// permit for ever, and a few of them would end all fetching; so a permit
/// counts for as long as a fetch may take, and no longer. Nor does a place in
/// the queue, unless whoever has it shows that it still waits.
#[derive(Debug)]
pub(super) struct Permits {
    most: usize,
    lease: Duration,
    runtime: Arc<dyn Runtime>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    held: Vec<Held>,
    queue: VecDeque<Queued>,
}

#[derive(Debug)]
struct Held {
    id: u64,
    since: Duration,
}

#[derive(Debug)]
struct Queued {
    id: u64,
    seen: Duration,
    granted: oneshot::Sender<()>,
}

/// A permit, or a place in the queue for one. Dropping it gives either back.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Arc<Permits>,
    id: u64,
    granted: Option<oneshot::Receiver<()>>,
}

impl Permits {
    pub(super) fn new(most: usize, lease: Duration, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            most: most.max(1),
            lease,
            runtime,
            state: Mutex::default(),
        }
    }

    /// Takes the last place in the queue.
    pub(super) fn queue(self: &Arc<Self>) -> Permit {
        let (sender, receiver) = oneshot::channel();
        let id = self.change(|state, now| {
            let id = state.next_id;
            state.next_id += 1;
            state.queue.push_back(Queued {
                id,
                seen: now,
                granted: sender,
            });
            id
        });
        Permit {
            permits: Arc::clone(self),
            id,
            granted: Some(receiver),
        }
    }

    /// Changes the state, and then hands out what is free.
    fn change<T>(&self, change: impl FnOnce(&mut State, Duration) -> T) -> T {
        let now = self.runtime.now().monotonic;
        let (mut granted, mut gone) = (Vec::new(), Vec::new());
        // Nothing of the queue is dropped under the lock: with it go wakers,
        // and with those perhaps tasks that have a place here.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let lease = self.lease;
        state
            .held
            .retain(|held| now.saturating_sub(held.since) <= lease);
        let changed = change(&mut state, now);
        while state.held.len() < self.most {
            let Some(next) = state.queue.pop_front() else {
                break;
            };
            if now.saturating_sub(next.seen) > lease {
                gone.push(next);
                continue;
            }
            state.held.push(Held {
                id: next.id,
                since: now,
            });
            granted.push(next.granted);
        }
        drop(state);
        for sender in granted {
            // One that leaves in this very moment gives its permit back when
            // it is dropped.
            let _gone = sender.send(());
        }
        changed
    }
}

impl Permit {
    /// Waits until the permit is there. Calls `still_waiting` now and then.
    pub(super) async fn granted(&mut self, still_waiting: impl Fn()) {
        let permits = Arc::clone(&self.permits);
        while let Some(mut granted) = self.granted.take() {
            // Twice in the time after which a fetch is thought to be stuck.
            while within(&*permits.runtime, permits.lease / 2, &mut granted)
                .await
                .is_none()
            {
                still_waiting();
                // Those that hold the permits may never come to give them back.
                permits.change(|state, now| state.see(self.id, now));
            }
            // Its runtime stood still for so long that place or permit went to
            // others: the last in the queue again.
            if !permits.change(|state, _| state.holds(self.id)) {
                *self = permits.queue();
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let id = self.id;
        let place = self.permits.change(|state, _| {
            if let Some(index) = state.held.iter().position(|held| held.id == id) {
                state.held.swap_remove(index);
            }
            state.leave(id)
        });
        drop(place);
    }
}

impl State {
    fn holds(&self, id: u64) -> bool {
        self.held.iter().any(|held| held.id == id)
    }

    fn see(&mut self, id: u64, now: Duration) {
        let index = self.index(id);
        if let Some(place) = index.and_then(|index| self.queue.get_mut(index)) {
            place.seen = now;
        }
    }

    fn leave(&mut self, id: u64) -> Option<Queued> {
        self.queue.remove(self.index(id)?)
    }

    /// Places are in the order of their ids.
    fn index(&self, id: u64) -> Option<usize> {
        self.queue.binary_search_by_key(&id, |place| place.id).ok()
    }
}
