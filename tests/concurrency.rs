//! How many fetches are under way at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use issuer::{at_once, token};
use tokio::time::{Instant, advance, sleep};
use tower_bearer::azure::ManagedIdentityCredential;
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{
    AccessToken, BoxFuture, Credential, Error, ErrorKind, Runtime, SharedCredential, Timestamp,
    TokenCache, TokenRequest,
};

const VAULT: &str = "https://vault.azure.net";
const FETCH_TIME: Duration = Duration::from_millis(200);
const REST: Duration = Duration::from_secs(600);

/// Takes a while, and knows who asked in which order and how many at once.
#[derive(Clone, Default)]
struct Narrow {
    under_way: Arc<AtomicUsize>,
    most_under_way: Arc<AtomicUsize>,
    order: Arc<Mutex<Vec<String>>>,
}

impl Credential for Narrow {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        let audience = request.audience().to_string();
        self.order.lock().unwrap().push(audience.clone());
        if audience.starts_with("hang") {
            pending::<()>().await;
        }
        sleep(FETCH_TIME).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        assert!(!audience.starts_with("panic"), "in the credential");
        token(1)
    }

    fn max_concurrency(&self) -> usize {
        5
    }
}

fn ask(tokens: &TokenCache, audience: String) -> impl Future<Output = Result<AccessToken, Error>> {
    let tokens = tokens.clone();
    let asked = tokio::spawn(async move { tokens.token(audience).await });
    async move { asked.await.unwrap() }
}

#[tokio::test(start_paused = true)]
async fn r43_ten_thousand_audiences_are_fetched_five_at_a_time_in_the_order_they_came() {
    const AUDIENCES: usize = 10_000;
    let credential = Narrow::default();
    // Through the type that a cache keeps.
    let tokens = TokenCache::builder(SharedCredential::new(credential.clone())).build();
    let expected: Vec<_> = (0..AUDIENCES).map(|n| format!("api://{n}")).collect();
    let started = Instant::now();
    // Nobody waits: callers may not for so long, fetches do.
    for audience in &expected {
        assert!(at_once(tokens.token(audience.as_str())).is_none());
    }
    assert_eq!(tokens.status().len(), AUDIENCES);
    let needed = FETCH_TIME * u32::try_from(AUDIENCES / 5).unwrap();
    sleep(needed + FETCH_TIME).await;

    assert_eq!(credential.most_under_way.load(Ordering::SeqCst), 5);
    assert_eq!(*credential.order.lock().unwrap(), expected);
    assert!(
        tokens
            .status()
            .iter()
            .all(|key| key.is_usable() && key.fetches() == 1 && key.failures() == 0)
    );
    assert!(started.elapsed() <= needed + 2 * FETCH_TIME);
}

#[tokio::test(start_paused = true)]
async fn r13_fetches_that_hang_hold_the_others_up_for_their_time_limit_at_most() {
    let credential = Narrow::default();
    let tokens = TokenCache::builder(credential.clone())
        .fetch_timeout(Duration::from_secs(20))
        .build();
    let hanging: Vec<_> = (0..5).map(|n| ask(&tokens, format!("hang-{n}"))).collect();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let started = Instant::now();
    assert!(ask(&tokens, VAULT.into()).await.is_ok());
    assert_eq!(started.elapsed(), Duration::from_secs(20) + FETCH_TIME);
    for asked in hanging {
        assert_eq!(asked.await.unwrap_err().kind(), ErrorKind::Timeout);
    }
}

#[tokio::test(start_paused = true)]
async fn r22_r23_a_place_comes_back_however_a_fetch_ends() {
    let credential = Narrow::default();
    let tokens = TokenCache::builder(credential.clone())
        .max_concurrency(1)
        .build();
    for round in 0..3 {
        let error = ask(&tokens, format!("panic-{round}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Aborted);
    }
    assert!(ask(&tokens, VAULT.into()).await.is_ok());
    assert_eq!(credential.most_under_way.load(Ordering::SeqCst), 1);
}

#[test]
fn r28_places_that_dead_or_idle_runtimes_hold_come_back() {
    let credential = Narrow::default();
    let tokens = TokenCache::builder(credential)
        .fetch_timeout(Duration::from_secs(20))
        .max_concurrency(2)
        .build();
    let paused = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    // One whose fetch goes down with it, and two that nobody drives any more.
    let idle = [paused(), paused()];
    for (number, runtime) in [&paused(), &idle[0], &idle[1]].into_iter().enumerate() {
        runtime.block_on(async {
            let asked = ask(&tokens, format!("hang-{number}"));
            tokio::select! {
                biased;
                _ = asked => panic!("it hangs"),
                () = sleep(Duration::from_secs(1)) => {}
            }
        });
    }
    paused().block_on(async {
        let started = Instant::now();
        // Callers give up just when the places come back.
        for audience in ["api://first", "api://second"] {
            while ask(&tokens, audience.into()).await.is_err() {
                assert!(started.elapsed() <= Duration::from_secs(26));
            }
        }
        assert!(started.elapsed() <= Duration::from_secs(26));
    });
    drop(idle);
}

#[tokio::test(start_paused = true)]
async fn r09_whoever_is_in_the_queue_hears_that_the_authority_wants_its_rest() {
    let (credential, calls) = issuer::issuer(|_, _| async move {
        sleep(FETCH_TIME).await;
        Err(Error::new(ErrorKind::Throttled, "too many").with_retry_after(REST))
    });
    let tokens = TokenCache::builder(credential).max_concurrency(3).build();
    let asked: Vec<_> = (0..200)
        .map(|n| ask(&tokens, format!("api://{n}")))
        .collect();
    for asked in asked {
        let error = asked.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Throttled);
        let left = error.retry_after().unwrap();
        assert!(left <= REST + Duration::from_secs(1), "{left:?}");
    }
    assert_eq!(calls.count(), 3);
    advance(REST.saturating_sub(Duration::from_secs(1))).await;
    assert!(tokens.token("api://1").await.is_err());
    assert_eq!(calls.count(), 3);
    // Not one of two hundred has made the rest longer.
    advance(Duration::from_secs(3)).await;
    assert!(tokens.token("api://1").await.is_err());
    assert_eq!(calls.count(), 4);
}

/// Runs nothing by itself. What it keeps goes on in the moment in which an
/// answer is taken in, as another thread might.
#[derive(Clone, Default)]
struct Elsewhere {
    clock: ManualRuntime,
    tasks: Arc<Mutex<VecDeque<BoxFuture<'static, ()>>>>,
}

impl Elsewhere {
    fn take(&self) -> BoxFuture<'static, ()> {
        self.tasks.lock().unwrap().pop_front().unwrap()
    }

    fn poll_all(&self) {
        let tasks = self.tasks.lock().unwrap().len();
        for _ in 0..tasks {
            // The others can be polled while this one is.
            let Some(mut task) = self.tasks.lock().unwrap().pop_front() else {
                return;
            };
            if at_once(task.as_mut()).is_none() {
                self.tasks.lock().unwrap().push_back(task);
            }
        }
    }
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Elsewhere")
    }
}

impl Runtime for Elsewhere {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        self.tasks.lock().unwrap().push_back(task);
        Ok(())
    }

    /// Asked for when an answer has come.
    fn random(&self) -> u64 {
        self.poll_all();
        0
    }
}

#[test]
fn r09_nobody_gets_the_place_of_a_fetch_before_its_retry_after_is_known() {
    let (credential, calls) = issuer::issuer(|_, _| async move {
        // Until the other one is in the queue.
        tokio::task::yield_now().await;
        Err(Error::new(ErrorKind::Throttled, "too many").with_retry_after(REST))
    });
    let runtime = Elsewhere::default();
    let tokens = TokenCache::builder(credential)
        .runtime(runtime.clone())
        .max_concurrency(1)
        .build();
    let mut asked =
        ["api://first", "api://second"].map(|audience| Box::pin(tokens.token(audience)));
    for asked in &mut asked {
        assert!(at_once(asked.as_mut()).is_none());
    }
    runtime.poll_all();
    assert_eq!(calls.count(), 1);
    runtime.poll_all();
    runtime.poll_all();
    for asked in &mut asked {
        let error = at_once(asked.as_mut()).expect("it was answered");
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Throttled);
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn r28_places_in_the_queue_of_a_runtime_that_nobody_drives_hold_nobody_up() {
    const IDLE: usize = 200;
    let credential = Narrow::default();
    let runtime = Elsewhere::default();
    let tokens = TokenCache::builder(credential.clone())
        .runtime(runtime.clone())
        .build();
    for number in 0..IDLE {
        assert!(at_once(tokens.token(format!("hang-{number}"))).is_none());
    }
    runtime.poll_all();
    assert_eq!(credential.under_way.load(Ordering::SeqCst), 5);
    let idle = std::mem::take(&mut *runtime.tasks.lock().unwrap());

    let begun = runtime.now().monotonic;
    let mut asked = Box::pin(tokens.token("api://orders"));
    while credential.under_way.load(Ordering::SeqCst) == 5 {
        // Callers give up before the places come back.
        if at_once(asked.as_mut()).is_some() {
            asked = Box::pin(tokens.token("api://orders"));
        }
        runtime.poll_all();
        runtime.clock.advance(Duration::from_secs(1));
        let waited = runtime.now().monotonic.saturating_sub(begun);
        assert!(waited <= Duration::from_secs(190), "{waited:?}");
    }
    // Driven again after all, they take no more places than there are: these
    // five come after the five that hung.
    runtime.tasks.lock().unwrap().extend(idle);
    runtime.poll_all();
    runtime.poll_all();
    assert_eq!(credential.most_under_way.load(Ordering::SeqCst), 10);
}

/// A waker that keeps a task, as those of simple executors do.
#[derive(Default)]
struct Keeper(Mutex<Option<BoxFuture<'static, ()>>>);

impl Wake for Keeper {
    fn wake(self: Arc<Self>) {}
}

/// Hangs with the versions of tokio whose channels keep a receiver's waker
/// until the sender is gone too, such as 1.48.
#[test]
fn a_task_that_goes_with_the_waker_of_another_can_leave_the_queue() {
    let (credential, _) = issuer::issuer(|_, _| async move { pending().await });
    let runtime = Elsewhere::default();
    let tokens = TokenCache::builder(credential)
        .runtime(runtime.clone())
        .max_concurrency(1)
        .build();
    for number in 0..3 {
        assert!(at_once(tokens.token(format!("api://{number}"))).is_none());
    }
    let (mut first, mut second, mut third) = (runtime.take(), runtime.take(), runtime.take());
    assert!(at_once(first.as_mut()).is_none());
    let keeper = Arc::new(Keeper::default());
    let waker = Waker::from(Arc::clone(&keeper));
    let polled = second.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    assert!(at_once(third.as_mut()).is_none());
    *keeper.0.lock().unwrap() = Some(third);
    drop((waker, keeper));
    drop(second);
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_queues_for_long_keeps_its_place() {
    let credential = Narrow::default();
    let tokens = TokenCache::builder(credential.clone())
        .fetch_timeout(Duration::from_secs(20))
        .max_concurrency(1)
        .build();
    let started = Instant::now();
    // Those that hang do so for 20 s, one after the other.
    for number in 0..10 {
        drop(ask(&tokens, format!("hang-{number}")));
    }
    let asked = ask(&tokens, VAULT.into());
    for number in 10..20 {
        drop(ask(&tokens, format!("hang-{number}")));
    }
    assert_eq!(asked.await.unwrap_err().kind(), ErrorKind::Timeout);
    while ask(&tokens, VAULT.into()).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(300));
    }
    assert_eq!(started.elapsed(), Duration::from_secs(200) + FETCH_TIME);
    let order = credential.order.lock().unwrap();
    assert_eq!(
        order.iter().filter(|audience| *audience == VAULT).count(),
        1
    );
}

#[test]
fn the_metadata_endpoint_of_a_machine_is_asked_for_five_tokens_at_a_time() {
    let credential = ManagedIdentityCredential::new().unwrap();
    assert_eq!(credential.max_concurrency(), 5);
    let (other, _) = issuer::issuer(|number, _| async move { token(number) });
    assert_eq!(other.max_concurrency(), 32);
}
