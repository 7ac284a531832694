//! Whole days of traffic, on one thread and on clocks that only events move,
//! with everything going wrong that the seed wants. The layer and the cache are
//! the real ones; the identity provider, the servers and the users are played.
//! What must always be true is checked as it happens.
//!
//! `SIMULATION_SEED=7` replays one seed, `SIMULATION_TRACE=1` prints all of its
//! events.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unchecked_time_subtraction,
    missing_docs,
    unreachable_pub
)]

mod executor;
mod faults;
mod figures;
mod ledger;
mod metastable;
mod oracle;
mod places;
mod provider;
mod random;
mod server;
mod simulation;
mod trace;
mod traffic;
mod weather;
mod world;

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use figures::Figures;
use metastable::Outage;
use simulation::{play_all, run};

/// Days that one seed is played for, unless `SIMULATION_DAYS` says otherwise.
const DAYS: u64 = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds of a test, or the one that is to be replayed.
fn seeds(all: Range<u64>) -> Range<u64> {
    number("SIMULATION_SEED").map_or(all, |seed| seed..seed + 1)
}

fn check(seeds: Range<u64>, days: u64) -> Figures {
    match play_all(seeds, days) {
        Ok(figures) => figures,
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn i1_to_i10_hold_whatever_goes_wrong() {
    let days = number("SIMULATION_DAYS").unwrap_or(DAYS);
    let figures = check(seeds(0..24), days);
    println!("{figures}");
}

#[test]
fn a_seed_is_played_the_same_way_each_time() {
    let traces = |seeds: Range<u64>| seeds.map(|seed| run(seed, DAYS).trace).collect::<Vec<_>>();
    let first = traces(0..6);
    assert_eq!(first, traces(0..6));
    let different: BTreeSet<_> = first.iter().collect();
    assert_eq!(different.len(), first.len());
}

/// `SIMULATION_SEEDS=1000 SIMULATION_DAYS=30 cargo test --release --test
/// simulation r47 -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes"]
fn r47_soak() {
    let seeds = seeds(1000..1000 + number("SIMULATION_SEEDS").unwrap_or(1000));
    let figures = check(seeds.clone(), number("SIMULATION_DAYS").unwrap_or(30));
    println!("{} seeds, {figures}", seeds.end - seeds.start);
    assert!(figures.slowest_wait <= Duration::from_secs(300));
}

/// With as many fetches at once as a machine's metadata endpoint gets, and as
/// many as others get.
fn survive(outage: Outage) {
    for limit in [5, 32] {
        survive_with(limit, outage);
    }
}

fn survive_with(limit: usize, outage: Outage) {
    let course = metastable::play(7, limit, outage);
    println!("{limit} at once, {outage:?}: {course:#?}");
    let soon = Duration::from_secs(30);
    assert!((course.load - 0.8).abs() < 0.05, "{course:?}");
    assert!(course.until_users_are_well <= soon, "{course:?}");
    // A fifth of the capacity is there for what 20 seconds have put off.
    assert!(course.until_drained <= 4 * soon, "{course:?}");
    assert!(course.retry_ratio_with_outage <= 1.1, "{course:?}");
    assert!(course.retry_ratio <= 1.1, "{course:?}");
    assert_eq!(course.failed, 0, "tokens outlast the outage");
}

#[test]
fn r46_an_outage_that_refuses_is_over_when_it_is_over() {
    survive(Outage::Refuses);
}

#[test]
fn r46_an_outage_that_is_silent_is_over_when_it_is_over() {
    survive(Outage::Silent);
}
