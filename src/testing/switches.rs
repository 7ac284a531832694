//! The switches of one endpoint: hold, delay, fail, rewrite; and who is
//! waiting at it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::failure::Failure;

/// What is changed under the lock is whole at every moment, so a panic of
/// another thread leaves nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) type Rewrite = Arc<dyn Fn(String) -> String + Send + Sync>;

#[derive(Default)]
pub(super) struct Switches {
    settings: Mutex<Settings>,
    arrivals: watch::Sender<u64>,
    holds: watch::Sender<usize>,
    load: Mutex<Load>,
}

#[derive(Default)]
struct Settings {
    delay: Duration,
    script: Option<Script>,
    rewrite: Option<Rewrite>,
}

struct Script {
    failure: Failure,
    times: Option<u64>,
}

#[derive(Default)]
struct Load {
    current: u64,
    highest: u64,
}

impl Switches {
    /// Counts a request in. Until what is returned is dropped, the request
    /// counts as being in flight.
    pub(super) fn arrive(self: &Arc<Self>) -> InFlight {
        {
            let mut load = lock(&self.load);
            load.current += 1;
            load.highest = load.highest.max(load.current);
        }
        self.arrivals.send_modify(|count| *count += 1);
        InFlight(Arc::clone(self))
    }

    /// Waits until the request may be answered; the failure to answer with, if
    /// it is to be one.
    pub(super) async fn admit(&self) -> Option<Failure> {
        // The sender is `self`, so waiting cannot end for want of one.
        let _ = self.holds.subscribe().wait_for(|holds| *holds == 0).await;
        let delay = lock(&self.settings).delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        lock(&self.settings).next_failure()
    }

    pub(super) fn rewrite(&self) -> Option<Rewrite> {
        lock(&self.settings).rewrite.clone()
    }

    pub(super) fn set_rewrite(&self, rewrite: Option<Rewrite>) {
        lock(&self.settings).rewrite = rewrite;
    }

    pub(super) fn set_delay(&self, delay: Duration) {
        lock(&self.settings).delay = delay;
    }

    pub(super) fn fail(&self, failure: Failure, times: Option<u64>) {
        lock(&self.settings).script = Some(Script { failure, times });
    }

    pub(super) fn recover(&self) {
        lock(&self.settings).script = None;
    }

    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        self.holds.send_modify(|holds| *holds += 1);
        Hold(Arc::clone(self))
    }

    pub(super) fn arrived(&self) -> u64 {
        *self.arrivals.borrow()
    }

    pub(super) async fn wait_for_arrivals(&self, count: u64) {
        let mut arrivals = self.arrivals.subscribe();
        let _ = arrivals.wait_for(|arrived| *arrived >= count).await;
    }

    pub(super) fn highest_load(&self) -> u64 {
        lock(&self.load).highest
    }
}

impl Settings {
    fn next_failure(&mut self) -> Option<Failure> {
        let script = self.script.as_mut()?;
        match &mut script.times {
            None => Some(script.failure.clone()),
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                Some(script.failure.clone())
            }
        }
    }
}

pub(super) struct InFlight(Arc<Switches>);

impl Drop for InFlight {
    fn drop(&mut self) {
        lock(&self.0.load).current -= 1;
    }
}

/// While this lives, requests are taken in but not answered.
///
/// Made by [`Azure::hold_token_requests`](super::Azure::hold_token_requests)
/// and [`Vault::hold_requests`](super::Vault::hold_requests). Dropping it lets
/// the waiting requests go on.
#[must_use = "requests are held only while this lives"]
pub struct Hold(Arc<Switches>);

impl Hold {
    /// Lets the waiting requests go on.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.send_modify(|holds| *holds -= 1);
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}
