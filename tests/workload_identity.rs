//! `WorkloadIdentityCredential`: the token of the pod, read anew for each
//! request, and what is said when it cannot be.
#![cfg(all(unix, feature = "azure", feature = "aws-lc-rs"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "support/loopback.rs"]
mod loopback;
#[path = "support/scripted.rs"]
mod scripted;
#[path = "support/tool_stub.rs"]
mod tool_stub;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use loopback::in_own_process;
use scripted::{Reply, Script, reply, token};
use tool_stub::Folder;
use tower::ServiceExt as _;
use tower_bearer::azure::{
    ClientSecretCredential, WorkloadIdentityCredential, WorkloadIdentityCredentialBuilder,
};
use tower_bearer::testing::{Azure, ManualRuntime};
use tower_bearer::{Credential as _, ErrorKind, PrincipalType, TokenRequest, Transport};

const PROJECTED: &str = "eyJhbGciOiJub25lIn0.canary-one.c2ln";
const REPLACED: &str = "eyJhbGciOiJub25lIn0.canary-two.c2ln";

fn vault() -> TokenRequest {
    TokenRequest::new("https://vault.azure.net")
}

fn credential(script: &Script, folder: &Folder) -> WorkloadIdentityCredential {
    builder(folder)
        .transport(script.transport())
        .build()
        .unwrap()
}

fn builder(folder: &Folder) -> WorkloadIdentityCredentialBuilder {
    WorkloadIdentityCredential::builder()
        .tenant("contoso.com")
        .client_id("app-id")
        .token_file(folder.at("token"))
}

fn out_of_time() -> Reply {
    reply(
        401,
        r#"{"error":"invalid_client","error_description":"AADSTS700024: Client assertion is not within its valid time range.","error_codes":[700024]}"#,
    )
}

#[tokio::test(start_paused = true)]
async fn the_request_is_as_entra_wants_it() {
    let folder = Folder::new();
    fs::write(folder.at("token"), format!(" {PROJECTED}\n")).unwrap();
    let script = Script::new([token()]);
    let token = credential(&script, &folder).token(&vault()).await.unwrap();
    let seen = &script.seen()[0];
    assert_eq!(
        seen.uri,
        "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token"
    );
    assert_eq!(
        seen.body,
        format!(
            "grant_type=client_credentials&client_id=app-id\
             &scope=https%3A%2F%2Fvault.azure.net%2F.default\
             &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
             &client_assertion={PROJECTED}"
        )
    );
    assert_eq!(token.credential(), "WorkloadIdentityCredential");
    assert_eq!(token.principal().principal_type(), Some(PrincipalType::App));
    assert_eq!(token.principal().app_id(), Some("app-id"));
}

#[tokio::test(start_paused = true)]
async fn r30_a_token_that_kubernetes_has_replaced_is_used_for_the_next_request() {
    let folder = Folder::new();
    // As kubelet does it: the link to the newest folder is swapped.
    for (at, content) in [("one", PROJECTED), ("two", REPLACED)] {
        fs::create_dir(folder.at(at)).unwrap();
        fs::write(folder.at(at).join("token"), content).unwrap();
    }
    symlink(folder.at("one"), folder.at("data")).unwrap();
    symlink(folder.at("data").join("token"), folder.at("token")).unwrap();

    let script = Script::new([token(), token()]);
    let credential = credential(&script, &folder);
    credential.token(&vault()).await.unwrap();
    symlink(folder.at("two"), folder.at("next")).unwrap();
    fs::rename(folder.at("next"), folder.at("data")).unwrap();
    credential.token(&vault()).await.unwrap();
    let sent: Vec<_> = script
        .seen()
        .iter()
        .map(|seen| seen.field("client_assertion").unwrap())
        .collect();
    assert_eq!(sent, [PROJECTED, REPLACED]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_is_read_once_more_and_sent_only_if_it_is_another() {
    let folder = Folder::new();
    fs::write(folder.at("token"), PROJECTED).unwrap();
    let script = Script::new([out_of_time(), token()]);
    let error = credential(&script, &folder)
        .token(&vault())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.aadsts_codes(), [700_024]);
    assert_eq!(script.requests(), 1);

    // Replaced while the first request is under way, which had it whole or
    // half written.
    let malformed = reply(
        401,
        r#"{"error":"invalid_client","error_description":"AADSTS50027: JWT token is invalid or malformed.","error_codes":[50027]}"#,
    );
    for (first, refusal) in [(PROJECTED, out_of_time()), (&PROJECTED[..20], malformed)] {
        fs::write(folder.at("token"), first).unwrap();
        let script = Script::new([refusal, token()]);
        let (path, transport) = (folder.at("token"), script.transport());
        let replacing = Transport::new(tower::service_fn(move |request| {
            fs::write(&path, REPLACED).unwrap();
            transport.clone().oneshot(request)
        }));
        let credential = builder(&folder).transport(replacing).build().unwrap();
        credential.token(&vault()).await.unwrap();
        let sent: Vec<_> = script
            .seen()
            .iter()
            .map(|seen| seen.field("client_assertion").unwrap())
            .collect();
        assert_eq!(sent, [first, REPLACED]);
    }
}

#[tokio::test]
async fn r30_the_embedded_entra_takes_the_newest_token_of_the_pod_and_no_other() {
    let runtime = Arc::new(ManualRuntime::with_seed(3));
    let azure = Azure::builder()
        .runtime(runtime.clone())
        .start()
        .await
        .unwrap();
    let file = azure
        .workload_identity_environment()
        .unwrap()
        .into_iter()
        .find_map(|(name, value)| (name == "AZURE_FEDERATED_TOKEN_FILE").then_some(value))
        .unwrap();
    let credential = WorkloadIdentityCredential::builder()
        .tenant(azure.tenant_id())
        .client_id(azure.client_id())
        .token_file(&file)
        .transport(Transport::new(azure.http_client()))
        .build()
        .unwrap();
    let request = vault().with_runtime(runtime.clone());
    let token = credential.token(&request).await.unwrap();
    assert_eq!(token.principal().app_id(), Some(azure.client_id()));

    // Kubernetes would have replaced it by then.
    runtime.advance(Duration::from_secs(2 * 3600));
    let error = credential.token(&request).await.unwrap_err();
    assert_eq!(error.aadsts_codes(), [700_024]);
    azure.workload_identity_environment().unwrap();
    credential.token(&request).await.unwrap();

    let refused = async |token: String, code: u32| {
        fs::write(&file, &token).unwrap();
        let error = credential.token(&request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        assert_eq!(error.aadsts_codes(), [code], "{error}");
        assert!(error.advice().is_some(), "{error}");
        assert!(!format!("{error} {error:?}").contains(&token));
    };
    let stranger = "system:serviceaccount:default:stranger";
    refused(azure.service_account_token(stranger).unwrap(), 700_213).await;
    let elsewhere = Azure::start().await.unwrap();
    refused(elsewhere.service_account_token(stranger).unwrap(), 700_027).await;
    // One that is for somebody else: an access token.
    let other = ClientSecretCredential::builder(
        azure.tenant_id(),
        azure.client_id(),
        azure.client_secret(),
    )
    .transport(Transport::new(azure.http_client()))
    .build()
    .unwrap();
    let token = other.token(&request).await.unwrap();
    refused(token.secret().to_owned(), 700_211).await;
    refused(String::from("a.b"), 50_027).await;
}

#[tokio::test(start_paused = true)]
async fn t21_a_file_that_cannot_hold_the_token_is_told_without_its_content() {
    let folder = Folder::new();
    let script = Script::new([]);
    let credential = credential(&script, &folder);
    let refused = async |kind| {
        let error = credential.token(&vault()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.advice().is_some());
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("token"), "{shown}");
    };
    refused(ErrorKind::Unavailable).await;
    for content in [
        String::new(),
        " \n".into(),
        "canary two".into(),
        "canary\0".into(),
    ] {
        fs::write(folder.at("token"), content).unwrap();
        refused(ErrorKind::Configuration).await;
    }
    fs::write(folder.at("token"), "canary".repeat(20_000)).unwrap();
    refused(ErrorKind::Configuration).await;
    fs::remove_file(folder.at("token")).unwrap();
    fs::create_dir(folder.at("token")).unwrap();
    refused(ErrorKind::Configuration).await;
    assert_eq!(script.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn r10_failures_that_may_pass_are_tried_three_times() {
    let folder = Folder::new();
    fs::write(folder.at("token"), PROJECTED).unwrap();
    let script = Script::new([reply(503, ""), reply(500, ""), reply(503, "")]);
    let error = credential(&script, &folder)
        .token(&vault())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(script.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn r13_a_server_that_never_answers_costs_a_bounded_time() {
    let folder = Folder::new();
    fs::write(folder.at("token"), PROJECTED).unwrap();
    let script = Script::new([Reply::Hang, Reply::Hang, Reply::Hang]);
    let credential = builder(&folder)
        .transport(script.transport())
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    let started = tokio::time::Instant::now();
    let error = credential.token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(started.elapsed() <= Duration::from_secs(21));
}

#[tokio::test(start_paused = true)]
async fn i10_the_assertion_is_shown_nowhere_even_if_the_server_echoes_it() {
    let folder = Folder::new();
    fs::write(folder.at("token"), PROJECTED).unwrap();
    let echo = format!(
        r#"{{"error":"invalid_client","error_description":"AADSTS700211: no match for {PROJECTED}"}}"#
    );
    let script = Script::new([reply(401, echo)]);
    let credential = credential(&script, &folder);
    let error = credential.token(&vault()).await.unwrap_err();
    let shown = format!("{credential:?} {error} {error:?}");
    assert!(!shown.contains("canary"), "{shown}");
    assert!(error.to_string().contains("federated"), "{error}");
}

#[test]
fn the_environment_gives_a_credential_or_the_names_that_are_missing() {
    in_own_process(
        "child_misses_the_environment",
        &[("AZURE_CLIENT_ID", "app")],
    );
    in_own_process(
        "child_reads_the_environment",
        &[
            ("AZURE_CLIENT_ID", "app"),
            ("AZURE_TENANT_ID", "contoso.com"),
            ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/token"),
            ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/"),
        ],
    );
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_misses_the_environment() {
    let error = WorkloadIdentityCredential::from_env().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.message(),
        "not set in the environment: AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE"
    );
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_reads_the_environment() {
    let shown = format!("{:?}", WorkloadIdentityCredential::from_env().unwrap());
    for part in [
        "contoso.com",
        "\"app\"",
        "login.microsoftonline.us",
        "/var/run/secrets/token",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
}
