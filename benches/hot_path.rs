//! What one request costs while its token is at hand.
//!
//! `cargo bench --bench hot_path` prints the allocations per request, then the
//! time, for the inner service alone, for a header inserted by hand, for
//! tower-http's layers with a fixed header and for `BearerAuthLayer`. The
//! request is a GET with six headers, once in a map that is full at six (so
//! that the seventh header makes it grow) and once in one with room. It is made
//! outside of what is measured.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark, not the library"
)]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer as _, Service};
use tower_bearer::{AccessToken, BearerAuthLayer, ReplayBody, TokenCache, azure, credential_fn};
use tower_http::auth::AddAuthorizationLayer;
use tower_http::set_header::SetRequestHeaderLayer;

type Body = Full<Bytes>;

/// Ready at once; drops the request.
#[derive(Clone)]
struct Inner;

impl Service<Request<Body>> for Inner {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        drop(black_box(request));
        ready(Ok(Response::new(())))
    }
}

/// What users write by hand.
#[derive(Clone)]
struct ByHand {
    inner: Inner,
    value: HeaderValue,
}

impl Service<Request<Body>> for ByHand {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request
            .headers_mut()
            .insert(AUTHORIZATION, self.value.clone());
        self.inner.call(request)
    }
}

/// `client.clone().oneshot(request)`, as most users of hyper's client call.
#[derive(Clone)]
struct ClonedPerRequest<S>(S);

impl<S: Service<Request<Body>> + Clone> Service<Request<Body>> for ClonedPerRequest<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut service = self.0.clone();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        service.call(request)
    }
}

#[derive(Clone)]
struct SendOnce;

impl ReplayBody<Body> for SendOnce {
    fn replay(&self, _: &Body) -> Option<Body> {
        None
    }
}

/// A token of 1,500 characters, about what Entra issues.
fn token() -> String {
    "eyJ0eXAi".repeat(188)[..1500].to_owned()
}

fn request(capacity: usize) -> Request<Body> {
    let mut headers = HeaderMap::with_capacity(capacity);
    headers.insert("accept", HeaderValue::from_static("application/json"));
    headers.insert("accept-encoding", HeaderValue::from_static("identity"));
    headers.insert("user-agent", HeaderValue::from_static("hot-path/1.0"));
    headers.insert("x-ms-version", HeaderValue::from_static("2024-11-04"));
    let id = HeaderValue::try_from(String::from("2f1b7c44-0000-4000-8000-0123456789ab"));
    headers.insert("x-ms-client-request-id", id.unwrap());
    let trace = HeaderValue::try_from(String::from("00-4bf92f3577b34da6-00f067aa0ba902b7-01"));
    headers.insert("traceparent", trace.unwrap());
    let mut request = Request::get("https://myvault.vault.azure.net/secrets/x")
        .body(Body::default())
        .unwrap();
    *request.headers_mut() = headers;
    request
}

fn once<S: Service<Request<Body>>>(service: &mut S, request: Request<Body>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let mut future = pin!(service.call(request));
    assert!(future.as_mut().poll(&mut cx).is_ready());
}

fn allocations<S: Service<Request<Body>>>(service: &mut S, capacity: usize) -> (u64, u64) {
    const REQUESTS: u64 = 1000;
    for _ in 0..16 {
        once(service, request(capacity));
    }
    let requests: Vec<_> = (0..REQUESTS).map(|_| request(capacity)).collect();
    let counted = allocation_counter::measure(|| {
        for request in requests {
            once(service, request);
        }
    });
    (
        counted.count_total / REQUESTS,
        counted.bytes_total / REQUESTS,
    )
}

fn measure<S: Service<Request<Body>>>(criterion: &mut Criterion, name: &str, mut service: S) {
    for (map, capacity) in [("full map", 6), ("roomy map", 8)] {
        let (count, bytes) = allocations(&mut service, capacity);
        println!("{name}, {map}: {count} allocations, {bytes} bytes per request");
    }
    for (map, capacity) in [("full map", 6), ("roomy map", 8)] {
        criterion.bench_function(&format!("{name}, {map}"), |bencher| {
            bencher.iter_batched(
                || request(capacity),
                |request| once(&mut service, request),
                BatchSize::SmallInput,
            );
        });
    }
}

fn hot_path(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let tokens = TokenCache::new(credential_fn(|_| async {
        AccessToken::expiring_in(&token(), Duration::from_secs(86_400))
    }));
    runtime
        .block_on(tokens.token("https://vault.azure.net"))
        .unwrap();
    let mut value = HeaderValue::try_from(format!("Bearer {}", token())).unwrap();
    value.set_sensitive(true);

    measure(criterion, "inner service alone", Inner);
    let by_hand = ByHand {
        inner: Inner,
        value: value.clone(),
    };
    measure(criterion, "inserted by hand", by_hand);
    let fixed = SetRequestHeaderLayer::overriding(AUTHORIZATION, value);
    measure(criterion, "tower-http SetRequestHeader", fixed.layer(Inner));
    let fixed = AddAuthorizationLayer::bearer(&token());
    measure(criterion, "tower-http AddAuthorization", fixed.layer(Inner));
    let layer = BearerAuthLayer::new(tokens, azure::Audiences::new());
    let once = layer.clone().replay(SendOnce).layer(Inner);
    let cloned = ClonedPerRequest(once.clone());
    measure(criterion, "BearerAuthLayer, sent once", once);
    let name = "BearerAuthLayer, sent once, cloned per request";
    measure(criterion, name, cloned);
    measure(
        criterion,
        "BearerAuthLayer, resend armed",
        layer.layer(Inner),
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = hot_path
}
criterion_main!(benches);
