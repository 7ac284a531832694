//! The cache against a model of it: any sequence of calls, answers and moves of
//! the clocks must look to callers and to the provider as the model says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod model;
mod provider;

use std::time::Duration;

use model::{Answer, Life, Model, Seen};
use proptest::prelude::*;
use provider::Provider;
use tokio::task::JoinHandle;
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{
    AccessToken, Claims, Error, ErrorKind, Runtime as _, TenantId, Timestamp, TokenCache,
    TokenRequest,
};

const KEYS: usize = 4;

/// Keys that differ in one part each.
fn request(key: usize) -> TokenRequest {
    let vault = TokenRequest::new("https://vault.azure.net");
    match key {
        0 => vault,
        1 => vault.with_tenant(TenantId::new("contoso.com").unwrap()),
        2 => vault.with_claims(Claims::from_json(r#"{"access_token":{}}"#).unwrap()),
        _ => TokenRequest::new("https://graph.microsoft.com"),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask(usize),
    /// Says that the newest token was refused, or the one before.
    AskRefusing(usize, bool),
    /// Drops the caller who has waited for longest.
    Leave,
    /// The fetch of a key brings a new token, whose end is told by the calendar
    /// or not.
    AnswerToken(usize, Duration, bool, Option<Duration>),
    /// It brings the last one again: good for so long, or until the same end.
    AnswerSame(usize, Duration),
    AnswerFailure(usize, ErrorKind, Option<Duration>),
    Advance(Duration),
    /// Lets so many percent of what is left of a key's newest token pass.
    Age(usize, u32),
    WallForward(Duration),
    WallBack(Duration),
    Suspend(Duration),
}

fn duration(longest: u64) -> impl Strategy<Value = Duration> {
    (0..longest * 1000).prop_map(Duration::from_millis)
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        duration(3),
        duration(150),
        duration(5_000),
        duration(90_000)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    let kind = prop_oneof![
        Just(ErrorKind::Unreachable),
        Just(ErrorKind::Rejected),
        Just(ErrorKind::InvalidResponse),
    ];
    prop_oneof![
        8 => key.clone().prop_map(Step::Ask),
        3 => (key.clone(), any::<bool>()).prop_map(|(key, newest)| Step::AskRefusing(key, newest)),
        1 => Just(Step::Leave),
        6 => (key.clone(), any_duration(), any::<bool>(), proptest::option::of(any_duration()))
            .prop_map(|(key, life, calendar, hint)| Step::AnswerToken(key, life, calendar, hint)),
        2 => (key.clone(), any_duration()).prop_map(|(key, life)| Step::AnswerSame(key, life)),
        2 => (key.clone(), kind).prop_map(|(key, kind)| Step::AnswerFailure(key, kind, None)),
        1 => (key.clone(), duration(100)).prop_map(|(key, wait)| {
            Step::AnswerFailure(key, ErrorKind::Throttled, Some(wait))
        }),
        4 => any_duration().prop_map(Step::Advance),
        4 => (key.clone(), 0..110_u32).prop_map(|(key, percent)| Step::Age(key, percent)),
        1 => duration(10_000).prop_map(Step::WallForward),
        1 => duration(10_000).prop_map(Step::WallBack),
        1 => duration(10_000).prop_map(Step::Suspend),
    ]
}

struct Caller {
    key: usize,
    refused: Option<String>,
    outcome: JoinHandle<Result<AccessToken, Error>>,
}

impl Caller {
    async fn seen(self) -> Seen {
        match self.outcome.await.unwrap() {
            Ok(token) => Seen::Token(token.secret().to_owned()),
            Err(error) => Seen::Error(error.kind()),
        }
    }
}

/// The cache and its model, in step.
struct World {
    tokens: TokenCache,
    runtime: ManualRuntime,
    provider: Provider,
    model: Model,
    waiting: Vec<Caller>,
    /// Every token of each key that the provider has given.
    given: Vec<Vec<(String, Life)>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let runtime = ManualRuntime::with_seed(seed);
        let provider = Provider::new();
        let credential = provider.credential(&[0, 1, 2, 3].map(request));
        Self {
            tokens: TokenCache::builder(credential)
                .runtime(runtime.clone())
                .fetch_timeout(model::FETCH_TIMEOUT)
                .build(),
            runtime,
            provider,
            model: Model::new(KEYS),
            waiting: Vec::new(),
            given: vec![Vec::new(); KEYS],
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Ask(key) => self.ask(key, None).await,
            Step::AskRefusing(key, newest) => {
                let refused = self.given[key].iter().rev().nth(usize::from(!newest));
                let refused = refused.map(|(text, _)| text.clone());
                self.ask(key, refused).await;
            }
            Step::Leave => {
                if !self.waiting.is_empty() {
                    self.waiting.remove(0).outcome.abort();
                }
            }
            Step::AnswerToken(key, life, calendar, refresh_in) => {
                let text = format!("key-{key}.{}", self.given[key].len());
                let life = if calendar {
                    Life::On(self.runtime.now().wall + life)
                } else {
                    Life::In(life)
                };
                self.answer(key, token(text, life, refresh_in)).await;
            }
            Step::AnswerSame(key, life) => {
                if let Some((text, said)) = self.given[key].last().cloned() {
                    let life = match said {
                        Life::In(_) => Life::In(life),
                        Life::On(end) => Life::On(end),
                    };
                    self.answer(key, token(text, life, None)).await;
                }
            }
            Step::AnswerFailure(key, kind, retry_after) => {
                self.answer(key, Answer::Failure { kind, retry_after })
                    .await;
            }
            Step::Advance(by) => self.advance(by).await,
            Step::Age(key, percent) => {
                let left = self.model.left(key, self.runtime.now());
                self.advance(left * percent / 100).await;
            }
            Step::WallForward(by) => self.runtime.step_wall_forward(by),
            Step::WallBack(by) => self.runtime.step_wall_back(by),
            Step::Suspend(by) => self.runtime.suspend(by),
        }
        self.runtime.settle().await;
        self.compare();
    }

    async fn ask(&mut self, key: usize, refused: Option<String>) {
        let mut asked_for = request(key);
        if let Some(text) = &refused {
            let token = AccessToken::expiring_in(text, Duration::ZERO).unwrap();
            asked_for = asked_for.with_refused(token);
        }
        let tokens = self.tokens.clone();
        let outcome = tokio::spawn(async move { tokens.token_for(&asked_for).await });
        self.runtime.settle().await;
        let caller = Caller {
            key,
            refused: refused.clone(),
            outcome,
        };
        let seen = if caller.outcome.is_finished() {
            caller.seen().await
        } else {
            self.waiting.push(caller);
            Seen::Waits
        };
        let asked = !self.provider.asked_at(key).is_empty();
        let now = self.runtime.now();
        self.model.ask(key, refused.as_deref(), now, &seen, asked);
    }

    /// The provider answers, if it was asked.
    async fn answer(&mut self, key: usize, answer: Answer) {
        let Some(asked_at) = self.provider.asked_at(key).pop() else {
            return;
        };
        if let Answer::Token { text, life, .. } = &answer {
            self.given[key].push((text.clone(), *life));
        }
        self.provider.answer(key, answer.clone());
        self.land(key, asked_at, answer).await;
    }

    async fn land(&mut self, key: usize, asked_at: Timestamp, answer: Answer) {
        self.runtime.settle().await;
        let brought = self.model.land(key, asked_at, self.runtime.now(), answer);
        self.serve(key, &brought).await;
    }

    /// All who wait for `key` get what its fetch has brought.
    async fn serve(&mut self, key: usize, brought: &Seen) {
        let waiting = std::mem::take(&mut self.waiting);
        let (served, waiting) = waiting.into_iter().partition(|caller| caller.key == key);
        self.waiting = waiting;
        for caller in served {
            let expected = match brought {
                Seen::Token(text) if caller.refused.as_ref() == Some(text) => {
                    Seen::Error(ErrorKind::Rejected)
                }
                brought => brought.clone(),
            };
            assert!(caller.outcome.is_finished(), "a caller was forgotten");
            assert_eq!(caller.seen().await, expected);
        }
    }

    async fn advance(&mut self, by: Duration) {
        let end = self.runtime.now().monotonic + by;
        loop {
            let now = self.runtime.now().monotonic;
            let next = self.model.next_moment(now, end);
            self.runtime.run_for(next.saturating_sub(now)).await;
            for key in (0..KEYS).filter(|_| next > now) {
                if self.model.fetching_since(key, next) == Some(next) {
                    let asked = !self.provider.asked_at(key).is_empty();
                    if let Some(brought) = self.model.depart(key, next, asked) {
                        self.serve(key, &brought).await;
                    }
                }
                let given_up = next.checked_sub(model::FETCH_TIMEOUT);
                if given_up.is_some() && self.model.fetching_since(key, next) == given_up {
                    let timeout = Answer::Failure {
                        kind: ErrorKind::Timeout,
                        retry_after: None,
                    };
                    self.land(key, self.runtime.now(), timeout).await;
                }
            }
            self.compare();
            if next == end {
                return;
            }
        }
    }

    /// The provider is asked for what the model says, since when it says, and
    /// nobody who has to wait has got anything.
    fn compare(&self) {
        let now = self.runtime.now().monotonic;
        for key in 0..KEYS {
            let asked_at = self.provider.asked_at(key);
            assert!(asked_at.len() <= 1, "two fetches for one key");
            let asked_at = asked_at.first().map(|asked_at| asked_at.monotonic);
            assert_eq!(asked_at, self.model.fetching_since(key, now));
        }
        assert!(
            self.waiting
                .iter()
                .all(|caller| !caller.outcome.is_finished())
        );
    }

    /// With the last handle every task ends.
    async fn end(self) {
        for caller in self.waiting {
            caller.outcome.abort();
        }
        drop(self.tokens);
        self.runtime.settle().await;
        let left = (self.runtime.live_tasks(), self.runtime.pending_sleeps());
        assert_eq!(left, (0, 0));
    }
}

fn token(text: String, life: Life, refresh_in: Option<Duration>) -> Answer {
    Answer::Token {
        text,
        life,
        refresh_in,
    }
}

proptest! {
    #[test]
    fn i1_i2_i3_i7_t23_the_cache_does_what_its_model_says(
        seed: u64,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
        executor.block_on(async {
            let mut world = World::new(seed);
            for step in steps {
                world.take(step).await;
            }
            world.end().await;
        });
    }
}
