//! Permits, in every order of the steps of two tasks and in random orders of
//! those of more.
//!
//! A permit that is lost leaves somebody waiting for ever: a deadlock, which the
//! checker reports.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use shuttle::future::{JoinHandle, spawn, yield_now};
use shuttle::scheduler::DfsScheduler;

use super::bench::{explore, poll_once, run};
use super::checked_runtime::{CheckedRuntime, PAUSE};
use super::lock;
use crate::cache::permits::{Permit, Permits};

const LEASE: Duration = Duration::from_secs(8);

/// Who has held a permit, and who does.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Holders>>);

#[derive(Default)]
struct Holders {
    all: Vec<usize>,
    now: usize,
    most: usize,
}

impl Log {
    fn enter(&self, number: usize) -> impl Drop + Send + use<> {
        struct Exit(Log);
        impl Drop for Exit {
            fn drop(&mut self) {
                lock(&self.0.0).now -= 1;
            }
        }
        let mut holders = lock(&self.0);
        holders.all.push(number);
        holders.now += 1;
        holders.most = holders.most.max(holders.now);
        Exit(self.clone())
    }

    fn all(&self) -> Vec<usize> {
        lock(&self.0).all.clone()
    }

    fn most(&self) -> usize {
        lock(&self.0).most
    }
}

fn permits(runtime: &CheckedRuntime, most: usize) -> Arc<Permits> {
    Arc::new(Permits::new(most, LEASE, Arc::new(runtime.clone())))
}

/// Waits for `permit` and works with it for a while.
async fn work(mut permit: Permit, number: usize, log: Log) {
    permit.granted(|| ()).await;
    let _working = log.enter(number);
    yield_now().await;
}

/// Tasks that have queued in the order of their numbers.
fn workers<const N: usize>(permits: &Arc<Permits>, log: &Log) -> [JoinHandle<()>; N] {
    std::array::from_fn(|number| spawn(work(permits.queue(), number, log.clone())))
}

/// All come to their end whom nobody cancelled, and nothing is kept from those
/// who come after them.
async fn finish<const N: usize>(
    permits: &Arc<Permits>,
    most: usize,
    workers: [JoinHandle<()>; N],
    cancelled: usize,
) {
    for (number, worker) in workers.into_iter().enumerate() {
        let outcome = worker.await;
        assert!(outcome.is_ok() || number < cancelled);
    }
    let mut all = Vec::new();
    for _ in 0..most {
        let mut permit = permits.queue();
        permit.granted(|| ()).await;
        all.push(permit);
    }
}

#[test]
fn r22_no_more_hold_a_permit_than_may_and_none_is_lost_whoever_leaves() {
    explore("five fetches, two permits, two leave", 0, async |runtime| {
        let permits = permits(&runtime, 2);
        let log = Log::default();
        let workers = workers::<5>(&permits, &log);
        runtime.cancel(&workers[..2]);
        finish(&permits, 2, workers, 2).await;
        assert!(log.most() <= 2);
        assert!((3..=5).contains(&log.all().len()));
    });
}

#[test]
fn i6_permits_are_granted_in_the_order_in_which_they_were_asked_for() {
    explore("four fetches, one permit, one leaves", 0, async |runtime| {
        let permits = permits(&runtime, 1);
        let log = Log::default();
        let workers = workers::<4>(&permits, &log);
        runtime.cancel(&workers[1..2]);
        finish(&permits, 1, workers, 4).await;
        assert!(log.all().is_sorted(), "{:?}", log.all());
        assert_eq!(log.most(), 1);
    });
}

#[test]
fn r22_every_order_in_which_one_leaves_while_it_is_granted_a_permit() {
    let scheduler = DfsScheduler::new(None, false);
    run(
        "a permit is granted to one that leaves, in every order",
        scheduler,
        async |runtime| {
            let permits = permits(&runtime, 1);
            let log = Log::default();
            let mut held = permits.queue();
            held.granted(|| ()).await;
            let leaving = permits.queue();
            let staying = spawn(work(permits.queue(), 1, log.clone()));
            runtime.meanwhile(async move { drop(held) });
            runtime.meanwhile(async move { drop(leaving) });
            staying.await.unwrap();
            finish(&permits, 1, [], 0).await;
            assert_eq!(log.all(), [1]);
        },
    );
}

#[test]
fn r28_a_permit_that_never_comes_back_runs_out() {
    explore("a fetch never gives its permit back", 0, async |runtime| {
        let permits = permits(&runtime, 1);
        let log = Log::default();
        let mut stuck = permits.queue();
        stuck.granted(|| ()).await;
        runtime.keep_time();
        let waiting = spawn(work(permits.queue(), 0, log.clone()));
        waiting.await.unwrap();
        assert_eq!(log.all(), [0]);
        drop(stuck);
    });
}

#[test]
fn r28_a_stuck_fetch_that_goes_on_gives_nobody_elses_permit_back() {
    explore("a fetch is stuck with its permit", 0, async |runtime| {
        let permits = permits(&runtime, 1);
        let log = Log::default();
        let mut stuck = permits.queue();
        stuck.granted(|| ()).await;
        let waiting = [0, 1].map(|number| {
            let task = work(permits.queue(), number, log.clone());
            spawn(poll_once(task))
        });
        // Once for those to look who wait, and once for the lease to run out. One
        // that does not look in time goes to the end of the queue.
        for _ in 0..2 {
            runtime.advance(LEASE / 2 + PAUSE);
            yield_now().await;
        }
        // Its permit is another's by now.
        let late = spawn(async move { drop(stuck) });
        for waiter in waiting {
            waiter.await.unwrap();
        }
        late.await.unwrap();
        finish(&permits, 1, [], 0).await;
        let mut served = log.all();
        served.sort_unstable();
        assert_eq!(served, [0, 1]);
        assert_eq!(log.most(), 1);
    });
}
