//! The slots of a cache, by key.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError};

use super::Key;
use super::slot::Slot;
use super::sync::{ArcSwap, AtomicU64, Mutex, Ordering, RandomState};

const SHARDS: usize = 32;

type Shard = HashMap<Key, Arc<Place>, RandomState>;

#[derive(Debug)]
struct Place {
    slot: Arc<Slot>,
    /// [`GIVEN_UP`] from just before it leaves the map.
    last_used: AtomicU64,
}

/// Later than any use.
const GIVEN_UP: u64 = u64::MAX;

impl Place {
    /// The slot, unless the place has been given up.
    fn take(&self, now: u64) -> Option<Arc<Slot>> {
        // First the handle and then the use: whoever wants to give the place up
        // sees both or, if it looked before, that there has been a use.
        let slot = Arc::clone(&self.slot);
        let before = self.last_used.fetch_max(now, Ordering::AcqRel);
        (before != GIVEN_UP).then_some(slot)
    }

    /// Whether nobody has used it since `last_used`; nobody will any more.
    fn give_up(&self, last_used: u64) -> bool {
        self.last_used
            .compare_exchange(last_used, GIVEN_UP, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.slot) > 1 || !self.slot.is_idle()
    }
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
        let found = shard.load().get(key).and_then(|place| place.take(now));
        found.unwrap_or_else(|| self.insert(shard, key, now))
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
                if let Some((victim, place)) = give_up_idlest(&current, even_in_use) {
                    let mut next = Shard::clone(&current);
                    next.remove(victim);
                    place.slot.let_cool();
                    shard.store(Arc::new(next));
                    return;
                }
            }
        }
    }
}

/// The key that has not been looked up for longest; nobody gets its slot any
/// more.
fn give_up_idlest(shard: &Shard, even_in_use: bool) -> Option<(&Key, &Place)> {
    loop {
        let (last_used, key, place) = shard
            .iter()
            // When it was used before whether it is: see `Place::take`.
            .map(|(key, place)| (place.last_used.load(Ordering::Acquire), key, &**place))
            .filter(|(_, _, place)| even_in_use || !place.is_in_use())
            .min_by_key(|(last_used, _, _)| *last_used)?;
        if place.give_up(last_used) {
            return Some((key, place));
        }
    }
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
