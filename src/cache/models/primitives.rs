//! Stand-ins for what `sync` exports, through which a checker sees every step.

use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, PoisonError};

#[cfg(tower_bearer_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};
#[cfg(tower_bearer_shuttle)]
pub(crate) use shuttle::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// A schedule can be played again only if hashes are the same each time.
pub(crate) type RandomState = BuildHasherDefault<DefaultHasher>;

pub(crate) type ArcSwap<T> = Swap<Arc<T>>;
pub(crate) type ArcSwapOption<T> = Swap<Option<Arc<T>>>;

/// What `arc-swap` promises and no more: a pointer that is read with `Acquire`
/// and replaced with `AcqRel`, so a reader may well see an older value. How
/// `arc-swap` keeps that promise is not modelled; what the cache does with it is.
#[derive(Debug)]
pub(crate) struct Swap<T> {
    newest: AtomicUsize,
    /// Every value there has been. Not the checker's: never held while it may
    /// switch threads, and not a source of order.
    values: std::sync::Mutex<Vec<T>>,
}

impl<T: Clone> Swap<T> {
    fn new(value: T) -> Self {
        Self {
            newest: AtomicUsize::new(0),
            values: std::sync::Mutex::new(vec![value]),
        }
    }

    pub(crate) fn load(&self) -> T {
        let newest = self.newest.load(Ordering::Acquire);
        self.values()[newest].clone()
    }

    pub(crate) fn store(&self, value: T) {
        drop(self.swap(value));
    }

    pub(crate) fn swap(&self, value: T) -> T {
        let index = {
            let mut values = self.values();
            values.push(value);
            values.len() - 1
        };
        let replaced = self.newest.swap(index, Ordering::AcqRel);
        self.values()[replaced].clone()
    }

    fn values(&self) -> std::sync::MutexGuard<'_, Vec<T>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Swap<Arc<T>> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self::new(Arc::new(value))
    }
}

impl<T> Swap<Option<Arc<T>>> {
    pub(crate) fn empty() -> Self {
        Self::new(None)
    }

    pub(crate) fn load_full(&self) -> Option<Arc<T>> {
        self.load()
    }
}
