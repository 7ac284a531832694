//! Each first send gets a 401, the new token comes at once, the resend is
//! accepted.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use tower::{Layer as _, Service, ServiceExt as _};
use tower_bearer::{AccessToken, BearerAuthLayer, Error, TokenCache, azure, credential_fn};

use crate::compared::{self, Case};
use crate::request::{Body, Inner, header_value, request, token, tokens};
use crate::stepped_clock::SteppedClock;

const ROUNDS: usize = 300;
const CALLS: usize = 64;
const LIFE: Duration = Duration::from_secs(86_400);

/// A request, and another one for those who send two.
type Requests = [Request<Body>; 2];

/// Refuses every other request.
#[derive(Clone, Default)]
struct EveryOther(Arc<AtomicU64>);

impl Service<Request<Body>> for EveryOther {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        drop(black_box(request));
        let mut response = Response::new(());
        if self.0.fetch_add(1, Ordering::Relaxed) % 2 == 0 {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        ready(Ok(response))
    }
}

async fn send<S>(service: &mut S, request: Request<Body>) -> StatusCode
where
    S: Service<Request<Body>, Response = Response<()>>,
{
    let Ok(service) = service.ready().await else {
        return StatusCode::BAD_GATEWAY;
    };
    let response = service.call(request).await;
    response.map_or(StatusCode::BAD_GATEWAY, |response| response.status())
}

/// Another token each time, or the cache would take it for the refused one.
struct Issuer {
    secret: String,
    issued: AtomicU64,
}

impl Issuer {
    fn new() -> Self {
        Self {
            secret: token(),
            issued: AtomicU64::new(0),
        }
    }

    fn issue(&self) -> Result<AccessToken, Error> {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        AccessToken::expiring_in(&format!("{}{number}", self.secret), LIFE)
    }
}

/// What users write by hand, with the value they have kept: nobody else waits
/// for the new token, and nobody else gets it.
async fn send_by_hand(
    service: &mut EveryOther,
    kept: &HeaderValue,
    issuer: &Issuer,
    mut request: Request<Body>,
) -> StatusCode {
    let mut again = request.clone();
    request.headers_mut().insert(AUTHORIZATION, kept.clone());
    let status = send(service, request).await;
    if status != StatusCode::UNAUTHORIZED {
        return status;
    }
    let value = issuer.issue().unwrap().header_value().clone();
    again.headers_mut().insert(AUTHORIZATION, value);
    send(service, again).await
}

pub(crate) fn print() {
    let runtime = &crate::runtime();
    let mut refusing = EveryOther::default();
    let mut by_hand = EveryOther::default();
    let (kept, by_hands_issuer) = (header_value(), Issuer::new());
    let mut at_hand = BearerAuthLayer::new(tokens(), azure::Audiences::new()).layer(Inner);

    let clock = SteppedClock::default();
    let issuer = Issuer::new();
    let credential = credential_fn(move |_| ready(issuer.issue()));
    let tokens = TokenCache::builder(credential)
        .runtime(clock.clone())
        .build();
    let mut layer =
        BearerAuthLayer::new(tokens, azure::Audiences::new()).layer(EveryOther::default());

    let cases: [Case<Requests>; 4] = [
        (
            "two sends",
            Box::new(move |requests| {
                runtime.block_on(timed(requests, async |[request, again]| {
                    send(&mut refusing, request).await;
                    send(&mut refusing, again).await
                }))
            }),
        ),
        (
            "cloned, refused, fetched and sent again by hand",
            Box::new(move |requests| {
                runtime.block_on(timed(requests, async |[request, _]| {
                    send_by_hand(&mut by_hand, &kept, &by_hands_issuer, request).await
                }))
            }),
        ),
        (
            "BearerAuthLayer, token at hand (one send)",
            Box::new(move |requests| {
                runtime.block_on(timed(requests, async |[request, _]| {
                    send(&mut at_hand, request).await
                }))
            }),
        ),
        (
            "BearerAuthLayer, refused, fetched and sent again",
            Box::new(move |requests| {
                runtime.block_on(timed(requests, async |[request, _]| {
                    // A revocation a minute is what the cache renews for.
                    clock.advance(Duration::from_secs(61));
                    send(&mut layer, request).await
                }))
            }),
        ),
    ];

    compared::print(
        "A 401, a token that comes at once, and a resend",
        ROUNDS,
        || (0..CALLS).map(|_| [request(8), request(8)]).collect(),
        cases,
    );
}

/// Nanoseconds for one call.
async fn timed(requests: Vec<Requests>, mut send: impl AsyncFnMut(Requests) -> StatusCode) -> f64 {
    let count = requests.len();
    let start = Instant::now();
    for request in requests {
        assert_eq!(send(request).await, StatusCode::OK);
    }
    start.elapsed().as_nanos() as f64 / count as f64
}
