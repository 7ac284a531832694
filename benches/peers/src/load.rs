//! How requests are made and their waits counted.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::BoxError;
use crate::peer::{Audience, Client};

/// What a caller wants.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// A request sent.
    Send(Audience),
    /// A token in the hand.
    Token(Audience),
}

impl Call {
    async fn make(self, client: &dyn Client) -> Outcome {
        let begun = Instant::now();
        let result = match self {
            Self::Send(audience) => client.send(audience).await,
            Self::Token(audience) => client.token(audience).await.map(|()| StatusCode::OK),
        };
        Outcome {
            waited: begun.elapsed(),
            status: result.ok(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Outcome {
    waited: Duration,
    /// `None` if the library gave an error in place of an answer.
    status: Option<StatusCode>,
}

/// How a number of calls went.
#[derive(Clone, Debug)]
pub struct Outcomes(Vec<Outcome>);

/// Makes `count` calls, all at once.
///
/// # Errors
///
/// When the library panics.
pub async fn together(
    client: &Arc<dyn Client>,
    call: Call,
    count: usize,
) -> Result<Outcomes, BoxError> {
    all((0..count).map(|_| begin(client, call)).collect()).await
}

/// Begins one call every `pace` for as long as `period`, whether or not those
/// before it are over, and waits for the last one.
///
/// # Errors
///
/// When the library panics.
pub async fn steadily(
    client: &Arc<dyn Client>,
    call: Call,
    pace: Duration,
    period: Duration,
) -> Result<Outcomes, BoxError> {
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let count = period.as_nanos() / pace.as_nanos().max(1);
    let mut calls = Vec::new();
    for _ in 0..count {
        ticks.tick().await;
        calls.push(begin(client, call));
    }
    all(calls).await
}

/// Makes one call and wants 200 for it.
///
/// # Errors
///
/// When it got something else: then the scenario cannot begin.
pub async fn warm_up(client: &Arc<dyn Client>, call: Call) -> Result<(), BoxError> {
    match call.make(&**client).await.status {
        Some(StatusCode::OK) => Ok(()),
        other => Err(format!("{call:?} was to warm the client up, and brought {other:?}").into()),
    }
}

fn begin(client: &Arc<dyn Client>, call: Call) -> JoinHandle<Outcome> {
    let client = Arc::clone(client);
    tokio::spawn(async move { call.make(&*client).await })
}

async fn all(calls: Vec<JoinHandle<Outcome>>) -> Result<Outcomes, BoxError> {
    let mut outcomes = Vec::with_capacity(calls.len());
    for call in calls {
        outcomes.push(call.await?);
    }
    outcomes.sort_by_key(|outcome| outcome.waited);
    Ok(Outcomes(outcomes))
}

impl Outcomes {
    /// How many calls there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many were answered with 200, or got a token.
    #[must_use]
    pub fn succeeded(&self) -> usize {
        let ok = Some(StatusCode::OK);
        self.0.iter().filter(|outcome| outcome.status == ok).count()
    }

    /// How many ended in an error of the library's.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.0
            .iter()
            .filter(|outcome| outcome.status.is_none())
            .count()
    }

    /// How many took longer than `limit`.
    #[must_use]
    pub fn longer_than(&self, limit: Duration) -> usize {
        self.0
            .iter()
            .filter(|outcome| outcome.waited > limit)
            .count()
    }

    /// What 99 of 100 calls took at most.
    #[must_use]
    pub fn p99(&self) -> Duration {
        let rank = (self.0.len() * 99).div_ceil(100).saturating_sub(1);
        self.0
            .get(rank)
            .map_or(Duration::ZERO, |outcome| outcome.waited)
    }

    /// What the longest call took.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.0
            .last()
            .map_or(Duration::ZERO, |outcome| outcome.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_may_be_slower_than_p99() {
        let outcomes = |count: u64| {
            Outcomes(
                (1..=count)
                    .map(|millis| Outcome {
                        waited: Duration::from_millis(millis),
                        status: Some(StatusCode::OK),
                    })
                    .collect(),
            )
        };
        assert_eq!(outcomes(200).p99(), Duration::from_millis(198));
        assert_eq!(outcomes(10).p99(), Duration::from_millis(10));
        assert_eq!(outcomes(0).p99(), Duration::ZERO);
        assert_eq!(outcomes(200).longest(), Duration::from_millis(200));
        assert_eq!(outcomes(200).longer_than(Duration::from_millis(150)), 50);
    }
}
