//! The request that is measured, the service that answers it, and what it is
//! compared with.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses its part")]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use tower::Service;
use tower_bearer::{AccessToken, ReplayBody, TokenCache, credential_fn};

pub type Body = Full<Bytes>;

/// Ready at once; drops the request.
#[derive(Clone)]
pub struct Inner;

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
pub struct ByHand {
    pub inner: Inner,
    pub value: HeaderValue,
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
pub struct ClonedPerRequest<S>(pub S);

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
pub struct SendOnce;

impl ReplayBody<Body> for SendOnce {
    fn replay(&self, _: &Body) -> Option<Body> {
        None
    }
}

/// A token of 1,500 characters, about what Entra issues.
pub fn token() -> String {
    "eyJ0eXAi".repeat(188)[..1500].to_owned()
}

pub fn request(capacity: usize) -> Request<Body> {
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

pub fn once<S: Service<Request<Body>>>(service: &mut S, request: Request<Body>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let mut future = pin!(service.call(request));
    assert!(future.as_mut().poll(&mut cx).is_ready());
}

/// A cache that has the token of every vault.
pub fn tokens() -> TokenCache {
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
    tokens
}

/// The header value that a user would keep.
pub fn header_value() -> HeaderValue {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token())).unwrap();
    value.set_sensitive(true);
    value
}
