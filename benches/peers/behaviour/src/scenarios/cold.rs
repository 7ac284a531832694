//! Everybody needs the first token.

use std::time::Duration;

use async_trait::async_trait;
use peers::BoxError;
use peers::identity::{Answer, IdentityProvider};
use peers::load::together;
use peers::peer::Servers;
use peers::resource::ResourceServer;
use peers::scenario::{Figure, Ideal};

use super::{HOUR, Scenario, losses, wait};
use crate::entrant::Entrant;

const CALLERS: usize = 1_000;
const FETCH: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_millis(60);

pub(super) struct Cold;

#[async_trait]
impl Scenario for Cold {
    fn id(&self) -> &'static str {
        "cold"
    }

    fn title(&self) -> String {
        "No token yet, 1,000 callers at once, a fetch takes 50 ms".to_owned()
    }

    async fn play(&self, entrant: &Entrant) -> Result<Vec<(String, Vec<Figure>)>, BoxError> {
        let servers = Servers {
            identity: IdentityProvider::new(|asked| Answer::token(asked.number, HOUR).after(FETCH)),
            resource: ResourceServer::new(),
        };
        let client = (entrant.connect)(&servers)?;
        let outcomes = together(&client, entrant.call, CALLERS).await?;
        let mut figures = vec![
            Figure::count("fetches", Ideal::Exactly(1.0), servers.identity.requests()),
            wait("p50 ms", MOST, outcomes.percentile(50)),
            wait("p99 ms", MOST, outcomes.p99()),
            wait("max ms", MOST, outcomes.longest()),
        ];
        figures.extend(losses(&outcomes));
        Ok(vec![(String::new(), figures)])
    }
}
