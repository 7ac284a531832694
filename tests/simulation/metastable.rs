//! Whether an outage ends when it ends, or lives on by the retries that it
//! caused.
//!
//! A fleet's identity provider serves one call at a time, so that what it is
//! sent beyond its capacity queues up, and goes on with calls that nobody waits
//! for any more. It is used to 80 % of its capacity and then goes away for 20
//! seconds.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tower::{Layer as _, Service, ServiceExt as _};
use tower_bearer::{
    AccessToken, Audience, BearerAuthLayer, Credential, Error, ErrorKind, Origin, ResolveAudience,
    TokenCache, TokenRequest,
};

use crate::executor::{Executor, GroupRuntime, Turn, WORLD};
use crate::random::Random;

const SECOND: Duration = Duration::from_secs(1);
/// What the provider takes for one call.
const SERVICE: Duration = Duration::from_millis(100);
/// How long the credential waits for an answer.
const ATTEMPT: Duration = Duration::from_secs(5);
const LIFE: Duration = Duration::from_secs(300);
/// A token is renewed after 40 % of its 270 usable seconds, on average, and
/// then at the next request. So many keys use 80 % of what the provider can
/// serve.
const KEYS: usize = 900;
/// Each key's requests are this far apart.
const PACE: Duration = Duration::from_secs(10);

const LOOK: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(1200);
const OUTAGE: Duration = Duration::from_secs(20);
const AFTERWARDS: Duration = Duration::from_secs(400);

/// What the provider does during the outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Says 503 at once.
    Refuses,
    /// Says nothing.
    Silent,
}

/// What the outage did, by the second since it ended.
#[derive(Debug)]
pub struct Course {
    /// Of the provider's capacity, before.
    pub load: f64,
    /// From the end of the outage until the last request that failed, or
    /// waited longer for its token than any had before the outage.
    pub until_users_are_well: Duration,
    /// From the end of the outage until the provider was no longer busy all of
    /// the time.
    pub until_drained: Duration,
    /// Calls per token that was needed, since the outage ended.
    pub retry_ratio: f64,
    /// The same, during the outage too.
    pub retry_ratio_with_outage: f64,
    /// Requests that got no token.
    pub failed: u64,
}

struct Fleet {
    executor: Arc<Executor>,
    limit: usize,
    outage: Outage,
    outage_from: Duration,
    outage_to: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Until when the provider is busy with what it has been sent.
    busy_until: Duration,
    calls: BTreeMap<Period, u64>,
    issued: BTreeMap<Period, u64>,
    /// Calls since the outage, by the time of each.
    looks: BTreeMap<u64, u32>,
    longest_wait: Duration,
    last_bad_request: Duration,
    failed: u64,
    serial: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Period {
    WarmUp,
    Before,
    During,
    After,
}

impl Fleet {
    fn period(&self, now: Duration) -> Period {
        if now < self.outage_from - WARM_UP / 2 {
            Period::WarmUp
        } else if now < self.outage_from {
            Period::Before
        } else if now < self.outage_to {
            Period::During
        } else {
            Period::After
        }
    }

    /// One call: when it will be answered, if at all.
    fn enqueue(&self, now: Duration) -> Option<Duration> {
        let mut state = self.state.lock().unwrap();
        let period = self.period(now);
        *state.calls.entry(period).or_default() += 1;
        if period == Period::During {
            return None;
        }
        if period == Period::After {
            let look = (now - self.outage_to).as_secs() / LOOK.as_secs();
            *state.looks.entry(look).or_default() += 1;
        }
        state.busy_until = state.busy_until.max(now) + SERVICE;
        Some(state.busy_until - now)
    }

    fn served(&self, waited: Duration, well: bool, now: Duration) {
        let mut state = self.state.lock().unwrap();
        match self.period(now) {
            Period::Before => {
                assert!(well, "no request fails before the outage");
                state.longest_wait = state.longest_wait.max(waited);
            }
            Period::During | Period::After if !well || waited > state.longest_wait => {
                state.last_bad_request = state.last_bad_request.max(now);
                state.failed += u64::from(!well);
            }
            _ => {}
        }
    }
}

struct Provider(Arc<Fleet>);

impl Credential for Provider {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        let fleet = &self.0;
        let runtime = request.runtime();
        match fleet.enqueue(runtime.now().monotonic) {
            None if fleet.outage == Outage::Refuses => {
                runtime.sleep(SERVICE / 10).await;
                return Err(Error::new(ErrorKind::Unreachable, "503"));
            }
            Some(wait) if wait <= ATTEMPT => runtime.sleep(wait).await,
            _ => {
                runtime.sleep(ATTEMPT).await;
                return Err(Error::new(ErrorKind::Timeout, "no answer"));
            }
        }
        let mut state = fleet.state.lock().unwrap();
        let period = fleet.period(runtime.now().monotonic);
        *state.issued.entry(period).or_default() += 1;
        state.serial += 1;
        AccessToken::expiring_in(&format!("token-{}", state.serial), LIFE)
    }

    fn max_concurrency(&self) -> usize {
        self.0.limit
    }
}

/// Each host is a key of its own.
struct EachItsOwn;

impl ResolveAudience for EachItsOwn {
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
        Ok(Some(Audience::from(origin.authority().host())))
    }
}

#[derive(Clone)]
struct Always200;

impl Service<Request<()>> for Always200 {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

/// `limit` is how many calls may be under way at once. The provider does nothing
/// to defend itself: this is what keeps its queue from growing until nobody
/// waits any more for what is served.
pub fn play(seed: u64, limit: usize, outage: Outage) -> Course {
    let executor = Executor::new(seed);
    let start = executor.now().monotonic;
    let outage_from = start + WARM_UP;
    let fleet = Arc::new(Fleet {
        executor: Arc::clone(&executor),
        limit,
        outage,
        outage_from,
        outage_to: outage_from + OUTAGE,
        state: Mutex::default(),
    });
    let end = fleet.outage_to + AFTERWARDS;
    let runtime = GroupRuntime {
        executor: Arc::clone(&executor),
        group: WORLD,
    };
    let tokens = TokenCache::builder(Provider(Arc::clone(&fleet)))
        .runtime(runtime)
        .build();
    let client = BearerAuthLayer::new(tokens, EachItsOwn).layer(Always200);
    let mut random = Random::new(seed, 4);
    for key in 0..KEYS {
        let mut client = client.clone();
        let fleet = Arc::clone(&fleet);
        // Cold keys come one by one, at a pace that the provider can take.
        let first = random.up_to(WARM_UP / 4);
        executor.spawn(WORLD, async move {
            let executor = &fleet.executor;
            executor.sleep(WORLD, first).await;
            while executor.now().monotonic < end {
                let request = Request::get(format!("https://host-{key}.example.com"))
                    .body(())
                    .unwrap();
                let asked = executor.now().monotonic;
                let answer = client.ready().await.unwrap().call(request).await;
                let now = executor.now().monotonic;
                fleet.served(now - asked, answer.is_ok(), now);
                executor.sleep(WORLD, PACE).await;
            }
        });
    }
    drop(client);
    loop {
        match executor.turn() {
            Turn::Ran => {}
            Turn::Idle if executor.advance(end + SECOND * 600) => {}
            Turn::Idle => break,
            Turn::Panicked(panic) => std::panic::resume_unwind(panic),
        }
    }
    executor.clear();
    fleet.course()
}

impl Fleet {
    fn course(&self) -> Course {
        let state = self.state.lock().unwrap();
        let calls = |period| state.calls.get(&period).copied().unwrap_or_default();
        let issued = |period| state.issued.get(&period).copied().unwrap_or_default();
        // At first the calls are still missing that the outage holds.
        let idle = |look: &u64| {
            let calls = state.looks.get(look).copied().unwrap_or_default();
            SERVICE * calls < LOOK.mul_f64(0.97)
        };
        let drained = (1..40).find(idle).unwrap_or(40);
        let capacity = (WARM_UP / 2).as_secs_f64() / SERVICE.as_secs_f64();
        let after = calls(Period::After) as f64;
        let issued_after = issued(Period::After) as f64;
        Course {
            load: calls(Period::Before) as f64 / capacity,
            until_users_are_well: state.last_bad_request.saturating_sub(self.outage_to),
            until_drained: LOOK * u32::try_from(drained).unwrap(),
            retry_ratio: after / issued_after,
            retry_ratio_with_outage: (after + calls(Period::During) as f64) / issued_after,
            failed: state.failed,
        }
    }
}
