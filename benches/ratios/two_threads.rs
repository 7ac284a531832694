//! Two threads, each with its own clone of one service: what they share must
//! not slow them down.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use http::Request;
use tower::{Layer as _, Service};
use tower_bearer::{BearerAuthLayer, azure};

use crate::request::{Body, ByHand, Inner, SendOnce, header_value, once, request, tokens};
use crate::rounds::{self, Case, Rounds, print_table, waited_for_processor};

const ROUNDS: usize = 200;

/// Few, so that in most rounds no other program comes between.
const CALLS: usize = 256;

/// On a machine that is never quiet no more can be had.
const MOST_TRIES: usize = 100;

/// What a place of memory that both threads write to costs just now: that
/// depends on which cores they run on, and in a virtual machine changes by the
/// minute.
#[derive(Clone)]
struct Counted(Arc<AtomicUsize>);

impl Service<Request<Body>> for Counted {
    type Response = <Inner as Service<Request<Body>>>::Response;
    type Error = <Inner as Service<Request<Body>>>::Error;
    type Future = <Inner as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.fetch_add(1, Ordering::Relaxed);
        Inner.call(request)
    }
}

pub(crate) fn print() {
    for (map, capacity) in [("full at six", 6), ("with room for a seventh", 8)] {
        let mut rounds = Rounds::new();
        let by_hand = ByHand {
            inner: Inner,
            value: header_value(),
        };
        let layer = BearerAuthLayer::new(tokens(), azure::Audiences::new());
        let once = layer.clone().replay(SendOnce).layer(Inner);
        let counted = Counted(Arc::default());
        let cases = [
            ("inner service alone", both(&mut rounds, Inner, capacity)),
            (
                "one counter that both add to",
                both(&mut rounds, counted, capacity),
            ),
            (
                "inserted by hand, one value",
                both(&mut rounds, by_hand, capacity),
            ),
            (
                "BearerAuthLayer, sent once",
                both(&mut rounds, once, capacity),
            ),
            (
                "BearerAuthLayer, resend armed",
                both(&mut rounds, layer.layer(Inner), capacity),
            ),
        ];
        let samples = rounds.run(ROUNDS);
        let rows: Vec<_> = cases
            .iter()
            .map(|(name, [alone, together])| {
                let scaling = samples.ratio(*together, *alone);
                vec![
                    (*name).to_owned(),
                    format!("{:.2}", samples.of(*alone).median),
                    format!("{:.2}", samples.of(*together).median),
                    format!("{:.2}", scaling.median),
                    scaling.range(2),
                ]
            })
            .collect();
        print_table(
            &format!("Two threads on one cache, header map {map} (target: scaling ≥ 1.95)"),
            &[
                "service",
                "one thread, million calls/s",
                "two threads",
                "scaling",
                "middle half",
            ],
            &rows,
        );
    }
}

fn both<'a, S>(rounds: &mut Rounds<'a>, service: S, capacity: usize) -> [Case; 2]
where
    S: Service<Request<Body>> + Clone + Send + 'a,
{
    let clone = service.clone();
    [
        rounds.case(move || calls_per_microsecond(&clone, 1, capacity)),
        rounds.case(move || calls_per_microsecond(&service, 2, capacity)),
    ]
}

/// Of the first time that all threads had a processor all the time.
fn calls_per_microsecond<S>(service: &S, threads: usize, capacity: usize) -> f64
where
    S: Service<Request<Body>> + Clone + Send,
{
    let mut tries = (0..MOST_TRIES).map(|_| try_once(service, threads, capacity));
    tries
        .find_map(|(figure, is_undisturbed)| is_undisturbed.then_some(figure))
        .unwrap_or(f64::NAN)
}

/// From the first start to the last end, and whether no thread had to wait for
/// a processor.
fn try_once<S>(service: &S, threads: usize, capacity: usize) -> (f64, bool)
where
    S: Service<Request<Body>> + Clone + Send,
{
    let start_line = &[AtomicUsize::new(threads), AtomicUsize::new(threads)];
    let runs: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                let mut service = service.clone();
                scope.spawn(move || {
                    for _ in 0..64 {
                        once(&mut service, request(capacity));
                    }
                    let requests: Vec<_> = (0..CALLS).map(|_| request(capacity)).collect();
                    let _lid = rounds::lid();
                    // Until both have a processor.
                    wait_for_all(&start_line[0], thread::yield_now);
                    let waited = waited_for_processor();
                    wait_for_all(&start_line[1], spin_loop);
                    let start = Instant::now();
                    for request in requests {
                        once(&mut service, request);
                    }
                    (start, Instant::now(), waited_for_processor() == waited)
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
        (CALLS * threads) as f64 / (end - start).as_nanos() as f64 * 1000.0,
        runs.iter().all(|(.., is_undisturbed)| *is_undisturbed),
    )
}

/// A barrier would put the threads to sleep, and the first to wake up would run
/// alone.
fn wait_for_all(absent: &AtomicUsize, pause: fn()) {
    absent.fetch_sub(1, Ordering::AcqRel);
    while absent.load(Ordering::Acquire) > 0 {
        pause();
    }
}
