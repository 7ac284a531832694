//! R11: one audience's token takes long, another's is cached.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::{HOUR, in_units_of};
use crate::BoxError;
use crate::identity::{Answer, IdentityProvider};
use crate::load::{Call, steadily, warm_up};
use crate::peer::{Audience, Peer, Servers};
use crate::resource::ResourceServer;
use crate::scenario::{Figure, Ideal, Scenario};

const SLOW_FETCH: Duration = Duration::from_secs(4);
/// What the slow fetch has by the time that the first call is made.
const HEAD_START: Duration = Duration::from_millis(250);
const PACE: Duration = Duration::from_millis(10);
const PERIOD: Duration = Duration::from_secs(2);

pub(super) struct SlowNeighbour;

#[async_trait]
impl Scenario for SlowNeighbour {
    fn id(&self) -> &'static str {
        "R11"
    }

    fn title(&self) -> &'static str {
        "a fetch for A takes 4 s, 200 calls for the cached token of B meanwhile"
    }

    async fn run(&self, peer: &dyn Peer) -> Result<Vec<Figure>, BoxError> {
        let servers = Servers {
            identity: IdentityProvider::new(|asked| {
                let token = Answer::token(asked.number, HOUR);
                match asked.audience {
                    Audience::Vault => token.after(SLOW_FETCH),
                    Audience::Storage => token,
                }
            }),
            resource: ResourceServer::new(),
        };
        let client = peer.client(&servers)?;
        let (send, token) = (
            Call::Send(Audience::Storage),
            Call::Token(Audience::Storage),
        );
        warm_up(&client, send).await?;
        let slow = tokio::spawn({
            let client = Arc::clone(&client);
            async move { client.send(Audience::Vault).await }
        });
        sleep(HEAD_START).await;
        let (sends, tokens) = tokio::try_join!(
            steadily(&client, send, PACE, PERIOD),
            steadily(&client, token, PACE, PERIOD),
        )?;
        slow.await??;
        Ok(vec![
            Figure::new(
                "p99 of a request's wait / time of the fetch for A",
                Ideal::AtMost(0.01),
                in_units_of(SLOW_FETCH, sends.p99()),
            )
            .timed(),
            Figure::new(
                "p99 of the wait for a token without a request / time of the fetch for A",
                Ideal::AtMost(0.01),
                in_units_of(SLOW_FETCH, tokens.p99()),
            )
            .timed(),
        ])
    }
}
