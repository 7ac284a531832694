//! What the outside world can make the cache and the layer remember.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use issuer::{at_once, issuer, token};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{BearerAuthLayer, BoxError, Hosts, TokenCache, UnknownHosts};

const HOSTS: u64 = 100_000;

type Body = Empty<Bytes>;

fn request(host: &str) -> Request<Body> {
    Request::get(format!("https://{host}/"))
        .body(Empty::new())
        .unwrap()
}

async fn answer(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Empty::new()))
}

/// Host names that differ in length and look.
fn host(number: u64, suffix: &str) -> String {
    let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("{:x}{suffix}", scattered >> (number % 40))
}

fn rules() -> Hosts {
    Hosts::new().allow("*.example.com", "api://orders").unwrap()
}

#[tokio::test]
async fn t30_hosts_without_a_rule_never_become_keys() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    for unknown_hosts in [UnknownHosts::Refuse, UnknownHosts::PassOn] {
        let client = BearerAuthLayer::new(tokens.clone(), rules())
            .unknown_hosts(unknown_hosts)
            .layer(service_fn(answer));
        for number in 0..HOSTS {
            let outcome = client
                .clone()
                .oneshot(request(&host(number, ".test")))
                .await;
            assert_eq!(outcome.is_ok(), unknown_hosts == UnknownHosts::PassOn);
        }
    }
    assert!(tokens.status().is_empty());
    assert_eq!(calls.count(), 0);
}

#[test]
fn t30_hosts_under_one_rule_share_one_key_and_take_no_memory() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let tokens = TokenCache::builder(credential)
        .runtime(ManualRuntime::new())
        .build();
    let client = BearerAuthLayer::new(tokens.clone(), rules()).layer(service_fn(answer));
    let call = |number| {
        let sent = client
            .clone()
            .oneshot(request(&host(number, ".example.com")));
        runtime.block_on(sent).unwrap();
    };
    (0..HOSTS / 10).for_each(call);
    let used = allocation_counter::measure(|| (HOSTS / 10..HOSTS).for_each(call));
    assert_eq!((used.count_current, used.bytes_current), (0, 0));
    assert_eq!((tokens.status().len(), calls.count()), (1, 1));
}

#[tokio::test]
async fn t30_nothing_is_fetched_for_keys_that_made_room_before_their_turn() {
    let runtime = ManualRuntime::new();
    let (credential, calls) = issuer(|number, request| async move {
        request.runtime().sleep(Duration::from_secs(1)).await;
        token(number)
    });
    let tokens = TokenCache::builder(credential)
        .runtime(runtime.clone())
        .max_keys(4)
        .max_concurrency(1)
        .build();
    for number in 0..1000 {
        // Whoever asks does not wait.
        assert!(at_once(tokens.token(format!("api://{number}"))).is_none());
    }
    runtime.run_for(Duration::from_secs(10)).await;
    assert_eq!((runtime.live_tasks(), calls.count()), (0, 4));
}

#[tokio::test]
async fn t26_t30_a_server_that_always_asks_for_other_claims_makes_a_bounded_number_of_keys() {
    const MOST: usize = 100;
    let runtime = ManualRuntime::new();
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::builder(credential)
        .runtime(runtime.clone())
        .max_keys(MOST)
        .build();
    let asked = Arc::new(AtomicUsize::new(0));
    let hostile = service_fn(move |_: Request<Body>| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        let claims = format!(r#"{{"access_token":{{"nbf":{{"value":"{number}"}}}}}}"#);
        let claims = STANDARD.encode(claims);
        let challenge = format!(r#"Bearer error="insufficient_claims", claims="{claims}""#);
        async move {
            Response::builder()
                .status(StatusCode::UNAUTHORIZED)
                .header(WWW_AUTHENTICATE, challenge)
                .body(Body::new())
                .map_err(BoxError::from)
        }
    });
    let client = BearerAuthLayer::new(tokens.clone(), rules()).layer(hostile);
    for _ in 0..10_000 {
        let response = client.clone().oneshot(request("a.example.com")).await;
        assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
        runtime.run_for(Duration::from_secs(1)).await;
    }
    let keys = tokens.status();
    assert!(keys.len() > 10, "{}", keys.len());
    assert!(keys.len() <= MOST, "{}", keys.len());
}
