//! Waiting for the tokens that a program begins with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;

use std::future::pending;
use std::time::Duration;

use issuer::{at_once, issuer, token};
use tokio::time::{Instant, advance, sleep};
use tower_bearer::{Audience, Error, ErrorKind, TenantId, TokenCache, TokenRequest};

const VAULT: &str = "https://vault.azure.net";
const GRAPH: &str = "https://graph.microsoft.com";
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn all_tokens_are_fetched_at_the_same_time() {
    let (credential, calls) = issuer(|number, _| async move {
        sleep(Duration::from_secs(5)).await;
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let started = Instant::now();
    tokens.ready([VAULT, GRAPH], LIMIT).await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    assert_eq!(calls.count(), 2);
    tokens.ready([VAULT, GRAPH], LIMIT).await.unwrap();
    assert_eq!(calls.count(), 2, "they are there");
    assert!(
        tokens
            .status()
            .iter()
            .all(tower_bearer::KeyStatus::is_usable)
    );
}

#[tokio::test(start_paused = true)]
async fn r29_what_fails_at_first_is_tried_again_until_the_limit() {
    for kind in [
        ErrorKind::Unreachable,
        ErrorKind::Unavailable,
        ErrorKind::Rejected,
    ] {
        let (credential, calls) = issuer(move |number, _| async move {
            match number {
                1 => Err(Error::new(kind, "not yet")),
                _ => token(number),
            }
        });
        let tokens = TokenCache::new(credential);
        tokens.ready([VAULT], 2 * LIMIT).await.unwrap();
        assert_eq!(calls.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn i8_when_the_time_is_up_the_error_says_which_and_why() {
    let (credential, _) = issuer(|number, request: TokenRequest| async move {
        if request.audience().as_str() == GRAPH {
            return Err(Error::new(ErrorKind::Rejected, "no such application")
                .with_advice("register it")
                .with_aadsts_codes([700_016]));
        }
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let started = Instant::now();
    let error = tokens.ready([VAULT, GRAPH], LIMIT).await.unwrap_err();
    assert_eq!(started.elapsed(), LIMIT);
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.aadsts_codes(), [700_016]);
    assert_eq!(
        error.to_string(),
        "no token for https://graph.microsoft.com: no such application: register it"
    );
}

#[tokio::test(start_paused = true)]
async fn i8_a_provider_that_hangs_does_not_hold_it_up() {
    let (credential, _) = issuer(|_, _| async move { pending().await });
    let tokens = TokenCache::new(credential);
    let started = Instant::now();
    let error = tokens.ready([VAULT], LIMIT).await.unwrap_err();
    assert_eq!(started.elapsed(), LIMIT);
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(
        error.to_string(),
        "no token for https://vault.azure.net: no answer came within 30 s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_setting_is_an_error_at_once() {
    let (credential, calls) = issuer(|_, _| async move {
        Err(Error::new(
            ErrorKind::Configuration,
            "AZURE_TENANT_ID is not set",
        ))
    });
    let tokens = TokenCache::new(credential);
    let started = Instant::now();
    let error = tokens.ready([VAULT], LIMIT).await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(calls.count(), 1);
    let error = tokens.ready(["no audience"], LIMIT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_was_missing_and_is_there_now_is_no_error() {
    let (credential, calls) = issuer(|number, _| async move {
        match number {
            1 => Err(Error::new(
                ErrorKind::Configuration,
                "AZURE_TENANT_ID is not set",
            )),
            _ => token(number),
        }
    });
    let tokens = TokenCache::new(credential);
    tokens.ready([VAULT], LIMIT).await.unwrap_err();
    // Past the back-off of the error that is still known.
    advance(2 * LIMIT).await;
    tokens.ready([VAULT], LIMIT).await.unwrap();
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn whatever_describes_a_token_can_be_waited_for() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    let tenant = TenantId::new("contoso.com").unwrap();
    let request = TokenRequest::new(VAULT).with_tenant(tenant.clone());
    tokens.ready([&request], LIMIT).await.unwrap();
    tokens.ready([Audience::from(GRAPH)], LIMIT).await.unwrap();
    tokens.ready([String::from(VAULT)], LIMIT).await.unwrap();
    tokens.ready::<[&str; 0]>([], LIMIT).await.unwrap();
    assert_eq!(calls.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn r20_to_stop_waiting_does_not_stop_the_fetch() {
    let (credential, calls) = issuer(|number, _| async move {
        sleep(Duration::from_secs(5)).await;
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let impatient = tokens.ready([VAULT], Duration::from_secs(1)).await;
    assert!(impatient.is_err());
    tokens.token(VAULT).await.unwrap();
    assert_eq!(calls.count(), 1);
}

#[test]
fn outside_of_a_runtime_the_error_says_what_to_do() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    let error = at_once(tokens.ready([VAULT], LIMIT))
        .expect("nobody waits")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.advice().is_some());
    assert_eq!(calls.count(), 0);
}

#[test]
fn the_future_can_be_spawned() {
    fn send<T: Send>(_: &T) {}
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    send(&tokens.ready([VAULT], LIMIT));
}
