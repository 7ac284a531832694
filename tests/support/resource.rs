//! A server that wants tokens, and what tests of the layer send to it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Service, ServiceExt as _};
use tower_bearer::{Audience, Error, Origin, ResolveAudience, TokenCache};

use crate::issuer::{Calls, VAULT, issuer, token};

/// Knows `*.example.com`, over https.
pub struct Example;

impl ResolveAudience for Example {
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
        origin.resolve_secure(|host| {
            host.ends_with(".example.com")
                .then(|| Audience::from(VAULT))
        })
    }
}

pub fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

pub fn bearer<B>(request: &Request<B>) -> String {
    request
        .headers()
        .get(AUTHORIZATION)
        .map_or("", |value| value.to_str().unwrap())
        .to_owned()
}

/// `ready().await.call(…)` on one kept instance.
pub async fn call<S, B>(client: &mut S, request: Request<B>) -> Result<S::Response, S::Error>
where
    S: Service<Request<B>>,
{
    client.ready().await?.call(request).await
}

pub fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// Accepts the tokens that it is told to, and keeps what it was sent.
#[derive(Clone, Default)]
pub struct Server {
    accepted: Arc<Mutex<Vec<String>>>,
    pub seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn accepting(tokens: &[&str]) -> Self {
        let server = Self::default();
        server.accept(tokens);
        server
    }

    pub fn accept(&self, tokens: &[&str]) {
        *self.accepted.lock().unwrap() = tokens.iter().map(|t| format!("Bearer {t}")).collect();
    }

    /// The header of each request.
    pub fn sent(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub fn seen(&self) -> usize {
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

pub fn one_token_after_another() -> (TokenCache, Calls) {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    (TokenCache::new(credential), calls)
}
