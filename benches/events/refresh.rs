//! Two threads send as fast as they can; now and then a refresh begins that
//! takes half a second.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tower::{Layer as _, Service};
use tower_bearer::{AccessToken, BearerAuthLayer, TokenCache, azure, credential_fn};

use crate::request::{Inner, request, token};
use crate::rounds::{is_measuring, print_table, waited_for_processor};
use crate::stepped_clock::SteppedClock;

const REFRESHES: usize = 8;
const FETCH: Duration = Duration::from_millis(500);
const SLOW: Duration = Duration::from_millis(1);
const LIFE: Duration = Duration::from_secs(86_400);
/// After the refresh point, and long before the end.
const UNTIL_DUE: Duration = Duration::from_secs(86_400 * 3 / 4);

const QUIET: usize = 0;
const REFRESHING: usize = 1;

/// What a thread has seen of its calls.
#[derive(Clone, Copy, Default)]
struct Seen {
    calls: u64,
    slow: u64,
    /// Slow, though there was a processor for it.
    held_up: u64,
    longest: Duration,
    /// Not answered when they were polled first: only who waits for a token is.
    waited: u64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.slow += other.slow;
        self.held_up += other.held_up;
        self.longest = self.longest.max(other.longest);
        self.waited += other.waited;
    }
}

type Client = tower_bearer::BearerAuth<Inner>;

/// Sends until it is told to stop, and sorts what it sees by `phase`.
fn load(mut client: Client, runtime: &Handle, phase: &AtomicUsize, stop: &AtomicBool) -> [Seen; 2] {
    let _entered = runtime.enter();
    let mut seen = [Seen::default(); 2];
    let (mut before, mut end) = (waited_for_processor(), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let request = request(8);
        let seen = &mut seen[phase.load(Ordering::Relaxed)];
        let start = Instant::now();
        if start - end > SLOW / 2 {
            // Between two calls, so no call's excuse.
            before = waited_for_processor();
        }
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Service::<http::Request<_>>::poll_ready(&mut client, &mut cx).is_ready());
        let mut answer = pin!(client.call(request));
        if answer.as_mut().poll(&mut cx).is_pending() {
            seen.waited += 1;
            runtime.block_on(answer).unwrap();
        }
        end = Instant::now();
        let took = end - start;
        seen.calls += 1;
        seen.longest = seen.longest.max(took);
        if took > SLOW {
            let after = waited_for_processor();
            seen.slow += 1;
            seen.held_up += u64::from(took.saturating_sub(after.saturating_sub(before)) > SLOW);
            before = after;
            end = Instant::now();
        }
    }
    seen
}

pub(crate) fn print() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let fetched = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&fetched);
    let credential = credential_fn(move |_| {
        let counted = Arc::clone(&counted);
        async move {
            tokio::time::sleep(FETCH).await;
            counted.fetch_add(1, Ordering::Relaxed);
            AccessToken::expiring_in(&token(), LIFE)
        }
    });
    let clock = SteppedClock::default();
    let tokens = TokenCache::builder(credential)
        .runtime(clock.clone())
        .build();
    runtime
        .block_on(tokens.token("https://vault.azure.net"))
        .unwrap();
    let client = BearerAuthLayer::new(tokens, azure::Audiences::new()).layer(Inner);

    let (phase, stop) = (&AtomicUsize::new(QUIET), &AtomicBool::new(false));
    let mut seen = [Seen::default(); 2];
    thread::scope(|scope| {
        let threads = [client.clone(), client]
            .map(|client| scope.spawn(|| load(client, runtime.handle(), phase, stop)));
        for refresh in 0..if is_measuring() { REFRESHES } else { 1 } {
            thread::sleep(FETCH);
            phase.store(REFRESHING, Ordering::Relaxed);
            clock.advance(UNTIL_DUE);
            // The first fetch was before.
            while fetched.load(Ordering::Relaxed) < refresh + 2 {
                thread::sleep(Duration::from_millis(1));
            }
            phase.store(QUIET, Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            let [quiet, refreshing] = thread.join().unwrap();
            seen[QUIET].add(quiet);
            seen[REFRESHING].add(refreshing);
        }
    });
    let rows = [("no refresh", QUIET), ("during a refresh", REFRESHING)].map(|(name, phase)| {
        let seen = seen[phase];
        vec![
            name.to_owned(),
            seen.calls.to_string(),
            seen.waited.to_string(),
            seen.slow.to_string(),
            seen.held_up.to_string(),
            format!("{:.1}", seen.longest.as_secs_f64() * 1000.0),
        ]
    });
    print_table(
        "Two threads at full speed, a refresh takes 500 ms (target: no call takes over 1 ms longer)",
        &[
            "",
            "calls",
            "had to wait for a token",
            "took over 1 ms",
            "of which not for want of a processor",
            "longest, ms",
        ],
        &rows,
    );
}
