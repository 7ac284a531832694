//! Prints a secret of a vault, as the machine that this runs on.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{ServiceBuilder, ServiceExt};
use tower_bearer::{BearerAuthLayer, BoxError, TokenCache, azure};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let tokens = TokenCache::new(azure::ManagedIdentityCredential::new()?);
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
        .https_only()
        .enable_http1()
        .build();
    let client = ServiceBuilder::new()
        .layer(BearerAuthLayer::azure(tokens))
        .service(Client::builder(TokioExecutor::new()).build(https));

    let url = "https://myvault.vault.azure.net/secrets/db?api-version=7.4";
    let request = Request::get(url).body(Full::<Bytes>::default())?;
    let response = client.oneshot(request).await?;
    if !response.status().is_success() {
        return Err(response.status().to_string().into());
    }
    let body = response.into_body().collect().await?.to_bytes();
    let secret: serde_json::Value = serde_json::from_slice(&body)?;
    println!("{}", secret["value"].as_str().unwrap_or_default());
    Ok(())
}
