//! `azd`.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::Semaphore;

use super::encoded;
use super::kind::{Ask, Kind};
use super::process::Output;
use super::said::Said;
use super::settings::{Settings, executable_settings, tenant_settings};
use super::tool::Tool;
use crate::azure::entra;
use crate::environment::Environment;
use crate::{AccessToken, Credential, Error, ErrorKind, TenantId, TokenRequest};

const NAME: &str = "AzureDeveloperCliCredential";

#[cfg(not(windows))]
const PROGRAMS: &[&str] = &["azd"];
#[cfg(windows)]
const PROGRAMS: &[&str] = &["azd.exe", "azd.cmd"];

static TURN: Semaphore = Semaphore::const_new(1);

static KIND: Kind = Kind {
    credential: NAME,
    title: "the Azure Developer CLI",
    install: "install the Azure Developer CLI (https://aka.ms/azd), or give the path of azd with `executable`",
    check: "see whether `azd auth login --check-status` works in a terminal",
    trust: "if a proxy opens TLS here, set SSL_CERT_FILE to a PEM file that has its certificate authority, too, or have this machine trust that",
    client_id: "04b07795-8ddb-461a-bbee-02f9e1bf7b46",
    signed_out: &["azd auth login", "not logged in"],
    sign_in,
    turn: &TURN,
};

fn sign_in(ask: &Ask<'_>) -> String {
    super::run("azd auth login", ask, "--tenant-id", "--scope")
}

/// Gets tokens from the Azure Developer CLI, in which a developer has signed in
/// with `azd auth login`.
///
/// Cheap to clone. Sends nothing itself: it runs `azd auth token`.
///
/// ```
/// use tower_bearer::azure::AzureDeveloperCliCredential;
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let credential = AzureDeveloperCliCredential::builder()
///     .tenant("contoso.onmicrosoft.com")
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// # How it behaves
///
/// As [`AzureCliCredential`](super::AzureCliCredential): how the tool is looked
/// for, in `PATH` and where installers put it; how it is run, and for how long;
/// and which error means what. [Claims](TokenRequest::claims) are passed on,
/// which takes version 1.18.1 or later.
#[derive(Clone)]
pub struct AzureDeveloperCliCredential(Arc<Tool>);

impl AzureDeveloperCliCredential {
    /// As whoever is signed in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when a variable of the environment cannot
    /// be used. Whether there is an Azure Developer CLI is found out when a
    /// token is asked for.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Settings, such as a tenant.
    pub fn builder() -> AzureDeveloperCliCredentialBuilder {
        AzureDeveloperCliCredentialBuilder {
            settings: Settings::default(),
        }
    }
}

async fn token(tool: &Tool, request: &TokenRequest) -> Result<AccessToken, Error> {
    let ask = tool.ask(request)?;
    // Without --no-prompt it may wait for ever for somebody to choose.
    let mut arguments: Vec<String> = [
        "auth",
        "token",
        "--output",
        "json",
        "--no-prompt",
        "--scope",
        &entra::scope(ask.resource),
    ]
    .map(str::to_owned)
    .into();
    if let Some(tenant) = &ask.tenant {
        arguments.extend(["--tenant-id".to_owned(), tenant.to_string()]);
    }
    if let Some(claims) = request.claims() {
        arguments.extend(["--claims".to_owned(), encoded(claims)]);
    }
    let output = tool.run(&arguments, request.runtime()).await?;
    if output.exit_code == Some(0) {
        return tool.token(&ask, &output).await;
    }
    let said = said(&output);
    Err(explain(&said, &ask).unwrap_or_else(|| KIND.refusal(&ask, output.exit_code, &said)))
}

/// What only the Azure Developer CLI says.
fn explain(said: &Said, ask: &Ask<'_>) -> Option<Error> {
    let line = || said.line().unwrap_or_default();
    if said.says(&["unknown flag: --claims"]) {
        return Some(
            Error::new(
                ErrorKind::Rejected,
                "the service wants a token with further claims, which this version of the Azure Developer CLI cannot ask for",
            )
            .with_advice("update it to version 1.18.1 or later"),
        );
    }
    let must_sign_in_again = said.says(&["reauthentication required", "multi-factor auth"]);
    if must_sign_in_again && said.aadsts_codes().is_empty() {
        return Some(Error::new(ErrorKind::Rejected, line()).with_advice(sign_in(ask)));
    }
    None
}

/// What it says in place of a token. Its versions put that into JSON in
/// different ways, on either stream, each object on a line of its own or on
/// several.
fn said(output: &Output) -> Said {
    let mut text = zeroize::Zeroizing::new(String::new());
    for stream in [&output.stderr, &output.stdout] {
        let mut rest = stream.trim_ascii();
        while !rest.is_empty() {
            let mut objects = serde_json::Deserializer::from_slice(rest).into_iter::<Report>();
            let read = match objects.next() {
                Some(Ok(report)) if rest.starts_with(b"{") => {
                    report.add_to(&mut text);
                    objects.byte_offset()
                }
                _ => {
                    let end = rest.iter().position(|b| *b == b'\n');
                    let line = &rest[..end.unwrap_or(rest.len())];
                    text.push_str(&String::from_utf8_lossy(line));
                    line.len()
                }
            };
            text.push('\n');
            rest = rest[read..].trim_ascii_start();
        }
    }
    Said::new(&text)
}

/// `{"type":"consoleMessage","data":{"message":"ERROR: …"}}` up to 1.23, and
/// from 1.24 on `{"error":…,"message":…,"suggestion":…}`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Report {
    data: Data,
    error: serde_json::Value,
    message: serde_json::Value,
    suggestion: serde_json::Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    message: serde_json::Value,
}

impl Report {
    fn add_to(&self, text: &mut String) {
        let parts = [
            &self.data.message,
            &self.message,
            &self.error,
            &self.suggestion,
        ];
        for part in parts.into_iter().filter_map(serde_json::Value::as_str) {
            text.push_str(part);
            text.push('\n');
        }
    }
}

impl Credential for AzureDeveloperCliCredential {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        token(&self.0, request)
            .await
            .map(|token| token.with_credential(NAME))
            .map_err(|error| error.with_credential(NAME))
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        self.0.tenants.other(asked)
    }

    fn max_concurrency(&self) -> usize {
        1
    }
}

impl fmt::Debug for AzureDeveloperCliCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(NAME)
            .field("tenant", &self.0.tenants.own())
            .field("timeout", &self.0.timeout)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`AzureDeveloperCliCredential`].
///
/// Made by [`AzureDeveloperCliCredential::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct AzureDeveloperCliCredentialBuilder {
    settings: Settings,
}

impl AzureDeveloperCliCredentialBuilder {
    tenant_settings!();
    executable_settings!();

    /// Makes the credential. Runs nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when a setting cannot be used.
    pub fn build(self) -> Result<AzureDeveloperCliCredential, Error> {
        self.build_in(&Environment::of_process())
    }

    pub(in crate::azure) fn build_in(
        self,
        environment: &Environment,
    ) -> Result<AzureDeveloperCliCredential, Error> {
        self.settings
            .tool(&KIND, PROGRAMS, &["PATH"], environment)
            .map(|tool| AzureDeveloperCliCredential(Arc::new(tool)))
            .map_err(|error| error.with_credential(NAME))
    }
}
