//! The slots of a cache, by key.

use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError};

use hashbrown::HashTable;

use super::KeyRef;
use super::slot::Slot;
use super::sync::{ArcSwap, AtomicU64, Mutex, Ordering, RandomState};

/// A power of two.
const SHARDS: usize = 32;

type Shard = HashTable<Arc<Place>>;

/// Where a slot is, in all copies of its shard: so the slot's own handles are
/// those of its users and this one.
#[derive(Debug)]
struct Place {
    slot: Arc<Slot>,
    /// When the slot was last looked up, in keys that had been added: so that a
    /// look-up writes to no counter that all of them share. [`GIVEN_UP`] from
    /// just before it leaves the map.
    last_used: AtomicU64,
}

/// Later than any use.
const GIVEN_UP: u64 = u64::MAX;

impl Place {
    /// The slot, unless the place has been given up.
    fn take(&self, now: u64) -> Option<Arc<Slot>> {
        // First the handle and then the use: whoever gives the place up after
        // that sees the handle.
        let slot = Arc::clone(&self.slot);
        let before = self.last_used.fetch_max(now, Ordering::AcqRel);
        (before != GIVEN_UP).then_some(slot)
    }

    /// Notes that the slot is looked at, by one who will not hold it.
    #[inline]
    fn note_use(&self, now: u64) {
        // Others note the same, mostly, and need not write it again.
        if self.last_used.load(Ordering::Relaxed) < now {
            self.last_used.fetch_max(now, Ordering::AcqRel);
        }
    }

    /// Whether nobody uses the slot, or has looked it up since `last_used`;
    /// nobody will any more.
    fn give_up(&self, last_used: u64, even_in_use: bool) -> bool {
        let given_up = self
            .last_used
            .compare_exchange(last_used, GIVEN_UP, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        if given_up && !even_in_use && self.is_in_use() {
            // By somebody who took it before, in which nothing may have changed.
            self.last_used.store(last_used, Ordering::Release);
            return false;
        }
        given_up
    }

    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.slot) > 1 || !self.slot.is_idle()
    }

    fn is_for(&self, key: KeyRef<'_>) -> bool {
        self.slot.key() == key
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
        let now = self.added.load(Ordering::Relaxed);
        shard
            .load()
            .find(hash, |place| place.is_for(key))?
            .take(now)
    }

    /// What `look` finds in the slot of `key`, if there is one. It may be given
    /// up meanwhile, so nothing may be begun there.
    #[inline]
    pub(super) fn look<T>(
        &self,
        key: KeyRef<'_>,
        look: impl FnOnce(&Slot) -> Option<T>,
    ) -> Option<T> {
        let (hash, shard) = self.place_of(key);
        let now = self.added.load(Ordering::Relaxed);
        let shard = shard.load();
        let place = shard.find(hash, |place| place.is_for(key))?;
        place.note_use(now);
        look(&place.slot)
    }

    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        let shards = self.shards.iter().map(ArcSwap::load);
        shards
            .flat_map(|shard| {
                let slots = shard.iter().map(|place| Arc::clone(&place.slot));
                slots.collect::<Vec<_>>()
            })
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
        if let Some(place) = shard.load().find(hash, |place| place.is_for(key)) {
            return Arc::clone(&place.slot);
        }
        if *count >= self.most {
            self.make_room(shard);
        } else {
            *count += 1;
        }
        let now = self.added.fetch_add(1, Ordering::Relaxed) + 1;
        let slot = Arc::new(Slot::new(key.to_key()));
        let place = Arc::new(Place {
            slot: Arc::clone(&slot),
            last_used: AtomicU64::new(now),
        });
        let mut next = Shard::clone(&shard.load());
        next.insert_unique(hash, place, |place| self.hasher.hash_one(place.slot.key()));
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
                    next.retain(|place| !Arc::ptr_eq(place, victim));
                    victim.slot.let_cool();
                    shard.store(Arc::new(next));
                    return;
                }
            }
        }
    }
}

fn give_up_idlest(shard: &Shard, even_in_use: bool) -> Option<&Arc<Place>> {
    loop {
        let (last_used, place) = shard
            .iter()
            .map(|place| (place.last_used.load(Ordering::Acquire), place))
            .filter(|(_, place)| even_in_use || !place.is_in_use())
            .min_by_key(|(last_used, _)| *last_used)?;
        if place.give_up(last_used, even_in_use) {
            return Some(place);
        }
    }
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
