//! The cache's concurrency, put before checkers that choose the order of all
//! that happens: loom for the slot, in every order, and shuttle for whole
//! flights, in random ones. `.ci/models.sh` runs them.
#![allow(
    clippy::print_stdout,
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "how much was explored is the result, and a panic is a failure"
)]

#[cfg(tower_bearer_shuttle)]
mod bench;
#[cfg(tower_bearer_shuttle)]
mod checked_runtime;
#[cfg(tower_bearer_shuttle)]
mod flight;
#[cfg(tower_bearer_shuttle)]
mod permits;
pub(super) mod primitives;
#[cfg(tower_bearer_loom)]
mod slot;
#[cfg(tower_bearer_loom)]
mod slot_bench;
mod slots;
#[cfg(tower_bearer_shuttle)]
mod tending;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A lock that is the model's and not the checker's: never held while a step of
/// the checker is taken.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `model` in every order in which no more than three threads are stopped
/// between two steps, or as many as `LOOM_MAX_PREEMPTIONS` says; and says how
/// many orders there are.
#[cfg(tower_bearer_loom)]
fn explore(what: &'static str, model: impl Fn() + Send + Sync + 'static) {
    let executions = std::sync::Arc::new(Mutex::new(0));
    let counted = std::sync::Arc::clone(&executions);
    let mut checker = loom::model::Builder::new();
    checker.preemption_bound.get_or_insert(3);
    checker.check(move || {
        *lock(&counted) += 1;
        model();
    });
    println!("{what}: {} executions", lock(&executions));
}
