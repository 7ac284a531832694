//! Throughput of one thread and of two.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::measure::{FULL, nanoseconds};
use crate::{Subject, enter};

const CALLS: usize = 2000;

/// One round.
#[derive(Clone, Copy)]
pub struct Threads {
    /// Calls in a microsecond, all threads together.
    pub one: f64,
    pub two: f64,
}

pub fn in_threads(subject: &dyn Subject) -> Threads {
    Threads {
        one: throughput(subject, 1),
        two: throughput(subject, 2),
    }
}

/// From the first start to the last end.
#[expect(
    clippy::disallowed_methods,
    reason = "real time is what is measured here"
)]
fn throughput(subject: &dyn Subject, threads: usize) -> f64 {
    let ready = AtomicUsize::new(0);
    let times: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (ready, mut own) = (&ready, subject.another());
                scope.spawn(move || {
                    let _context = enter();
                    let send = own.prepare_beside_others(FULL, CALLS);
                    ready.fetch_add(1, Ordering::SeqCst);
                    // Not a barrier that sleeps: one thread would run alone for
                    // long enough to hide that they get in each other's way.
                    while ready.load(Ordering::SeqCst) < threads {
                        std::hint::spin_loop();
                    }
                    let start = Instant::now();
                    send();
                    (start, Instant::now())
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });
    let start = times.iter().map(|(start, _)| *start).min().unwrap();
    let end = times.iter().map(|(_, end)| *end).max().unwrap();
    (CALLS * threads) as f64 * 1000.0 / nanoseconds(end - start)
}
