//! R05: the identity provider fails for most of the time in which the token is
//! due to be replaced, and still good.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, sleep_until};

use super::{HOUR, in_units_of};
use crate::BoxError;
use crate::identity::{Answer, IdentityProvider, TokenRequest};
use crate::load::{Call, Outcomes, steadily, warm_up};
use crate::peer::{Audience, Peer, Servers};
use crate::resource::ResourceServer;
use crate::scenario::{Figure, Ideal, Scenario};

/// Inside of every fixed margin, and refreshed by those who listen to the
/// server within 2.3 s: 1 s and up to a tenth of the 12.5 s left then.
const LIFE: Duration = Duration::from_secs(15);
const REFRESH_IN: Duration = Duration::from_secs(1);
const DUE_BY: Duration = Duration::from_millis(2_500);

/// 80 % of the 11 s from then until 10 % of the life are left.
const OUTAGE: Duration = Duration::from_millis(8_800);
const FETCH: Duration = Duration::from_millis(50);
const PACE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct RefreshFails;

#[async_trait]
impl Scenario for RefreshFails {
    fn id(&self) -> &'static str {
        "R05"
    }

    fn title(&self) -> &'static str {
        "identity provider fails for 8.8 s while the token is good, 10 calls a second"
    }

    async fn run(&self, peer: &dyn Peer) -> Result<Vec<Figure>, BoxError> {
        let send = Call::Send(Audience::Vault);
        let token = Call::Token(Audience::Vault);
        let ((down, down_cost), (refused, refused_cost), (direct, _)) = tokio::try_join!(
            outage(peer, send, Answer::server_error),
            outage(peer, send, Answer::refusal),
            outage(peer, token, Answer::refusal),
        )?;
        // The outage and the token end by the real clock, 3.7 s apart: a machine
        // that stalls for so long fails any library here.
        Ok([
            Figure::count(
                "500s: requests that failed, of 88",
                Ideal::Exactly(0.0),
                down.failed(),
            ),
            Figure::count(
                "500s: requests that waited for longer than 1 s",
                Ideal::Exactly(0.0),
                down.longer_than(PATIENCE),
            ),
            Figure::new(
                "500s: longest wait / length of the outage",
                Ideal::AtMost(0.01),
                in_units_of(OUTAGE, down.longest()),
            ),
            Figure::count(
                "500s: token requests meanwhile",
                Ideal::AtMost(10.0),
                down_cost,
            ),
            Figure::count(
                "400s: requests that failed, of 88",
                Ideal::Exactly(0.0),
                refused.failed(),
            ),
            Figure::count(
                "400s: token requests meanwhile",
                Ideal::Exactly(1.0),
                refused_cost,
            ),
            Figure::count(
                "400s: tokens asked for without a request that were not given, of 88",
                Ideal::Exactly(0.0),
                direct.failed(),
            ),
        ]
        .map(Figure::timed)
        .to_vec())
    }
}

/// How calls went during an outage, and how many token requests there were in
/// it.
async fn outage(
    peer: &dyn Peer,
    call: Call,
    failure: fn() -> Answer,
) -> Result<(Outcomes, usize), BoxError> {
    let over = Instant::now() + DUE_BY + OUTAGE;
    let script = move |asked: TokenRequest| match asked.number {
        1 => Answer::token_to_refresh(1, LIFE, REFRESH_IN),
        _ if Instant::now() < over => failure().after(FETCH),
        later => Answer::token(later, HOUR).after(FETCH),
    };
    let servers = Servers {
        identity: IdentityProvider::new(script),
        resource: ResourceServer::new(),
    };
    let client = peer.client(&servers)?;
    warm_up(&client, call).await?;
    sleep(DUE_BY).await;
    let calls = tokio::spawn({
        let client = Arc::clone(&client);
        async move { steadily(&client, call, PACE, OUTAGE).await }
    });
    sleep_until(over).await;
    let cost = servers.identity.requests() - 1;
    Ok((calls.await??, cost))
}
