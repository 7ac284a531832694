//! Time on one thread.

use std::time::{Duration, Instant};

use crate::Subject;

/// The request's six headers fill the map: the seventh makes it grow.
pub const FULL: usize = 6;
/// The map was made with room for the seventh.
pub const ROOMY: usize = 8;
pub const CAPACITIES: [usize; 2] = [FULL, ROOMY];

const CALLS: usize = 256;

/// Nanoseconds of one call, over one batch.
#[expect(
    clippy::disallowed_methods,
    reason = "real time is what is measured here"
)]
pub fn per_call(subject: &mut dyn Subject, capacity: usize) -> f64 {
    let send = subject.prepare(capacity, CALLS);
    let start = Instant::now();
    send();
    nanoseconds(start.elapsed()) / CALLS as f64
}

pub(crate) fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}

#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    let middle = figures.len() / 2;
    *figures.select_nth_unstable_by(middle, f64::total_cmp).1
}
