//! R01: everybody needs the first token.

use std::time::Duration;

use async_trait::async_trait;

use super::{HOUR, in_units_of};
use crate::BoxError;
use crate::identity::{Answer, IdentityProvider};
use crate::load::{Call, together};
use crate::peer::{Audience, Peer, Servers};
use crate::resource::ResourceServer;
use crate::scenario::{Figure, Ideal, Scenario};

const CALLERS: usize = 10_000;
const FETCH: Duration = Duration::from_millis(200);

pub(super) struct ColdStampede;

#[async_trait]
impl Scenario for ColdStampede {
    fn id(&self) -> &'static str {
        "R01"
    }

    fn title(&self) -> &'static str {
        "10,000 requests at once, no token yet"
    }

    async fn run(&self, peer: &dyn Peer) -> Result<Vec<Figure>, BoxError> {
        let servers = Servers {
            identity: IdentityProvider::new(|asked| Answer::token(asked.number, HOUR).after(FETCH)),
            resource: ResourceServer::new(),
        };
        let client = peer.client(&servers)?;
        let outcomes = together(&client, Call::Send(Audience::Vault), CALLERS).await?;
        Ok(vec![
            Figure::count(
                "token requests",
                Ideal::Exactly(1.0),
                servers.identity.requests(),
            ),
            Figure::count(
                "requests answered 200",
                Ideal::Exactly(CALLERS as f64),
                outcomes.succeeded(),
            ),
            Figure::new(
                "p99 of the wait / time of one fetch",
                Ideal::AtMost(1.1),
                in_units_of(FETCH, outcomes.p99()),
            )
            .timed(),
        ])
    }
}
