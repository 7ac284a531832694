//! A token that worked is revoked under many calls in flight, again and again.

use std::time::Duration;

use async_trait::async_trait;
use peers::BoxError;
use peers::identity::{Answer, IdentityProvider};
use peers::load::{together, warm_up};
use peers::peer::Servers;
use peers::resource::ResourceServer;
use peers::scenario::{Figure, Ideal};
use tokio::time::sleep;

use super::{HOUR, Scenario};
use crate::entrant::Entrant;

const CALLERS: usize = 1_000;
const FETCH: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_secs(1);
const STORMS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

pub(super) struct Storm;

#[async_trait]
impl Scenario for Storm {
    fn id(&self) -> &'static str {
        "storm"
    }

    fn title(&self) -> String {
        "Token revoked under 1,000 calls, their 401s spread over 100 ms, a fetch takes 10 ms; again 1 s later".to_owned()
    }

    fn suits(&self, entrant: &Entrant) -> bool {
        entrant.resends
    }

    async fn play(&self, entrant: &Entrant) -> Result<Vec<(String, Vec<Figure>)>, BoxError> {
        let (identity, resource) = (
            IdentityProvider::new(|asked| Answer::token(asked.number, HOUR).after(FETCH)),
            ResourceServer::with_latency(|sent| Duration::from_millis((sent % 100) as u64 + 1)),
        );
        let client = (entrant.connect)(&Servers {
            identity: identity.clone(),
            resource: resource.clone(),
        })?;
        warm_up(&client, entrant.call).await?;
        let mut rows = Vec::new();
        for which in STORMS {
            sleep(PAUSE).await;
            let (fetched, sent) = (identity.requests(), resource.sends());
            resource.refuse_below(fetched + 1);
            let outcomes = together(&client, entrant.call, CALLERS).await?;
            let sends = resource.sends() - sent;
            rows.push((
                which.to_owned(),
                vec![
                    Figure::count(
                        "fetches",
                        Ideal::Exactly(1.0),
                        identity.requests() - fetched,
                    ),
                    // Each call that succeeded was answered 200 once.
                    Figure::count(
                        "401s seen",
                        Ideal::AtMost(CALLERS as f64),
                        sends.saturating_sub(outcomes.succeeded()),
                    ),
                    Figure::count(
                        "ended in 200",
                        Ideal::Exactly(CALLERS as f64),
                        outcomes.succeeded(),
                    ),
                    Figure::count("in 401", Ideal::Exactly(0.0), outcomes.refused()),
                    Figure::count("in an error", Ideal::Exactly(0.0), outcomes.failed()),
                ],
            ));
        }
        Ok(rows)
    }
}
