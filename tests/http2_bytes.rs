//! What a token takes on the wire of HTTP/2, and that marking it sensitive adds
//! nothing to that.
#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../benches/support/http2_field.rs"]
mod http2_field;

use std::time::Duration;

use http2_field::{Connection, Field, request, token};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_bearer::{AccessToken, BearerAuthLayer, FixedAudience, TokenCache, credential_fn};

const REQUESTS: u64 = 100;

/// Bytes of the first request on a connection, and of each further one.
async fn bytes_with(field: Field) -> (u64, u64) {
    let mut connection = Connection::open().await.unwrap();
    let header = field.header();
    let mut first = 0;
    for number in 0..=REQUESTS {
        let mut request = request().unwrap();
        if let Some((name, value)) = header.clone() {
            request.headers_mut().insert(name, value);
        }
        connection.send(request).await.unwrap();
        if number == 0 {
            first = connection.sent();
        }
    }
    (first, (connection.sent() - first) / REQUESTS)
}

async fn bytes_with_the_layer() -> u64 {
    let connection = Connection::open().await.unwrap();
    let tokens = TokenCache::new(credential_fn(|_| async {
        AccessToken::expiring_in(&token(), Duration::from_secs(3600))
    }));
    let sending = connection.clone();
    let client = service_fn(move |request| {
        let mut connection = sending.clone();
        async move { connection.send(request).await }
    });
    let client = BearerAuthLayer::new(tokens, FixedAudience::new("api://a")).layer(client);
    let mut first = 0;
    for number in 0..=REQUESTS {
        let answer = client.clone().oneshot(request().unwrap()).await;
        assert_eq!(answer.unwrap().status(), 200);
        if number == 0 {
            first = connection.sent();
        }
    }
    (connection.sent() - first) / REQUESTS
}

#[tokio::test]
async fn t16_the_sensitive_mark_adds_no_bytes_since_no_token_is_ever_indexed() {
    let (_, nowhere) = bytes_with(Field::Nowhere).await;
    let (_, sensitive) = bytes_with(Field::Sensitive).await;
    let (_, plain) = bytes_with(Field::Plain).await;
    let (first_indexed, indexed) = bytes_with(Field::Indexed).await;
    assert_eq!(sensitive, plain);
    assert_eq!(bytes_with_the_layer().await, sensitive);
    // Whole, at some six bits a character.
    let token = sensitive - nowhere;
    assert!((1_100..1_300).contains(&token), "{token}");
    // What an index would make of it.
    assert!(first_indexed > 1_100, "{first_indexed}");
    assert!(indexed - nowhere <= 2, "{indexed} and {nowhere}");
}
