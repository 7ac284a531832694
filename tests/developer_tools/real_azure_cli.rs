//! The Azure CLI itself, where `.ci/azure_cli.sh` has installed it and signs it
//! in to the embedded Azure, in a network that leads nowhere else.

use std::time::{Duration, SystemTime};

use tower_bearer::azure::AzureCliCredential;
use tower_bearer::{Credential as _, Error, ErrorKind, PrincipalType, TenantId, TokenRequest};

use super::{VAULT, assert_says};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// Elsewhere it would be somebody's own, and ask the real Entra.
fn credential() -> AzureCliCredential {
    assert_eq!(variable("NETWORK"), "of its own");
    AzureCliCredential::new().unwrap()
}

async fn error_of(request: impl Into<TokenRequest>) -> Error {
    let error = credential().token(&request.into()).await.unwrap_err();
    println!("{:?}: {error}", error.kind());
    error
}

#[tokio::test]
#[ignore = "run by .ci/azure_cli.sh"]
async fn it_is_not_installed() {
    let error = error_of(VAULT).await;
    assert_says(
        &error,
        ErrorKind::Unavailable,
        &["there is no az in", "https://aka.ms/azure-cli"],
    );
}

#[tokio::test]
#[ignore = "run by .ci/azure_cli.sh"]
async fn nobody_is_signed_in() {
    let error = error_of(VAULT).await;
    assert_says(
        &error,
        ErrorKind::Unavailable,
        &[
            "Please run 'az login' to setup account",
            "run `az login --scope",
        ],
    );
}

#[tokio::test]
#[ignore = "run by .ci/azure_cli.sh"]
async fn it_has_nowhere_to_write() {
    let error = error_of(VAULT).await;
    assert_says(
        &error,
        ErrorKind::Unavailable,
        &["Error: [Errno", "az account show"],
    );
}

#[tokio::test]
#[ignore = "run by .ci/azure_cli.sh"]
async fn an_application_is_signed_in() {
    let credential = credential();
    let token = credential.token(&TokenRequest::new(VAULT)).await.unwrap();
    println!("{} until {:?}", token.principal(), token.expires_on());
    let life = token
        .expires_on()
        .duration_since(SystemTime::now())
        .unwrap();
    assert!(life > Duration::from_secs(60) && life < Duration::from_secs(48 * 3600));
    let principal = token.principal();
    assert_eq!(principal.principal_type(), Some(PrincipalType::App));
    assert_eq!(principal.app_id(), Some(&*variable("AZURE_CLIENT_ID")));
    assert_eq!(principal.tenant_id(), Some(&*variable("AZURE_TENANT_ID")));

    let own = TenantId::new(&variable("AZURE_TENANT_ID")).unwrap();
    assert_eq!(credential.tenant(&own), None);
    let of_own = TokenRequest::new(VAULT).with_tenant(own);
    credential.token(&of_own).await.unwrap();
}

#[tokio::test]
#[ignore = "run by .ci/azure_cli.sh"]
async fn the_tenant_is_not_there() {
    let tenant = TenantId::new("11111111-86f1-41af-91ab-2d7cd011db47").unwrap();
    let error = error_of(TokenRequest::new(VAULT).with_tenant(tenant)).await;
    assert_says(&error, ErrorKind::Rejected, &["AADSTS90002"]);
    assert_eq!(error.aadsts_codes(), [90_002]);
}

#[tokio::test]
#[ignore = "run by .ci/azure_cli.sh"]
async fn the_subscription_is_not_there() {
    assert_eq!(variable("NETWORK"), "of its own");
    let credential = AzureCliCredential::builder().subscription("nowhere");
    let error = credential
        .build()
        .unwrap()
        .token(&TokenRequest::new(VAULT))
        .await
        .unwrap_err();
    println!("{:?}: {error}", error.kind());
    assert_says(&error, ErrorKind::Configuration, &["az account list"]);
}

#[tokio::test]
#[ignore = "run by .ci/azure_cli.sh"]
async fn the_certificate_is_not_trusted() {
    let error = error_of("https://storage.azure.com").await;
    assert_says(
        &error,
        ErrorKind::Unreachable,
        &["does not trust", "REQUESTS_CA_BUNDLE"],
    );
}

#[tokio::test]
#[ignore = "run by .ci/azure_cli.sh"]
async fn the_secret_has_become_wrong() {
    let error = error_of("https://storage.azure.com").await;
    assert_says(&error, ErrorKind::Rejected, &["the client secret is wrong"]);
    assert_eq!(error.aadsts_codes(), [7_000_215]);
    assert!(error.correlation_id().is_some());
}

#[tokio::test]
#[ignore = "run by .ci/azure_cli.sh"]
async fn the_sign_in_is_lost() {
    let error = error_of("https://storage.azure.com").await;
    assert_says(
        &error,
        ErrorKind::Unavailable,
        &[&variable("AZURE_CLIENT_ID"), "run `az login --scope"],
    );
}

#[tokio::test]
#[ignore = "run by .ci/azure_cli.sh"]
async fn the_provider_is_down() {
    let error = error_of("https://storage.azure.com").await;
    assert_says(&error, ErrorKind::Unreachable, &["connection"]);
}
