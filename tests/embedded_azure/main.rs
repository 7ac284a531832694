//! What the embedded Azure promises to those who test with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod assertions;
#[path = "../support/certificates.rs"]
mod certificates;
mod client;
mod entra;
mod faults;
mod hosts;
mod imds;
mod life;
#[path = "../support/scripted.rs"]
mod scripted;
mod vault;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower_bearer::ErrorKind;
use tower_bearer::testing::{Azure, Endpoint, Failure, HttpClient, ManualRuntime};

const IMDS: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const VAULT: &str = "https://vault.azure.net";
const DB: &str = "https://myvault.vault.azure.net/secrets/db?api-version=7.4";

type Sent = Response<Bytes>;

/// A limit on the real clock for what must not hang. Nothing waits for it.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("this must not hang")
}

async fn send(client: &HttpClient, request: Request<Full<Bytes>>) -> Sent {
    let (parts, body) = soon(client.request(request)).await.unwrap().into_parts();
    let body = soon(body.collect()).await.unwrap().to_bytes();
    Response::from_parts(parts, body)
}

fn body(response: &Sent) -> Value {
    serde_json::from_slice(response.body()).unwrap_or(Value::Null)
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    let encode =
        |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

fn imds_request(query: &[(&str, &str)]) -> Request<Full<Bytes>> {
    Request::get(format!("{IMDS}?{}", encoded(query)))
        .header("Metadata", "true")
        .body(Full::default())
        .unwrap()
}

const GOOD_QUERY: [(&str, &str); 2] = [("api-version", "2018-02-01"), ("resource", VAULT)];

async fn imds_token(client: &HttpClient) -> String {
    let response = send(client, imds_request(&GOOD_QUERY)).await;
    body(&response)["access_token"].as_str().unwrap().to_owned()
}

fn good_form(azure: &Azure) -> Vec<(&'static str, String)> {
    vec![
        ("grant_type", "client_credentials".to_owned()),
        ("client_id", azure.client_id().to_owned()),
        ("client_secret", azure.client_secret().to_owned()),
        ("scope", format!("{VAULT}/.default")),
    ]
}

fn token_url(tenant: &str) -> String {
    format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token")
}

fn entra_request(azure: &Azure, form: &[(&'static str, String)]) -> Request<Full<Bytes>> {
    let pairs: Vec<_> = form.iter().map(|(n, v)| (*n, v.as_str())).collect();
    Request::post(token_url(azure.tenant_id()))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(Full::from(encoded(&pairs)))
        .unwrap()
}

async fn entra_token(
    azure: &Azure,
    client: &HttpClient,
    changes: &[(&'static str, &str)],
) -> Value {
    let mut form = good_form(azure);
    for (name, value) in changes {
        form.retain(|(known, _)| known != name);
        form.push((name, (*value).to_owned()));
    }
    let response = send(client, entra_request(azure, &form)).await;
    assert_eq!(response.status(), 200, "{}", body(&response));
    body(&response)
}

fn get(url: &str, token: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::get(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    request.body(Full::default()).unwrap()
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn challenge(response: &Sent) -> &str {
    assert_eq!(response.status(), 401);
    response.headers()["www-authenticate"].to_str().unwrap()
}

fn message(response: &Sent) -> String {
    body(response)["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Its clock stands still, so that no answer depends on how long it took.
async fn with_secret() -> (Azure, HttpClient) {
    let clock = Arc::new(ManualRuntime::new());
    let azure = Azure::builder().runtime(clock).start().await.unwrap();
    azure.vault().set_secret("db", "s3cret");
    let client = azure.http_client();
    (azure, client)
}
