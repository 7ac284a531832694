//! The slot, in every order of the steps of two or three threads.

use std::sync::Arc;
use std::time::Duration;

use super::explore;
use super::slot_bench::{A_WHILE, Bench, in_thread, token};
use crate::cache::Entry;
use crate::{Error, ErrorKind};

/// Past the refresh point of a token of one hour, before its end.
const DUE: Duration = Duration::from_secs(2000);

/// Longer than a flight may take.
const STUCK: Duration = Duration::from_secs(126);

#[test]
fn r02_readers_at_the_refresh_point_start_one_flight() {
    explore("three readers at the refresh point", || {
        let bench = Bench::with_token();
        bench.advance(DUE);
        let readers = [(); 3].map(|()| in_thread(&bench, Bench::current));
        for reader in readers {
            assert_eq!(reader.join().unwrap().unwrap().generation, 1);
        }
        assert_eq!(bench.launched(), 2);
    });
}

#[test]
fn r02_readers_that_see_the_next_token_land_neither_go_back_nor_fetch_again() {
    explore("two readers while a token lands", || {
        let bench = Bench::with_token();
        bench.advance(DUE);
        bench.current();
        assert_eq!(bench.launched(), 2);
        bench.depart();
        bench.advance(A_WHILE);

        let landing = in_thread(&bench, Bench::fly);
        let readers = [1, 2].map(|times| {
            in_thread(&bench, move |bench| {
                let mut newest = 1;
                for _ in 0..times {
                    let entry = bench.current().unwrap();
                    assert_eq!(entry.token.secret(), format!("token-{}", entry.generation));
                    assert!(entry.generation >= newest);
                    newest = entry.generation;
                }
            })
        });
        landing.join().unwrap();
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(bench.launched(), 2, "one fetch for one token");
        assert_eq!(bench.current().unwrap().generation, 2);
    });
}

#[test]
fn i6_no_wish_for_a_refresh_is_lost_when_the_flight_fails() {
    explore("two readers while a flight fails", || {
        let bench = Bench::answering(|number| match number {
            2 => Err(Error::new(ErrorKind::Unreachable, "down")),
            _ => token(number),
        });
        bench.acquire();
        bench.fly();
        bench.advance(DUE);
        bench.current();

        let landing = in_thread(&bench, Bench::fly);
        let readers = [(); 2].map(|()| in_thread(&bench, Bench::current));
        landing.join().unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap().unwrap().generation, 1);
        }
        assert_eq!(bench.launched(), 2, "not while the back-off lasts");
        bench.advance(A_WHILE);
        bench.current();
        assert_eq!(bench.launched(), 3);
        bench.fly();
        assert_eq!(bench.current().unwrap().token.secret(), "token-3");
    });
}

#[test]
fn i6_no_wish_for_a_refresh_is_lost_when_the_flight_is_abandoned() {
    explore("two readers while a flight is abandoned", || {
        let bench = Bench::with_token();
        bench.advance(DUE);
        bench.current();

        let stopping = in_thread(&bench, |bench| drop(bench.next_task()));
        let readers = [(); 2].map(|()| in_thread(&bench, Bench::current));
        stopping.join().unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap().unwrap().generation, 1);
        }
        bench.current();
        assert_eq!(bench.launched(), 3);
        bench.fly();
        assert_eq!(bench.current().unwrap().generation, 2);
    });
}

#[test]
fn r01_callers_without_a_token_share_the_flight_that_lands_meanwhile() {
    explore("two callers while the first token lands", || {
        let bench = Bench::new();
        let first = bench.acquire();
        let landing = in_thread(&bench, Bench::fly);
        let callers = [(); 2].map(|()| in_thread(&bench, Bench::acquire));
        landing.join().unwrap();
        let callers = callers.map(|caller| caller.join().unwrap());
        assert_eq!(bench.launched(), 1);
        for acquired in callers.into_iter().chain([first]) {
            assert_eq!(bench.settle(acquired).unwrap().generation, 1);
        }
    });
}

#[test]
fn r20_callers_of_an_abandoned_flight_ask_again() {
    explore("two callers while the first flight is abandoned", || {
        let bench = Bench::new();
        let first = bench.acquire();
        let stopping = in_thread(&bench, |bench| drop(bench.next_task()));
        let callers = [(); 2].map(|()| in_thread(&bench, Bench::acquire));
        stopping.join().unwrap();
        let callers = callers.map(|caller| caller.join().unwrap());
        assert!(bench.launched() <= 2);
        bench.fly_all();
        for acquired in callers.into_iter().chain([first]) {
            assert_eq!(bench.settle(acquired).unwrap().generation, 1);
        }
        assert_eq!(bench.launched(), 2);
    });
}

/// A flight that is stuck ends at last, in the way of `end`, while two callers
/// take over or find it ended.
fn end_a_stuck_flight(bench: &Arc<Bench>, end: fn(&Bench)) -> Vec<Result<Arc<Entry>, Error>> {
    let first = bench.acquire();
    bench.depart();
    bench.advance(STUCK);
    let ending = in_thread(bench, end);
    let callers = [(); 2].map(|()| in_thread(bench, Bench::acquire));
    ending.join().unwrap();
    let mut callers: Vec<_> = callers.map(|caller| caller.join().unwrap()).into();
    callers.push(bench.acquire());
    assert!(bench.launched() <= 2, "one flight at a time");
    bench.fly_all();
    callers.push(first);
    let outcomes = callers.into_iter().map(|acquired| bench.settle(acquired));
    outcomes.collect()
}

#[test]
fn r28_a_stuck_flight_that_fails_late_does_not_end_the_one_that_took_over() {
    explore("two callers while a stuck flight fails", || {
        let bench = Bench::answering(|number| match number {
            1 => Err(Error::new(ErrorKind::Unreachable, "down")),
            _ => token(number),
        });
        let outcomes = end_a_stuck_flight(&bench, Bench::fly);
        let taken_over = bench.launched() == 2;
        for outcome in outcomes {
            match outcome {
                Ok(entry) => assert_eq!(entry.token.secret(), "token-2"),
                Err(_) => assert!(!taken_over, "its failure is nobody's any more"),
            }
        }
    });
}

#[test]
fn r28_a_stuck_flight_that_is_dropped_late_does_not_end_the_one_that_took_over() {
    explore("two callers while a stuck flight is dropped", || {
        let bench = Bench::new();
        for outcome in end_a_stuck_flight(&bench, |bench| drop(bench.next_task())) {
            assert_eq!(outcome.unwrap().generation, 1);
        }
        assert_eq!(bench.launched(), 2);
    });
}

#[test]
fn r35_refusals_of_one_token_force_one_flight_accepted_or_not() {
    explore("two refusals and an acceptance", || {
        let bench = Bench::with_token();
        let refused = bench.current().unwrap();
        bench.advance(A_WHILE);
        let accepting = in_thread(&bench, |bench| bench.slot.mark_accepted(1));
        let callers = [(); 2].map(|()| {
            let refused = Arc::clone(&refused);
            in_thread(&bench, move |bench| bench.renew(&refused))
        });
        accepting.join().unwrap();
        let callers = callers.map(|caller| caller.join().unwrap());
        assert_eq!(bench.launched(), 2);
        bench.fly();
        for acquired in callers {
            assert_eq!(bench.settle(acquired).unwrap().generation, 2);
        }
    });
}

#[test]
fn r36_a_late_refusal_gets_the_token_that_lands_meanwhile() {
    explore("two refusals while the next token lands", || {
        let bench = Bench::with_token();
        let refused = bench.current().unwrap();
        bench.slot.mark_accepted(1);
        bench.advance(A_WHILE);
        let first = bench.renew(&refused);
        bench.depart();
        bench.advance(A_WHILE);

        let landing = in_thread(&bench, Bench::fly);
        let callers = [(); 2].map(|()| {
            let refused = Arc::clone(&refused);
            in_thread(&bench, move |bench| bench.renew(&refused))
        });
        landing.join().unwrap();
        let callers = callers.map(|caller| caller.join().unwrap());
        assert_eq!(bench.launched(), 2, "the newer token is there");
        for acquired in callers.into_iter().chain([first]) {
            assert_eq!(bench.settle(acquired).unwrap().generation, 2);
        }
    });
}

#[test]
fn r36_a_refusal_a_reader_and_a_landing_refresh_make_one_fetch() {
    explore("a refusal and a reader while a refresh lands", || {
        let bench = Bench::with_token();
        let refused = bench.current().unwrap();
        bench.advance(DUE);
        bench.current();
        bench.depart();
        bench.advance(A_WHILE);

        let landing = in_thread(&bench, Bench::fly);
        let reading = in_thread(&bench, Bench::current);
        let renewed = in_thread(&bench, move |bench| bench.renew(&refused));
        landing.join().unwrap();
        assert!(reading.join().unwrap().is_some());
        let renewed = renewed.join().unwrap();
        assert_eq!(bench.launched(), 2);
        assert_eq!(bench.settle(renewed).unwrap().generation, 2);
    });
}
