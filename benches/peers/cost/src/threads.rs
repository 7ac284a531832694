//! Throughput of one thread and of two.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::rounds::{lid, waited_for_processor};
use crate::{FULL, Subject, enter};

const CALLS: usize = 2000;

/// On a machine that is never quiet no more can be had.
const MOST_TRIES: usize = 10;

/// Of the first time that all threads had a processor all the time, or else of
/// the last time.
pub fn calls_per_microsecond(subject: &dyn Subject, threads: usize) -> f64 {
    let mut figure = f64::NAN;
    for _ in 0..MOST_TRIES {
        let is_undisturbed;
        (figure, is_undisturbed) = try_once(subject, threads);
        if is_undisturbed {
            break;
        }
    }
    figure
}

/// From the first start to the last end, and whether no thread had to wait for
/// a processor, unless it slept until a lock was free: that is the library's doing.
#[expect(
    clippy::disallowed_methods,
    reason = "real time is what is measured here"
)]
fn try_once(subject: &dyn Subject, threads: usize) -> (f64, bool) {
    let start_line = &[AtomicUsize::new(threads), AtomicUsize::new(threads)];
    let runs: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                let mut own = subject.another();
                scope.spawn(move || {
                    let _context = enter();
                    own.prepare_beside_others(FULL, 64)();
                    let send = own.prepare_beside_others(FULL, CALLS);
                    let _lid = lid();
                    // Until both have a processor.
                    wait_for_all(&start_line[0], thread::yield_now);
                    let waited = waited_for_processor();
                    wait_for_all(&start_line[1], spin_loop);
                    let start = Instant::now();
                    let has_slept = send();
                    let end = Instant::now();
                    (start, end, has_slept || waited_for_processor() == waited)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let start = runs.iter().map(|(start, ..)| *start).min().unwrap();
    let end = runs.iter().map(|(_, end, _)| *end).max().unwrap();
    (
        (CALLS * threads) as f64 * 1000.0 / (end - start).as_nanos() as f64,
        runs.iter().all(|(.., is_undisturbed)| *is_undisturbed),
    )
}

/// Not a barrier that sleeps: the first to wake up would run alone.
fn wait_for_all(absent: &AtomicUsize, pause: fn()) {
    absent.fetch_sub(1, Ordering::AcqRel);
    while absent.load(Ordering::Acquire) > 0 {
        pause();
    }
}
