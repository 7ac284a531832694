//! Nothing is cached, and callers have less time than a fetch takes.

use std::time::Duration;

use async_trait::async_trait;
use peers::BoxError;
use peers::identity::{Answer, IdentityProvider};
use peers::load::Stream;
use peers::peer::Servers;
use peers::resource::ResourceServer;
use peers::scenario::{Figure, Ideal};

use super::{HOUR, Scenario};
use crate::entrant::Entrant;

const FETCH: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_millis(100);
const PACE: Duration = Duration::from_millis(20);
const PERIOD: Duration = Duration::from_secs(5);
/// All but those of the first 300 ms.
const SERVED: f64 = 235.0;

pub(super) struct Deadline;

#[async_trait]
impl Scenario for Deadline {
    fn id(&self) -> &'static str {
        "deadline"
    }

    fn title(&self) -> String {
        "No token yet, a fetch takes 300 ms, callers give up after 100 ms: 50 calls a second for 5 s"
            .to_owned()
    }

    async fn play(&self, entrant: &Entrant) -> Result<Vec<(String, Vec<Figure>)>, BoxError> {
        let servers = Servers {
            identity: IdentityProvider::new(|asked| Answer::token(asked.number, HOUR).after(FETCH)),
            resource: ResourceServer::new(),
        };
        let client = (entrant.connect)(&servers)?;
        let outcomes = Stream::new(entrant.call, PACE, PERIOD)
            .with_deadline(DEADLINE)
            .play(&client)
            .await?;
        let figures = vec![
            Figure::count("fetches", Ideal::Exactly(1.0), servers.identity.requests()),
            Figure::count("served", Ideal::AtLeast(SERVED), outcomes.succeeded()).timed(),
            Figure::count("errors", Ideal::Exactly(0.0), outcomes.failed()),
            Figure::count(
                "calls",
                Ideal::Exactly(outcomes.count() as f64),
                outcomes.count(),
            ),
        ];
        Ok(vec![(String::new(), figures)])
    }
}
