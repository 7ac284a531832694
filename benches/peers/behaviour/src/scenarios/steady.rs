//! The token is due for refresh and good throughout, and the refresh does not
//! go well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use peers::BoxError;
use peers::identity::{Answer, IdentityProvider, TokenRequest};
use peers::load::{Stream, warm_up};
use peers::peer::Servers;
use peers::resource::ResourceServer;
use peers::scenario::{Figure, Ideal};
use tokio::time::{Instant, sleep_until};

use super::{HOUR, PATIENCE, Scenario, losses, wait};
use crate::entrant::{Ageing, Entrant};

const PACE: Duration = Duration::from_millis(5);
/// What the calls may take while a good token is at hand.
const AT_HAND: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_millis(50);

pub(super) struct Steady {
    id: &'static str,
    what: &'static str,
    seconds: u64,
    answer: fn(usize) -> Answer,
    fetches: Fetches,
}

/// How many fetches there ought to be.
enum Fetches {
    One,
    /// Who backs off draws lots for it, so no check depends on this.
    AtMost(f64),
}

pub(super) const REFRESH: Steady = Steady {
    id: "refresh",
    what: "A fetch takes 500 ms",
    seconds: 8,
    answer: |number| Answer::token(number, HOUR).after(Duration::from_millis(500)),
    fetches: Fetches::One,
};

pub(super) const HANG: Steady = Steady {
    id: "hang",
    what: "The identity provider hangs for 5 s",
    seconds: 8,
    answer: |number| Answer::token(number, HOUR).after(Duration::from_secs(5)),
    fetches: Fetches::One,
};

pub(super) const FAILURE: Steady = Steady {
    id: "500",
    what: "The identity provider answers 500 after 20 ms",
    seconds: 16,
    answer: |_| Answer::server_error().after(Duration::from_millis(20)),
    fetches: Fetches::AtMost(8.0),
};

#[async_trait]
impl Scenario for Steady {
    fn id(&self) -> &'static str {
        self.id
    }

    fn title(&self) -> String {
        format!(
            "{}, the old token is good: 200 calls a second for {} s",
            self.what, self.seconds
        )
    }

    fn suits(&self, _: &Entrant) -> bool {
        true
    }

    async fn play(&self, entrant: &Entrant) -> Result<Vec<(String, Vec<Figure>)>, BoxError> {
        let period = Duration::from_secs(self.seconds);
        let begin = Instant::now() + entrant.ageing.map_or(Duration::ZERO, |age| age.calls_from);
        let fetches = Arc::new(AtomicUsize::new(0));
        let servers = Servers {
            identity: self.identity(entrant.ageing, begin + period, &fetches),
            resource: ResourceServer::new(),
        };
        let client = (entrant.connect)(&servers)?;
        warm_up(&client, entrant.call).await?;
        sleep_until(begin).await;
        let outcomes = Stream::new(entrant.call, PACE, period)
            .with_patience(PATIENCE)
            .play(&client)
            .await?;
        let mut figures = vec![
            self.fetches(entrant, fetches.load(Ordering::SeqCst)),
            wait("p50 ms", AT_HAND, outcomes.percentile(50)),
            wait("p99 ms", AT_HAND, outcomes.p99()),
            wait("max ms", AT_HAND, outcomes.longest()),
            Figure::count(
                "calls > 1 ms",
                Ideal::Exactly(0.0),
                outcomes.longer_than(AT_HAND),
            )
            .timed(),
            Figure::count(
                "calls > 50 ms",
                Ideal::Exactly(0.0),
                outcomes.longer_than(LONG),
            )
            .timed(),
        ];
        figures.extend(losses(&outcomes));
        Ok(vec![(String::new(), figures)])
    }
}

impl Steady {
    /// Counts the fetches after the first one, as long as calls are made.
    fn identity(
        &self,
        ageing: Option<Ageing>,
        end: Instant,
        fetches: &Arc<AtomicUsize>,
    ) -> IdentityProvider {
        let answer = self.answer;
        let fetches = Arc::clone(fetches);
        IdentityProvider::new(move |asked: TokenRequest| match (asked.number, ageing) {
            (1, Some(ageing)) => ageing.first_token(),
            (number, _) => {
                if Instant::now() < end {
                    fetches.fetch_add(1, Ordering::SeqCst);
                }
                answer(number)
            }
        })
    }

    fn fetches(&self, entrant: &Entrant, fetches: usize) -> Figure {
        let what = "fetches";
        let (ideal, drawn) = match self.fetches {
            Fetches::One => (Ideal::Exactly(1.0), false),
            Fetches::AtMost(most) => (Ideal::AtMost(most), true),
        };
        match (entrant.ageing, drawn) {
            (None, _) => Figure::unmeasured(what, ideal),
            (Some(_), true) => Figure::count(what, ideal, fetches).timed(),
            (Some(_), false) => Figure::count(what, ideal, fetches),
        }
    }
}
