//! What stays in memory: of a cache for each audience, of a request under way.
#![allow(dead_code, unreachable_pub, reason = "each user takes its part")]

use std::future::{Ready, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::HeaderValue;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service};
use tower_bearer::{
    AccessToken, BearerAuthLayer, BoxError, Error, FixedAudience, TokenCache, credential_fn,
};
use tower_http::follow_redirect::FollowRedirectLayer;

type Body = Full<Bytes>;

const LIFE: Duration = Duration::from_secs(86_400);

/// A token of 1,500 characters, about what Entra issues.
fn secret() -> String {
    "eyJ0eXAi".repeat(188)[..1500].to_owned()
}

fn fetch() -> Ready<Result<AccessToken, Error>> {
    ready(AccessToken::expiring_in(&secret(), LIFE))
}

/// Bytes that are live after `make` and were not before, while what it gave is
/// still held, and in how many allocations.
fn live<T>(make: impl FnOnce() -> T) -> (i64, i64) {
    let mut kept = None;
    let counted = allocation_counter::measure(|| kept = Some(make()));
    drop(kept);
    (counted.bytes_current, counted.count_current)
}

/// What a cache keeps for each audience.
#[derive(Debug)]
pub struct PerAudience {
    /// Everything, the name of the audience and the token included.
    pub bytes: f64,
    pub allocations: f64,
    /// An `AccessToken` alone: header value, end, principal.
    pub token: f64,
    /// The header value alone, which anybody would keep.
    pub header_value: f64,
}

impl PerAudience {
    pub fn of(audiences: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let fill = |count: usize| {
            let tokens = TokenCache::builder(credential_fn(|_| fetch()))
                .max_keys(audiences)
                .build();
            runtime.block_on(async {
                for number in 0..count {
                    let audience = format!("https://tenant-{number:05}.example.com");
                    tokens.token(audience).await.unwrap();
                }
            });
            tokens
        };
        // What is made once for the thread and the runtime.
        drop(fill(1));
        let (empty, _) = live(|| fill(0));
        let (bytes, allocations) = live(|| fill(audiences));
        let (token, _) = live(|| AccessToken::expiring_in(&secret(), LIFE).unwrap());
        let (header_value, _) = live(|| {
            let value = HeaderValue::try_from(format!("Bearer {}", secret())).unwrap();
            // Its first clone makes it shareable, and that takes memory too.
            drop(value.clone());
            value
        });
        let each = |all: i64| all as f64 / audiences as f64;
        Self {
            bytes: each(bytes - empty),
            allocations: each(allocations),
            token: token as f64,
            header_value: header_value as f64,
        }
    }

    pub fn beside_the_token(&self) -> f64 {
        self.bytes - self.token
    }
}

/// The futures of some clients: name, size alone, and size with the layer.
pub fn futures() -> Vec<(&'static str, usize, usize)> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let redirecting = FollowRedirectLayer::new().layer(client.clone());
    let boxed = BoxCloneSyncService::new(client.clone());
    vec![
        sizes("hyper-util Client", client),
        sizes("tower-http FollowRedirect<Client>", redirecting),
        sizes("tower BoxCloneSyncService<Client>", boxed),
    ]
}

fn sizes<S, R>(name: &'static str, client: S) -> (&'static str, usize, usize)
where
    S: Service<Request<Body>, Response = http::Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    let mut alone = client.clone();
    let tokens = TokenCache::new(credential_fn(|_| fetch()));
    let mut authorized = BearerAuthLayer::new(tokens, FixedAudience::new("a")).layer(client);
    // Made, but not polled: nothing is sent.
    let request = || Request::get("https://a.example.com/").body(Body::default());
    (
        name,
        size_of_val(&alone.call(request().unwrap())),
        size_of_val(&authorized.call(request().unwrap())),
    )
}
