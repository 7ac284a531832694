//! What developers sign in with, by stubs of the tools: what is run and how,
//! what becomes of what a tool says, and that nothing is left of it.
#![cfg(all(unix, feature = "developer-tools"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "../support/loopback.rs"]
mod loopback;
#[path = "../support/tool_stub.rs"]
mod tool_stub;

mod arguments;
mod azure_cli;
mod azure_developer_cli;
mod azure_powershell;
mod life;
mod local_time;
mod output;
mod real_azure_cli;
mod search;
mod visual_studio;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::watch;
use tower_bearer::azure::AzureCliCredential;
use tower_bearer::{
    AccessToken, BoxFuture, Credential, Error, ErrorKind, Runtime, Timestamp, TokenRequest,
};

use tool_stub::Stub;

/// When tests begin.
const NOW: u64 = 1_750_000_000;

const VAULT: &str = "https://vault.azure.net";

/// Stands still until it is moved, so that no limit runs out while a process
/// does its work, however slowly.
#[derive(Clone, Debug)]
struct Clock {
    since: watch::Sender<Duration>,
    begin: SystemTime,
}

impl Clock {
    fn new() -> Self {
        Self::at(NOW)
    }

    fn at(seconds: u64) -> Self {
        Self {
            since: watch::Sender::new(Duration::ZERO),
            begin: UNIX_EPOCH + Duration::from_secs(seconds),
        }
    }

    fn advance(&self, by: Duration) {
        self.since.send_modify(|since| *since += by);
    }
}

impl Runtime for Clock {
    fn now(&self) -> Timestamp {
        let since = *self.since.borrow();
        Timestamp::new(since, self.begin + since)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut time = self.since.subscribe();
        let until = *time.borrow() + duration;
        Box::pin(async move {
            let _ = time.wait_for(|since| *since >= until).await;
        })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        tokio::spawn(task);
        Ok(())
    }

    fn random(&self) -> u64 {
        0
    }
}

/// A request whose clock stands still.
fn request() -> TokenRequest {
    TokenRequest::new(VAULT).with_runtime(Arc::new(Clock::new()))
}

async fn token_of(credential: &impl Credential) -> AccessToken {
    credential.token(&request()).await.unwrap()
}

async fn error_of(credential: &impl Credential) -> Error {
    credential.token(&request()).await.unwrap_err()
}

fn az(stub: &Stub) -> AzureCliCredential {
    AzureCliCredential::builder()
        .executable(&stub.path)
        .build()
        .unwrap()
}

/// As the Azure CLI writes it from version 2.54 on.
fn cli_answer(token: &str) -> String {
    format!(
        r#"{{
  "accessToken": "{token}",
  "expiresOn": "1999-01-01 00:00:00.000000",
  "expires_on": {},
  "subscription": "22222222-2222-3333-4444-555555555555",
  "tenant": "72f988bf-86f1-41af-91ab-2d7cd011db47",
  "tokenType": "Bearer"
}}
"#,
        NOW + 3600
    )
}

fn jwt(claims: &str) -> String {
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        encoded(r#"{"typ":"JWT"}"#),
        encoded(claims),
        encoded("signature")
    )
}

fn seconds_after_1970(token: &AccessToken) -> u64 {
    token
        .expires_on()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[track_caller]
fn assert_says(error: &Error, kind: ErrorKind, phrases: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for phrase in phrases {
        assert!(error.to_string().contains(phrase), "{phrase:?}: {error}");
    }
}
