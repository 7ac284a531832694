//! Gets a token and prints what it is, as one JSON object.
//!
//! ```sh
//! cargo run --example token -- --resource https://vault.azure.net
//! ```
//!
//! The identity is what the variable `AzureServicesAuthConnectionString` or
//! `--connection-string` says, else whatever is found: see
//! `azure::TokenProvider`. Other users of a machine can read the arguments of a
//! program, so a string with a secret is better put into the variable.
//!
//! The token itself is printed only with `--show`. What goes wrong is told on
//! standard error, and the exit code is 1.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tower_bearer::{
    AccessToken, BoxError, Principal, PrincipalType, TenantId, TokenRequest, azure,
};

const USAGE: &str =
    "usage: token --resource URI [--connection-string STRING] [--tenant ID] [--show]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return failed(&error),
    };
    // Developer tools run in process groups of their own, which the terminal
    // does not stop with this one: they end when the request is dropped.
    let done = tokio::select! {
        done = get(&arguments) => done,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    match done {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("token: {error}");
    ExitCode::FAILURE
}

async fn get(arguments: &Arguments) -> Result<String, BoxError> {
    let mut builder = azure::TokenProvider::builder();
    if let Some(string) = &arguments.connection_string {
        builder = builder.connection_string(string);
    }
    let mut request = TokenRequest::new(arguments.resource.as_str());
    if let Some(tenant) = &arguments.tenant {
        builder = builder.additionally_allowed_tenants([tenant.as_str()]);
        request = request.with_tenant(tenant.clone());
    }
    let tokens = builder.build()?;
    let string = tokens.connection_string();
    for warning in string.iter().flat_map(|string| string.warnings()) {
        eprintln!("token: warning: connection string, {warning}");
    }
    let token = tokens.token_for(&request).await?;
    let shown = Shown::new(&token, arguments);
    Ok(serde_json::to_string_pretty(&shown)?)
}

/// What is told of a token.
#[derive(Serialize)]
struct Shown<'a> {
    audience: &'a str,
    expires_on: String,
    credential: &'a str,
    principal: ShownPrincipal<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
}

#[derive(Serialize)]
struct ShownPrincipal<'a> {
    r#type: Option<String>,
    app_id: Option<&'a str>,
    tenant_id: Option<&'a str>,
    upn: Option<&'a str>,
    object_id: Option<&'a str>,
    certificate_thumbprint: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn new(token: &'a AccessToken, arguments: &'a Arguments) -> Self {
        Self {
            audience: &arguments.resource,
            expires_on: rfc3339(token.expires_on()),
            credential: token.credential(),
            principal: ShownPrincipal::new(token.principal()),
            access_token: arguments.show.then(|| token.secret()),
        }
    }
}

impl<'a> ShownPrincipal<'a> {
    fn new(principal: &'a Principal) -> Self {
        Self {
            r#type: principal
                .principal_type()
                .as_ref()
                .map(PrincipalType::to_string),
            app_id: principal.app_id(),
            tenant_id: principal.tenant_id(),
            upn: principal.user_principal_name(),
            object_id: principal.object_id(),
            certificate_thumbprint: principal.certificate_thumbprint(),
        }
    }
}

/// `2026-11-24T05:16:34Z`. Tokens end soon, so the years can be counted.
fn rfc3339(time: SystemTime) -> String {
    let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut days = seconds / 86_400;
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let day = days + 1;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

struct Arguments {
    resource: String,
    connection_string: Option<String>,
    tenant: Option<TenantId>,
    show: bool,
}

impl Arguments {
    /// `None` if only help is wanted. No error repeats an argument: it may be
    /// a connection string.
    fn parse(mut given: impl Iterator<Item = OsString>) -> Result<Option<Self>, String> {
        let (mut resource, mut connection_string, mut tenant, mut show) = (None, None, None, false);
        let mut at = 0;
        while let Some(name) = given.next() {
            at += 1;
            let mut value = |option: &str| {
                at += 1;
                let value = given.next().and_then(|value| value.into_string().ok());
                value
                    .filter(|value| !value.starts_with("--"))
                    .ok_or_else(|| format!("{option} wants a value; {USAGE}"))
            };
            match name.to_str().unwrap_or_default() {
                "--help" | "-h" => return Ok(None),
                "--resource" => resource = Some(value("--resource")?),
                "--connection-string" => connection_string = Some(value("--connection-string")?),
                "--tenant" => {
                    let id = TenantId::new(&value("--tenant")?);
                    tenant = Some(id.map_err(|error| error.to_string())?);
                }
                "--show" => show = true,
                _ => return Err(format!("argument {at} is none of the options; {USAGE}")),
            }
        }
        Ok(Some(Self {
            resource: resource.ok_or_else(|| format!("--resource is needed; {USAGE}"))?,
            connection_string,
            tenant,
            show,
        }))
    }
}
