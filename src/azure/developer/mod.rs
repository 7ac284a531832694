//! What developers sign in with on their own machines: Azure CLI, Azure
//! Developer CLI, Azure PowerShell and Visual Studio.

mod answer;
mod arguments;
mod azure_cli;
mod azure_developer_cli;
mod azure_powershell;
mod executable;
mod issued;
mod kind;
mod local_time;
mod process;
mod said;
mod settings;
mod tenant;
mod tool;
mod visual_studio;

pub use self::azure_cli::{AzureCliCredential, AzureCliCredentialBuilder};
pub use self::azure_developer_cli::{
    AzureDeveloperCliCredential, AzureDeveloperCliCredentialBuilder,
};
pub use self::azure_powershell::{AzurePowerShellCredential, AzurePowerShellCredentialBuilder};
pub use self::visual_studio::{VisualStudioCredential, VisualStudioCredentialBuilder};

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use self::kind::{Ask, Kind};
use super::blocking::blocking;
use crate::runtime::{Runtime, within};
use crate::{Claims, Error, ErrorKind};

/// What `work` finds on the disk, which may be one of a network that hangs.
async fn look<T: Send + 'static>(
    runtime: &dyn Runtime,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    match within(runtime, limit, blocking(work)).await {
        Some(Some(found)) => Ok(found),
        Some(None) => Err(Error::new(
            ErrorKind::Aborted,
            "the runtime stopped while the tool was looked for",
        )),
        None => Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "the disk did not answer within {} s when the tool was looked for",
                limit.as_secs_f64()
            ),
        )),
    }
}

/// Claims as tools take them on their command line.
fn encoded(claims: &Claims) -> String {
    STANDARD.encode(claims.as_json())
}

/// Claims are asked for, which the tool passes on only when the developer signs
/// in: with `command` and the claims behind it.
fn claims_are_for_signing_in(kind: &Kind, claims: &Claims, command: &str) -> Error {
    /// What somebody can still copy into a terminal.
    const MAX_SHOWN: usize = 4096;
    let claims = encoded(claims);
    let claims = if claims.len() > MAX_SHOWN {
        "CLAIMS (too long to be shown here)"
    } else {
        &claims
    };
    Error::new(
        ErrorKind::Rejected,
        format!(
            "the service wants a token with further claims, which {} gives only after a new sign-in",
            kind.title
        ),
    )
    .with_advice(format!("run `{command} {claims}`"))
}

/// A command to run, as advice.
fn run(command: &str, ask: &Ask<'_>, tenant: &str, scope: &str) -> String {
    format!("run `{command}{}`", ask.options(tenant, scope))
}
