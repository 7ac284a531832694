//! The slots of a cache, by key.

use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError};

use hashbrown::HashTable;

use super::KeyRef;
use super::slot::Slot;
use super::sync::{ArcSwap, AtomicU64, Mutex, Ordering, RandomState};

/// A power of two.
const SHARDS: usize = 32;

type Shard = HashTable<Arc<Slot>>;

/// When a slot of the map was last used, until it is given up to make room.
/// Counted in keys that were added since, so that to use a slot takes no
/// counter that all of them share.
#[derive(Debug)]
pub(super) struct LastUse(AtomicU64);

/// Later than any use.
const GIVEN_UP: u64 = u64::MAX;

impl LastUse {
    pub(super) fn new(now: u64) -> Self {
        Self(AtomicU64::new(now))
    }

    /// Whether the slot may be used: it has not been given up. The caller must
    /// hold a handle to it already, for whoever gives it up to see.
    fn take(&self, now: u64) -> bool {
        self.0.fetch_max(now, Ordering::AcqRel) != GIVEN_UP
    }

    /// Gives the slot up, unless somebody has used it since `last_use`.
    fn give_up(&self, last_use: u64) -> bool {
        self.0
            .compare_exchange(last_use, GIVEN_UP, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    fn take_back(&self, last_use: u64) {
        self.0.store(last_use, Ordering::Release);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A bounded map that is read without a lock.
///
/// Keys come and go rarely, so a shard is replaced as a whole when one does.
#[derive(Debug)]
pub(super) struct Slots {
    shards: [ArcSwap<Shard>; SHARDS],
    hasher: RandomState,
    /// How many keys there are; held while one is added.
    count: Mutex<usize>,
    /// How many keys have been added.
    added: AtomicU64,
    most: usize,
}

impl Slots {
    pub(super) fn new(most: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| ArcSwap::from_pointee(Shard::new())),
            hasher: RandomState::default(),
            count: Mutex::new(0),
            added: AtomicU64::new(0),
            most: most.max(1),
        }
    }

    /// The slot of `key`, made if there is none. When the map is full the key
    /// that has not been looked up for longest makes room.
    pub(super) fn get(&self, key: KeyRef<'_>) -> Arc<Slot> {
        self.find(key).unwrap_or_else(|| self.insert(key))
    }

    /// The slot of `key`, if there is one.
    pub(super) fn find(&self, key: KeyRef<'_>) -> Option<Arc<Slot>> {
        let (hash, shard) = self.place_of(key);
        let slot = Arc::clone(shard.load().find(hash, |slot| slot.key() == key)?);
        let now = self.added.load(Ordering::Relaxed);
        slot.last_use.take(now).then_some(slot)
    }

    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        let shards = self.shards.iter().map(ArcSwap::load);
        shards
            .flat_map(|shard| shard.iter().map(Arc::clone).collect::<Vec<_>>())
            .collect()
    }

    fn place_of(&self, key: KeyRef<'_>) -> (u64, &ArcSwap<Shard>) {
        let hash = self.hasher.hash_one(key);
        // The lowest and the highest bits choose the place inside the shard.
        let [_, _, _, _, index, ..] = hash.to_le_bytes();
        (hash, &self.shards[usize::from(index) % SHARDS])
    }

    #[cold]
    fn insert(&self, key: KeyRef<'_>) -> Arc<Slot> {
        let (hash, shard) = self.place_of(key);
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is given up but under this lock.
        if let Some(slot) = shard.load().find(hash, |slot| slot.key() == key) {
            return Arc::clone(slot);
        }
        if *count >= self.most {
            self.make_room(shard);
        } else {
            *count += 1;
        }
        let now = self.added.fetch_add(1, Ordering::Relaxed) + 1;
        let slot = Arc::new(Slot::new(key.to_key(), LastUse::new(now)));
        let mut next = Shard::clone(&shard.load());
        next.insert_unique(hash, Arc::clone(&slot), |slot| {
            self.hasher.hash_one(slot.key())
        });
        shard.store(Arc::new(next));
        slot
    }

    /// Gives up the slot that was not used for longest, if possible one that
    /// nobody holds, if possible in the shard that is about to grow.
    fn make_room(&self, preferred: &ArcSwap<Shard>) {
        for even_in_use in [false, true] {
            for shard in std::iter::once(preferred).chain(&self.shards) {
                let current = shard.load();
                if let Some(victim) = give_up_idlest(&current, even_in_use) {
                    let mut next = Shard::clone(&current);
                    next.retain(|slot| !Arc::ptr_eq(slot, victim));
                    victim.let_cool();
                    shard.store(Arc::new(next));
                    return;
                }
            }
        }
    }
}

fn give_up_idlest(shard: &Shard, even_in_use: bool) -> Option<&Arc<Slot>> {
    loop {
        let (last_use, slot) = shard
            .iter()
            .filter(|slot| even_in_use || !is_in_use(slot))
            .map(|slot| (slot.last_use.get(), slot))
            .min_by_key(|(last_use, _)| *last_use)?;
        if slot.last_use.give_up(last_use) {
            // Looked at again: whoever took it before it was given up has a
            // handle by now, and whoever comes later does not get it.
            if even_in_use || !is_in_use(slot) {
                return Some(slot);
            }
            slot.last_use.take_back(last_use);
        }
    }
}

/// Whether somebody holds `slot` beside the map, or it has something to do.
fn is_in_use(slot: &Arc<Slot>) -> bool {
    Arc::strong_count(slot) > 1 || !slot.is_idle()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Audience;
    use crate::cache::Key;

    fn key(number: usize) -> Key {
        Key {
            audience: Audience::from(format!("api://{number}")),
            tenant: None,
            claims: None,
        }
    }

    #[test]
    fn one_key_has_one_slot() {
        let slots = Slots::new(100);
        let first = slots.get(key(1).as_ref());
        assert!(Arc::ptr_eq(&first, &slots.get(key(1).as_ref())));
        assert!(!Arc::ptr_eq(&first, &slots.get(key(2).as_ref())));
    }

    #[test]
    fn no_key_is_given_up_before_the_map_is_full() {
        let slots = Slots::new(500);
        let kept: Vec<_> = (0..500)
            .map(|number| Arc::downgrade(&slots.get(key(number).as_ref())))
            .collect();
        assert!(kept.iter().all(|slot| slot.strong_count() > 0));
    }

    #[test]
    fn t30_the_number_of_keys_is_bounded_and_what_is_held_stays() {
        let slots = Slots::new(64);
        let held = slots.get(key(0).as_ref());
        for number in 1..10_000 {
            slots.get(key(number).as_ref());
        }
        let kept: usize = slots.shards.iter().map(|shard| shard.load().len()).sum();
        assert_eq!(kept, 64);
        assert!(Arc::ptr_eq(&held, &slots.get(key(0).as_ref())));
    }
}
