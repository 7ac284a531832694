//! What a request costs in time while its token is at hand, beside a header
//! that is inserted by hand: as ratios, which hold on a machine that does other
//! things too.
//!
//! `cargo bench --bench ratios` prints all tables; with names after `--` only
//! those parts: `one-thread`, `two-threads`, `hosts` and `audiences`.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark, not the library"
)]

mod audiences;
mod hosts;
mod one_thread;
#[path = "../support/random.rs"]
mod random;
#[path = "../support/request.rs"]
mod request;
#[path = "../support/rounds.rs"]
mod rounds;
mod two_threads;

/// How many hosts or audiences there are.
fn sizes() -> &'static [usize] {
    if rounds::is_measuring() {
        &[1, 100, 10_000, 100_000]
    } else {
        &[1, 100]
    }
}

fn main() {
    let parts: [(&str, fn()); 4] = [
        ("one-thread", one_thread::print),
        ("two-threads", two_threads::print),
        ("hosts", hosts::print),
        ("audiences", audiences::print),
    ];
    for (name, print) in parts {
        if rounds::is_wanted(name) {
            print();
        }
    }
}
