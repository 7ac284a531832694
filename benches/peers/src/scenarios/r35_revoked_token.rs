//! R35: a token that worked is revoked while many requests are under way.

use std::time::Duration;

use async_trait::async_trait;

use super::HOUR;
use crate::BoxError;
use crate::identity::{Answer, IdentityProvider};
use crate::load::{Call, together, warm_up};
use crate::peer::{Audience, Peer, Servers};
use crate::resource::ResourceServer;
use crate::scenario::{Figure, Ideal, Scenario};

const CALLERS: usize = 1_000;
const FETCH: Duration = Duration::from_millis(50);
/// Long enough for all requests to be under way when the first 401 comes, and
/// for every other 401 to come only when the token has been replaced.
fn latency(sent: usize) -> Duration {
    Duration::from_millis(if sent.is_multiple_of(2) { 500 } else { 1_000 })
}

pub(super) struct RevokedToken;

#[async_trait]
impl Scenario for RevokedToken {
    fn id(&self) -> &'static str {
        "R35"
    }

    fn title(&self) -> &'static str {
        "1,000 parallel 401s for a revoked token, half of them late"
    }

    async fn run(&self, peer: &dyn Peer) -> Result<Vec<Figure>, BoxError> {
        let servers = Servers {
            identity: IdentityProvider::new(|asked| Answer::token(asked.number, HOUR).after(FETCH)),
            resource: ResourceServer::with_latency(latency),
        };
        let client = peer.client(&servers)?;
        let call = Call::Send(Audience::Vault);
        warm_up(&client, call).await?;
        servers.resource.refuse_below(2);
        let sent_before = servers.resource.sends();
        let storm = together(&client, call, CALLERS).await?;
        let sends = servers.resource.sends() - sent_before;
        let after = together(&client, call, CALLERS).await?;
        Ok(vec![
            Figure::count(
                "token requests for the renewal",
                Ideal::Exactly(1.0),
                servers.identity.requests() - 1,
            ),
            Figure::new(
                "sends per request",
                Ideal::AtMost(2.0),
                sends as f64 / CALLERS as f64,
            ),
            Figure::count(
                "requests answered 200",
                Ideal::Exactly(CALLERS as f64),
                storm.succeeded(),
            ),
            Figure::count(
                "requests that failed in the library",
                Ideal::Exactly(0.0),
                storm.failed(),
            ),
            Figure::count(
                "of the next 1,000 requests answered 200",
                Ideal::Exactly(CALLERS as f64),
                after.succeeded(),
            ),
        ])
    }
}
