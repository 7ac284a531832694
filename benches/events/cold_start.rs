//! A thousand callers at once, before there is a token; the credential answers
//! at once.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tokio::task::JoinSet;
use tower::{Layer as _, Service, ServiceExt as _};
use tower_bearer::{AccessToken, BearerAuthLayer, TokenCache, azure, credential_fn};

use crate::compared::{self, Case};
use crate::request::{Body, Inner, request, token, tokens};

const ROUNDS: usize = 100;
const CALLERS: usize = 1000;

/// From the first start to the last answer, divided among the callers.
async fn all_at_once<S>(service: S, requests: Vec<Request<Body>>) -> f64
where
    S: Service<Request<Body>, Response = Response<()>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for request in requests {
        callers.spawn(service.clone().oneshot(request));
    }
    while let Some(answered) = callers.join_next().await {
        assert!(answered.unwrap().is_ok());
    }
    start.elapsed().as_nanos() as f64 / CALLERS as f64
}

pub(crate) fn print() {
    let runtime = &crate::runtime();
    let at_hand = BearerAuthLayer::new(tokens(), azure::Audiences::new()).layer(Inner);
    let cold = |requests| {
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&fetches);
        let tokens = TokenCache::new(credential_fn(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { AccessToken::expiring_in(&token(), Duration::from_secs(86_400)) }
        }));
        let service = BearerAuthLayer::new(tokens, azure::Audiences::new()).layer(Inner);
        let nanoseconds = runtime.block_on(all_at_once(service, requests));
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
        nanoseconds
    };
    let cases: [Case<Request<Body>>; 3] = [
        (
            "inner service alone",
            Box::new(|requests| runtime.block_on(all_at_once(Inner, requests))),
        ),
        (
            "BearerAuthLayer, token at hand",
            Box::new(move |requests| runtime.block_on(all_at_once(at_hand.clone(), requests))),
        ),
        ("BearerAuthLayer, no token yet", Box::new(cold)),
    ];
    compared::print(
        "1,000 callers at once, each on a task of its own, one fetch that answers at once",
        ROUNDS,
        || (0..CALLERS).map(|_| request(8)).collect(),
        cases,
    );
}
