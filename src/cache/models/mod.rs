//! The cache's concurrency, put before checkers that choose the order of all
//! that happens: loom for the slot, in every order, and shuttle for whole
//! flights, in random ones. `.ci/models.sh` runs them.
#![allow(clippy::print_stdout, reason = "how much was explored is the result")]

pub(super) mod primitives;
#[cfg(tower_bearer_loom)]
mod slot;
#[cfg(tower_bearer_loom)]
mod slots;

use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many executions a checker has gone through; says so in the end.
struct Explored {
    what: &'static str,
    executions: AtomicUsize,
}

impl Explored {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            executions: AtomicUsize::new(0),
        }
    }

    fn one_more(&self) {
        self.executions.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Explored {
    fn drop(&mut self) {
        let executions = self.executions.load(Ordering::Relaxed);
        println!("{}: {executions} executions", self.what);
    }
}

/// A lock that is the model's and not the checker's: never held while a step of
/// the checker is taken.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
