//! When the rules are asked for an audience, and when what they said is kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/resource.rs"]
mod resource;

use std::convert::Infallible;
use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use issuer::{HOUR, SECOND, at_once};
use resource::{Server, bearer, call, get, one_token_after_another};
use tokio::time::advance;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_bearer::{
    AccessToken, Audience, BearerAuthLayer, Error, FixedAudience, Origin, ResolveAudience,
    TokenCache, credential_fn,
};

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

/// Hosts below `shared.example.com` have one audience, others their own.
struct SomeShared;

impl ResolveAudience for SomeShared {
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
        origin.resolve_secure(|host| {
            let shared = host.ends_with(".shared.example.com");
            let name = if shared { "shared" } else { host };
            Some(Audience::from(format!("api://{name}")))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn t1_what_is_sent_again_goes_where_it_went_before_with_a_token_for_that() {
    const HOSTS: [&str; 6] = [
        "a.shared.example.com",
        "b.shared.example.com",
        "A.shared.example.com",
        "a.shared.example.com:443",
        "one.example.com",
        "two.example.com",
    ];
    for kept in [true, false] {
        let tokens = TokenCache::new(credential_fn({
            let count = AtomicUsize::new(0);
            move |request| {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let name = request.audience().as_str().trim_start_matches("api://");
                let secret = format!("{name}.{number}");
                async move { AccessToken::expiring_in(&secret, 24 * HOUR) }
            }
        }));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let server = {
            let sent = Arc::clone(&sent);
            move |request: Request<Full<Bytes>>| {
                let mut sent = sent.lock().unwrap();
                let uri = request.uri().to_string();
                let mut response = Response::new(());
                if uri.contains("refuse-once") && sent.last().is_none_or(|(last, _)| *last != uri) {
                    *response.status_mut() = StatusCode::UNAUTHORIZED;
                }
                sent.push((uri, bearer(&request)));
                ready(Ok::<_, Infallible>(response))
            }
        };
        let client = BearerAuthLayer::new(tokens, SomeShared).layer(service_fn(server));
        let mut service = client.clone();
        let mut send = async |uri: String| {
            let response = if kept {
                call(&mut service, get(&uri)).await
            } else {
                client.clone().oneshot(get(&uri)).await
            };
            assert_eq!(response.unwrap().status(), StatusCode::OK, "{uri}");
        };
        for first in HOSTS {
            // So often that it becomes the service's own.
            for number in 0..40 {
                send(format!("https://{first}/{number}")).await;
            }
            for host in HOSTS {
                advance(10 * 60 * SECOND).await;
                sent.lock().unwrap().clear();
                let uri = format!("https://{host}/refuse-once?{first}");
                send(uri.clone()).await;
                let audience = host.to_lowercase();
                let audience = if audience.contains("shared") {
                    "shared"
                } else {
                    &audience
                };
                let sent = sent.lock().unwrap();
                assert_eq!(sent.len(), 2, "{uri}: {sent:?}");
                for (to, token) in &*sent {
                    assert_eq!(*to, uri);
                    assert!(token.starts_with(&format!("Bearer {audience}.")), "{token}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_header_of_its_own_is_nobodys_business() {
    let (tokens, calls) = one_token_after_another();
    let rules = Rules::default();
    let server = |_: Request<Full<Bytes>>| ready(Ok::<_, Infallible>(Response::new(())));
    let client = BearerAuthLayer::new(tokens.clone(), rules.clone()).layer(service_fn(server));
    for _ in 0..20 {
        for uri in ["https://a.example.com/", "http://b.example.com/", "/c"] {
            let mut request = get(uri);
            let header = HeaderValue::from_static("Basic Zm9v");
            request.headers_mut().insert(AUTHORIZATION, header);
            client.clone().oneshot(request).await.unwrap();
        }
    }
    assert_eq!((rules.asked(), calls.count()), (0, 0));
    assert!(tokens.status().is_empty());
}
