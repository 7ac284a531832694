//! R38: a server that refuses every token, and the identity provider that
//! issues them.

use std::time::Duration;

use async_trait::async_trait;

use super::HOUR;
use crate::BoxError;
use crate::identity::{Answer, IdentityProvider};
use crate::load::{Call, steadily};
use crate::peer::{Audience, Peer, Servers};
use crate::resource::ResourceServer;
use crate::scenario::{Figure, Ideal, Scenario};

const PACE: Duration = Duration::from_millis(1);
const PERIOD: Duration = Duration::from_secs(10);

pub(super) struct Always401;

#[async_trait]
impl Scenario for Always401 {
    fn id(&self) -> &'static str {
        "R38"
    }

    fn title(&self) -> &'static str {
        "server that always answers 401, 1,000 requests a second for 10 s"
    }

    async fn run(&self, peer: &dyn Peer) -> Result<Vec<Figure>, BoxError> {
        let servers = servers();
        let client = peer.client(&servers)?;
        let outcomes = steadily(&client, Call::Send(Audience::Vault), PACE, PERIOD).await?;
        let mut figures = vec![
            Figure::count(
                "token requests",
                Ideal::AtMost(20.0),
                servers.identity.requests(),
            ),
            Figure::new(
                "sends per request",
                Ideal::AtMost(1.01),
                servers.resource.sends() as f64 / outcomes.count() as f64,
            )
            // All that are under way when the first renewal is over are sent
            // again: more of them on a machine that stalls just then.
            .timed(),
        ];
        figures.extend(by_hand(peer).await?);
        Ok(figures)
    }
}

fn servers() -> Servers {
    let servers = Servers {
        identity: IdentityProvider::new(|asked| Answer::token(asked.number, HOUR)),
        resource: ResourceServer::new(),
    };
    servers.resource.refuse_all();
    servers
}

/// The catalogue's ten minutes at 1,000 requests a second.
async fn by_hand(peer: &dyn Peer) -> Result<[Figure; 2], BoxError> {
    const STEPS: u32 = 600_000;
    let servers = servers();
    let by_hand = peer.client_by_hand(&servers)?;
    let figure = |what, ideal, value: f64| match by_hand {
        Some(_) => Figure::new(what, ideal, value),
        None => Figure::unmeasured(what, ideal),
    };
    if let Some(by_hand) = &by_hand {
        for _ in 0..STEPS {
            by_hand.client.send(Audience::Vault).await?;
            by_hand.clock.advance(PACE);
        }
    }
    Ok([
        figure(
            "token requests in 10 min on a hand-driven clock",
            Ideal::AtMost(20.0),
            servers.identity.requests() as f64,
        ),
        figure(
            "sends in them, for 600,000 requests",
            Ideal::AtMost(600_020.0),
            servers.resource.sends() as f64,
        ),
    ])
}
