//! What the cache promises to everybody who asks it for a token.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use issuer::{HOUR, issuer, token};
use tokio::sync::Semaphore;
use tokio::time::{Instant, advance, sleep, timeout};
use tower_bearer::{
    AccessToken, BoxFuture, Error, ErrorKind, Runtime, TenantId, Timestamp, TokenCache,
    TokenRequest, TokioRuntime,
};

const VAULT: &str = "https://vault.azure.net";
const GRAPH: &str = "https://graph.microsoft.com";

/// Past every refresh point of a token of one hour, before its end.
const DUE: Duration = Duration::from_secs(2600);

fn unreachable_provider() -> Error {
    Error::new(ErrorKind::Unreachable, "the identity provider is down")
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn r01_ten_thousand_first_calls_are_one_fetch() {
    let fetch_time = Duration::from_millis(200);
    let (credential, calls) = issuer(move |number, _| async move {
        sleep(fetch_time).await;
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let started = Instant::now();
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let tokens = tokens.clone();
            tokio::spawn(async move { tokens.token(VAULT).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().secret(), "token-1");
    }
    assert_eq!(calls.count(), 1);
    assert!(started.elapsed() <= fetch_time.mul_f64(1.1));
}

#[tokio::test(start_paused = true)]
async fn r02_at_the_refresh_point_nobody_waits_for_a_provider_that_hangs() {
    let (credential, calls) = issuer(|number, _| async move {
        if number > 1 {
            pending::<()>().await;
        }
        token(number)
    });
    let tokens = TokenCache::new(credential);
    tokens.token(VAULT).await.unwrap();
    advance(DUE).await;

    let started = Instant::now();
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let tokens = tokens.clone();
            tokio::spawn(async move { tokens.token(VAULT).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().secret(), "token-1");
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    settle().await;
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn r02_the_background_refresh_brings_the_next_token() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    tokens.token(VAULT).await.unwrap();
    advance(Duration::from_secs(1700)).await;
    assert_eq!(tokens.token(VAULT).await.unwrap().secret(), "token-1");
    settle().await;
    assert_eq!(calls.count(), 1, "not due yet");
    advance(Duration::from_secs(900)).await;
    assert_eq!(tokens.token(VAULT).await.unwrap().secret(), "token-1");
    settle().await;
    assert_eq!(tokens.token(VAULT).await.unwrap().secret(), "token-2");
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn i1_nobody_gets_a_token_past_its_end() {
    let (credential, calls) = issuer(|number, _| async move {
        sleep(Duration::from_secs(2)).await;
        token(number)
    });
    let tokens = TokenCache::new(credential);
    tokens.token(VAULT).await.unwrap();
    advance(HOUR.saturating_sub(Duration::from_secs(10))).await;
    assert_eq!(tokens.token(VAULT).await.unwrap().secret(), "token-2");
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn r05_while_a_token_is_good_failures_reach_nobody_and_are_few() {
    let (credential, calls) = issuer(|number, _| async move {
        match number {
            1 => token(1),
            _ => Err(unreachable_provider()),
        }
    });
    let tokens = TokenCache::new(credential);
    tokens.token(VAULT).await.unwrap();
    advance(DUE).await;
    for _ in 0..900 {
        assert_eq!(tokens.token(VAULT).await.unwrap().secret(), "token-1");
        advance(Duration::from_secs(1)).await;
        settle().await;
    }
    let refreshes = calls.count() - 1;
    assert!((30..=500).contains(&refreshes), "{refreshes}");
}

#[tokio::test(start_paused = true)]
async fn r06_after_an_outage_of_hours_the_next_success_is_at_most_thirty_seconds_away() {
    let healthy_again = Instant::now() + 5 * HOUR;
    let (credential, _) = issuer(move |number, _| async move {
        if number == 1 || Instant::now() >= healthy_again {
            token(number)
        } else {
            Err(unreachable_provider())
        }
    });
    let tokens = TokenCache::new(credential);
    tokens.token(VAULT).await.unwrap();
    let mut last = None;
    while Instant::now() < healthy_again {
        last = tokens.token(VAULT).await.err();
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(last.unwrap().kind(), ErrorKind::Unreachable);
    let mut waited = 0;
    while tokens.token(VAULT).await.is_err() {
        advance(Duration::from_secs(1)).await;
        waited += 1;
    }
    assert!(waited <= 31, "{waited} s");
}

#[tokio::test(start_paused = true)]
async fn r08_one_failure_delays_the_next_try_by_less_than_five_seconds() {
    let (credential, calls) = issuer(|number, _| async move {
        match number {
            1 => Err(unreachable_provider()),
            _ => token(number),
        }
    });
    let tokens = TokenCache::new(credential);
    assert!(tokens.token(VAULT).await.is_err());
    assert!(tokens.token(VAULT).await.is_err());
    assert_eq!(calls.count(), 1, "the second caller gets the stored error");
    advance(Duration::from_secs(5)).await;
    assert!(tokens.token(VAULT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn r09_retry_after_silences_the_whole_cache_for_that_long() {
    let (credential, calls) = issuer(|_, _| async move {
        Err(Error::new(ErrorKind::Throttled, "too many requests")
            .with_retry_after(Duration::from_secs(60)))
    });
    let tokens = TokenCache::new(credential);
    assert!(tokens.token(VAULT).await.is_err());
    for second in 0..60 {
        for audience in [VAULT, GRAPH] {
            let error = tokens.token(audience).await.unwrap_err();
            let left = error.retry_after().unwrap();
            assert!(left <= Duration::from_secs(61), "{second}: {left:?}");
        }
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(calls.count(), 1);
    advance(Duration::from_secs(2)).await;
    assert!(tokens.token(GRAPH).await.is_err());
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn r11_a_cached_token_is_served_while_another_audience_takes_thirty_seconds() {
    let (credential, _) = issuer(|number, request: TokenRequest| async move {
        if request.audience().as_str() == GRAPH {
            sleep(Duration::from_secs(30)).await;
        }
        token(number)
    });
    let tokens = TokenCache::new(credential);
    tokens.token(VAULT).await.unwrap();
    let slow = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.token(GRAPH).await }
    });
    settle().await;
    let started = Instant::now();
    // Not even a task switch: a token at hand is there at the first poll.
    for _ in 0..1000 {
        let mut asked = pin!(tokens.token(VAULT));
        let polled = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Ok(_))));
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert!(!slow.is_finished());
    assert!(slow.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn r12_i8_a_caller_leaves_at_its_own_deadline_and_the_next_one_profits() {
    let (credential, calls) = issuer(|number, _| async move {
        sleep(Duration::from_secs(30)).await;
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let started = Instant::now();
    let impatient = timeout(Duration::from_secs(1), tokens.token(VAULT)).await;
    assert!(impatient.is_err());
    assert_eq!(started.elapsed(), Duration::from_secs(1));
    assert!(tokens.token(VAULT).await.is_ok());
    assert_eq!(started.elapsed(), Duration::from_secs(30));
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn r13_a_fetch_that_never_ends_is_ended() {
    let (credential, calls) = issuer(|number, _| async move {
        if number == 1 {
            pending::<()>().await;
        }
        token(number)
    });
    let tokens = TokenCache::builder(credential)
        .fetch_timeout(Duration::from_secs(20))
        .build();
    let started = Instant::now();
    let error = tokens.token(VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(started.elapsed(), Duration::from_secs(20));
    advance(Duration::from_secs(2)).await;
    assert!(tokens.token(VAULT).await.is_ok());
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn r16_short_lived_tokens_make_no_hot_loop() {
    let (credential, calls) = issuer(|number, _| async move {
        AccessToken::expiring_in(&format!("t{number}"), Duration::from_secs(1))
    });
    let tokens = TokenCache::new(credential);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        tokens.token(VAULT).await.unwrap();
        advance(Duration::from_millis(50)).await;
    }
    assert!(calls.count() <= 62, "{}", calls.count());
}

#[tokio::test(start_paused = true)]
async fn r16_tokens_that_are_dead_on_arrival_are_an_error_and_make_no_hot_loop() {
    let (credential, calls) = issuer(|number, _| async move {
        AccessToken::expiring_in(&format!("t{number}"), Duration::ZERO)
    });
    let tokens = TokenCache::new(credential);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        let error = tokens.token(VAULT).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse);
        advance(Duration::from_millis(50)).await;
    }
    assert!(calls.count() <= 60, "{}", calls.count());
}

#[tokio::test(start_paused = true)]
async fn r17_a_refusal_is_tried_again_slowly_and_for_ever() {
    let fixed_at = Instant::now() + Duration::from_secs(600);
    let (credential, calls) = issuer(move |number, _| async move {
        if Instant::now() < fixed_at {
            Err(Error::new(ErrorKind::Rejected, "invalid_client"))
        } else {
            token(number)
        }
    });
    let tokens = TokenCache::new(credential);
    while Instant::now() < fixed_at {
        assert!(tokens.token(VAULT).await.is_err());
        advance(Duration::from_millis(500)).await;
    }
    assert!((10..=60).contains(&calls.count()), "{}", calls.count());
    let mut waited = 0;
    while tokens.token(VAULT).await.is_err() {
        advance(Duration::from_secs(1)).await;
        waited += 1;
    }
    assert!(waited <= 61, "{waited} s");
}

#[tokio::test(start_paused = true)]
async fn r20_i3_dropping_the_caller_that_started_the_fetch_neither_stops_nor_repeats_it() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let (credential, calls) = issuer(move |number, _| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            token(number)
        }
    });
    let tokens = TokenCache::new(credential);
    {
        let mut leader = pin!(tokens.token(VAULT));
        let polled = leader
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }
    let followers: Vec<_> = (0..10)
        .map(|_| {
            let tokens = tokens.clone();
            tokio::spawn(async move { tokens.token(VAULT).await })
        })
        .collect();
    settle().await;
    assert_eq!(calls.count(), 1);
    opened.add_permits(1);
    for follower in followers {
        assert_eq!(follower.await.unwrap().unwrap().secret(), "token-1");
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn r21_when_all_callers_are_gone_the_fetch_fills_the_cache() {
    let (credential, calls) = issuer(|number, _| async move {
        sleep(Duration::from_secs(5)).await;
        token(number)
    });
    let tokens = TokenCache::new(credential);
    for _ in 0..100 {
        let gone = timeout(Duration::from_millis(10), tokens.token(VAULT)).await;
        assert!(gone.is_err());
    }
    advance(Duration::from_secs(5)).await;
    settle().await;
    let mut asked = pin!(tokens.token(VAULT));
    let polled = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(_))));
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn r23_a_panic_in_the_credential_is_an_error_and_the_cache_goes_on() {
    let (credential, calls) = issuer(|number, _| async move {
        assert!(number > 1, "a bug in the credential");
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let error = tokens.token(VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Aborted);
    advance(Duration::from_secs(3)).await;
    assert!(tokens.token(VAULT).await.is_ok());
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn r27_i7_dropping_the_last_handle_ends_the_fetch() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let (credential, _) = issuer(move |number, _| {
        let held = Arc::clone(&held);
        async move {
            pending::<()>().await;
            drop(held);
            token(number)
        }
    });
    let tokens = TokenCache::new(credential);
    let waiting = timeout(Duration::from_millis(1), tokens.token(VAULT)).await;
    assert!(waiting.is_err());
    assert_eq!(Arc::strong_count(&alive), 3, "test, credential and flight");
    drop(tokens);
    settle().await;
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn r28_a_fetch_whose_runtime_dies_is_taken_over_by_another_runtime() {
    let (credential, calls) = issuer(|number, _| async move {
        if number == 1 {
            pending::<()>().await;
        }
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let first = runtime();
    first.block_on(async {
        let waiting = timeout(Duration::from_millis(1), tokens.token(VAULT)).await;
        assert!(waiting.is_err());
    });
    let second = runtime();
    second.block_on(async {
        let waiting = tokio::spawn({
            let tokens = tokens.clone();
            async move { tokens.token(VAULT).await }
        });
        settle().await;
        std::thread::spawn(move || drop(first)).join().unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().secret(), "token-2");
    });
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn r28_a_fetch_on_a_runtime_that_nobody_drives_is_given_up() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    let parked = std::thread::spawn({
        let tokens = tokens.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut asked = pin!(tokens.token(VAULT));
                drop(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())));
            });
            runtime
        }
    })
    .join()
    .unwrap();
    advance(Duration::from_secs(130)).await;
    assert!(tokens.token(VAULT).await.is_ok());
    assert_eq!(calls.count(), 1, "the first one never ran");
    parked.shutdown_background();
}

#[test]
fn outside_of_a_runtime_the_error_says_what_to_do() {
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    let mut asked = pin!(tokens.token(VAULT));
    let Poll::Ready(Err(error)) = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("should fail at once");
    };
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("Tokio runtime"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn i2_tenants_audiences_and_claims_are_kept_apart() {
    let (credential, calls) = issuer(|_, request: TokenRequest| async move {
        let tenant = request.tenant().map_or("home", TenantId::as_str);
        let claims = request.claims().map_or(0, |claims| claims.as_json().len());
        let audience = request.audience().as_str().len();
        AccessToken::expiring_in(&format!("{audience}.{tenant}.{claims}"), HOUR)
    });
    let tokens = TokenCache::new(credential);
    let claims = tower_bearer::Claims::from_json("{}").unwrap();
    let requests = [
        (TokenRequest::new(VAULT), "23.home.0"),
        (TokenRequest::new(GRAPH), "27.home.0"),
        (
            TokenRequest::new(VAULT).with_tenant(TenantId::new("other").unwrap()),
            "23.other.0",
        ),
        (TokenRequest::new(VAULT).with_claims(claims), "23.home.2"),
    ];
    for _ in 0..3 {
        for (request, expected) in &requests {
            assert_eq!(tokens.token_for(request).await.unwrap().secret(), *expected);
        }
    }
    assert_eq!(calls.count(), requests.len());
}

#[tokio::test(start_paused = true)]
async fn r35_r36_a_refused_token_is_replaced_once_however_many_refuse_it() {
    let (credential, calls) = issuer(|number, request: TokenRequest| async move {
        assert_eq!(request.refused().is_some(), number == 2);
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let refused = tokens.token(VAULT).await.unwrap();
    let request = TokenRequest::new(VAULT).with_refused(refused);
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let (tokens, request) = (tokens.clone(), request.clone());
            tokio::spawn(async move { tokens.token_for(&request).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().secret(), "token-2");
    }
    // Late: the refused one is no longer current.
    assert_eq!(
        tokens.token_for(&request).await.unwrap().secret(),
        "token-2"
    );
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn r37_a_source_that_gives_the_refused_token_again_is_asked_once_in_thirty_seconds() {
    let (credential, calls) = issuer(|_, _| async move { token(0) });
    let tokens = TokenCache::new(credential);
    let refused = tokens.token(VAULT).await.unwrap();
    let request = TokenRequest::new(VAULT).with_refused(refused);
    for _ in 0..29 {
        let error = tokens.token_for(&request).await.unwrap_err();
        assert!(matches!(
            error.kind(),
            ErrorKind::Rejected | ErrorKind::Throttled
        ));
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_brings_the_same_token_is_no_loop() {
    let end = TokioRuntime::new().now().wall + HOUR;
    let (credential, calls) =
        issuer(move |_, _| async move { AccessToken::expiring_on("same", end) });
    let tokens = TokenCache::new(credential);
    let started = Instant::now();
    while started.elapsed() < HOUR.saturating_sub(Duration::from_secs(60)) {
        assert_eq!(tokens.token(VAULT).await.unwrap().secret(), "same");
        settle().await;
        advance(Duration::from_secs(1)).await;
    }
    assert!((2..=20).contains(&calls.count()), "{}", calls.count());
}

#[tokio::test(start_paused = true)]
async fn bad_audiences_are_refused_before_anything_is_asked() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    for audience in ["", " ", "https://a b", "https://ä", "a\r\nb"] {
        let error = tokens.token(audience).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{audience:?}");
    }
    assert_eq!(calls.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_always_gives_the_same_token_is_believed_about_its_life() {
    let (credential, calls) = issuer(|_, _| async move { token(0) });
    let tokens = TokenCache::new(credential);
    let started = Instant::now();
    while started.elapsed() < 3 * HOUR {
        let asked = Instant::now();
        tokens.token(VAULT).await.unwrap();
        assert_eq!(asked.elapsed(), Duration::ZERO);
        settle().await;
        advance(Duration::from_secs(5)).await;
    }
    assert!(calls.count() <= 8, "{}", calls.count());
}

#[tokio::test(start_paused = true)]
async fn r33_a_caller_that_wakes_up_after_the_tokens_end_gets_a_newer_one() {
    let (credential, _) = issuer(|number, _| async move {
        sleep(Duration::from_secs(1)).await;
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let mut asked = Box::pin(tokens.token(VAULT));
    let polled = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    sleep(Duration::from_secs(2)).await;
    advance(2 * HOUR).await;
    assert_eq!(asked.await.unwrap().secret(), "token-2");
}

/// Keeps tasks from running while it is told to.
#[derive(Clone, Debug, Default)]
struct Parking {
    on: Arc<std::sync::atomic::AtomicBool>,
    parked: Arc<std::sync::Mutex<Vec<ParkedTask>>>,
}

struct ParkedTask(#[allow(dead_code, reason = "held")] std::sync::Mutex<BoxFuture<'static, ()>>);

impl std::fmt::Debug for ParkedTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ParkedTask")
    }
}

impl Runtime for Parking {
    fn now(&self) -> Timestamp {
        TokioRuntime::new().now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        TokioRuntime::new().sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        if self.on.load(std::sync::atomic::Ordering::SeqCst) {
            let task = ParkedTask(std::sync::Mutex::new(task));
            self.parked.lock().unwrap().push(task);
            return Ok(());
        }
        TokioRuntime::new().spawn(task)
    }

    fn random(&self) -> u64 {
        TokioRuntime::new().random()
    }
}

#[tokio::test(start_paused = true)]
async fn r28_a_background_refresh_that_nobody_drives_does_not_end_refreshing_ahead() {
    let (credential, _) = issuer(|number, _| async move {
        sleep(Duration::from_secs(1)).await;
        token(number)
    });
    let parking = Parking::default();
    let tokens = TokenCache::builder(credential)
        .runtime(parking.clone())
        .build();
    tokens.token(VAULT).await.unwrap();
    advance(DUE).await;
    parking.on.store(true, std::sync::atomic::Ordering::SeqCst);
    tokens.token(VAULT).await.unwrap();
    assert_eq!(parking.parked.lock().unwrap().len(), 1);
    parking.on.store(false, std::sync::atomic::Ordering::SeqCst);
    for _ in 0..1100 {
        advance(Duration::from_secs(1)).await;
        settle().await;
        let asked = Instant::now();
        tokens.token(VAULT).await.unwrap();
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn r09_a_stored_error_says_how_long_is_left() {
    let (credential, _) = issuer(|_, _| async move {
        Err(Error::new(ErrorKind::Throttled, "too many requests")
            .with_retry_after(Duration::from_secs(60)))
    });
    let tokens = TokenCache::new(credential);
    assert!(tokens.token(VAULT).await.is_err());
    advance(Duration::from_secs(50)).await;
    for audience in [VAULT, GRAPH] {
        let left = tokens.token(audience).await.unwrap_err().retry_after();
        assert!(left.unwrap() <= Duration::from_secs(11), "{left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn t30_no_key_loses_its_token_or_its_back_off_before_the_cache_is_full() {
    let (credential, calls) = issuer(|number, request: TokenRequest| async move {
        if request.audience().as_str().ends_with('0') {
            return Err(unreachable_provider());
        }
        token(number)
    });
    let tokens = TokenCache::builder(credential).max_keys(100).build();
    for _ in 0..5 {
        for key in 0..100 {
            drop(tokens.token(format!("api://{key}")).await);
        }
    }
    assert_eq!(calls.count(), 100);
}

#[tokio::test(start_paused = true)]
async fn r37_a_source_that_cannot_be_forced_is_left_alone_even_if_its_token_works_elsewhere() {
    let (credential, calls) = issuer(|_, _| async move { token(0) });
    let tokens = TokenCache::new(credential);
    let refused = tokens.token(VAULT).await.unwrap();
    let request = TokenRequest::new(VAULT).with_refused(refused);
    for _ in 0..600 {
        assert!(tokens.token_for(&request).await.is_err());
        advance(Duration::from_secs(1)).await;
    }
    assert!(calls.count() <= 1 + 5, "{}", calls.count());
}

#[test]
fn handles_are_send_sync_and_clone() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<TokenCache>();
    shared::<AccessToken>();
    shared::<Error>();
    shared::<TokenRequest>();
    shared::<tower_bearer::SharedCredential>();
}
