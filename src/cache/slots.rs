//! The slots of a cache, by key.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::Key;
use super::slot::Slot;

const SHARDS: usize = 32;

type Shard = HashMap<Key, Arc<Place>, RandomState>;

#[derive(Debug)]
struct Place {
    slot: Arc<Slot>,
    last_used: AtomicU64,
}

/// A bounded map that is read without a lock.
///
/// Keys come and go rarely, so a shard is replaced as a whole when one does.
#[derive(Debug)]
pub(super) struct Slots {
    shards: Vec<ArcSwap<Shard>>,
    hasher: RandomState,
    /// How many keys there are; held while one is added.
    count: Mutex<usize>,
    uses: AtomicU64,
    most: usize,
}

impl Slots {
    pub(super) fn new(most: usize) -> Self {
        let hasher = RandomState::new();
        let shards = (0..SHARDS)
            .map(|_| ArcSwap::from_pointee(Shard::with_hasher(hasher.clone())))
            .collect();
        Self {
            shards,
            hasher,
            count: Mutex::new(0),
            uses: AtomicU64::new(0),
            most: most.max(1),
        }
    }

    /// The slot of `key`, made if there is none. When the map is full the key
    /// that has not been looked up for longest makes room.
    pub(super) fn get(&self, key: &Key) -> Arc<Slot> {
        let hash = self.hasher.hash_one(key);
        let Some(shard) = self.shard(hash) else {
            return Arc::new(Slot::new(key.clone()));
        };
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = shard.load().get(key) {
            place.last_used.store(now, Ordering::Relaxed);
            return Arc::clone(&place.slot);
        }
        self.insert(shard, key, now)
    }

    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        let shards = self.shards.iter().map(ArcSwap::load);
        shards
            .flat_map(|shard| {
                let slots = shard.values().map(|place| Arc::clone(&place.slot));
                slots.collect::<Vec<_>>()
            })
            .collect()
    }

    fn shard(&self, hash: u64) -> Option<&ArcSwap<Shard>> {
        // The low bits choose the bucket inside the shard.
        let index = usize::try_from(hash >> 57).unwrap_or_default() % SHARDS;
        self.shards.get(index)
    }

    #[cold]
    fn insert(&self, shard: &ArcSwap<Shard>, key: &Key, now: u64) -> Arc<Slot> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let current = shard.load();
        if let Some(place) = current.get(key) {
            return Arc::clone(&place.slot);
        }
        if *count >= self.most {
            self.make_room(shard);
        } else {
            *count += 1;
        }
        let mut next = Shard::clone(&shard.load());
        let slot = Arc::new(Slot::new(key.clone()));
        next.insert(
            key.clone(),
            Arc::new(Place {
                slot: Arc::clone(&slot),
                last_used: AtomicU64::new(now),
            }),
        );
        shard.store(Arc::new(next));
        slot
    }

    /// Gives up one key: of `preferred`, which is about to be copied anyway, or
    /// else of the first shard that has one to give. One that a service holds,
    /// that is kept warm or that a flight fetches for goes only if there is no
    /// other.
    fn make_room(&self, preferred: &ArcSwap<Shard>) {
        for even_in_use in [false, true] {
            for shard in std::iter::once(preferred).chain(&self.shards) {
                let current = shard.load();
                if let Some(victim) = idlest(&current, even_in_use) {
                    let mut next = Shard::clone(&current);
                    if let Some(place) = next.remove(&victim) {
                        place.slot.let_cool();
                    }
                    shard.store(Arc::new(next));
                    return;
                }
            }
        }
    }
}

/// The key that has not been looked up for longest.
fn idlest(shard: &Shard, even_in_use: bool) -> Option<Key> {
    shard
        .iter()
        .filter(|(_, place)| {
            even_in_use || (Arc::strong_count(&place.slot) == 1 && place.slot.is_idle())
        })
        .min_by_key(|(_, place)| place.last_used.load(Ordering::Relaxed))
        .map(|(key, _)| key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Audience;

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
        let first = slots.get(&key(1));
        assert!(Arc::ptr_eq(&first, &slots.get(&key(1))));
        assert!(!Arc::ptr_eq(&first, &slots.get(&key(2))));
    }

    #[test]
    fn no_key_is_given_up_before_the_map_is_full() {
        let slots = Slots::new(500);
        let kept: Vec<_> = (0..500)
            .map(|number| Arc::downgrade(&slots.get(&key(number))))
            .collect();
        assert!(kept.iter().all(|slot| slot.strong_count() > 0));
    }

    #[test]
    fn t30_the_number_of_keys_is_bounded_and_what_is_held_stays() {
        let slots = Slots::new(64);
        let held = slots.get(&key(0));
        for number in 1..10_000 {
            slots.get(&key(number));
        }
        let kept: usize = slots.shards.iter().map(|shard| shard.load().len()).sum();
        assert_eq!(kept, 64);
        assert!(Arc::ptr_eq(&held, &slots.get(&key(0))));
    }
}
