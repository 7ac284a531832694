//! R02: everybody comes when the token is due to be replaced, and still good.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::{HOUR, in_units_of};
use crate::BoxError;
use crate::identity::{Answer, IdentityProvider};
use crate::load::{Call, together, warm_up};
use crate::peer::{Audience, Peer, Servers};
use crate::resource::ResourceServer;
use crate::scenario::{Figure, Ideal, Scenario};

const CALLERS: usize = 10_000;
const FETCH: Duration = Duration::from_secs(1);

/// Inside of every fixed margin, and refreshed by those who listen to the
/// server within 2.7 s: 1 s and up to a tenth of the 17 s left then.
const LIFE: Duration = Duration::from_secs(20);
const REFRESH_IN: Duration = Duration::from_secs(1);
const DUE_BY: Duration = Duration::from_secs(3);

pub(super) struct StampedeAtTheRefreshPoint;

#[async_trait]
impl Scenario for StampedeAtTheRefreshPoint {
    fn id(&self) -> &'static str {
        "R02"
    }

    fn title(&self) -> &'static str {
        "10,000 requests at once, token due for refresh but good"
    }

    async fn run(&self, peer: &dyn Peer) -> Result<Vec<Figure>, BoxError> {
        let servers = Servers {
            identity: IdentityProvider::new(|asked| match asked.number {
                1 => Answer::token_to_refresh(1, LIFE, REFRESH_IN),
                later => Answer::token(later, HOUR).after(FETCH),
            }),
            resource: ResourceServer::new(),
        };
        let client = peer.client(&servers)?;
        let call = Call::Send(Audience::Vault);
        warm_up(&client, call).await?;
        sleep(DUE_BY).await;
        let outcomes = together(&client, call, CALLERS).await?;
        // A refresh in the background may have only begun.
        sleep(FETCH * 2).await;
        Ok(vec![
            Figure::count(
                "token requests for the refresh",
                Ideal::Exactly(1.0),
                servers.identity.requests() - 1,
            ),
            Figure::count(
                "requests answered 200",
                Ideal::Exactly(CALLERS as f64),
                outcomes.succeeded(),
            ),
            Figure::count(
                "requests that waited for longer than half of the fetch",
                Ideal::Exactly(0.0),
                outcomes.longer_than(FETCH / 2),
            )
            .timed(),
            Figure::new(
                "p99 of the wait / time of one fetch",
                Ideal::AtMost(0.01),
                in_units_of(FETCH, outcomes.p99()),
            )
            .timed(),
        ])
    }
}
