//! How requests are made and their waits counted.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

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
            ending: result.map_or(Ending::Failed, Ending::Answered),
        }
    }

    async fn make_within(self, client: &dyn Client, limit: Option<Duration>) -> Outcome {
        match limit {
            Some(limit) => timeout(limit, self.make(client))
                .await
                .unwrap_or(Outcome::CUT_OFF),
            None => self.make(client).await,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Outcome {
    waited: Duration,
    ending: Ending,
}

impl Outcome {
    const CUT_OFF: Self = Self {
        waited: Duration::MAX,
        ending: Ending::CutOff,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Answered(StatusCode),
    /// The library gave an error in place of an answer.
    Failed,
    /// Nobody waited for it any longer.
    CutOff,
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
    Stream::new(call, pace, period).play(client).await
}

/// Calls at a steady pace, whether or not those before are over.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    call: Call,
    pace: Duration,
    period: Duration,
    deadline: Option<Duration>,
    patience: Option<Duration>,
}

impl Stream {
    /// One call every `pace` for as long as `period`, each waited for until it
    /// is over.
    #[must_use]
    pub fn new(call: Call, pace: Duration, period: Duration) -> Self {
        Self {
            call,
            pace,
            period,
            deadline: None,
            patience: None,
        }
    }

    /// Callers give up `deadline` after they have begun.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }

    /// All callers give up `patience` after the last one has begun.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self {
            patience: Some(patience),
            ..self
        }
    }

    /// Makes the calls.
    ///
    /// # Errors
    ///
    /// When the library panics.
    pub async fn play(&self, client: &Arc<dyn Client>) -> Result<Outcomes, BoxError> {
        let mut ticks = interval(self.pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let count = self.period.as_nanos() / self.pace.as_nanos().max(1);
        let mut calls = Vec::new();
        for _ in 0..count {
            ticks.tick().await;
            let (client, call, deadline) = (Arc::clone(client), self.call, self.deadline);
            calls.push(tokio::spawn(async move {
                call.make_within(&*client, deadline).await
            }));
        }
        match self.patience {
            Some(patience) => all_until(calls, Instant::now() + patience).await,
            None => all(calls).await,
        }
    }
}

/// Makes one call and wants 200 for it.
///
/// # Errors
///
/// When it got something else: then the scenario cannot begin.
pub async fn warm_up(client: &Arc<dyn Client>, call: Call) -> Result<(), BoxError> {
    match call.make(&**client).await.ending {
        Ending::Answered(StatusCode::OK) => Ok(()),
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
    Ok(Outcomes::of(outcomes))
}

async fn all_until(calls: Vec<JoinHandle<Outcome>>, end: Instant) -> Result<Outcomes, BoxError> {
    let mut outcomes = Vec::with_capacity(calls.len());
    for mut call in calls {
        let outcome = if let Ok(outcome) = timeout_at(end, &mut call).await {
            outcome?
        } else {
            call.abort();
            Outcome::CUT_OFF
        };
        outcomes.push(outcome);
    }
    Ok(Outcomes::of(outcomes))
}

impl Outcomes {
    fn of(mut outcomes: Vec<Outcome>) -> Self {
        outcomes.sort_by_key(|outcome| outcome.waited);
        Self(outcomes)
    }

    /// How many calls there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many were answered with 200, or got a token.
    #[must_use]
    pub fn succeeded(&self) -> usize {
        self.ended(|ending| ending == Ending::Answered(StatusCode::OK))
    }

    /// How many were answered with 401.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.ended(|ending| ending == Ending::Answered(StatusCode::UNAUTHORIZED))
    }

    /// How many ended in an error of the library's.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.ended(|ending| ending == Ending::Failed)
    }

    /// How many had not ended when their callers gave up. They count as longer
    /// than any other.
    #[must_use]
    pub fn cut_off(&self) -> usize {
        self.ended(|ending| ending == Ending::CutOff)
    }

    fn ended(&self, so: impl Fn(Ending) -> bool) -> usize {
        self.0.iter().filter(|outcome| so(outcome.ending)).count()
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
        self.percentile(99)
    }

    /// What `percent` of 100 calls took at most.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
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
                        ending: Ending::Answered(StatusCode::OK),
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
