//! `ManagedIdentityCredential` on every host: which one it finds itself on, what
//! it sends there, how long it insists, and what it says when there is no token.
//!
//! Nothing here reaches for the real metadata address: requests end in memory
//! or at servers on loopback.
#![cfg(feature = "azure")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::disallowed_methods,
    missing_docs
)]

mod app_service;
mod azure_arc;
mod cloud_shell;
mod hosts;
mod imds;
mod limits;
mod secrets;
mod service_fabric;

#[path = "../support/loopback.rs"]
mod loopback;
#[path = "../support/scripted.rs"]
mod scripted;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use loopback::{Server, closed_port, in_own_process, read_request, write_json};
use scripted::{HandClock, Reply, Script, reply};
use tower_bearer::azure::{
    ManagedIdentityCredential, ManagedIdentityCredentialBuilder, ManagedIdentityId,
    ManagedIdentitySource,
};
use tower_bearer::testing::{Azure, Endpoint, Failure};
use tower_bearer::{
    Claims, Credential as _, Error, ErrorKind, PrincipalType, TenantId, TokenCache, TokenRequest,
};

const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";
const OBJECT_ID: &str = "99999999-8888-7777-6666-555555555555";
const RESOURCE_ID: &str = "/subscriptions/s/resourcegroups/r&x=1/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i";
const THUMBPRINT: &str = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";

/// The variables of each host, all with a secret that nobody else may see.
const SERVICE_FABRIC: [(&str, &str); 3] = [
    ("IDENTITY_ENDPOINT", "https://localhost:2/fabric"),
    ("IDENTITY_HEADER", "canary-identity"),
    ("IDENTITY_SERVER_THUMBPRINT", THUMBPRINT),
];
const APP_SERVICE: [(&str, &str); 2] = [
    ("IDENTITY_ENDPOINT", "http://127.0.0.1:3/msi/token"),
    ("IDENTITY_HEADER", "canary-identity"),
];
const AZURE_ARC: [(&str, &str); 2] = [
    ("IDENTITY_ENDPOINT", "http://127.0.0.1:4/arc"),
    ("IMDS_ENDPOINT", "http://127.0.0.1:5"),
];
const MACHINE_LEARNING: [(&str, &str); 2] = [
    ("MSI_ENDPOINT", "http://127.0.0.1:6/MSI/auth"),
    ("MSI_SECRET", "canary-msi"),
];
const CLOUD_SHELL: [(&str, &str); 1] = [("MSI_ENDPOINT", "http://127.0.0.1:6/oauth2/token")];
const MACHINE: [(&str, &str); 1] = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:7")];

/// As the metadata service answers: everything is text.
fn token() -> Reply {
    let body = format!(
        r#"{{"access_token":"t0k3n","client_id":"{CLIENT_ID}","expires_in":"3599","expires_on":"4102444800","ext_expires_in":"3599","not_before":"1506480273","refresh_token":"","resource":"https://vault.azure.net","token_type":"Bearer"}}"#
    );
    reply(200, body)
}

/// On the host that `variables` name, with answers from `script`.
fn on(script: &Script, variables: &[(&str, &str)]) -> ManagedIdentityCredentialBuilder {
    ManagedIdentityCredential::builder()
        .environment(variables.iter().copied())
        .transport(script.transport())
}

fn client_id(id: &str) -> ManagedIdentityId {
    ManagedIdentityId::ClientId(id.to_owned())
}

fn object_id(id: &str) -> ManagedIdentityId {
    ManagedIdentityId::ObjectId(id.to_owned())
}

fn resource_id(id: &str) -> ManagedIdentityId {
    ManagedIdentityId::ResourceId(id.to_owned())
}

fn vault() -> TokenRequest {
    TokenRequest::new("https://vault.azure.net")
}

/// Everything of an error that could be printed.
fn shown(error: &Error) -> String {
    let mut shown = format!("{error} {error:?} {error:#?}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        shown.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    shown
}

/// A limit on the real clock for what must not hang. Nothing waits for it.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("this must not hang")
}

/// Asks once on the host that `variables` name, and says with what it failed
/// and what was sent.
async fn refused_on(
    variables: &[(&str, &str)],
    replies: impl IntoIterator<Item = Reply>,
) -> (Error, Script) {
    let script = Script::new(replies);
    let credential = on(&script, variables).build().unwrap();
    (credential.token(&vault()).await.unwrap_err(), script)
}

/// A refusal that says so is final; everything else is tried four times, about
/// a second apart. `not_found` is what 404 is.
async fn three_retries_a_second_apart(variables: &[(&str, &str)], retried: &[u16], finals: &[u16]) {
    let failures = retried.iter().map(|status| reply(*status, "")).chain([
        Reply::Fail(io::ErrorKind::ConnectionRefused),
        Reply::Fail(io::ErrorKind::TimedOut),
    ]);
    for failure in failures {
        let (error, script) = refused_on(variables, [failure]).await;
        assert!(error.is_transient(), "{error}");
        let moments = script.moments();
        assert_eq!(moments.len(), 4, "{error}: {moments:?}");
        for wait in moments.windows(2).map(|pair| pair[1] - pair[0]) {
            assert!((0.99..1.51).contains(&wait), "{moments:?}");
        }
    }
    for status in finals {
        let (error, script) = refused_on(variables, [reply(*status, "")]).await;
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        assert_eq!(script.requests(), 1, "{error}");
    }
    for garbage in ["", "<html>", "[]", "{}", r#"{"access_token":7}"#] {
        let (error, script) = refused_on(variables, [reply(200, garbage)]).await;
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{error}");
        assert_eq!(script.requests(), 2, "{error}");
    }
    // A server's wish counts for more, and ends it if there is no time for it.
    let script = Script::new([reply(503, "").header("retry-after", "7"), token()]);
    let credential = on(&script, variables).build().unwrap();
    credential.token(&vault()).await.unwrap();
    assert!(
        (7.0..7.1).contains(&script.moments()[1]),
        "{:?}",
        script.moments()
    );
    let (error, script) = refused_on(variables, [reply(429, "").header("retry-after", "81")]).await;
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(81)));
    assert_eq!(script.requests(), 1);
}
