//! What the cache promises when callers, fetches or handles go away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;

use std::future::{Future as _, pending};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use issuer::{
    DUE, SECOND, VAULT, at_once, callers, dropped_after, issuer, settle, token, token_at_once,
    unreachable_provider,
};
use tokio::sync::Semaphore;
use tokio::time::{advance, sleep, timeout};
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{ErrorKind, Runtime as _, TokenCache};

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
    assert!(at_once(tokens.token(VAULT)).is_none());
    let followers = callers(10, &tokens);
    settle().await;
    assert_eq!(calls.count(), 1);
    opened.add_permits(1);
    for follower in followers {
        assert_eq!(follower.await.unwrap().unwrap().secret(), "token-1");
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn r20_i3_wherever_the_first_caller_is_dropped_the_others_get_the_one_token() {
    const STEPS: usize = 5;
    for turns in 0.. {
        let (credential, calls) = issuer(|number, _| async move {
            for _ in 0..STEPS {
                tokio::task::yield_now().await;
            }
            token(number)
        });
        let tokens = TokenCache::new(credential);
        let mut leader = Box::pin(tokens.token(VAULT));
        assert!(at_once(leader.as_mut()).is_none());
        let mut followers = callers(10, &tokens);
        let done = dropped_after(turns, leader).await;
        followers.extend(callers(10, &tokens));
        for follower in followers {
            assert_eq!(follower.await.unwrap().unwrap().secret(), "token-1");
        }
        assert_eq!(calls.count(), 1, "dropped after {turns}");
        if done {
            assert!(turns > STEPS, "only {turns} places to drop it at");
            break;
        }
    }
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
    assert!(token_at_once(&tokens, VAULT).is_some());
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn r21_a_minute_after_all_callers_are_gone_nothing_is_left_of_them() {
    let clock = ManualRuntime::new();
    let fetch_clock = clock.clone();
    let (credential, calls) = issuer(move |number, _| {
        let clock = fetch_clock.clone();
        async move {
            clock.sleep(5 * SECOND).await;
            token(number)
        }
    });
    let tokens = TokenCache::builder(credential)
        .runtime(clock.clone())
        .build();
    let baseline = (clock.live_tasks(), clock.pending_sleeps());
    for audience in 0..100 {
        for _ in 0..10 {
            assert!(at_once(tokens.token(format!("api://{audience}"))).is_none());
        }
    }
    clock.settle().await;
    assert_eq!(clock.live_tasks(), 100, "one for each key");
    clock.run_for(60 * SECOND).await;
    assert_eq!((clock.live_tasks(), clock.pending_sleeps()), baseline);
    assert_eq!(calls.count(), 100);
}

#[tokio::test(start_paused = true)]
async fn r23_a_panic_in_the_credential_is_an_error_for_all_who_wait_and_the_cache_goes_on() {
    let (credential, calls) = issuer(|number, _| {
        assert_ne!(number, 1, "a bug before the first await");
        async move {
            tokio::task::yield_now().await;
            assert_ne!(number, 2, "a bug after the first await");
            token(number)
        }
    });
    let tokens = TokenCache::new(credential);
    for fetch in 1..=2 {
        for caller in callers(100, &tokens) {
            let error = caller.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Aborted);
        }
        assert_eq!(calls.count(), fetch);
        advance(5 * SECOND).await;
    }
    assert_eq!(tokens.token(VAULT).await.unwrap().secret(), "token-3");
}

#[tokio::test(start_paused = true)]
async fn r23_a_panic_in_a_refresh_is_noticed_by_nobody() {
    let (credential, calls) = issuer(|number, _| async move {
        assert_ne!(number, 2, "a bug in the credential");
        token(number)
    });
    let tokens = TokenCache::new(credential);
    tokens.token(VAULT).await.unwrap();
    advance(DUE).await;
    for _ in 0..5 {
        assert!(token_at_once(&tokens, VAULT).is_some());
        settle().await;
        advance(SECOND).await;
    }
    assert_eq!(token_at_once(&tokens, VAULT).unwrap().secret(), "token-3");
    assert_eq!(calls.count(), 3);
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

#[tokio::test]
async fn r27_i7_dropping_the_last_handle_ends_every_task_and_every_sleep_at_once() {
    let clock = ManualRuntime::new();
    let fetch_clock = clock.clone();
    let (credential, calls) = issuer(move |number, _| {
        let clock = fetch_clock.clone();
        async move {
            if number > 2 {
                clock.sleep(50 * 60 * SECOND).await;
            }
            match number {
                1 => token(number),
                _ => Err(unreachable_provider()),
            }
        }
    });
    let tokens = TokenCache::builder(credential)
        .runtime(clock.clone())
        .build();
    // A refresh that nobody waits for, and a fetch whose only caller has gone.
    tokens.token(VAULT).await.unwrap();
    assert!(tokens.token("api://failed").await.is_err());
    clock.advance(DUE);
    assert!(token_at_once(&tokens, VAULT).is_some());
    assert!(at_once(tokens.token("api://waiting")).is_none());
    clock.settle().await;
    assert_eq!(calls.count(), 4);
    assert_eq!(clock.live_tasks(), 2);
    let other = tokens.clone();
    drop(tokens);
    clock.settle().await;
    assert_eq!(clock.live_tasks(), 2, "another handle is left");
    drop(other);
    // The clock stands still: this takes no time.
    clock.settle().await;
    assert_eq!((clock.live_tasks(), clock.pending_sleeps()), (0, 0));
}

/// A waker that looks at the cache when it goes.
struct Nosy(TokenCache);

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Nosy {
    fn drop(&mut self) {
        assert_eq!(self.0.status().len(), 1);
    }
}

/// Hangs with the versions of tokio whose channels keep a receiver's waker
/// until the sender is gone too, such as 1.48.
#[tokio::test]
async fn the_wakers_of_callers_that_gave_up_may_use_the_cache_when_they_go() {
    let (credential, _) = issuer(|_, _| async move { pending().await });
    let tokens = TokenCache::new(credential);
    for _ in 0..100 {
        let waker = Waker::from(Arc::new(Nosy(tokens.clone())));
        let asked = pin!(tokens.token(VAULT));
        assert!(asked.poll(&mut Context::from_waker(&waker)).is_pending());
    }
}
