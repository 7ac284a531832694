//! The map of slots, in every order of the steps of two or three threads.

use std::sync::Arc;

use loom::thread;

use super::explore;
use crate::Audience;
use crate::cache::Key;
use crate::cache::slots::Slots;

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

#[test]
fn i3_a_key_that_is_being_looked_up_keeps_its_slot_while_another_makes_room() {
    explore("a key makes room while two look up the idlest", || {
        let slots = Arc::new(Slots::new(2));
        for number in [0, 1] {
            slots.get(key(number).as_ref());
        }
        let making_room = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || drop(slots.get(key(2).as_ref())))
        };
        let found = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || slots.get(key(0).as_ref()))
        };
        let mine = slots.get(key(0).as_ref());
        let found = found.join().unwrap();
        making_room.join().unwrap();
        assert!(Arc::ptr_eq(&mine, &found));
        assert!(Arc::ptr_eq(&mine, &slots.get(key(0).as_ref())));
    });
}
