//! What the layer does to requests and responses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/resource.rs"]
mod resource;

use std::convert::Infallible;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use issuer::{DUE, GRAPH, HOUR, VAULT, at_once, issuer, settle, token};
use resource::{Example, Server, bearer, call, get, one_token_after_another};
use tokio::time::{Instant, advance, sleep};
use tower::util::BoxCloneService;
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_bearer::{
    AccessToken, BearerAuthError, BearerAuthLayer, BoxError, BoxFuture, Error, ErrorKind,
    ExistingHeader, Hosts, Runtime, Timestamp, TokenCache, TokioRuntime, UnknownHosts,
};

/// Panics when it is called without having been polled ready.
#[derive(Debug)]
struct Strict<S> {
    inner: S,
    ready: bool,
}

impl<S> Strict<S> {
    fn new(inner: S) -> Self {
        Self {
            inner,
            ready: false,
        }
    }
}

impl<S: Clone> Clone for Strict<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl<S: Service<R>, R> Service<R> for Strict<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let polled = self.inner.poll_ready(cx);
        self.ready = polled.is_ready();
        polled
    }

    fn call(&mut self, request: R) -> S::Future {
        assert!(self.ready, "called before it was ready");
        self.ready = false;
        self.inner.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_is_set_and_marked_sensitive() {
    let (tokens, calls) = one_token_after_another();
    let mut client = BearerAuthLayer::new(tokens, Example).layer(service_fn(
        |request: Request<Full<Bytes>>| async move {
            let value = &request.headers()[AUTHORIZATION];
            assert!(value.is_sensitive());
            Ok::<_, Infallible>(Response::new(bearer(&request)))
        },
    ));
    for _ in 0..3 {
        let response = call(&mut client, get("https://a.example.com/x"))
            .await
            .unwrap();
        assert_eq!(response.into_body(), "Bearer token-1");
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn clones_and_layers_share_the_cache() {
    let (tokens, calls) = one_token_after_another();
    let server = Server::accepting(&["token-1"]);
    for _ in 0..2 {
        let client = BearerAuthLayer::new(tokens.clone(), Example).layer(server.clone());
        for _ in 0..3 {
            let response = client.clone().oneshot(get("https://a.example.com/")).await;
            assert_eq!(response.unwrap().status(), StatusCode::OK);
        }
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn r24_only_ready_services_are_called() {
    let (tokens, _) = one_token_after_another();
    let server = Server::accepting(&["token-2"]);
    let mut client = BearerAuthLayer::new(tokens, Example).layer(Strict::new(server.clone()));
    // Waits for the first token, then has it renewed, then has one at hand.
    for _ in 0..3 {
        let response = call(&mut client, get("https://a.example.com/"))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(server.seen(), 4);
}

#[tokio::test(start_paused = true)]
async fn r24_limited_services_get_every_place_back() {
    let (tokens, _) = one_token_after_another();
    let server = Server::accepting(&["token-2"]);
    let limited = ServiceBuilder::new()
        .buffer(1)
        .concurrency_limit(1)
        .service(Strict::new(server.clone()));
    let limit_outside = ServiceBuilder::new()
        .concurrency_limit(1)
        .layer(BearerAuthLayer::new(tokens, Example))
        .service(limited);
    let mut failing = limit_outside.clone();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let client = limit_outside.clone();
            tokio::spawn(client.oneshot(get("https://a.example.com/")))
        })
        .collect();
    // Fails after the inner service had made itself ready, and stays around.
    let refused = call(&mut failing, get("https://unknown.test/")).await;
    assert!(refused.is_err());
    let all = async {
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap().status(), StatusCode::OK);
        }
    };
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, all).await.expect("a deadlock");
    drop(failing);
}

#[tokio::test(start_paused = true)]
async fn r24_a_request_that_is_refused_a_token_holds_no_place_in_a_limited_service() {
    let (tokens, _) = one_token_after_another();
    let limited = ServiceBuilder::new()
        .concurrency_limit(1)
        .service(Server::accepting(&["token-1"]));
    let client = BearerAuthLayer::new(tokens, Example).layer(limited);
    let mut kept = client.clone();
    let refused = call(&mut kept, get("https://unknown.test/")).await;
    assert!(refused.is_err());
    let other = client.oneshot(get("https://a.example.com/"));
    let response = tokio::time::timeout(Duration::from_secs(1), other).await;
    assert_eq!(response.unwrap().unwrap().status(), StatusCode::OK);
    drop(kept);
}

#[tokio::test(start_paused = true)]
async fn readiness_never_waits_for_a_token() {
    let (credential, _) = issuer(|number, _| async move {
        pending::<()>().await;
        token(number)
    });
    let mut client =
        BearerAuthLayer::new(TokenCache::new(credential), Example).layer(Server::default());
    let waiting = tokio::spawn(client.clone().oneshot(get("https://a.example.com/")));
    tokio::task::yield_now().await;
    let polled = Service::<Request<Full<Bytes>>>::poll_ready(
        &mut client,
        &mut Context::from_waker(Waker::noop()),
    );
    assert!(polled.is_ready());
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn an_existing_header_is_kept_whatever_the_host() {
    let (tokens, calls) = one_token_after_another();
    let server = Server::accepting(&[]);
    let client = BearerAuthLayer::new(tokens, Example).layer(server.clone());
    for uri in ["https://a.example.com/", "http://unknown.test/"] {
        let mut request = get(uri);
        request
            .headers_mut()
            .insert(AUTHORIZATION, HeaderValue::from_static("Basic Zm9v"));
        let response = client.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(*server.seen.lock().unwrap(), ["Basic Zm9v", "Basic Zm9v"]);
    assert_eq!(calls.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_existing_header_is_replaced_when_asked() {
    let (tokens, _) = one_token_after_another();
    let server = Server::accepting(&["token-1"]);
    let client = BearerAuthLayer::new(tokens, Example)
        .existing_header(ExistingHeader::Replace)
        .layer(server.clone());
    let mut request = get("https://a.example.com/");
    for _ in 0..2 {
        request
            .headers_mut()
            .append(AUTHORIZATION, HeaderValue::from_static("Basic Zm9v"));
    }
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(*server.seen.lock().unwrap(), ["Bearer token-1"]);
}

#[tokio::test(start_paused = true)]
async fn t1_i9_a_host_without_a_rule_is_refused_by_default() {
    let (tokens, calls) = one_token_after_another();
    let server = Server::default();
    let client = BearerAuthLayer::new(tokens, Example).layer(server.clone());
    let error = client
        .oneshot(get("https://unknown.test/"))
        .await
        .unwrap_err();
    let kind = error.token_error().unwrap().kind();
    assert_eq!(kind, ErrorKind::UnknownHost);
    assert!(error.to_string().contains("unknown.test"), "{error}");
    assert_eq!((server.seen(), calls.count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn t1_a_host_without_a_rule_is_passed_on_bare_when_asked() {
    let (tokens, calls) = one_token_after_another();
    let server = Server::accepting(&[]);
    let client = BearerAuthLayer::new(tokens, Example)
        .unknown_hosts(UnknownHosts::PassOn)
        .layer(server.clone());
    for uri in ["https://unknown.test/", "/relative"] {
        let response = client.clone().oneshot(get(uri)).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(*server.seen.lock().unwrap(), ["", ""]);
    assert_eq!(calls.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn i9_a_known_host_over_plain_http_is_refused_in_either_mode() {
    for mode in [UnknownHosts::Refuse, UnknownHosts::PassOn] {
        let (tokens, _) = one_token_after_another();
        let server = Server::default();
        let client = BearerAuthLayer::new(tokens, Example)
            .unknown_hosts(mode)
            .layer(server.clone());
        for uri in [
            "http://a.example.com/",
            "https://me@a.example.com/",
            "https://a.example.com:8443/",
        ] {
            let error = client.clone().oneshot(get(uri)).await.unwrap_err();
            let kind = error.token_error().unwrap().kind();
            assert_eq!(kind, ErrorKind::RefusedHost, "{uri}");
        }
        assert_eq!(server.seen(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn i9_an_answer_for_one_origin_is_not_used_for_another() {
    let (tokens, _) = one_token_after_another();
    let server = Server::accepting(&["token-1"]);
    let mut client = BearerAuthLayer::new(tokens, Example)
        .unknown_hosts(UnknownHosts::PassOn)
        .layer(server.clone());
    for uri in [
        "https://a.example.com/",
        "https://a.example.com.evil.test/",
        "https://a.example.com/",
        "https://b.test/",
    ] {
        drop(call(&mut client, get(uri)).await.unwrap());
    }
    assert!(
        call(&mut client, get("http://a.example.com/"))
            .await
            .is_err()
    );
    assert_eq!(
        *server.seen.lock().unwrap(),
        ["Bearer token-1", "", "Bearer token-1", ""]
    );
}

#[tokio::test(start_paused = true)]
async fn no_token_is_an_error_that_can_be_told_from_the_clients_own() {
    let (credential, _) = issuer(|_, _| async move {
        Err::<AccessToken, _>(Error::new(ErrorKind::Rejected, "invalid_client"))
    });
    let server = Server::default();
    let client = BearerAuthLayer::new(TokenCache::new(credential), Example).layer(server.clone());
    let error = client
        .oneshot(get("https://a.example.com/"))
        .await
        .unwrap_err();
    assert!(matches!(&error, BearerAuthError::Token(error) if error.kind() == ErrorKind::Rejected));
    assert_eq!(server.seen(), 0);
    let boxed: BoxError = error.into();
    assert!(boxed.downcast_ref::<BearerAuthError>().is_some());
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_client_pass_through() {
    let (tokens, _) = one_token_after_another();
    let client =
        BearerAuthLayer::new(tokens, Example).layer(service_fn(|_: Request<Full<Bytes>>| async {
            Err::<Response<()>, _>(std::io::Error::other("broken pipe"))
        }));
    let error = client
        .oneshot(get("https://a.example.com/"))
        .await
        .unwrap_err();
    let BearerAuthError::Service(error) = error else {
        panic!("not the client's: {error}");
    };
    assert!(error.downcast_ref::<std::io::Error>().is_some());
}

#[tokio::test(start_paused = true)]
async fn i8_a_request_waits_for_a_token_no_longer_than_it_may() {
    let (credential, _) = issuer(|number, _| async move {
        sleep(Duration::from_secs(30)).await;
        token(number)
    });
    let client = BearerAuthLayer::new(TokenCache::new(credential), Example)
        .token_timeout(Duration::from_secs(3))
        .layer(Server::accepting(&["token-1"]));
    let started = Instant::now();
    let error = client
        .clone()
        .oneshot(get("https://a.example.com/"))
        .await
        .unwrap_err();
    assert_eq!(error.token_error().unwrap().kind(), ErrorKind::Timeout);
    assert_eq!(started.elapsed(), Duration::from_secs(3));
    advance(Duration::from_secs(28)).await;
    let response = client.oneshot(get("https://a.example.com/")).await;
    assert_eq!(response.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn timeouts_inside_and_outside_and_services_without_sync_fit() {
    let (tokens, _) = one_token_after_another();
    let boxed: BoxCloneService<Request<Full<Bytes>>, Response<Full<Bytes>>, BoxError> =
        ServiceBuilder::new()
            .boxed_clone()
            .timeout(Duration::from_secs(5))
            .service(Server::accepting(&["token-2"]));
    let client = ServiceBuilder::new()
        .timeout(Duration::from_secs(5))
        .layer(BearerAuthLayer::new(tokens, Example))
        .service(boxed);
    let response = tokio::spawn(client.oneshot(get("https://a.example.com/")));
    assert_eq!(response.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn r02_requests_at_the_refresh_point_are_served_at_once_while_the_provider_hangs() {
    let (credential, calls) = issuer(|number, _| async move {
        if number > 1 {
            pending::<()>().await;
        }
        token(number)
    });
    let client = BearerAuthLayer::new(TokenCache::new(credential), Example)
        .layer(Server::accepting(&["token-1"]));
    drop(client.clone().oneshot(get("https://a.example.com/")).await);
    advance(HOUR.mul_f64(0.75)).await;
    let started = Instant::now();
    for _ in 0..10_000 {
        let response = client.clone().oneshot(get("https://a.example.com/")).await;
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    tokio::task::yield_now().await;
    assert_eq!(calls.count(), 2);
}

/// No time, no lock of anybody else's, no memory: what a request with a token
/// at hand costs is the same whatever goes on beside it.
#[tokio::test(start_paused = true)]
async fn i4_r02_r11_a_request_with_a_token_at_hand_allocates_nothing_whatever_else_hangs() {
    let (credential, calls) = issuer(|number, _| async move {
        if number > 1 {
            pending::<()>().await;
        }
        token(number)
    });
    let hosts = Hosts::new()
        .allow("a.example.com", VAULT)
        .and_then(|hosts| hosts.allow("b.example.com", GRAPH));
    let mut client = BearerAuthLayer::new(TokenCache::new(credential), hosts.unwrap()).layer(
        service_fn(|_: Request<String>| ready(Ok::<_, Infallible>(Response::new(())))),
    );
    // With a body that is not replayed, so that nothing is kept for a resend.
    let request = |host| {
        let mut request = Request::get(format!("https://{host}.example.com/"))
            .body(String::new())
            .unwrap();
        request.headers_mut().reserve(4);
        request
    };
    // So many that the service has the token to itself.
    for _ in 0..16 {
        call(&mut client, request("a")).await.unwrap();
    }
    let slow = tokio::spawn(client.clone().oneshot(request("b")));
    settle().await;
    for due in [false, true] {
        if due {
            advance(DUE).await;
            call(&mut client, request("a")).await.unwrap();
            settle().await;
        }
        assert_eq!(calls.count(), if due { 3 } else { 2 });
        let requests: Vec<_> = (0..1000).map(|_| request("a")).collect();
        let counted = allocation_counter::measure(|| {
            for request in requests {
                let sent = at_once(call(&mut client, request));
                assert!(sent.is_some_and(|sent| sent.is_ok()));
            }
        });
        assert_eq!(counted.count_total, 0, "due: {due}");
    }
    slow.abort();
}

/// Counts how often the clocks are read.
#[derive(Clone, Debug, Default)]
struct Watched(TokioRuntime, Arc<AtomicUsize>);

impl Runtime for Watched {
    fn now(&self) -> Timestamp {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        self.0.spawn(task)
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

#[tokio::test(start_paused = true)]
async fn i4_a_request_with_a_token_at_hand_reads_the_clocks_once() {
    let (credential, _) = issuer(|number, _| async move {
        if number > 1 {
            pending::<()>().await;
        }
        token(number)
    });
    let clock = Watched::default();
    let tokens = TokenCache::builder(credential)
        .runtime(clock.clone())
        .build();
    let mut client = BearerAuthLayer::new(tokens, Example).layer(Server::accepting(&["token-1"]));
    for due in [false, true] {
        if due {
            advance(DUE).await;
        }
        // The first one gets the token, or starts the refresh.
        for host in ["a", "b", "a"] {
            let uri = format!("https://{host}.example.com/");
            call(&mut client, get(&uri)).await.unwrap();
        }
        settle().await;
        for host in ["a", "a", "b", "a"] {
            let before = clock.1.load(Ordering::SeqCst);
            let uri = format!("https://{host}.example.com/");
            call(&mut client, get(&uri)).await.unwrap();
            let read = clock.1.load(Ordering::SeqCst) - before;
            assert_eq!(read, 1, "due: {due}, host {host}");
        }
    }
}

#[test]
fn services_and_futures_are_send() {
    fn send<T: Send>(_: &T) {}
    let (tokens, _) = one_token_after_another();
    let layer = BearerAuthLayer::new(tokens, Example);
    let mut client = layer.layer(Server::default());
    send(&client);
    let future = client.call(get("https://a.example.com/"));
    send(&future);
    assert!(
        size_of_val(&future)
            <= size_of::<<Server as Service<Request<Full<Bytes>>>>::Future>() + 200,
        "{} bytes",
        size_of_val(&future)
    );
}
