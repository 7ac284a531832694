//! What the cache shares state with, so that a checker of concurrency can put
//! in its own.

#[cfg(all(test, any(tower_bearer_loom, tower_bearer_shuttle)))]
pub(super) use super::models::primitives::{
    ArcSwap, ArcSwapOption, AtomicU64, Mutex, MutexGuard, Ordering, RandomState,
};
#[cfg(not(all(test, any(tower_bearer_loom, tower_bearer_shuttle))))]
pub(super) use {
    arc_swap::{ArcSwap, ArcSwapOption},
    hashbrown::DefaultHashBuilder as RandomState,
    std::sync::atomic::{AtomicU64, Ordering},
    std::sync::{Mutex, MutexGuard},
};
