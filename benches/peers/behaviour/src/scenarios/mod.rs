//! The scenarios, one file each.

mod cold;
mod deadline;
mod steady;
mod storm;

use std::time::Duration;

use async_trait::async_trait;
use peers::BoxError;
use peers::load::Outcomes;
use peers::scenario::{Figure, Ideal};

use crate::entrant::Entrant;

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(cold::Cold),
        Box::new(steady::REFRESH),
        Box::new(steady::HANG),
        Box::new(steady::FAILURE),
        Box::new(deadline::Deadline),
        Box::new(storm::Storm),
    ]
}

/// One scenario.
#[async_trait]
pub(crate) trait Scenario: Send + Sync {
    /// What the command line calls it.
    fn id(&self) -> &'static str;

    /// What happens in it.
    fn title(&self) -> String;

    /// Whether `entrant` can take part.
    fn suits(&self, entrant: &Entrant) -> bool {
        entrant.starts_cold
    }

    /// Plays it. Every library gets the same figures in the same order, in as
    /// many rows as things happen, each with a note of which that was.
    async fn play(&self, entrant: &Entrant) -> Result<Vec<(String, Vec<Figure>)>, BoxError>;
}

const HOUR: Duration = Duration::from_hours(1);

/// How long the callers of a library that does not answer wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A wait in milliseconds, which no check depends on.
fn wait(what: &'static str, most: Duration, wait: Duration) -> Figure {
    Figure::new(what, Ideal::AtMost(millis(most)), millis(wait)).timed()
}

fn millis(wait: Duration) -> f64 {
    if wait == Duration::MAX {
        f64::INFINITY
    } else {
        wait.as_secs_f64() * 1_000.0
    }
}

/// What callers have of it when they get no token.
fn losses(outcomes: &Outcomes) -> [Figure; 3] {
    [
        Figure::count("errors", Ideal::Exactly(0.0), outcomes.failed()),
        Figure::count("never answered", Ideal::Exactly(0.0), outcomes.cut_off()),
        Figure::count(
            "calls",
            Ideal::Exactly(outcomes.count() as f64),
            outcomes.count(),
        ),
    ]
}
