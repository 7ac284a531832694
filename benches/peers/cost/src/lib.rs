//! What one request costs through each library while its token is at hand.

mod cases;
mod client;
mod fallible;
mod options;
mod peers;
mod table;
mod threads;
mod token_server;
mod wrapper;

// The same request, service and hand-written insert as in the crate's own
// benchmarks and in the gate of its CI.
#[path = "../../../support/request.rs"]
mod request;

// As the crate's own benchmarks measure time.
#[path = "../../../support/rounds.rs"]
mod rounds;

pub use cases::{Case, Family, all, named};
pub use client::Subject;
pub use options::Options;
pub use rounds::{BATCH, Case as Timed, Rounds, Samples};
pub use table::{Row, print};
pub use threads::calls_per_microsecond;

use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::{EnterGuard, Runtime};

/// The request's six headers fill the map: the seventh makes it grow.
pub const FULL: usize = 6;
/// The map was made with room for the seventh.
pub const ROOMY: usize = 8;

/// No library is to renew its token while it is measured.
const TOKEN_LIFETIME: Duration = Duration::from_hours(24);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
});

/// Where the libraries' background tasks run; some ask for it in each call too.
pub fn enter() -> EnterGuard<'static> {
    RUNTIME.enter()
}

/// Runs what a library does once, before anything is measured.
fn block_on<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}
