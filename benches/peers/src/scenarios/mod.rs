//! The scenarios, one file each, by their ids in the catalogue of failures.

mod r01_cold_stampede;
mod r02_stampede_at_the_refresh_point;
mod r05_refresh_fails;
mod r11_slow_neighbour;
mod r35_revoked_token;
mod r37_same_token_again;
mod r38_always_401;

use std::time::Duration;

use crate::scenario::Scenario;

/// All of them.
#[must_use]
pub fn all() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(r01_cold_stampede::ColdStampede),
        Box::new(r02_stampede_at_the_refresh_point::StampedeAtTheRefreshPoint),
        Box::new(r05_refresh_fails::RefreshFails),
        Box::new(r11_slow_neighbour::SlowNeighbour),
        Box::new(r35_revoked_token::RevokedToken),
        Box::new(r37_same_token_again::SameTokenAgain),
        Box::new(r38_always_401::Always401),
    ]
}

const HOUR: Duration = Duration::from_secs(3600);

/// How long a wait was, in units of another.
fn in_units_of(unit: Duration, wait: Duration) -> f64 {
    wait.as_secs_f64() / unit.as_secs_f64()
}
