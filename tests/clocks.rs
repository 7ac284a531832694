//! Clocks that step, drift and sleep, and a fleet whose clocks agree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use issuer::{Calls, HOUR, SECOND, VAULT, at_once, issuer, token, unreachable_provider};
use tokio::time::{advance, sleep};
use tower::util::BoxCloneService;
use tower::{Layer as _, ServiceExt as _};
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{
    AccessToken, BearerAuthError, BearerAuthLayer, BoxFuture, Error, FixedAudience, Runtime,
    Timestamp, TokenCache,
};

const DAY: Duration = Duration::from_secs(86_400);

/// The clocks of a machine: they go by the true time, but a little too fast or
/// too slow, and its wall clock may be wrong.
#[derive(Clone, Debug)]
struct Clocks {
    truth: ManualRuntime,
    /// By how many millionths both are too fast.
    drift: i64,
    /// By how many seconds the wall clock is ahead.
    ahead: Arc<AtomicI64>,
}

impl Clocks {
    fn by_this_machine(&self, duration: Duration) -> Duration {
        let drift = i128::from(self.drift);
        let nanos = i128::try_from(duration.as_nanos()).unwrap();
        let nanos = nanos + nanos * drift / 1_000_000;
        Duration::from_nanos(nanos.try_into().unwrap())
    }
}

impl Runtime for Clocks {
    fn now(&self) -> Timestamp {
        let truth = self.truth.now();
        let monotonic = self.by_this_machine(truth.monotonic);
        let begin = truth.wall - truth.monotonic;
        let ahead = self.ahead.load(Ordering::SeqCst);
        let by = Duration::from_secs(ahead.unsigned_abs());
        let begin = if ahead < 0 { begin - by } else { begin + by };
        Timestamp::new(monotonic, begin + monotonic)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.truth.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        self.truth.spawn(task)
    }

    fn random(&self) -> u64 {
        self.truth.random()
    }
}

/// How an issuer says when its tokens end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    In,
    On,
}

/// A machine, and an issuer and a server that go by the true time.
struct World {
    clocks: Clocks,
    life: Duration,
    client: BoxCloneService<Request<Empty<Bytes>>, Response<()>, BearerAuthError>,
    calls: Calls,
    down: Arc<AtomicBool>,
    unauthorized: Arc<AtomicUsize>,
}

impl World {
    fn new(life: Duration, says: Says, drift: i64, ahead: i64) -> Self {
        let truth = ManualRuntime::new();
        let clocks = Clocks {
            truth: truth.clone(),
            drift,
            ahead: Arc::new(AtomicI64::new(ahead)),
        };
        let down = Arc::new(AtomicBool::new(false));
        let (issuers_clock, is_down) = (truth.clone(), Arc::clone(&down));
        let (credential, calls) = issuer(move |_, _| {
            let now = issuers_clock.now();
            let secret = (now.monotonic + life).as_secs().to_string();
            ready(match (is_down.load(Ordering::SeqCst), says) {
                (true, _) => Err(unreachable_provider()),
                (_, Says::In) => AccessToken::expiring_in(&secret, life),
                (_, Says::On) => AccessToken::expiring_on(&secret, now.wall + life),
            })
        });
        let unauthorized = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&unauthorized);
        let server = tower::service_fn(move |request: Request<Empty<Bytes>>| {
            let header = request.headers()[AUTHORIZATION].to_str().unwrap();
            let end: u64 = header.strip_prefix("Bearer ").unwrap().parse().unwrap();
            let mut response = Response::new(());
            if truth.now().monotonic >= Duration::from_secs(end) {
                counted.fetch_add(1, Ordering::SeqCst);
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            ready(Ok::<_, Infallible>(response))
        });
        let tokens = TokenCache::builder(credential)
            .runtime(clocks.clone())
            .build();
        let layer = BearerAuthLayer::new(tokens, FixedAudience::new(VAULT));
        Self {
            client: BoxCloneService::new(layer.layer(server)),
            clocks,
            life,
            calls,
            down,
            unauthorized,
        }
    }

    async fn send(&self) -> Result<StatusCode, BearerAuthError> {
        let request = Request::get("https://a.example.com/")
            .body(Empty::new())
            .unwrap();
        let response = self.client.clone().oneshot(request).await?;
        Ok(response.status())
    }

    /// Lets this much of the true time pass.
    async fn pass(&self, time: Duration) {
        self.clocks.truth.run_for(time).await;
    }

    fn set_wall_clock(&self, ahead: i64) {
        self.clocks.ahead.store(ahead, Ordering::SeqCst);
    }

    fn unauthorized(&self) -> usize {
        self.unauthorized.load(Ordering::SeqCst)
    }

    /// Uses a token to its end, since there is no other one to be had; how long
    /// before its end it was last sent.
    async fn use_to_the_end(&self) -> Duration {
        let last = Duration::from_secs(120);
        self.send().await.unwrap();
        let end = self.clocks.truth.now().monotonic + self.life;
        self.down.store(true, Ordering::SeqCst);
        self.pass(self.life.saturating_sub(last)).await;
        let mut left = Duration::MAX;
        while self.clocks.truth.now().monotonic < end + last {
            if self
                .send()
                .await
                .is_ok_and(|status| status == StatusCode::OK)
            {
                left = end.saturating_sub(self.clocks.truth.now().monotonic);
            }
            self.pass(SECOND).await;
        }
        self.down.store(false, Ordering::SeqCst);
        self.pass(30 * SECOND).await;
        left
    }
}

#[tokio::test]
async fn r31_a_wall_clock_set_forward_costs_one_early_refresh_and_no_request() {
    for life in [HOUR, DAY] {
        let world = World::new(life, Says::In, 0, 0);
        world.send().await.unwrap();
        world.pass(600 * SECOND).await;
        world.set_wall_clock(7200);
        for _ in 0..1200 {
            assert_eq!(world.send().await.unwrap(), StatusCode::OK);
            world.pass(SECOND).await;
        }
        let early = world.calls.count() - 1;
        assert!(early <= 1, "{life:?}: {early} refreshes");
        assert_eq!(world.unauthorized(), 0);
    }
}

#[tokio::test]
async fn r32_a_wall_clock_set_back_has_no_expired_token_sent() {
    for (life, says) in [(HOUR, Says::In), (DAY, Says::In), (HOUR, Says::On)] {
        let world = World::new(life, says, 0, 0);
        world.send().await.unwrap();
        world.set_wall_clock(-7200);
        let left = world.use_to_the_end().await;
        assert!((30..=90).contains(&left.as_secs()), "{life:?}: {left:?}");
        assert_eq!(world.unauthorized(), 0, "{life:?}");
        assert_eq!(world.send().await.unwrap(), StatusCode::OK);
    }
}

/// Three days; half a thousandth is what NTP may change a clock's rate by.
#[tokio::test]
async fn r34_clocks_that_are_wrong_and_drift_have_no_expired_token_sent() {
    for (life, says) in [
        (HOUR, Says::In),
        (HOUR, Says::On),
        (DAY, Says::In),
        (DAY, Says::On),
    ] {
        for drift in [-500, 500] {
            for ahead in [-600, 600] {
                let world = World::new(life, says, drift, ahead);
                while world.clocks.truth.now().monotonic < 3 * DAY {
                    assert_eq!(world.send().await.unwrap(), StatusCode::OK);
                    world.pass(life / 8).await;
                }
                assert_eq!(world.unauthorized(), 0);
            }
        }
    }
}

#[tokio::test]
async fn r34_a_token_that_is_used_to_its_end_by_a_clock_that_drifts_is_never_sent_too_late() {
    for life in [HOUR, DAY, 2 * DAY] {
        for drift in [-500, 500] {
            for ahead in [-600, 600] {
                let world = World::new(life, Says::In, drift, ahead);
                let left = world.use_to_the_end().await;
                let case = format!("{life:?}, {drift} ppm, {ahead} s: {left:?} left");
                assert_eq!(world.unauthorized(), 0, "{case}");
                assert_eq!(world.send().await.unwrap(), StatusCode::OK, "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r33_a_caller_that_wakes_up_after_the_tokens_end_gets_a_newer_one() {
    let (credential, _) = issuer(|number, _| async move {
        sleep(Duration::from_secs(1)).await;
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let mut asked = Box::pin(tokens.token(VAULT));
    assert!(at_once(asked.as_mut()).is_none());
    sleep(Duration::from_secs(2)).await;
    advance(2 * HOUR).await;
    assert_eq!(asked.await.unwrap().secret(), "token-2");
}

/// Whether the client of this seed has begun to refresh such a token after so
/// much time.
async fn is_refreshed(
    seed: u64,
    after: Duration,
    token: impl Fn() -> AccessToken + Send + Sync + 'static,
) -> bool {
    let clock = ManualRuntime::with_seed(seed);
    let (credential, calls) = issuer(move |_, _| ready(Ok(token())));
    let tokens = TokenCache::builder(credential)
        .runtime(clock.clone())
        .build();
    tokens.token(VAULT).await.unwrap();
    clock.advance(after);
    drop(at_once(tokens.token(VAULT)));
    tokio::task::yield_now().await;
    calls.count() > 1
}

/// The second in which the client of this seed begins to refresh such a token:
/// it is drawn from the seed, so tries can be made until it is found.
async fn second_of_refresh(
    seed: u64,
    life: Duration,
    token: impl Fn() -> AccessToken + Copy + Send + Sync + 'static,
) -> u64 {
    let (mut before, mut after) = (0, life.as_secs());
    while after - before > 1 {
        let middle = before.midpoint(after);
        if is_refreshed(seed, Duration::from_secs(middle), token).await {
            after = middle;
        } else {
            before = middle;
        }
    }
    before
}

#[tokio::test]
async fn r45_a_thousand_clients_built_in_the_same_moment_do_not_refresh_together() {
    let expiring_in = |life: Duration| AccessToken::expiring_in("t", life).unwrap();
    for (life, hint) in [
        (HOUR, None),
        (DAY, None),
        (HOUR, Some(HOUR / 2)),
        (DAY, Some(DAY / 2)),
        // Too short for the whole reserve of five minutes to be kept.
        (HOUR / 4, None),
        (HOUR / 5, None),
        (HOUR / 6, None),
    ] {
        let token = move || match hint {
            Some(hint) => expiring_in(life).with_refresh_in(hint),
            None => expiring_in(life),
        };
        let mut buckets = HashMap::new();
        for seed in 0..1000 {
            let second = second_of_refresh(seed, life, token).await;
            *buckets.entry(second).or_insert(0) += 1;
        }
        let largest = *buckets.values().max().unwrap();
        assert!(largest <= 20, "{life:?}, {hint:?}: {largest} in one second");
    }
}
