//! Keys that are refreshed by timer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;

use std::future::pending;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use issuer::{HOUR, issuer, token};
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{
    AccessToken, Credential, Error, ErrorKind, Runtime as _, TenantId, TokenCache, TokenRequest,
};

const VAULT: &str = "https://vault.azure.net";
const GRAPH: &str = "https://graph.microsoft.com";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn cache(runtime: &ManualRuntime, credential: impl Credential) -> TokenCache {
    TokenCache::builder(credential)
        .runtime(runtime.clone())
        .build()
}

/// The token, if it is there at the first poll.
fn at_once(tokens: &TokenCache, request: impl Into<TokenRequest>) -> Option<AccessToken> {
    let request = request.into();
    let asked = pin!(tokens.token_for(&request));
    match Future::poll(asked, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(token) => Some(token.unwrap()),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn the_first_call_after_a_quiet_week_waits_for_nothing() {
    let runtime = ManualRuntime::new();
    let (credential, calls) = issuer(|number, request| async move {
        request.runtime().sleep(Duration::from_secs(2)).await;
        token(number)
    });
    let tokens = cache(&runtime, credential);
    tokens.keep_warm(VAULT).unwrap();
    runtime.run_for(Duration::from_secs(3)).await;
    for day in 0..7 {
        assert!(at_once(&tokens, VAULT).is_some(), "day {day}");
        runtime.run_for(DAY).await;
    }
    // One for each 50 to 70 % of an hour.
    let fetches = calls.count();
    assert!((240..=340).contains(&fetches), "{fetches}");
}

#[tokio::test]
async fn a_tenant_is_kept_warm_apart_from_others() {
    let runtime = ManualRuntime::new();
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = cache(&runtime, credential);
    let contoso = TokenRequest::new(VAULT).with_tenant(TenantId::new("contoso.com").unwrap());
    tokens.keep_warm(contoso.clone()).unwrap();
    runtime.run_for(DAY).await;
    assert!(at_once(&tokens, contoso).is_some());
    assert!(at_once(&tokens, VAULT).is_none());
}

#[tokio::test]
async fn to_ask_twice_is_to_ask_once() {
    let runtime = ManualRuntime::new();
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = cache(&runtime, credential);
    for _ in 0..10 {
        tokens.keep_warm(VAULT).unwrap();
    }
    runtime.settle().await;
    assert_eq!((calls.count(), runtime.live_tasks()), (1, 1));
}

#[tokio::test]
async fn r27_i7_the_last_handle_ends_the_timers() {
    let runtime = ManualRuntime::new();
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = cache(&runtime, credential);
    tokens.keep_warm(VAULT).unwrap();
    tokens.keep_warm(GRAPH).unwrap();
    runtime.run_for(Duration::from_secs(60)).await;
    assert_eq!(runtime.live_tasks(), 2);
    drop(tokens.clone());
    runtime.settle().await;
    assert_eq!(runtime.live_tasks(), 2, "a clone is left");
    drop(tokens);
    runtime.settle().await;
    assert_eq!((runtime.live_tasks(), runtime.pending_sleeps()), (0, 0));
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn r06_r17_failures_are_tried_again_at_the_pace_of_their_back_off_for_ever() {
    for (kind, least, most) in [
        (ErrorKind::Unreachable, 3600 / 31, 3600 / 5),
        (ErrorKind::Rejected, 3600 / 61, 3600 / 15),
    ] {
        let runtime = ManualRuntime::new();
        let healthy_at = runtime.now().monotonic + HOUR;
        let (credential, calls) = issuer(move |number, request| async move {
            if request.runtime().now().monotonic < healthy_at {
                Err(Error::new(kind, "not now"))
            } else {
                token(number)
            }
        });
        let tokens = cache(&runtime, credential);
        tokens.keep_warm(VAULT).unwrap();
        runtime.run_for(HOUR).await;
        let failed = calls.count();
        assert!((least..=most).contains(&failed), "{kind:?}: {failed}");
        runtime.run_for(Duration::from_secs(60)).await;
        assert!(at_once(&tokens, VAULT).is_some());
    }
}

#[tokio::test]
async fn r09_retry_after_is_kept_to() {
    let runtime = ManualRuntime::new();
    let (credential, calls) = issuer(|_, _| async move {
        Err(Error::new(ErrorKind::Throttled, "too many").with_retry_after(HOUR))
    });
    let tokens = cache(&runtime, credential);
    tokens.keep_warm(VAULT).unwrap();
    runtime.run_for(Duration::from_secs(1)).await;
    tokens.keep_warm(GRAPH).unwrap();
    runtime
        .run_for(HOUR.saturating_sub(Duration::from_secs(2)))
        .await;
    assert_eq!(calls.count(), 1);
    // The other key knows it as well, and does not even try.
    for key in tokens.status() {
        let next = key.next_refresh().expect("nothing is under way");
        let left = next.duration_since(runtime.now().wall).unwrap();
        assert!((1.0..=3.0).contains(&left.as_secs_f64()), "{left:?}");
    }
}

#[tokio::test]
async fn r16_tokens_that_live_for_a_second_make_no_hot_loop() {
    for life in [
        Duration::ZERO,
        Duration::from_millis(1),
        Duration::from_secs(1),
    ] {
        let runtime = ManualRuntime::new();
        let (credential, calls) = issuer(move |number, _| async move {
            AccessToken::expiring_in(&format!("token-{number}"), life)
        });
        let tokens = cache(&runtime, credential);
        tokens.keep_warm(VAULT).unwrap();
        runtime.run_for(Duration::from_secs(600)).await;
        assert!(calls.count() <= 601, "{life:?}: {}", calls.count());
    }
}

#[tokio::test]
async fn r13_a_fetch_that_hangs_is_ended_and_tried_again() {
    let runtime = ManualRuntime::new();
    let (credential, calls) = issuer(|number, _| async move {
        if number == 1 {
            pending::<()>().await;
        }
        token(number)
    });
    let tokens = cache(&runtime, credential);
    tokens.keep_warm(VAULT).unwrap();
    runtime.run_for(Duration::from_secs(125)).await;
    assert!(at_once(&tokens, VAULT).is_some());
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn r33_a_machine_that_was_asleep_has_a_token_again_within_a_minute() {
    let runtime = ManualRuntime::new();
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = cache(&runtime, credential);
    tokens.keep_warm(VAULT).unwrap();
    runtime.run_for(Duration::from_secs(10)).await;
    runtime.suspend(3 * HOUR);
    runtime.run_for(Duration::from_secs(60)).await;
    assert_eq!(at_once(&tokens, VAULT).unwrap().secret(), "token-2");
}

#[tokio::test]
async fn a_revoked_token_is_replaced_and_the_next_one_kept_warm() {
    let runtime = ManualRuntime::new();
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = cache(&runtime, credential);
    tokens.keep_warm(VAULT).unwrap();
    runtime.settle().await;
    let first = at_once(&tokens, VAULT).unwrap();
    let request = TokenRequest::new(VAULT).with_refused(first);
    assert_eq!(
        tokens.token_for(&request).await.unwrap().secret(),
        "token-2"
    );
    runtime.run_for(DAY).await;
    assert!(at_once(&tokens, VAULT).is_some());
    assert!(calls.count() >= 35);
}

#[tokio::test]
async fn warm_keys_do_not_make_room_for_others() {
    let runtime = ManualRuntime::new();
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::builder(credential)
        .runtime(runtime.clone())
        .max_keys(4)
        .build();
    tokens.keep_warm(VAULT).unwrap();
    runtime.settle().await;
    for number in 0..100 {
        tokens.token(format!("api://{number}")).await.unwrap();
    }
    assert_eq!(calls.count(), 101);
    assert_eq!(at_once(&tokens, VAULT).unwrap().secret(), "token-1");
}

#[tokio::test]
async fn t30_no_more_keys_are_kept_warm_than_there_may_be() {
    let runtime = ManualRuntime::new();
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::builder(credential)
        .runtime(runtime.clone())
        .max_keys(4)
        .build();
    for number in 0..100 {
        tokens.keep_warm(format!("api://{number}")).unwrap();
        runtime.settle().await;
    }
    assert_eq!(tokens.status().len(), 4);
    runtime.run_for(Duration::from_secs(60)).await;
    assert_eq!(runtime.live_tasks(), 4);
}

#[test]
fn r28_another_runtime_takes_over_what_one_left_behind() {
    let clock = ManualRuntime::new();
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = cache(&clock, credential);
    let single = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    single().block_on(async {
        tokens.keep_warm(VAULT).unwrap();
        clock.settle().await;
        assert_eq!(clock.live_tasks(), 1);
    });
    assert_eq!(clock.live_tasks(), 0, "it went with its runtime");
    clock.advance(DAY);
    single().block_on(async {
        tokens.token(VAULT).await.unwrap();
        clock.run_for(DAY).await;
        assert!(at_once(&tokens, VAULT).is_some());
    });
}

#[test]
fn r28_another_runtime_takes_over_from_one_that_nobody_drives() {
    let clock = ManualRuntime::new();
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = cache(&clock, credential);
    let single = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    let idle = single();
    idle.block_on(async {
        tokens.keep_warm(VAULT).unwrap();
        clock.settle().await;
    });
    clock.advance(DAY);
    single().block_on(async {
        tokens.token(VAULT).await.unwrap();
        clock.run_for(DAY).await;
        assert!(at_once(&tokens, VAULT).is_some());
        assert_eq!(clock.live_tasks(), 2);
        // Driven again after all, the first one sees that it is not needed.
        std::thread::scope(|threads| {
            threads.spawn(|| idle.block_on(clock.settle()));
        });
        assert_eq!(clock.live_tasks(), 1);
    });
}

#[test]
fn r28_a_warm_key_whose_runtime_is_gone_does_not_make_room_either() {
    let clock = ManualRuntime::new();
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::builder(credential)
        .runtime(clock.clone())
        .max_keys(4)
        .build();
    let single = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    single().block_on(async {
        tokens.keep_warm(VAULT).unwrap();
        clock.settle().await;
    });
    single().block_on(async {
        for number in 0..100 {
            tokens.token(format!("api://{number}")).await.unwrap();
        }
        assert_eq!(calls.count(), 101);
        assert_eq!(at_once(&tokens, VAULT).unwrap().secret(), "token-1");
    });
}

#[tokio::test]
async fn a_fetch_that_nobody_drives_is_found_out_within_a_minute_of_its_limit() {
    let runtime = ManualRuntime::new();
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = cache(&runtime, credential);
    let idle = std::thread::scope(|threads| {
        let idle = threads.spawn(|| {
            let idle = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            idle.block_on(async { assert!(at_once(&tokens, VAULT).is_none()) });
            idle
        });
        idle.join().unwrap()
    });
    tokens.keep_warm(VAULT).unwrap();
    runtime.run_for(Duration::from_secs(125 + 60)).await;
    assert!(at_once(&tokens, VAULT).is_some());
    idle.shutdown_background();
}

#[test]
fn outside_of_a_runtime_the_error_says_what_to_do() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    let error = tokens.keep_warm(VAULT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.advice().is_some());
    assert!(!tokens.status()[0].is_kept_warm());
    assert_eq!(calls.count(), 0);
}

#[tokio::test]
async fn bad_audiences_are_refused() {
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    for bad in ["", "two audiences"] {
        let error = tokens.keep_warm(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}

#[tokio::test]
async fn a_short_lived_token_that_somebody_else_had_fetched_is_kept_fresh_too() {
    let runtime = ManualRuntime::new();
    let (credential, _) = issuer(|number, _| async move {
        let life = if number == 2 {
            Duration::from_secs(25)
        } else {
            HOUR
        };
        AccessToken::expiring_in(&format!("token-{number}"), life)
    });
    let tokens = cache(&runtime, credential);
    tokens.keep_warm(VAULT).unwrap();
    runtime.run_for(Duration::from_secs(1)).await;
    let refused = at_once(&tokens, VAULT).unwrap();
    let request = TokenRequest::new(VAULT).with_refused(refused);
    assert!(at_once(&tokens, request).is_none(), "it has to be fetched");
    runtime.run_for(Duration::from_secs(30)).await;
    let token = at_once(&tokens, VAULT).expect("no request waits");
    assert_eq!(token.secret(), "token-3");
}
