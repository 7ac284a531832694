//! When the rules are asked for an audience, and when what they said is kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/resource.rs"]
mod resource;

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use issuer::{HOUR, at_once};
use resource::{Server, bearer, call, get, one_token_after_another};
use tokio::time::advance;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_bearer::{Audience, BearerAuthLayer, Error, FixedAudience, Origin, ResolveAudience};

const CLAIMS: &str = r#"Bearer error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ==""#;

/// An audience for each host. Counts how often it is asked, and says no from
/// some time on.
#[derive(Clone, Default)]
struct Rules {
    asked: Arc<AtomicUsize>,
    until: Option<usize>,
}

impl Rules {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl ResolveAudience for Rules {
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if self.until.is_some_and(|until| asked >= until) {
            return Ok(None);
        }
        origin.resolve_secure(|host| Some(Audience::from(format!("api://{host}"))))
    }
}

#[tokio::test(start_paused = true)]
async fn clones_forget_a_place_that_nobody_goes_to_any_more() {
    let (tokens, _) = one_token_after_another();
    let rules = Rules::default();
    let server = |_: Request<Full<Bytes>>| ready(Ok::<_, Infallible>(Response::new(())));
    let client = BearerAuthLayer::new(tokens, rules.clone()).layer(service_fn(server));
    let send = |uri| client.clone().oneshot(get(uri));
    // The first request waits for its token; the second is remembered.
    for _ in 0..2 {
        send("https://once.example.com/").await.unwrap();
    }
    advance(2 * HOUR).await;
    for _ in 0..2 {
        send("https://often.example.com/").await.unwrap();
    }
    let before = rules.asked();
    for _ in 0..1000 {
        send("https://often.example.com/").await.unwrap();
    }
    assert_eq!(rules.asked(), before);
}

#[tokio::test(start_paused = true)]
async fn what_one_origin_teaches_does_not_slow_the_others() {
    for kept in [true, false] {
        let (tokens, _) = one_token_after_another();
        let rules = Rules::default();
        let server = |request: Request<Full<Bytes>>| {
            let asks = request.uri().host() == Some("claims.example.com")
                && bearer(&request) == "Bearer token-2";
            let mut response = Response::new(());
            if asks {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                let headers = response.headers_mut();
                headers.insert("www-authenticate", CLAIMS.parse().unwrap());
            }
            ready(Ok::<_, Infallible>(response))
        };
        let client = BearerAuthLayer::new(tokens, rules.clone()).layer(service_fn(server));
        let mut service = client.clone();
        for _ in 0..20 {
            let request = get("https://a.example.com/");
            call(&mut service, request).await.unwrap();
        }
        let request = get("https://claims.example.com/");
        let response = client.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut asked = Vec::new();
        for _ in 0..2 {
            let before = rules.asked();
            for _ in 0..1000 {
                let request = get("https://a.example.com/");
                if kept {
                    call(&mut service, request).await.unwrap();
                } else {
                    client.clone().oneshot(request).await.unwrap();
                }
            }
            asked.push(rules.asked() - before);
        }
        assert!(
            asked[0] <= 8 && asked[1] == 0,
            "kept: {kept}, asked {asked:?} times"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn i9_no_token_is_sent_again_to_a_host_that_the_rules_name_no_more() {
    let (tokens, _) = one_token_after_another();
    let rules = Rules {
        until: Some(1),
        ..Rules::default()
    };
    let server = Server::default();
    let client = BearerAuthLayer::new(tokens, rules).layer(server.clone());
    let request = get("https://a.example.com/");
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(server.seen(), 1);
}

/// As in a handler that clones the client and then sends twice.
#[tokio::test(start_paused = true)]
async fn i4_a_clone_for_a_few_requests_allocates_nothing() {
    let (tokens, _) = one_token_after_another();
    let server = |_: Request<String>| ready(Ok::<_, Infallible>(Response::new(())));
    let layer = BearerAuthLayer::new(tokens, FixedAudience::new("api://a"));
    let client = layer.layer(service_fn(server));
    let request = || {
        let mut request = Request::get("https://a.example.com/")
            .body(String::new())
            .unwrap();
        request.headers_mut().reserve(4);
        request
    };
    for _ in 0..2 {
        client.clone().oneshot(request()).await.unwrap();
    }
    for calls in 1..=4 {
        let requests: Vec<_> = (0..calls).map(|_| request()).collect();
        let counted = allocation_counter::measure(|| {
            let mut clone = client.clone();
            for request in requests {
                assert!(at_once(call(&mut clone, request)).is_some());
            }
        });
        assert_eq!(counted.count_total, 0, "{calls} calls");
    }
}
