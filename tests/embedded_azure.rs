//! What the embedded Azure promises.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tower_bearer::testing::{Azure, HttpClient};

const IMDS: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

async fn json(client: &HttpClient, request: Request<Full<Bytes>>) -> (StatusCode, Value) {
    let response = client.request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn smoke() {
    let begun = tokio::time::Instant::now();
    let azure = Azure::start().await.unwrap();
    println!("started in {:?}", begun.elapsed());
    azure.vault().set_secret("db", "s3cret");
    let client = azure.http_client();
    let request = Request::get(format!(
        "{IMDS}?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net"
    ))
    .header("Metadata", "true")
    .body(Full::default())
    .unwrap();
    let (status, body) = json(&client, request).await;
    println!("{status} {body}");
    let token = body["access_token"].as_str().unwrap();
    let request = Request::get("https://myvault.vault.azure.net/secrets/db?api-version=7.4")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::default())
        .unwrap();
    let (status, body) = json(&client, request).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["value"], "s3cret");
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fvault.azure.net%2F.default",
        azure.client_id(),
        azure.client_secret()
    );
    let request = Request::post(format!(
        "https://login.microsoftonline.com/{}/oauth2/v2.0/token",
        azure.tenant_id()
    ))
    .header("content-type", "application/x-www-form-urlencoded")
    .body(Full::from(form))
    .unwrap();
    let (status, body) = json(&client, request).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(azure.token_requests(), 2);
}
