//! Reads a secret from Key Vault through `reqwest_middleware`.
//!
//! ```sh
//! cargo run --features reqwest-middleware --example reqwest_middleware
//! ```
//!
//! needs nothing: an Azure of its own is started on loopback.
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use reqwest_middleware::ClientBuilder;
use tower_bearer::{
    BearerAuthLayer, BearerAuthMiddleware, BoxError, Hosts, ResolveAudience as _, TokenCache,
    azure, testing,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let azure = testing::Azure::start().await?;
    azure.vault().set_secret("greeting", "hello from Key Vault");

    let credential = azure::ManagedIdentityCredential::builder()
        .endpoint(azure.imds_host())
        .build()?;
    let tokens = TokenCache::new(credential);
    // The table knows no vault on loopback, so a rule names this one.
    let vault = azure.vault_url().replace("https://", "");
    let hosts = Hosts::new().allow(&vault, "https://vault.azure.net")?;
    let layer = BearerAuthLayer::new(tokens.clone(), hosts.or(azure::Audiences::new()));

    let certificate = reqwest::Certificate::from_pem(azure.ca_certificate_pem().as_bytes())?;
    let reqwest = reqwest::Client::builder()
        .tls_certs_only([certificate])
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()?;
    let client = ClientBuilder::new(reqwest)
        .with(BearerAuthMiddleware::new(layer))
        .build();

    let url = format!("{}/secrets/greeting?api-version=7.4", azure.vault_url());
    let response = client.get(&url).send().await?;
    println!("first read:     {}", response.status());
    println!(
        "principal:      {}",
        tokens.principal("https://vault.azure.net").await?
    );
    let secret: serde_json::Value = serde_json::from_slice(&response.bytes().await?)?;
    println!("secret:         greeting = {}", secret["value"]);
    let response = client.get(&url).send().await?;
    println!("second read:    {}", response.status());
    azure.revoke_tokens();
    let response = client.get(&url).send().await?;
    println!("token revoked:  {}", response.status());
    println!("token requests: {} in all", azure.token_requests());
    if !response.status().is_success() || azure.token_requests() != 2 {
        return Err("the revoked token was not renewed once".into());
    }
    Ok(())
}
