//! R37: the token is refused, and the identity provider only ever gives the
//! same one, as the metadata endpoint of a virtual machine does.

use std::time::Duration;

use async_trait::async_trait;

use super::HOUR;
use crate::BoxError;
use crate::identity::{Answer, IdentityProvider};
use crate::load::{Call, steadily};
use crate::peer::{Audience, Peer, Servers};
use crate::resource::ResourceServer;
use crate::scenario::{Figure, Ideal, Scenario};

const PACE: Duration = Duration::from_millis(10);
const PERIOD: Duration = Duration::from_secs(10);

pub(super) struct SameTokenAgain;

#[async_trait]
impl Scenario for SameTokenAgain {
    fn id(&self) -> &'static str {
        "R37"
    }

    fn title(&self) -> &'static str {
        "token refused, a new one is not to be had, 100 requests a second for 10 s"
    }

    async fn run(&self, peer: &dyn Peer) -> Result<Vec<Figure>, BoxError> {
        let servers = servers();
        let client = peer.client(&servers)?;
        let outcomes = steadily(&client, Call::Send(Audience::Vault), PACE, PERIOD).await?;
        Ok(vec![
            Figure::new(
                "sends per request",
                Ideal::Exactly(1.0),
                servers.resource.sends() as f64 / outcomes.count() as f64,
            ),
            Figure::count(
                "token requests after the first (at most one in 30 s)",
                Ideal::AtMost(1.0),
                servers.identity.requests().saturating_sub(1),
            )
            .timed(),
            by_hand(peer).await?,
        ])
    }
}

fn servers() -> Servers {
    let servers = Servers {
        identity: IdentityProvider::new(|_| Answer::token(1, HOUR)),
        resource: ResourceServer::new(),
    };
    servers.resource.refuse_all();
    servers
}

async fn by_hand(peer: &dyn Peer) -> Result<Figure, BoxError> {
    const STEPS: u32 = 60_000;
    let what = "the same in 10 min on a hand-driven clock";
    let ideal = Ideal::AtMost(20.0);
    let servers = servers();
    let Some(by_hand) = peer.client_by_hand(&servers)? else {
        return Ok(Figure::unmeasured(what, ideal));
    };
    for _ in 0..STEPS {
        by_hand.client.send(Audience::Vault).await?;
        by_hand.clock.advance(PACE);
    }
    let renewals = servers.identity.requests().saturating_sub(1);
    Ok(Figure::count(what, ideal, renewals))
}
