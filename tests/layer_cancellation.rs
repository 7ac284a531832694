//! What the layer promises when requests, fetches or clients go away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/resource.rs"]
mod resource;

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use issuer::{SECOND, at_once, dropped_after, issuer, token};
use resource::{Example, Server, get};
use tokio::time::{advance, sleep};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{BearerAuthLayer, ErrorKind, Runtime as _, TokenCache};

/// On all the way: a token is fetched, sent, refused, replaced, and sent.
#[tokio::test]
async fn r20_i3_wherever_the_first_request_is_dropped_the_others_succeed_with_two_fetches() {
    for turns in 0.. {
        let (credential, calls) = issuer(|number, _| async move {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            token(number)
        });
        let server = Server::accepting(&["token-2"]);
        let kept = server.clone();
        let slow_server = service_fn(move |request: Request<Full<Bytes>>| {
            let mut server = server.clone();
            async move {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                server.call(request).await
            }
        });
        let client = BearerAuthLayer::new(TokenCache::new(credential), Example).layer(slow_server);
        let send = || client.clone().oneshot(get("https://a.example.com/"));
        let mut leader = Box::pin(send());
        assert!(at_once(leader.as_mut()).is_none());
        let mut followers: Vec<_> = (0..10).map(|_| tokio::spawn(send())).collect();
        let done = dropped_after(turns, leader).await;
        followers.extend((0..10).map(|_| tokio::spawn(send())));
        for follower in followers {
            let response = follower.await.unwrap().unwrap();
            assert_eq!(response.status(), StatusCode::OK, "dropped after {turns}");
        }
        assert_eq!(calls.count(), 2, "dropped after {turns}");
        let sent = kept.sent();
        let refused = sent.iter().filter(|token| *token == "Bearer token-1");
        assert!(refused.count() >= 10, "nobody started anew");
        if done {
            assert!(turns > 12, "only {turns} places to drop it at");
            break;
        }
    }
}

#[tokio::test]
async fn r21_a_minute_after_all_requests_are_dropped_nothing_is_left_of_them() {
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
    let client = BearerAuthLayer::new(tokens, Example).layer(Server::accepting(&["token-1"]));
    let baseline = (clock.live_tasks(), clock.pending_sleeps());
    for _ in 0..1000 {
        let request = client.clone().oneshot(get("https://a.example.com/"));
        assert!(at_once(request).is_none());
    }
    clock.settle().await;
    assert_eq!(clock.live_tasks(), 1);
    clock.run_for(60 * SECOND).await;
    assert_eq!((clock.live_tasks(), clock.pending_sleeps()), baseline);
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn r23_a_panic_in_the_credential_fails_those_who_wait_and_a_401_is_given_back() {
    let (credential, calls) = issuer(|number, _| async move {
        assert!(!matches!(number, 1 | 3), "a bug in the credential");
        token(number)
    });
    let server = Server::accepting(&["token-2"]);
    let client = BearerAuthLayer::new(TokenCache::new(credential), Example).layer(server.clone());
    let send = || client.clone().oneshot(get("https://a.example.com/"));
    let waiting: Vec<_> = (0..100).map(|_| tokio::spawn(send())).collect();
    for request in waiting {
        let error = request.await.unwrap().unwrap_err();
        assert_eq!(error.token_error().unwrap().kind(), ErrorKind::Aborted);
    }
    assert_eq!(calls.count(), 1);
    advance(3 * SECOND).await;
    assert_eq!(send().await.unwrap().status(), StatusCode::OK);

    server.accept(&["token-4"]);
    assert_eq!(send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(calls.count(), 3);
    advance(40 * SECOND).await;
    assert_eq!(send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(calls.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn i1_i3_a_request_that_is_dropped_while_it_waits_leaves_the_fetch_alone() {
    let (credential, calls) = issuer(|number, _| async move {
        sleep(Duration::from_secs(5)).await;
        token(number)
    });
    let server = Server::accepting(&["token-1"]);
    let client = BearerAuthLayer::new(TokenCache::new(credential), Example).layer(server.clone());
    {
        let mut dropped = pin!(client.clone().oneshot(get("https://a.example.com/")));
        let polled = dropped
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }
    let response = client.oneshot(get("https://a.example.com/")).await;
    assert_eq!(response.unwrap().status(), StatusCode::OK);
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn i7_a_request_keeps_its_fetch_alive_when_the_client_is_dropped() {
    let (credential, _) = issuer(|number, _| async move {
        sleep(Duration::from_secs(5)).await;
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let client = BearerAuthLayer::new(tokens, Example).layer(Server::accepting(&["token-1"]));
    // `oneshot` owns the only service, and drops it when it has called it.
    let response = client.oneshot(get("https://a.example.com/")).await;
    assert_eq!(response.unwrap().status(), StatusCode::OK);
}
