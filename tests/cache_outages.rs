//! What the cache promises while its identity provider is down, slow or busy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;

use std::future::{pending, ready};
use std::time::Duration;

use issuer::{
    DUE, GRAPH, HOUR, SECOND, VAULT, at_once, callers, issuer, settle, token, token_at_once,
    unreachable_provider,
};
use tokio::time::{Instant, advance, sleep, timeout};
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{AccessToken, Error, ErrorKind, Runtime as _, TokenCache};

const TICK: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn r03_ten_thousand_calls_after_the_tokens_end_are_one_fetch() {
    let fetch_time = Duration::from_millis(200);
    let healthy_again = Instant::now() + HOUR;
    let (credential, calls) = issuer(move |number, _| async move {
        let up = number == 1 || Instant::now() >= healthy_again;
        sleep(fetch_time).await;
        if up {
            token(number)
        } else {
            Err(unreachable_provider())
        }
    });
    let tokens = TokenCache::new(credential);
    tokens.token(VAULT).await.unwrap();
    while Instant::now() < healthy_again {
        drop(tokens.token(VAULT).await);
        advance(SECOND).await;
        settle().await;
    }
    let before = calls.count();
    assert!(before > 10, "refreshes were tried: {before}");
    // Whoever asks while the last failure's back-off lasts is told so at once;
    // who asks after it shares one fetch.
    while let Some(told) = at_once(tokens.token(VAULT)) {
        assert_eq!(told.unwrap_err().kind(), ErrorKind::Unreachable);
        advance(TICK).await;
    }
    assert!(Instant::now() - healthy_again <= 30 * SECOND);
    let started = Instant::now();
    for caller in callers(10_000, &tokens) {
        assert!(caller.await.unwrap().is_ok());
    }
    assert!(started.elapsed() <= fetch_time.mul_f64(1.1));
    assert_eq!(calls.count() - before, 1);
}

/// A minute of life, five seconds a fetch, and the first two refreshes fail.
#[tokio::test]
async fn r04_a_short_lived_token_is_replaced_before_its_end_though_two_refreshes_fail() {
    let (life, fetch_time) = (60 * SECOND, 5 * SECOND);
    for seed in 0..40 {
        let clock = ManualRuntime::with_seed(seed);
        let fetch_clock = clock.clone();
        let (credential, calls) = issuer(move |number, _| {
            let clock = fetch_clock.clone();
            async move {
                let issued = clock.now().monotonic;
                clock.sleep(fetch_time).await;
                match number % 3 {
                    1 => AccessToken::expiring_in(&(issued + life).as_millis().to_string(), life),
                    _ => Err(unreachable_provider()),
                }
            }
        });
        let tokens = TokenCache::builder(credential)
            .runtime(clock.clone())
            .build();
        let first = tokio::spawn({
            let tokens = tokens.clone();
            async move { tokens.token(VAULT).await }
        });
        clock.run_for(fetch_time).await;
        first.await.unwrap().unwrap();
        while clock.now().monotonic < 150 * SECOND {
            let token = token_at_once(&tokens, VAULT)
                .unwrap_or_else(|| panic!("seed {seed}: a caller had to wait: {clock:?}"));
            let ends = Duration::from_millis(token.secret().parse().unwrap());
            let left = ends.saturating_sub(clock.now().monotonic);
            assert!(left > life / 10, "seed {seed}: {left:?} left");
            clock.run_for(SECOND / 2).await;
        }
        assert!(calls.count() >= 9, "seed {seed}: {}", calls.count());
    }
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
    while tokens.token(VAULT).await.is_err() {
        advance(TICK).await;
    }
    let waited = Instant::now() - healthy_again;
    assert!(waited <= 30 * SECOND, "{waited:?}");
}

#[tokio::test]
async fn r06_r17_whatever_is_drawn_no_wait_is_longer_than_the_longest_back_off() {
    for (kind, longest) in [(ErrorKind::Unreachable, 30), (ErrorKind::Rejected, 60)] {
        for seed in 0..50 {
            let clock = ManualRuntime::with_seed(seed);
            let issuers_clock = clock.clone();
            let (credential, _) = issuer(move |number, _| {
                let healthy = issuers_clock.now().monotonic >= 900 * SECOND;
                ready(if healthy {
                    token(number)
                } else {
                    Err(Error::new(kind, "down"))
                })
            });
            let tokens = TokenCache::builder(credential)
                .runtime(clock.clone())
                .build();
            while tokens.token(VAULT).await.is_err() {
                clock.advance(SECOND);
            }
            let waited = clock.now().monotonic.saturating_sub(900 * SECOND);
            assert!(
                waited <= longest * SECOND,
                "{kind:?}, seed {seed}: {waited:?}"
            );
        }
    }
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
    advance(5 * SECOND).await;
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
    while tokens.token(VAULT).await.is_err() {
        advance(TICK).await;
    }
    let waited = Instant::now() - fixed_at;
    assert!(waited <= 60 * SECOND, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn r17_a_token_is_used_to_its_end_though_the_next_one_is_refused() {
    let (credential, calls) = issuer(|number, _| async move {
        match number {
            1 => token(1),
            _ => Err(Error::new(ErrorKind::Rejected, "invalid_client")),
        }
    });
    let tokens = TokenCache::new(credential);
    tokens.token(VAULT).await.unwrap();
    advance(DUE).await;
    for _ in 2600..3570 {
        assert_eq!(token_at_once(&tokens, VAULT).unwrap().secret(), "token-1");
        advance(SECOND).await;
        settle().await;
    }
    let error = tokens.token(VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    let refreshes = calls.count() - 1;
    assert!((970 / 60..=970 / 10).contains(&refreshes), "{refreshes}");
}

#[tokio::test(start_paused = true)]
async fn r09_retry_after_silences_refreshes_too_and_keys_that_are_still_good_do_not_notice() {
    let (credential, calls) =
        issuer(|number, _| async move {
            match number {
                1 | 2 => token(number),
                _ => Err(Error::new(ErrorKind::Throttled, "too many requests")
                    .with_retry_after(60 * SECOND)),
            }
        });
    let tokens = TokenCache::new(credential);
    tokens.token(VAULT).await.unwrap();
    advance(600 * SECOND).await;
    tokens.token(GRAPH).await.unwrap();
    // The first one's last half minute: its refresh is turned away, and it
    // ends before the silence does.
    advance(2940 * SECOND).await;
    assert!(token_at_once(&tokens, VAULT).is_some());
    settle().await;
    assert_eq!(calls.count(), 3);
    for second in 0..60 {
        assert!(token_at_once(&tokens, GRAPH).is_some(), "good all the time");
        let told = at_once(tokens.token(VAULT)).expect("nobody waits");
        assert_eq!(told.is_err(), second >= 30, "{second}");
        if let Err(error) = told {
            let left = error.retry_after().unwrap().as_secs();
            assert!((60 - second..=61 - second).contains(&left), "{left}");
        }
        advance(SECOND).await;
        settle().await;
    }
    assert_eq!(calls.count(), 3);
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
