//! What the layer makes of a 401.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/resource.rs"]
mod resource;

use std::convert::Infallible;
use std::future::{pending, ready};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use issuer::{issuer, settle, token};
use resource::{Example, Server, get, one_token_after_another, status};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_bearer::{AccessToken, BearerAuthLayer, Error, ErrorKind, ReplayClone, TokenCache};

#[tokio::test(start_paused = true)]
async fn r35_i5_a_revoked_token_costs_one_fetch_and_one_resend() {
    let (tokens, calls) = one_token_after_another();
    let server = Server::accepting(&["token-1"]);
    let client = BearerAuthLayer::new(tokens, Example).layer(server.clone());
    let first = client.clone().oneshot(get("https://a.example.com/")).await;
    assert_eq!(first.unwrap().status(), StatusCode::OK);
    server.accept(&["token-2"]);
    let second = client.clone().oneshot(get("https://a.example.com/")).await;
    assert_eq!(second.unwrap().status(), StatusCode::OK);
    assert_eq!((server.seen(), calls.count()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn r35_a_thousand_parallel_401s_are_one_fetch_storm_after_storm() {
    let (credential, calls) = issuer(|number, _| async move {
        sleep(Duration::from_millis(10)).await;
        token(number)
    });
    let server = Server::accepting(&["token-1"]);
    let slow_server = {
        let server = server.clone();
        service_fn(move |request: Request<Full<Bytes>>| {
            let mut server = server.clone();
            async move {
                let answer = server.call(request).await;
                sleep(Duration::from_millis(100)).await;
                answer
            }
        })
    };
    let client = BearerAuthLayer::new(TokenCache::new(credential), Example).layer(slow_server);
    let warm = client.clone().oneshot(get("https://a.example.com/")).await;
    assert_eq!(warm.unwrap().status(), StatusCode::OK);
    for storm in 2..=6 {
        server.accept(&[&format!("token-{storm}")]);
        let callers: Vec<_> = (0..1000)
            .map(|_| tokio::spawn(client.clone().oneshot(get("https://a.example.com/"))))
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap().status(), StatusCode::OK);
        }
        assert_eq!(calls.count(), storm);
        advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn r36_a_late_401_for_an_old_token_fetches_nothing() {
    let (tokens, calls) = one_token_after_another();
    let server = Server::accepting(&["token-1"]);
    let (hold, held) = tokio::sync::oneshot::channel::<()>();
    let held = Arc::new(Mutex::new(Some(held)));
    let client = BearerAuthLayer::new(tokens, Example).layer({
        let server = server.clone();
        service_fn(move |request: Request<Full<Bytes>>| {
            let mut server = server.clone();
            let late = request.uri().path() == "/late";
            let held = if late {
                held.lock().unwrap().take()
            } else {
                None
            };
            async move {
                if let Some(held) = held {
                    drop(held.await);
                }
                server.call(request).await
            }
        })
    });
    let late = tokio::spawn(client.clone().oneshot(get("https://a.example.com/late")));
    tokio::task::yield_now().await;
    sleep(Duration::from_millis(1)).await;
    server.accept(&["token-2"]);
    let other = client.clone().oneshot(get("https://a.example.com/")).await;
    assert_eq!(other.unwrap().status(), StatusCode::OK);
    assert_eq!(calls.count(), 2);
    hold.send(()).unwrap();
    assert_eq!(late.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn r37_the_same_token_again_is_not_resent() {
    let (credential, calls) = issuer(|_, _| async move { token(0) });
    let server = Server::accepting(&[]);
    let client = BearerAuthLayer::new(TokenCache::new(credential), Example).layer(server.clone());
    for _ in 0..10 {
        let response = client.clone().oneshot(get("https://a.example.com/")).await;
        assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!((server.seen(), calls.count()), (10, 2));
}

#[tokio::test(start_paused = true)]
async fn r38_t26_a_server_that_always_says_401_costs_a_bounded_number_of_fetches() {
    let (tokens, calls) = one_token_after_another();
    let server = Server::accepting(&[]);
    let client = BearerAuthLayer::new(tokens, Example).layer(server.clone());
    let started = Instant::now();
    let mut requests = 0;
    while started.elapsed() < Duration::from_secs(600) {
        for _ in 0..100 {
            let response = client.clone().oneshot(get("https://a.example.com/")).await;
            assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
            requests += 1;
        }
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(
        calls.count(),
        6,
        "the first, and after 0, 30, 90, 210 and 450 s"
    );
    assert_eq!(server.seen(), requests + 5);
}

#[tokio::test(start_paused = true)]
async fn r40_the_401_to_a_body_that_cannot_be_replayed_is_given_back_untouched() {
    let (tokens, calls) = one_token_after_another();
    let server = Server::accepting(&[]);
    let client = BearerAuthLayer::new(tokens, Example).layer(server.clone());
    let request = Request::post("https://a.example.com/")
        .body(String::from("sent once"))
        .unwrap();
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["x-request-id"], "7");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "why not");
    assert_eq!((server.seen(), calls.count()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn r40_a_token_that_is_refused_to_a_body_that_cannot_be_replayed_is_replaced() {
    let (tokens, calls) = one_token_after_another();
    let server = Server::accepting(&["token-1"]);
    let client = BearerAuthLayer::new(tokens, Example).layer(server.clone());
    let mut statuses = Vec::new();
    for accepted in ["token-1", "token-2", "token-2", "token-2"] {
        server.accept(&[accepted]);
        let request = Request::post("https://a.example.com/").body(String::from("sent once"));
        let response = client.clone().oneshot(request.unwrap()).await.unwrap();
        statuses.push(response.status().as_u16());
        settle().await;
    }
    assert_eq!(statuses, [200, 401, 200, 200]);
    assert_eq!((server.seen(), calls.count()), (4, 2));
}

#[tokio::test(start_paused = true)]
async fn r41_a_replayed_body_is_sent_whole_and_not_copied() {
    let (tokens, _) = one_token_after_another();
    let bytes = Bytes::from(vec![7_u8; 64 << 20]);
    let at = bytes.as_ptr();
    let sends = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sends);
    let client = BearerAuthLayer::new(tokens, Example).layer(service_fn(
        move |request: Request<Full<Bytes>>| {
            let send = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                assert_eq!(request.headers()["x-kept"], "yes");
                assert_eq!(request.method(), "PUT");
                let body = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!((body.len(), body.as_ptr()), (64 << 20, at));
                Ok::<_, Infallible>(status(if send == 0 {
                    StatusCode::UNAUTHORIZED
                } else {
                    StatusCode::OK
                }))
            }
        },
    ));
    let request = Request::put("https://a.example.com/")
        .header("x-kept", "yes")
        .body(Full::new(bytes))
        .unwrap();
    assert_eq!(
        client.oneshot(request).await.unwrap().status(),
        StatusCode::OK
    );
    assert_eq!(sends.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn other_bodies_are_replayed_when_asked() {
    let (tokens, _) = one_token_after_another();
    let server = Server::accepting(&["token-2"]);
    let client = BearerAuthLayer::new(tokens, Example)
        .replay(ReplayClone::new())
        .layer(server.clone());
    let request = Request::post("https://a.example.com/")
        .body(String::from("twice"))
        .unwrap();
    assert_eq!(
        client.oneshot(request).await.unwrap().status(),
        StatusCode::OK
    );
    assert_eq!(server.seen(), 2);
}

#[tokio::test(start_paused = true)]
async fn r37_t26_a_token_that_works_elsewhere_and_cannot_be_renewed_costs_two_fetches_a_minute() {
    let (credential, calls) = issuer(|_, _| async move { token(0) });
    let client = BearerAuthLayer::new(TokenCache::new(credential), Example).layer(service_fn(
        |request: Request<Full<Bytes>>| {
            ready(Ok::<_, Infallible>(status(match request.uri().path() {
                "/closed" => StatusCode::UNAUTHORIZED,
                _ => StatusCode::OK,
            })))
        },
    ));
    for _ in 0..600 {
        for path in ["open", "closed"] {
            let uri = format!("https://a.example.com/{path}");
            client.clone().oneshot(get(&uri)).await.unwrap();
        }
        advance(Duration::from_secs(1)).await;
    }
    assert!((10..=20).contains(&calls.count()), "{}", calls.count());
}

#[tokio::test(start_paused = true)]
async fn i1_a_resend_that_waits_for_its_service_does_not_send_a_token_that_ended_meanwhile() {
    let (credential, _) = issuer(|number, _| async move {
        AccessToken::expiring_in(&format!("token-{number}"), Duration::from_secs(60))
    });
    let server = Server::accepting(&["token-3"]);
    let slow = {
        let server = server.clone();
        service_fn(move |request: Request<Full<Bytes>>| {
            let mut server = server.clone();
            async move {
                sleep(Duration::from_secs(1)).await;
                server.call(request).await
            }
        })
    };
    let limited = ServiceBuilder::new().concurrency_limit(1).service(slow);
    let mut other = limited.clone();
    let client = BearerAuthLayer::new(TokenCache::new(credential), Example).layer(limited);
    let response = tokio::spawn(client.oneshot(get("https://a.example.com/")));
    sleep(Duration::from_millis(500)).await;
    // Gets the only place as soon as the first send is over, and keeps it.
    std::future::poll_fn(|cx| Service::<Request<Full<Bytes>>>::poll_ready(&mut other, cx))
        .await
        .unwrap();
    sleep(Duration::from_secs(600)).await;
    drop(other);
    assert_eq!(response.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(
        *server.seen.lock().unwrap(),
        ["Bearer token-1", "Bearer token-3"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_403_is_given_back_and_renews_nothing() {
    let (tokens, calls) = one_token_after_another();
    let client =
        BearerAuthLayer::new(tokens, Example).layer(service_fn(|_: Request<Full<Bytes>>| async {
            Ok::<_, Infallible>(status(StatusCode::FORBIDDEN))
        }));
    for _ in 0..3 {
        let response = client.clone().oneshot(get("https://a.example.com/")).await;
        assert_eq!(response.unwrap().status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_gives_the_401_back() {
    let (credential, _) = issuer(|number, _| async move {
        match number {
            1 => token(1),
            _ => Err(Error::new(ErrorKind::Unreachable, "down")),
        }
    });
    let server = Server::accepting(&["token-1"]);
    let client = BearerAuthLayer::new(TokenCache::new(credential), Example).layer(server.clone());
    drop(client.clone().oneshot(get("https://a.example.com/")).await);
    server.accept(&[]);
    let response = client.oneshot(get("https://a.example.com/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "why not");
}

#[tokio::test(start_paused = true)]
async fn i8_a_401_is_kept_back_for_fifteen_seconds_at_most() {
    let (credential, _) = issuer(|number, _| async move {
        if number > 1 {
            pending::<()>().await;
        }
        token(number)
    });
    let server = Server::accepting(&[]);
    let client = BearerAuthLayer::new(TokenCache::new(credential), Example).layer(server.clone());
    let started = Instant::now();
    let response = client.oneshot(get("https://a.example.com/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(started.elapsed(), Duration::from_secs(15));
    assert_eq!(server.seen(), 1);
}

#[tokio::test(start_paused = true)]
async fn empty_bodies_of_other_types_are_replayed() {
    let (tokens, _) = one_token_after_another();
    let client = BearerAuthLayer::new(tokens, Example).layer(Server::accepting(&["token-2"]));
    let request = Request::get("https://a.example.com/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    assert_eq!(
        client.oneshot(request).await.unwrap().status(),
        StatusCode::OK
    );
}
