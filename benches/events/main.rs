//! What happens now and then: a 401, a start without a token, a refresh while
//! requests go on.
//!
//! `cargo bench --bench events` prints all tables; with names after `--` only
//! those parts: `challenged`, `cold-start` and `refresh`.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark, not the library"
)]

mod challenged;
mod cold_start;
mod compared;
mod refresh;
#[path = "../support/request.rs"]
mod request;
#[path = "../support/rounds.rs"]
mod rounds;
#[path = "../support/stepped_clock.rs"]
mod stepped_clock;

fn main() {
    let parts: [(&str, fn()); 3] = [
        ("challenged", challenged::print),
        ("cold-start", cold_start::print),
        ("refresh", refresh::print),
    ];
    for (name, print) in parts {
        if rounds::is_wanted(name) {
            print();
        }
    }
}

/// A runtime on this thread, where allocations are counted.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
