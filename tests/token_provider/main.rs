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

mod found;
mod shared;
mod told;
mod vault;

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/loopback.rs"]
mod loopback;
#[path = "../support/scripted.rs"]
mod scripted;
#[path = "../support/tool_stub.rs"]
mod tool_stub;

use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

#[cfg(feature = "pkcs12")]
use base64::Engine as _;
#[cfg(feature = "pkcs12")]
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use certificates::Made;
use http::{Request, StatusCode};
use http_body_util::Full;
use loopback::{closed_port, in_own_process};
#[cfg(feature = "pkcs12")]
use scripted::token;
use scripted::{Reply, Script, reply};
use tool_stub::{Folder, eventually};
use tower::{Layer as _, ServiceExt as _};
use tower_bearer::azure::{
    ConnectionString, ConnectionStringBuilder, TokenProvider, TokenProviderBuilder,
};
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

/// A stub of the Azure CLI, which does `script` with `$@`.
fn install_az(folder: &Folder, script: &str) -> String {
    let bin = folder.folder("bin");
    let az = folder.write("bin/az", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(az, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bin.display().to_string()
}
