//! A cache on the checker's executor, its callers, and how it is explored.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

use super::checked_runtime::CheckedRuntime;
use super::lock;
use crate::{AccessToken, Credential, Error, TokenCache, TokenRequest, credential_fn};

pub(super) const VAULT: &str = "https://vault.azure.net";
const HOUR: Duration = Duration::from_secs(3600);

/// How often the credential was called, and how often at the same time.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    all: usize,
    under_way: usize,
    most: usize,
}

impl Calls {
    pub(super) fn begin(&self) -> (usize, impl Drop + Send + use<>) {
        struct End(Calls);
        impl Drop for End {
            fn drop(&mut self) {
                lock(&self.0.0).under_way -= 1;
            }
        }
        let mut counts = lock(&self.0);
        counts.all += 1;
        counts.under_way += 1;
        counts.most = counts.most.max(counts.under_way);
        (counts.all, End(self.clone()))
    }

    pub(super) fn under_way(&self) -> usize {
        lock(&self.0).under_way
    }

    pub(super) fn all(&self) -> usize {
        lock(&self.0).all
    }

    pub(super) fn most(&self) -> usize {
        lock(&self.0).most
    }
}

pub(super) fn token(number: usize) -> Result<AccessToken, Error> {
    AccessToken::expiring_in(&format!("token-{number}"), HOUR)
}

/// Takes a while to give its answer.
pub(super) fn slow(
    answer: impl Fn(usize) -> Result<AccessToken, Error> + Send + Sync + 'static,
) -> (impl Credential, Calls) {
    let calls = Calls::default();
    let counted = calls.clone();
    let answer = Arc::new(answer);
    let credential = credential_fn(move |_| {
        let calls = counted.clone();
        let answer = Arc::clone(&answer);
        async move {
            let (number, _under_way) = calls.begin();
            yield_now().await;
            answer(number)
        }
    });
    (credential, calls)
}

pub(super) struct Bench {
    pub(super) tokens: TokenCache,
    pub(super) runtime: CheckedRuntime,
    pub(super) calls: Calls,
}

pub(super) type Caller = JoinHandle<Result<AccessToken, Error>>;

impl Bench {
    pub(super) fn new(
        runtime: CheckedRuntime,
        answer: impl Fn(usize) -> Result<AccessToken, Error> + Send + Sync + 'static,
    ) -> Self {
        let (credential, calls) = slow(answer);
        Self::with(runtime, credential, calls)
    }

    pub(super) fn with(runtime: CheckedRuntime, credential: impl Credential, calls: Calls) -> Self {
        let tokens = TokenCache::builder(credential)
            .runtime(runtime.clone())
            .build();
        Self {
            tokens,
            runtime,
            calls,
        }
    }

    pub(super) fn caller(&self, request: TokenRequest) -> Caller {
        let tokens = self.tokens.clone();
        spawn(async move { tokens.token_for(&request).await })
    }

    pub(super) fn callers<const N: usize>(&self) -> [Caller; N] {
        [(); N].map(|()| self.caller(TokenRequest::new(VAULT)))
    }

    pub(super) async fn succeeds_after(&self, wait: Duration) -> AccessToken {
        self.runtime.advance(wait);
        self.tokens.token(VAULT).await.unwrap()
    }
}

/// Polls once, so that `task` waits.
pub(super) fn poll_once<F: Future>(task: F) -> Pin<Box<F>> {
    let mut task = Box::pin(task);
    let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    task
}

/// Runs `model` in as many orders as `scheduler` has, and says how many.
pub(super) fn run(
    what: &str,
    scheduler: impl Scheduler + 'static,
    model: impl AsyncFn(CheckedRuntime) + Send + Sync + 'static,
) -> usize {
    let mut config = Config::new();
    config.silence_warnings = true;
    let executions = Runner::new(scheduler, config).run(move || {
        let runtime = CheckedRuntime::default();
        block_on(model(runtime.clone()));
        block_on(runtime.shut_down());
    });
    println!("{what}: {executions} executions");
    executions
}

/// Runs `model` in `TOWER_BEARER_SCHEDULES` random orders, or `least` if that is
/// more, and in a tenth as many that change threads at few, well-spread points.
/// The orders are the same in each run, unless `TOWER_BEARER_SEED` asks for
/// others.
pub(super) fn explore(
    what: &str,
    least: usize,
    model: impl AsyncFn(CheckedRuntime) + Copy + Send + Sync + 'static,
) {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let asked = number("TOWER_BEARER_SCHEDULES")
        .map_or(20_000, |asked| usize::try_from(asked).unwrap_or(usize::MAX));
    let seed = number("TOWER_BEARER_SEED").unwrap_or(1);
    let orders = least.max(asked);
    run(what, RandomScheduler::new_from_seed(seed, orders), model);
    run(
        what,
        PctScheduler::new_from_seed(seed, 3, orders / 10),
        model,
    );
}
