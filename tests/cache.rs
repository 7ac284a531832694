//! What the cache promises to everybody who asks it for a token.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;

use std::future::pending;
use std::time::Duration;

use issuer::{
    DUE, GRAPH, HOUR, VAULT, callers, issuer, settle, token, token_at_once, unreachable_provider,
};
use tokio::time::{Instant, advance, sleep};
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{
    AccessToken, Error, ErrorKind, Runtime as _, TenantId, TokenCache, TokenRequest, TokioRuntime,
};

#[tokio::test(start_paused = true)]
async fn r01_ten_thousand_first_calls_are_one_fetch() {
    let fetch_time = Duration::from_millis(200);
    let (credential, calls) = issuer(move |number, _| async move {
        sleep(fetch_time).await;
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let started = Instant::now();
    for caller in callers(10_000, &tokens) {
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

    // Neither those who ask before the refresh is under way nor those after
    // have to be polled twice.
    for _ in 0..2 {
        for _ in 0..5000 {
            let token = token_at_once(&tokens, VAULT).unwrap();
            assert_eq!(token.secret(), "token-1");
        }
        settle().await;
        assert_eq!(calls.count(), 2);
    }
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
    // No time and not even a task switch: that is the whole delay.
    for _ in 0..1000 {
        assert!(token_at_once(&tokens, VAULT).is_some());
    }
    assert!(!slow.is_finished());
    assert!(slow.await.unwrap().is_ok());
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
fn r48_refreshes_leave_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let clock = ManualRuntime::new();
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::builder(credential)
        .runtime(clock.clone())
        .build();
    let refresh = async |times: usize| {
        for _ in 0..times {
            clock.advance(DUE);
            tokens.token(VAULT).await.unwrap();
            while clock.live_tasks() > 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    runtime.block_on(tokens.token(VAULT)).unwrap();
    runtime.block_on(refresh(1000));
    // What is left on the heap of this thread, which does everything.
    let counted = allocation_counter::measure(|| runtime.block_on(refresh(100_000)));
    assert_eq!(calls.count(), 101_001);
    assert!(counted.count_total > 100_000);
    assert!(counted.bytes_current < 1024, "{counted:?}");
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

#[tokio::test(start_paused = true)]
async fn a_refresh_replaces_a_token_that_is_good_once_for_all_who_ask() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    // With nothing kept it is the first fetch.
    assert_eq!(tokens.refresh(VAULT).await.unwrap().secret(), "token-1");
    let (one, two) = tokio::join!(tokens.refresh(VAULT), tokens.refresh(VAULT));
    assert_eq!(one.unwrap().secret(), "token-2");
    assert_eq!(two.unwrap().secret(), "token-2");
    assert_eq!(tokens.token(VAULT).await.unwrap().secret(), "token-2");
    assert_eq!(calls.count(), 2);
    // Nobody has refused it, so there is nothing to be wary of.
    assert_eq!(tokens.refresh(VAULT).await.unwrap().secret(), "token-3");
}

#[tokio::test(start_paused = true)]
async fn t26_refreshes_in_a_loop_are_held_back() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    let mut refused = 0;
    for _ in 0..100 {
        if let Err(error) = tokens.refresh(VAULT).await {
            assert_eq!(error.kind(), ErrorKind::Throttled);
            assert!(!error.to_string().contains("refuse"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 90, "{refused}");
    assert!(calls.count() < 10, "{}", calls.count());
}
