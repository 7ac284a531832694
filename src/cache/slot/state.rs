//! What of a slot is behind its lock.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::super::Source;
use super::super::schedule::ForceLimit;
use super::status::Counters;
use super::{Hits, Outcome, Waiter};
use crate::Error;
use crate::runtime::Timestamp;

/// There are as many of these as keys, and most of them are at rest: what only
/// some slots have, or only now and then, is in a box.
#[derive(Debug)]
pub(super) struct State {
    pub(super) flight: Option<Box<Airborne>>,
    /// Flights, and tasks that keep the slot warm.
    tasks_started: u64,
    pub(super) last_start: Option<Duration>,
    /// In a row.
    pub(super) failures: u32,
    /// The last one, even if a fetch has succeeded since.
    pub(super) failure: Option<Box<Failure>>,
    /// `None` until a fetch is to be forced.
    force: Option<Box<ForceLimit>>,
    pub(super) kept_warm: Option<Box<KeptWarm>>,
    /// Counters of those who have one of their own.
    pub(super) own_hits: Vec<Arc<Hits>>,
    pub(super) counters: Counters,
}

#[derive(Debug)]
pub(super) enum KeptWarm {
    /// By a task that went away with its runtime.
    Untended,
    /// By this task, which looked at the slot then.
    Tended { by: u64, seen: Duration },
}

#[derive(Debug)]
pub(super) struct Airborne {
    pub(super) id: u64,
    pub(super) started: Duration,
    pub(super) forced: bool,
    pub(super) waiters: Vec<Waiter>,
}

#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) at: SystemTime,
    pub(super) not_before: Duration,
}

impl Airborne {
    pub(super) fn tell(self, outcome: &Outcome) {
        for waiter in self.waiters {
            // A caller that has gone away has dropped its end.
            drop(waiter.send(outcome.clone()));
        }
    }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            flight: None,
            tasks_started: 0,
            last_start: None,
            failures: 0,
            failure: None,
            force: None,
            kept_warm: None,
            own_hits: Vec::new(),
            counters: Counters::default(),
        }
    }

    pub(super) fn next_task(&mut self) -> u64 {
        self.tasks_started += 1;
        self.tasks_started
    }

    pub(super) fn force(&mut self) -> &mut ForceLimit {
        self.force
            .get_or_insert_with(|| Box::new(ForceLimit::new()))
    }

    pub(super) fn add_own_hits(&mut self, hits: Arc<Hits>) {
        // Sweeping when the list would grow keeps it within twice the number
        // of those that have ever been in use at once.
        if self.own_hits.len() == self.own_hits.capacity() {
            let counters = &mut self.counters;
            self.own_hits.retain(|hits| {
                let in_use = Arc::strong_count(hits) > 1;
                if !in_use {
                    counters.hits += hits.get();
                }
                in_use
            });
        }
        self.own_hits.push(hits);
    }

    /// The flight under way, if it must have stopped moving.
    pub(super) fn take_stuck(&mut self, source: &Source, now: Timestamp) -> Option<Box<Airborne>> {
        self.flight
            .take_if(|flight| now.monotonic.saturating_sub(flight.started) > source.flight_limit())
    }

    /// A place among those who wait for the flight, if one is under way. What
    /// is put into `gone` is to be dropped after the lock: wakers go with it.
    pub(super) fn join(&mut self, gone: &mut Vec<Waiter>) -> Option<oneshot::Receiver<Outcome>> {
        let flight = self.flight.as_mut()?;
        // Callers that gave up leave their sender behind. Sweeping when the
        // list would grow keeps it within twice the number of live callers.
        if flight.waiters.len() == flight.waiters.capacity() {
            let all = std::mem::take(&mut flight.waiters).into_iter();
            (*gone, flight.waiters) = all.partition(Waiter::is_closed);
        }
        let (sender, receiver) = oneshot::channel();
        flight.waiters.push(sender);
        Some(receiver)
    }

    /// Why nothing may be fetched now.
    pub(super) fn held_back(&self, source: &Source, now: Timestamp) -> Option<Error> {
        if let Some(failure) = self.unmended() {
            let left = failure.not_before.saturating_sub(now.monotonic);
            if !left.is_zero() {
                let error = failure.error.clone();
                return Some(match error.retry_after() {
                    Some(_) => error.with_retry_after(left),
                    None => error,
                });
            }
        }
        source.throttled(now)
    }

    /// For how long nothing may be fetched.
    pub(super) fn back_off_left(&self, source: &Source, now: Timestamp) -> Duration {
        let failed = self.unmended().map(|failure| failure.not_before);
        failed
            .max(source.throttled_until(now))
            .map_or(Duration::ZERO, |until| until.saturating_sub(now.monotonic))
    }

    /// The last failure, if no fetch has succeeded since.
    pub(super) fn unmended(&self) -> Option<&Failure> {
        self.failure.as_deref().filter(|_| self.failures > 0)
    }

    pub(super) fn flight_mut(&mut self, id: u64) -> Option<&mut Airborne> {
        self.flight.as_deref_mut().filter(|flight| flight.id == id)
    }

    pub(super) fn take_flight(&mut self, id: u64) -> Option<Box<Airborne>> {
        self.flight.take_if(|flight| flight.id == id)
    }
}
