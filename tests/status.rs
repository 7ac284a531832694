//! What a cache says of itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;

use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response};
use http_body_util::Empty;
use issuer::{HOUR, issuer, token};
use tower::{Layer as _, Service as _, ServiceExt as _};
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{
    AccessToken, BearerAuthLayer, Claims, Error, ErrorKind, FixedAudience, KeyStatus, Principal,
    PrincipalType, Runtime as _, TenantId, TokenCache, TokenRequest,
};

const VAULT: &str = "https://vault.azure.net";
const GRAPH: &str = "https://graph.microsoft.com";

fn only(tokens: &TokenCache) -> KeyStatus {
    let mut all = tokens.status();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[tokio::test]
async fn an_unused_cache_has_nothing_to_tell() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    assert!(TokenCache::new(credential).status().is_empty());
    assert_eq!(calls.count(), 0);
}

#[tokio::test]
async fn a_key_tells_all_of_its_life() {
    let runtime = ManualRuntime::new();
    let (credential, _) = issuer(|number, request| async move {
        request.runtime().sleep(Duration::from_secs(1)).await;
        match number {
            1 => Err(Error::new(ErrorKind::Unreachable, "the provider is down")),
            _ => Ok(token(number)?
                .with_principal(
                    Principal::new()
                        .with_type(PrincipalType::App)
                        .with_app_id("11111111-2222-3333-4444-555555555555"),
                )
                .with_credential("TestCredential")),
        }
    });
    let tokens = TokenCache::builder(credential)
        .runtime(runtime.clone())
        .build();

    let waiting = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.token(VAULT).await }
    });
    runtime.settle().await;
    let status = only(&tokens);
    assert_eq!(status.audience().as_str(), VAULT);
    assert!(status.is_fetching() && !status.is_usable());
    assert_eq!(status.next_refresh(), None);
    assert_eq!(status.last_error().map(Error::kind), None);

    runtime.run_for(Duration::from_secs(1)).await;
    assert!(waiting.await.unwrap().is_err());
    let now = runtime.now().wall;
    let status = only(&tokens);
    assert!(!status.is_fetching() && !status.is_usable());
    let error = status.last_error().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(status.last_error_at(), Some(now));
    let wait = status.next_refresh().unwrap().duration_since(now).unwrap();
    assert!((1.0..=2.0).contains(&wait.as_secs_f64()), "{wait:?}");
    assert_eq!((status.fetches(), status.failures()), (1, 1));
    assert_eq!(status.failures_in_a_row(), 1);

    runtime.run_for(wait).await;
    let begun = runtime.now().wall;
    tokens.keep_warm(VAULT).unwrap();
    runtime.run_for(Duration::from_secs(1)).await;
    for _ in 0..5 {
        tokens.token(VAULT).await.unwrap();
    }
    let status = only(&tokens);
    assert!(status.is_usable() && status.is_kept_warm() && !status.is_fetching());
    assert_eq!(status.credential(), Some("TestCredential"));
    assert_eq!(
        status.principal().unwrap().app_id(),
        Some("11111111-2222-3333-4444-555555555555")
    );
    assert_eq!(status.expires_on(), Some(begun + HOUR));
    let until_due = status.next_refresh().unwrap().duration_since(begun);
    let share = until_due.unwrap().as_secs_f64() / HOUR.as_secs_f64();
    assert!((0.49..=0.71).contains(&share), "{share}");
    assert_eq!((status.hits(), status.fetches()), (5, 2));
    assert_eq!((status.failures(), status.failures_in_a_row()), (1, 0));
    assert!(status.last_error().is_some(), "it stays to be seen");

    let refused = tokens.token(VAULT).await.unwrap();
    let renewal = tokio::spawn({
        let tokens = tokens.clone();
        let request = TokenRequest::new(VAULT).with_refused(refused);
        async move { tokens.token_for(&request).await }
    });
    runtime.run_for(Duration::from_secs(1)).await;
    renewal.await.unwrap().unwrap();
    let status = only(&tokens);
    assert_eq!((status.fetches(), status.forced_refreshes()), (3, 1));
    assert_eq!(status.hits(), 6, "hits outlive the token");
}

#[tokio::test]
async fn an_expired_token_is_not_usable_on_either_clock() {
    let runtime = ManualRuntime::new();
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::builder(credential)
        .runtime(runtime.clone())
        .build();
    tokens.token(VAULT).await.unwrap();
    runtime.suspend(2 * HOUR);
    let status = only(&tokens);
    assert!(!status.is_usable());
    assert_eq!(status.next_refresh(), Some(runtime.now().wall));
}

#[tokio::test]
async fn keys_come_in_order_with_tenant_and_claims() {
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    let tenant = TenantId::new("contoso.com").unwrap();
    let claims = Claims::from_json(r#"{"access_token":{}}"#).unwrap();
    let requests = [
        TokenRequest::new(VAULT),
        TokenRequest::new(VAULT).with_tenant(tenant.clone()),
        TokenRequest::new(GRAPH).with_claims(claims.clone()),
    ];
    for request in &requests {
        tokens.token_for(request).await.unwrap();
    }
    let keys: Vec<_> = tokens
        .status()
        .iter()
        .map(|key| {
            let audience = key.audience().as_str().to_owned();
            (audience, key.tenant().cloned(), key.claims().cloned())
        })
        .collect();
    let expected = [
        (GRAPH.to_owned(), None, Some(claims)),
        (VAULT.to_owned(), None, None),
        (VAULT.to_owned(), Some(tenant), None),
    ];
    assert_eq!(keys, expected);
}

/// Services that go on being called count for themselves; when they are gone
/// their count is not.
#[tokio::test]
async fn every_request_with_a_token_at_hand_is_a_hit() {
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    let layer = BearerAuthLayer::new(tokens.clone(), FixedAudience::new(VAULT));
    let server =
        |_: Request<Empty<Bytes>>| ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())));
    let client = layer.layer(tower::service_fn(server));
    tokens.token(VAULT).await.unwrap();
    let mut hits = 0;
    for clients in [1, 7, 40] {
        let mut clients: Vec<_> = (0..clients).map(|_| client.clone()).collect();
        for _ in 0..10 {
            for client in &mut clients {
                for host in ["a", "a", "b"] {
                    let request = Request::get(format!("https://{host}.example.com/"))
                        .body(Empty::new())
                        .unwrap();
                    client.ready().await.unwrap().call(request).await.unwrap();
                    hits += 1;
                    let mut request = Request::new(Empty::new());
                    *request.uri_mut() = format!("https://{host}.example.com/").parse().unwrap();
                    let own = HeaderValue::from_static("Basic Zm9v");
                    request.headers_mut().insert(AUTHORIZATION, own);
                    client.ready().await.unwrap().call(request).await.unwrap();
                }
            }
        }
        assert_eq!(only(&tokens).hits(), hits);
    }
    assert_eq!(only(&tokens).hits(), hits);
}

/// The second one is refused when there is another token already.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_hit() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    let server = |request: Request<String>| async move {
        let seconds = request.body().parse().unwrap();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let refused = Response::builder().status(401).body(());
        Ok::<_, Infallible>(refused.unwrap())
    };
    let layer = BearerAuthLayer::new(tokens.clone(), FixedAudience::new(VAULT));
    let client = layer.layer(tower::service_fn(server));
    tokens.token(VAULT).await.unwrap();
    let under_way = ["1", "2"].map(|seconds| {
        let request = Request::post("https://a.example.com/").body(String::from(seconds));
        tokio::spawn(client.clone().oneshot(request.unwrap()))
    });
    for response in under_way {
        assert_eq!(response.await.unwrap().unwrap().status(), 401);
    }
    assert_eq!((only(&tokens).hits(), calls.count()), (2, 2));
}

#[tokio::test]
async fn i10_nothing_of_it_gives_a_token_away() {
    let (credential, _) = issuer(|_, _| async move {
        AccessToken::expiring_in("canary-canary-canary", Duration::from_secs(60))
    });
    let tokens = TokenCache::new(credential);
    tokens.token(VAULT).await.unwrap();
    assert!(!format!("{:?} {tokens:?}", tokens.status()).contains("canary"));
}
