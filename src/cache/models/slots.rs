//! The map of slots, under both checkers: loom for what other threads see of
//! each step, shuttle since loom does not see who holds a slot, and leaves out
//! orders that differ in that alone.

use std::sync::{Arc, Weak};

#[cfg(tower_bearer_loom)]
use loom::thread;
#[cfg(tower_bearer_shuttle)]
use shuttle::thread;

#[cfg(tower_bearer_loom)]
use super::explore;
use crate::Audience;
use crate::cache::slots::Slots;
use crate::cache::{Key, Slot};

#[cfg(tower_bearer_shuttle)]
fn explore(what: &str, model: impl Fn() + Copy + Send + Sync + 'static) {
    super::bench::explore(what, 20_000, async move |_| model());
}

fn key(number: usize) -> Key {
    Key {
        audience: Audience::from(format!("api://{number}")),
        tenant: None,
        claims: None,
    }
}

#[test]
fn i3_callers_that_make_a_key_at_the_same_time_share_its_slot() {
    explore("three callers make one key", || {
        let slots = Arc::new(Slots::new(2));
        let made = [(); 2].map(|()| {
            let slots = Arc::clone(&slots);
            thread::spawn(move || slots.get(key(1).as_ref()))
        });
        let mine = slots.get(key(1).as_ref());
        for slot in made {
            assert!(Arc::ptr_eq(&mine, &slot.join().unwrap()));
        }
    });
}

#[test]
fn t30_a_slot_that_is_held_stays_while_others_make_room() {
    explore("two keys make room beside one that is held", || {
        let slots = Arc::new(Slots::new(2));
        let held = slots.get(key(0).as_ref());
        let others = [1, 2].map(|number| {
            let slots = Arc::clone(&slots);
            thread::spawn(move || slots.get(key(number).as_ref()).key() == key(number).as_ref())
        });
        assert!(Arc::ptr_eq(&held, &slots.get(key(0).as_ref())));
        for right in others {
            assert!(right.join().unwrap());
        }
        assert!(Arc::ptr_eq(&held, &slots.get(key(0).as_ref())));
    });
}

/// A full map of the keys 0 and 1. Both have been looked up since the last one
/// was added, so that a further look-up does not change when that was.
fn full() -> Slots {
    let slots = Slots::new(2);
    for number in [0, 1, 0, 1] {
        slots.get(key(number).as_ref());
    }
    slots
}

/// Which of them makes room for a third one.
fn idlest() -> usize {
    let slots = full();
    let [zero, one] = [0, 1].map(|number| Arc::downgrade(&slots.get(key(number).as_ref())));
    slots.get(key(2).as_ref());
    let is_gone = |slot: &Weak<Slot>| {
        !slots
            .all()
            .iter()
            .any(|kept| slot.as_ptr() == &raw const **kept)
    };
    assert!(is_gone(&zero) != is_gone(&one));
    usize::from(is_gone(&one))
}

#[test]
fn i3_a_key_that_is_being_looked_up_keeps_its_slot_while_another_makes_room() {
    explore("a key makes room while two look up the idlest", || {
        let idlest = idlest();
        let slots = Arc::new(full());
        let making_room = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || drop(slots.get(key(2).as_ref())))
        };
        let found = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || slots.get(key(idlest).as_ref()))
        };
        let mine = slots.get(key(idlest).as_ref());
        let found = found.join().unwrap();
        making_room.join().unwrap();
        assert!(Arc::ptr_eq(&mine, &found));
        assert!(Arc::ptr_eq(&mine, &slots.get(key(idlest).as_ref())));
    });
}
