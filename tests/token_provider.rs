//! `TokenProvider`: which identity it finds or is told, and what it says when
//! there is none.
#![cfg(all(
    unix,
    feature = "azure",
    feature = "aws-lc-rs",
    feature = "developer-tools"
))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/loopback.rs"]
mod loopback;
#[path = "support/scripted.rs"]
mod scripted;
#[path = "support/tool_stub.rs"]
mod tool_stub;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

#[cfg(feature = "pkcs12")]
use base64::{Engine as _, engine::general_purpose::STANDARD};
use certificates::Made;
use http::{Request, StatusCode};
use http_body_util::Full;
use loopback::{closed_port, in_own_process};
use scripted::{Script, reply};
use tool_stub::{Folder, eventually};
use tower::{Layer as _, ServiceExt as _};
use tower_bearer::azure::{ConnectionString, TokenProvider, TokenProviderBuilder};
use tower_bearer::testing::{Azure, Failure, ManualRuntime};
use tower_bearer::{
    BearerAuthLayer, Credential as _, ErrorKind, Runtime as _, SharedCredential, TenantId,
    TokenCache, TokenRequest, Transport,
};

const VAULT: &str = "https://vault.azure.net";
const VARIABLE: &str = "AzureServicesAuthConnectionString";

/// A place where nothing is configured and nothing installed.
fn nowhere() -> Vec<(&'static str, String)> {
    vec![
        ("PATH", "/nowhere".to_owned()),
        ("HOME", "/nowhere".to_owned()),
        (
            "AZURE_POD_IDENTITY_AUTHORITY_HOST",
            format!("http://{}", closed_port()),
        ),
    ]
}

fn on_a_machine_of(azure: &Azure) -> Vec<(&'static str, String)> {
    vec![
        ("PATH", "/nowhere".to_owned()),
        ("HOME", "/nowhere".to_owned()),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.imds_host()),
    ]
}

fn told(azure: &Azure, string: &str) -> TokenProviderBuilder {
    TokenProvider::builder()
        .connection_string(string)
        .environment(on_a_machine_of(azure))
        .transport(Transport::new(azure.http_client()))
}

fn secret_string(azure: &Azure) -> String {
    format!(
        "RunAs=App;AppId={};TenantId={};AppKey='{}'",
        azure.client_id(),
        azure.tenant_id(),
        azure.client_secret()
    )
}

#[tokio::test]
async fn each_string_gives_a_token_of_the_identity_that_it_names() {
    let azure = Azure::start().await.unwrap();
    let worker = azure.assign_user_identity("worker");
    let folder = Folder::new();
    let made = Made::new();
    let pem = folder.write("client.pem", made.pem());
    azure
        .register_certificate(azure.tenant_id(), "with-certificate", &made.certificate)
        .unwrap();
    azure.vault().set_certificate("app", &made.pem());

    let tenant = azure.tenant_id();
    for (string, credential, app_id) in [
        (
            "RunAs=App".to_owned(),
            "ManagedIdentityCredential",
            azure.system_assigned_identity().client_id().to_owned(),
        ),
        (
            format!("runas=app; appid = {}", worker.client_id()),
            "ManagedIdentityCredential",
            worker.client_id().to_owned(),
        ),
        (
            secret_string(&azure),
            "ClientSecretCredential",
            azure.client_id().to_owned(),
        ),
        (
            format!(
                "RunAs=App;AppId=with-certificate;TenantId={tenant};CertificatePath={}",
                pem.display()
            ),
            "ClientCertificateCredential",
            "with-certificate".to_owned(),
        ),
        (
            "RunAs=App;AppId=with-certificate;KeyVaultCertificateSecretIdentifier=https://myvault.vault.azure.net/secrets/app".to_owned(),
            "KeyVaultCertificateCredential",
            "with-certificate".to_owned(),
        ),
    ] {
        let provider = told(&azure, &string).build().unwrap();
        let token = provider.token(VAULT).await.unwrap();
        assert_eq!(token.credential(), credential);
        let principal = provider.principal(VAULT).await.unwrap();
        assert_eq!(principal.app_id(), Some(app_id.as_str()));
        let shown = principal.to_string();
        assert!(
            shown.starts_with(&format!(
                "IsAuthenticated:True Type:App AppId:{app_id} TenantId:{tenant}"
            )),
            "{shown}"
        );
        assert_eq!(shown.contains("CertificateThumbprint:"), app_id == "with-certificate");
        assert!(provider.connection_string().unwrap().warnings().is_empty());
    }
}

#[tokio::test]
async fn a_developers_tool_is_run_if_the_string_says_so() {
    let folder = Folder::new();
    let bin = folder.folder("bin");
    let az = folder.write(
        "bin/az",
        r#"#!/bin/sh
echo "{\"accessToken\":\"canary-of-az\",\"expires_on\":$(($(/bin/date +%s) + 3600)),\"tokenType\":\"Bearer\",\"tenant\":\"t\"}"
"#,
    );
    std::fs::set_permissions(az, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut variables = nowhere();
    variables[0].1 = bin.display().to_string();
    let provider = TokenProvider::builder()
        .connection_string("RunAs=Developer; DeveloperTool=AzureCLI")
        .environment(variables.clone())
        .build()
        .unwrap();
    let token = provider.token(VAULT).await.unwrap();
    assert_eq!(token.credential(), "AzureCliCredential");
    assert_eq!(token.secret(), "canary-of-az");

    // Without a string it is the last way that is tried.
    let provider = TokenProvider::builder()
        .environment(variables)
        .build()
        .unwrap();
    let token = provider.token(VAULT).await.unwrap();
    assert_eq!(token.credential(), "AzureCliCredential");
}

#[tokio::test]
async fn without_a_string_three_ways_are_tried_and_told() {
    let provider = TokenProvider::builder()
        .environment(nowhere())
        .build()
        .unwrap();
    let error = provider.token(VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error
            .to_string()
            .starts_with("tried 3 ways to get a token for https://vault.azure.net, and none of them worked\n  1. ManagedIdentityCredential ("),
        "{error}"
    );
    let names: Vec<_> = error
        .attempts()
        .iter()
        .map(|attempt| attempt.error().credential().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "ManagedIdentityCredential",
            "VisualStudioCredential",
            "AzureCliCredential"
        ]
    );
    for attempt in error.attempts() {
        assert_eq!(attempt.error().kind(), ErrorKind::Unavailable);
        assert!(attempt.error().advice().is_some(), "{attempt}");
    }
}

#[tokio::test]
async fn the_variable_counts_unless_a_string_is_given_even_a_blank_one() {
    let azure = Azure::start().await.unwrap();
    let mut variables = on_a_machine_of(&azure);
    variables.push((VARIABLE, secret_string(&azure)));
    let builder = || {
        TokenProvider::builder()
            .environment(variables.clone())
            .transport(Transport::new(azure.http_client()))
    };
    let credential = async |builder: TokenProviderBuilder| {
        let provider = builder.build().unwrap();
        provider.token(VAULT).await.unwrap().credential().to_owned()
    };
    assert_eq!(credential(builder()).await, "ClientSecretCredential");
    let found = "ManagedIdentityCredential";
    assert_eq!(credential(builder().connection_string("")).await, found);
    assert_eq!(credential(builder().connection_string(" \n")).await, found);
    assert_eq!(
        credential(builder().connection_string("RunAs=App")).await,
        found
    );
    variables.last_mut().unwrap().1 = "  ".to_owned();
    let blank = TokenProvider::builder().environment(variables.clone());
    assert_eq!(credential(blank).await, found);
}

#[test]
fn t22_wrong_strings_are_told_without_their_values() {
    for string in [
        "RunAs=App;AppKey=canary",
        "RunAs=App;ClientId=x;TenantId=t;AppKey=canary",
        "RunAs=canary",
        "RunAs=App;AppId=a;TenantId=t;AppKey='canary",
        "AppKey=canary;AppKey=canary",
        "RunAs=App;AppId=a;TenantId=t;CertificatePath=/nowhere/c.pem;CertificatePassword=canary",
        "RunAs=CurrentUser",
        "RunAs=App;AppId=a;TenantId=t;CertificateThumbprint=0123;CertificateStoreLocation=LocalMachine",
        "RunAs=App;AppId=a;KeyVaultCertificateSecretIdentifier=http://v.vault.azure.net/secrets/a",
    ] {
        for from_variable in [false, true] {
            let mut variables = nowhere();
            let mut builder = TokenProvider::builder();
            if from_variable {
                variables.push((VARIABLE, string.to_owned()));
            } else {
                builder = builder.connection_string(string);
            }
            assert!(!format!("{builder:?}").contains("canary"));
            let error = builder.environment(variables).build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{string}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
}

#[test]
fn warnings_can_be_read_or_refused() {
    let string = "RunAs=App;Colour=blue";
    let builder = || {
        TokenProvider::builder()
            .connection_string(string)
            .environment(nowhere())
    };
    let provider = builder().build().unwrap();
    let warnings = provider.connection_string().map(ConnectionString::warnings);
    assert_eq!(warnings.unwrap().len(), 1);
    let error = builder().deny_warnings().build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("Colour"), "{error}");
}

#[tokio::test]
async fn another_tenant_is_asked_where_that_is_allowed() {
    let azure = Azure::start().await.unwrap();
    azure.register_application("other.example", azure.client_id(), azure.client_secret());
    let request = TokenRequest::new(VAULT).with_tenant(TenantId::new("other.example").unwrap());
    let provider = told(&azure, &secret_string(&azure)).build().unwrap();
    let error = provider.token_for(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);

    let provider = told(&azure, &secret_string(&azure))
        .additionally_allowed_tenants(["other.example"])
        .build()
        .unwrap();
    let token = provider.token_for(&request).await.unwrap();
    assert_eq!(token.principal().tenant_id(), Some("other.example"));
    let token = provider.token(VAULT).await.unwrap();
    assert_eq!(token.principal().tenant_id(), Some(azure.tenant_id()));
}

#[tokio::test]
async fn clones_and_layers_share_one_token_and_a_refresh_replaces_it() {
    let azure = Azure::start().await.unwrap();
    azure.vault().set_secret("db", "value");
    let provider = told(&azure, &secret_string(&azure)).build().unwrap();
    let client = BearerAuthLayer::azure(provider.clone()).layer(azure.http_client());
    let get = || {
        Request::get("https://myvault.vault.azure.net/secrets/db?api-version=7.4")
            .body(Full::default())
            .unwrap()
    };
    assert_eq!(client.clone().oneshot(get()).await.unwrap().status(), 200);
    let first = provider.clone().token(VAULT).await.unwrap();
    let cache: TokenCache = (&provider).into();
    assert_eq!(cache.token(VAULT).await.unwrap().secret(), first.secret());
    assert_eq!(azure.token_requests(), 1);

    let second = provider.refresh(VAULT).await.unwrap();
    assert_ne!(second.secret(), first.secret());
    assert_eq!(
        provider.token(VAULT).await.unwrap().secret(),
        second.secret()
    );
    assert_eq!(client.clone().oneshot(get()).await.unwrap().status(), 200);
    assert_eq!(azure.token_requests(), 2);
    let shown = format!("{provider:?}");
    assert!(!shown.contains(azure.client_secret()), "{shown}");
}

#[tokio::test]
async fn r30_a_certificate_that_the_vault_has_renewed_is_read_again_after_a_refusal() {
    let azure = Azure::start().await.unwrap();
    let (first, second) = (Made::new(), Made::new());
    azure.vault().set_certificate("app", &first.pem());
    azure
        .register_certificate(azure.tenant_id(), "app-id", &second.certificate)
        .unwrap();
    let provider = told(&azure, IN_VAULT).build().unwrap();
    let request = TokenRequest::new(VAULT);
    let credential = provider.credential();
    let error = tower_bearer::Credential::token(credential, &request)
        .await
        .unwrap_err();
    assert_eq!(error.aadsts_codes(), [700_027]);
    azure.vault().set_certificate("app", &second.pem());
    let token = tower_bearer::Credential::token(credential, &request)
        .await
        .unwrap();
    assert_eq!(token.principal().app_id(), Some("app-id"));
}

const IN_VAULT: &str = "RunAs=App;AppId=app-id;KeyVaultCertificateSecretIdentifier=https://myvault.vault.azure.net/secrets/app";

/// For longer than anybody waits.
fn unavailable() -> Failure {
    Failure::status(StatusCode::SERVICE_UNAVAILABLE).with_retry_after(Duration::from_secs(120))
}

/// An Azure half an hour before 2028, whose vault has a certificate that ends
/// with the year.
async fn shortly_before_2028() -> (Azure, Arc<ManualRuntime>, SharedCredential, TokenRequest) {
    let runtime = Arc::new(ManualRuntime::with_seed(5));
    let azure = Azure::builder()
        .runtime(runtime.clone())
        .start()
        .await
        .unwrap();
    let made = Made::valid(2020, 2028);
    azure
        .register_certificate(azure.tenant_id(), "app-id", &made.certificate)
        .unwrap();
    azure.vault().set_certificate("app", &made.pem());
    let then = UNIX_EPOCH + Duration::from_secs(1_830_297_600 - 30 * 60);
    runtime.advance(then.duration_since(runtime.now().wall).unwrap());
    let provider = told(&azure, IN_VAULT).build().unwrap();
    let request = TokenRequest::new(VAULT).with_runtime(runtime.clone());
    (azure, runtime, provider.credential().clone(), request)
}

#[tokio::test]
async fn r30_a_certificate_that_ends_within_the_hour_is_read_again() {
    let (azure, runtime, credential, request) = shortly_before_2028().await;
    let first = credential.token(&request).await.unwrap();
    let renewed = Made::new();
    azure
        .register_certificate(azure.tenant_id(), "app-id", &renewed.certificate)
        .unwrap();
    azure.vault().set_certificate("app", &renewed.pem());
    runtime.advance(Duration::from_secs(31 * 60));
    let second = credential.token(&request).await.unwrap();
    assert_ne!(
        first.principal().certificate_thumbprint(),
        second.principal().certificate_thumbprint()
    );
}

#[tokio::test]
async fn r30_a_vault_that_is_away_does_not_end_the_certificate_that_is_in_use() {
    let (azure, runtime, credential, request) = shortly_before_2028().await;
    // A year earlier, so that an hour later it is still good.
    runtime.step_wall_back(Duration::from_secs(365 * 86_400));
    let asked = || azure.vault().requests();
    credential.token(&request).await.unwrap();
    azure.vault().fail_requests(unavailable());
    runtime.advance(Duration::from_secs(3601));
    let before = asked();
    for _ in 0..3 {
        credential.token(&request).await.unwrap();
    }
    assert_eq!(asked(), before + 1);
    runtime.advance(Duration::from_secs(301));
    credential.token(&request).await.unwrap();
    assert_eq!(asked(), before + 2);

    runtime.step_wall_forward(Duration::from_secs(365 * 86_400));
    let error = credential.token(&request).await.unwrap_err();
    for words in ["the certificate that was in use", "503"] {
        assert!(error.message().contains(words), "{error}");
    }
}

#[tokio::test]
async fn r10_a_vault_that_is_busy_for_a_moment_is_asked_again() {
    let (azure, runtime, credential, request) = shortly_before_2028().await;
    azure
        .vault()
        .fail_next_requests(1, Failure::status(StatusCode::SERVICE_UNAVAILABLE));
    let asked = tokio::spawn(async move { credential.token(&request).await });
    let pause = eventually(|| {
        if asked.is_finished() {
            return Some(None);
        }
        let wait = runtime.next_wake()?;
        (wait <= Duration::from_secs(2)).then_some(Some(wait))
    })
    .await;
    runtime.advance(pause.expect("it waits before it asks again"));
    asked.await.unwrap().unwrap();
    assert_eq!(azure.vault().requests(), 3);
}

/// As Key Vault keeps certificates unless it is told otherwise.
#[cfg(feature = "pkcs12")]
#[tokio::test]
async fn a_certificate_is_read_from_the_vault_as_pkcs12_without_a_password() {
    let azure = Azure::start().await.unwrap();
    let made = Made::new();
    azure
        .register_certificate(azure.tenant_id(), "app-id", &made.certificate)
        .unwrap();
    let machine = told(&azure, "RunAs=App").build().unwrap();
    let token = machine.token(VAULT).await.unwrap();
    let secret = serde_json::json!({
        "value": STANDARD.encode(made.pkcs12("")),
        "contentType": "application/x-pkcs12",
    });
    let put = Request::put("https://myvault.vault.azure.net/secrets/app?api-version=7.4")
        .header("authorization", format!("Bearer {}", token.secret()))
        .header("content-type", "application/json")
        .body(Full::from(secret.to_string()))
        .unwrap();
    assert_eq!(
        azure.http_client().oneshot(put).await.unwrap().status(),
        200
    );

    let provider = told(&azure, IN_VAULT).build().unwrap();
    let token = provider.token(VAULT).await.unwrap();
    assert_eq!(token.principal().app_id(), Some("app-id"));
}

#[tokio::test]
async fn i9_a_host_that_poses_as_a_vault_gets_no_token() {
    let azure = Azure::start().await.unwrap();
    for (host, resource) in [
        ("vault.example", "https://vault.azure.net"),
        ("myvault.vault.azure.net.example", "https://vault.azure.net"),
        ("evilvault.azure.net", "https://vault.azure.net"),
        ("myvault.vault.azure.net", "https://management.azure.com"),
    ] {
        let challenge = format!(
            r#"Bearer authorization="https://login.microsoftonline.com/contoso.com", resource="{resource}""#
        );
        let script = Script::new([reply(401, "").header("www-authenticate", &challenge)]);
        let string = format!(
            "RunAs=App;AppId=app-id;KeyVaultCertificateSecretIdentifier=https://{host}/secrets/app"
        );
        let provider = told(&azure, &string)
            .transport(script.transport())
            .build()
            .unwrap();
        let error = provider.token(VAULT).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{error}");
        assert!(error.message().contains(host), "{error}");
        assert_eq!(script.requests(), 1);
        assert!(!script.seen()[0].headers.contains_key("authorization"));
    }
    assert_eq!(azure.imds_requests(), 0);
}

#[tokio::test]
async fn what_keeps_a_certificate_from_being_read_in_the_vault_is_told() {
    let azure = Azure::start().await.unwrap();
    azure.vault().set_secret("plain", "canary");
    let error_of = async |url: &str| {
        let string = format!("RunAs=App;AppId=app-id;KeyVaultCertificateSecretIdentifier={url}");
        let provider = told(&azure, &string).build().unwrap();
        let error = provider.token(VAULT).await.unwrap_err();
        assert_eq!(error.credential(), Some("KeyVaultCertificateCredential"));
        assert!(!format!("{error} {error:?}").contains("canary"));
        error
    };
    let error = error_of("https://myvault.vault.azure.net/secrets/none").await;
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.status().unwrap(), 404);
    let error = error_of("https://myvault.vault.azure.net/secrets/plain").await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    // Entra is no vault, and names no resource of its own.
    let error = error_of("https://login.microsoftonline.com/secrets/app").await;
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);

    // Whether it is asked for its challenge or for the secret.
    let busy =
        Failure::status(StatusCode::TOO_MANY_REQUESTS).with_retry_after(Duration::from_secs(7));
    azure.vault().fail_requests(busy);
    let error = error_of("https://myvault.vault.azure.net/secrets/app").await;
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    azure.vault().fail_requests(unavailable());
    let error = error_of("https://myvault.vault.azure.net/secrets/app").await;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.message().contains("503"), "{error}");
    azure.vault().recover();

    let machine = azure.system_assigned_identity();
    azure.vault().deny(machine.client_id());
    let error = error_of("https://myvault.vault.azure.net/secrets/app").await;
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.advice().unwrap().contains("Secrets User"), "{error}");
    azure.vault().permit(machine.client_id());

    azure.assign_system_identity(false);
    let error = error_of("https://myvault.vault.azure.net/secrets/app").await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.attempts().len(), 3);
}

#[test]
fn the_environment_of_the_process_is_read() {
    in_own_process(
        "child_is_told_by_its_environment",
        &[(
            VARIABLE,
            "RunAs=App;AppId=a;TenantId=t.example;AppKey=canary",
        )],
    );
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_is_told_by_its_environment() {
    let provider = TokenProvider::from_env().unwrap();
    let shown = format!("{provider:?}");
    assert!(
        shown.contains("AppKey") && !shown.contains("canary"),
        "{shown}"
    );
    assert!(TokenProvider::from_connection_string("RunAs=App").is_ok());
}
