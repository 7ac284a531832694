//! What the layer does to requests and responses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;

use std::convert::Infallible;
use std::future::{Future, Ready, pending, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use issuer::{HOUR, issuer, token};
use tokio::time::{Instant, advance, sleep};
use tower::util::BoxCloneService;
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_bearer::{
    AccessToken, Audience, BearerAuthError, BearerAuthLayer, BoxError, Error, ErrorKind,
    ExistingHeader, Origin, ReplayClone, ResolveAudience, TokenCache, UnknownHosts,
};

const VAULT: &str = "https://vault.azure.net";

/// Knows `*.example.com`, over https.
struct Example;

impl ResolveAudience for Example {
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
        origin.resolve_secure(|host| {
            host.ends_with(".example.com")
                .then(|| Audience::from(VAULT))
        })
    }
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

fn bearer<B>(request: &Request<B>) -> String {
    request
        .headers()
        .get(AUTHORIZATION)
        .map_or("", |value| value.to_str().unwrap())
        .to_owned()
}

/// `ready().await.call(…)` on one kept instance.
async fn call<S>(client: &mut S, request: Request<Full<Bytes>>) -> Result<S::Response, S::Error>
where
    S: Service<Request<Full<Bytes>>>,
{
    client.ready().await?.call(request).await
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// Accepts the tokens that it is told to, and keeps what it was sent.
#[derive(Clone, Default)]
struct Server {
    accepted: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn accepting(tokens: &[&str]) -> Self {
        let server = Self::default();
        server.accept(tokens);
        server
    }

    fn accept(&self, tokens: &[&str]) {
        *self.accepted.lock().unwrap() = tokens.iter().map(|t| format!("Bearer {t}")).collect();
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl<B> Service<Request<B>> for Server {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let token = bearer(&request);
        let accepted = self.accepted.lock().unwrap().contains(&token);
        self.seen.lock().unwrap().push(token);
        ready(Ok(if accepted {
            status(StatusCode::OK)
        } else {
            Response::builder()
                .status(StatusCode::UNAUTHORIZED)
                .header(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")
                .header("x-request-id", "7")
                .body(Full::from("why not"))
                .unwrap()
        }))
    }
}

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

fn one_token_after_another() -> (TokenCache, issuer::Calls) {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    (TokenCache::new(credential), calls)
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
