//! `DefaultAzureCredential` and `EnvironmentCredential`: what is tried, in which
//! order, and what ends the search.
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

#[path = "support/loopback.rs"]
mod loopback;
#[path = "support/tool_stub.rs"]
mod tool_stub;

use std::time::Duration;

use loopback::closed_port;
use tool_stub::Folder;
use tower_bearer::azure::{Cloud, DefaultAzureCredential};
use tower_bearer::testing::{Azure, Failure};
use tower_bearer::{
    AccessToken, Credential as _, Error, ErrorKind, TenantId, TokenRequest, Transport,
};

type Variables = Vec<(&'static str, String)>;

fn nowhere() -> Variables {
    vec![
        ("PATH", "/nowhere".to_owned()),
        ("HOME", "/nowhere".to_owned()),
        (
            "AZURE_POD_IDENTITY_AUTHORITY_HOST",
            format!("http://{}", closed_port()),
        ),
    ]
}

async fn token(azure: &Azure, variables: &Variables) -> Result<AccessToken, Error> {
    DefaultAzureCredential::builder()
        .environment(variables.clone())
        .transport(Transport::new(azure.http_client()))
        .build()?
        .token(&TokenRequest::new("https://vault.azure.net"))
        .await
}

fn tried(error: &Error) -> Vec<&str> {
    error
        .attempts()
        .iter()
        .map(|attempt| attempt.error().credential().unwrap())
        .collect()
}

fn install(folder: &Folder, variables: &mut Variables, name: &str, script: &str) {
    let bin = folder.folder("bin");
    let path = folder.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    variables[0].1 = bin.display().to_string();
}

#[tokio::test]
async fn seven_ways_are_tried_in_this_order() {
    let azure = Azure::start().await.unwrap();
    let error = token(&azure, &nowhere()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        tried(&error),
        [
            "EnvironmentCredential",
            "WorkloadIdentityCredential",
            "ManagedIdentityCredential",
            "VisualStudioCredential",
            "AzureCliCredential",
            "AzureDeveloperCliCredential",
            "AzurePowerShellCredential",
        ]
    );
    for attempt in error.attempts() {
        assert!(attempt.error().advice().is_some(), "{attempt}");
    }
}

#[tokio::test]
async fn an_application_in_the_environment_comes_first_and_its_refusal_is_final() {
    let azure = Azure::start().await.unwrap();
    let mut variables = nowhere();
    variables[2].1 = azure.imds_host();
    variables.extend([
        ("AZURE_TENANT_ID", azure.tenant_id().to_owned()),
        ("AZURE_CLIENT_ID", azure.client_id().to_owned()),
        ("AZURE_CLIENT_SECRET", azure.client_secret().to_owned()),
    ]);
    let good = token(&azure, &variables).await.unwrap();
    assert_eq!(good.credential(), "ClientSecretCredential");

    variables.last_mut().unwrap().1 = "canary".to_owned();
    let error = token(&azure, &variables).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.aadsts_codes(), [7_000_215]);
    assert!(!format!("{error:?}").contains("canary"));
    assert_eq!(azure.imds_requests(), 0);
}

#[tokio::test]
async fn a_setting_that_cannot_be_used_ends_the_search() {
    let azure = Azure::start().await.unwrap();
    let mut variables = nowhere();
    variables[2].1 = azure.imds_host();
    variables.extend([
        ("AZURE_TENANT_ID", azure.tenant_id().to_owned()),
        ("AZURE_CLIENT_ID", azure.client_id().to_owned()),
        (
            "AZURE_CLIENT_CERTIFICATE_PATH",
            "/nowhere/client.pem".to_owned(),
        ),
    ]);
    let error = token(&azure, &variables).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("/nowhere/client.pem"), "{error}");
    assert_eq!(azure.imds_requests(), 0);
}

#[tokio::test]
async fn a_pod_with_workload_identity_is_found_and_settings_go_before_the_environment() {
    let azure = Azure::start().await.unwrap();
    let mut variables = nowhere();
    variables.extend(azure.workload_identity_environment().unwrap());
    for (name, value) in &mut variables {
        if *name == "AZURE_AUTHORITY_HOST" {
            *value = "login.nowhere.example".to_owned();
        }
    }
    azure.register_service_account(
        "fabrikam.example",
        azure.client_id(),
        "system:serviceaccount:default:embedded",
    );
    let builder = || {
        DefaultAzureCredential::builder()
            .environment(variables.clone())
            .transport(Transport::new(azure.http_client()))
            .authority_host("login.microsoftonline.com")
    };
    let vault = || TokenRequest::new("https://vault.azure.net");
    let found = builder().build().unwrap().token(&vault()).await.unwrap();
    assert_eq!(found.credential(), "WorkloadIdentityCredential");
    assert_eq!(found.principal().tenant_id(), Some(azure.tenant_id()));

    let abroad = vault().with_tenant(TenantId::new("fabrikam.example").unwrap());
    let error = builder().build().unwrap().token(&abroad).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let allowed = builder().additionally_allowed_tenants(["fabrikam.example"]);
    let found = allowed.build().unwrap().token(&abroad).await.unwrap();
    assert_eq!(found.principal().tenant_id(), Some("fabrikam.example"));

    let both = builder().cloud(Cloud::China);
    let error = both.build().unwrap().token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn on_a_machine_of_another_cloud_the_search_goes_on_at_once() {
    let azure = Azure::start().await.unwrap();
    let mut variables = nowhere();
    variables[2].1 = azure.imds_host();
    for status in [401, 403, 404] {
        let status = http::StatusCode::from_u16(status).unwrap();
        azure.fail_imds_probes(Failure::answer(status, "<html>no Azure</html>"));
        let error = token(&azure, &variables).await.unwrap_err();
        assert_eq!(tried(&error).len(), 7, "{status}: {error}");
    }
    assert_eq!(azure.imds_probes(), 3);
    assert_eq!(azure.token_requests(), 0);
}

#[tokio::test]
async fn the_client_id_alone_names_a_user_assigned_identity() {
    let azure = Azure::start().await.unwrap();
    let worker = azure.assign_user_identity("worker");
    let mut variables = nowhere();
    variables[2].1 = azure.imds_host();
    let system = token(&azure, &variables).await.unwrap();
    assert_eq!(system.credential(), "ManagedIdentityCredential");
    assert_eq!(azure.imds_probes(), 1);
    variables.push(("AZURE_CLIENT_ID", worker.client_id().to_owned()));
    let user = token(&azure, &variables).await.unwrap();
    assert_eq!(user.principal().app_id(), Some(worker.client_id()));
}

#[tokio::test]
async fn the_variable_selects_and_a_named_managed_identity_is_not_probed() {
    let azure = Azure::start().await.unwrap();
    let selected = |value: &str| {
        let mut variables = nowhere();
        variables.push(("AZURE_TOKEN_CREDENTIALS", value.to_owned()));
        variables
    };
    let error = token(&azure, &selected("dev")).await.unwrap_err();
    assert_eq!(tried(&error).len(), 4);
    let error = token(&azure, &selected("Prod")).await.unwrap_err();
    assert_eq!(tried(&error).len(), 3);
    let error = token(&azure, &selected("AzureCliCredential"))
        .await
        .unwrap_err();
    assert_eq!(error.credential(), Some("AzureCliCredential"));
    assert!(error.attempts().is_empty());
    let error = token(&azure, &selected("cli")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);

    let mut named = selected("managedidentitycredential");
    named[2].1 = azure.imds_host();
    token(&azure, &named).await.unwrap();
    assert_eq!(azure.imds_probes(), 0);
}

#[tokio::test]
async fn a_tool_that_talks_nonsense_is_passed_over_and_one_that_refuses_is_not() {
    let azure = Azure::start().await.unwrap();
    let folder = Folder::new();
    let mut variables = nowhere();
    install(&folder, &mut variables, "az", "echo no json");
    install(
        &folder,
        &mut variables,
        "azd",
        r#"echo "{\"token\":\"of-azd\",\"expiresOn\":\"$(/bin/date -u -d '+1 hour' +%Y-%m-%dT%H:%M:%SZ)\"}""#,
    );
    let good = token(&azure, &variables).await.unwrap();
    assert_eq!(good.credential(), "AzureDeveloperCliCredential");

    install(
        &folder,
        &mut variables,
        "az",
        "echo \"ERROR: AADSTS50076: you must use multi-factor authentication. Trace ID: 1 \
         Correlation ID: 72f988bf-86f1-41af-91ab-2d7cd011db47\" >&2; exit 1",
    );
    let error = token(&azure, &variables).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.credential(), Some("AzureCliCredential"));
    assert_eq!(error.aadsts_codes(), [50_076]);
    assert_eq!(
        error.correlation_id(),
        Some("72f988bf-86f1-41af-91ab-2d7cd011db47")
    );
    assert_eq!(tried(&error).len(), 5);
    assert!(
        error
            .message()
            .starts_with("after 4 credentials that are not available here: "),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_look_for_a_managed_identity_takes_as_long_as_it_was_given() {
    let azure = Azure::start().await.unwrap();
    azure.fail_imds_probes(Failure::hang());
    let mut variables = nowhere();
    variables[2].1 = azure.imds_host();
    for seconds in [1, 6] {
        let credential = DefaultAzureCredential::builder()
            .environment(variables.clone())
            .probe_timeout(Duration::from_secs(seconds))
            .build()
            .unwrap();
        let request = TokenRequest::new("https://vault.azure.net");
        let error = credential.token(&request).await.unwrap_err();
        assert_eq!(error.attempts()[2].took().as_secs(), seconds, "{error}");
    }
}
