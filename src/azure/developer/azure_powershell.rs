//! `pwsh`, with the module Az.Accounts.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;

use super::kind::{Ask, Kind};
use super::process::Output;
use super::said::Said;
use super::settings::{Settings, executable_settings, tenant_settings};
use super::tool::Tool;
use super::{claims_are_for_signing_in, issued};
use crate::environment::Environment;
use crate::{AccessToken, Credential, Error, ErrorKind, TenantId, TokenRequest};

const NAME: &str = "AzurePowerShellCredential";

#[cfg(not(windows))]
const PROGRAMS: &[&str] = &["pwsh"];
#[cfg(windows)]
const PROGRAMS: &[&str] = &["pwsh.exe", "powershell.exe"];

static TURN: Semaphore = Semaphore::const_new(1);

const NO_MODULE: &str = "no_az_account_module";
const INSTALL_MODULE: &str =
    "in PowerShell, run `Install-Module -Name Az.Accounts -Repository PSGallery`";

static KIND: Kind = Kind {
    credential: NAME,
    title: "Azure PowerShell",
    install: "install PowerShell 7 (https://aka.ms/powershell) and the module Az.Accounts, or give the path of pwsh with `executable`",
    check: "see whether `Get-AzContext` shows an account in PowerShell",
    trust: "if a proxy opens TLS here, have this machine trust its certificate authority",
    client_id: "1950a258-227b-4e31-a9cf-717495945fc2",
    signed_out: &["connect-azaccount"],
    sign_in,
    turn: &TURN,
};

fn sign_in(ask: &Ask<'_>) -> String {
    // It makes a scope of the resource itself.
    let tenant = match &ask.tenant {
        Some(tenant) => format!(" -TenantId {tenant}"),
        None => String::new(),
    };
    format!(
        "run `Connect-AzAccount{tenant} -AuthScope {}`",
        ask.resource
    )
}

/// Gets tokens from Azure PowerShell, in which a developer has signed in with
/// `Connect-AzAccount`.
///
/// Cheap to clone. Sends nothing itself: it runs `Get-AzAccessToken` in `pwsh`,
/// or, on Windows, in `powershell` where there is no `pwsh`.
///
/// ```
/// use tower_bearer::azure::AzurePowerShellCredential;
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let credential = AzurePowerShellCredential::new()?;
/// # Ok(())
/// # }
/// ```
///
/// # How it behaves
///
/// As [`AzureCliCredential`](super::AzureCliCredential): how the tool is looked
/// for, in `PATH` and where installers put it; how it is run, and for how long;
/// and which error means what. No profile is loaded. It takes version 2.2.0 of
/// the module Az.Accounts or later.
#[derive(Clone)]
pub struct AzurePowerShellCredential(Arc<Tool>);

impl AzurePowerShellCredential {
    /// As whoever is signed in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when a variable of the environment cannot
    /// be used. Whether there is an Azure PowerShell is found out when a token
    /// is asked for.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Settings, such as a tenant.
    pub fn builder() -> AzurePowerShellCredentialBuilder {
        AzurePowerShellCredentialBuilder {
            settings: Settings::default(),
        }
    }
}

async fn token(tool: &Tool, request: &TokenRequest) -> Result<AccessToken, Error> {
    let ask = tool.ask(request)?;
    if let Some(claims) = request.claims() {
        let command = match &ask.tenant {
            Some(tenant) => format!("Connect-AzAccount -TenantId {tenant} -ClaimsChallenge"),
            None => "Connect-AzAccount -ClaimsChallenge".to_owned(),
        };
        return Err(claims_are_for_signing_in(&KIND, claims, &command));
    }
    let arguments = [
        "-NoProfile",
        "-NonInteractive",
        "-EncodedCommand",
        &encoded(&script(&ask)),
    ]
    .map(str::to_owned);
    let output = tool.run(&arguments, request.runtime()).await?;
    if let Some((secret, end)) = marked(&output.stdout) {
        let token = issued::token(&KIND, secret, Some(end), output.started)?;
        return Ok(issued::with_identity(token, &ask, None, &tool.tenants));
    }
    Err(refusal(&ask, &output))
}

fn refusal(ask: &Ask<'_>, output: &Output) -> Error {
    let stdout = Said::of_bytes(&output.stdout);
    let stderr = Said::of_bytes(&output.stderr);
    let says = |phrases: &[&str]| stdout.says(phrases) || stderr.says(phrases);
    let unavailable = |message: &'static str, advice: &'static str| {
        Error::new(ErrorKind::Unavailable, message).with_advice(advice)
    };
    if says(&[NO_MODULE, "get-azaccesstoken' is not recognized"]) {
        return unavailable(
            "PowerShell has no module Az.Accounts of version 2.2.0 or later",
            INSTALL_MODULE,
        );
    }
    if says(&["authorizationmanager check failed", "execution policies"]) {
        return unavailable(
            "the execution policy of PowerShell does not let the module Az.Accounts be loaded",
            "in PowerShell, run `Set-ExecutionPolicy -Scope CurrentUser RemoteSigned`",
        );
    }
    let nothing_was_said = stderr.line().is_none();
    if output.exit_code == Some(0) && nothing_was_said && stdout.line().is_none() {
        return KIND.unusable("nothing");
    }
    let said = if nothing_was_said { stdout } else { stderr };
    let is_known = !said.aadsts_codes().is_empty() || said.says(KIND.signed_out);
    if output.exit_code == Some(0) && !is_known {
        return KIND.unusable("other output");
    }
    KIND.refusal(ask, output.exit_code, &said)
}

/// The token and when it ends, from the line that the script marks: whatever
/// else is written, by a module or a policy, is on others.
fn marked(stdout: &[u8]) -> Option<(&str, f64)> {
    stdout
        .split(|b| *b == b'\n')
        .filter_map(|line| std::str::from_utf8(line.trim_ascii()).ok())
        .find_map(|line| {
            let (secret, end) = line.strip_prefix("azsdk%")?.split_once('%')?;
            Some((secret, end.parse().ok()?))
        })
}

/// Az.Accounts gives the token as text, as a `SecureString` on request from
/// 2.17.0, and always so from 5.0.0. Errors are written plainly, since
/// PowerShell wraps them into XML when nobody reads them at a terminal.
fn script(ask: &Ask<'_>) -> String {
    let tenant = match &ask.tenant {
        Some(tenant) => format!("$wanted['TenantId'] = '{tenant}'"),
        None => String::new(),
    };
    let resource = ask.resource;
    format!(
        r"$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$WarningPreference = 'SilentlyContinue'
try {{
  Import-Module -Name Az.Accounts -MinimumVersion 2.2.0 -ErrorAction SilentlyContinue
  $loaded = Get-Module -Name Az.Accounts | Select-Object -First 1
  if ($null -eq $loaded) {{
    [Console]::Out.WriteLine('NO_AZ_ACCOUNT_MODULE')
    exit 1
  }}
  $wanted = @{{ ResourceUrl = '{resource}'; WarningAction = 'Ignore' }}
  {tenant}
  if ($loaded.Version -ge [Version]'2.17.0' -and $loaded.Version -lt [Version]'5.0.0') {{
    $wanted['AsSecureString'] = $true
  }}
  $given = Get-AzAccessToken @wanted
  $text = $given.Token
  if ($text -is [System.Security.SecureString]) {{
    if ($PSVersionTable.PSVersion.Major -ge 7) {{
      $text = ConvertFrom-SecureString -SecureString $text -AsPlainText
    }} else {{
      $memory = [Runtime.InteropServices.Marshal]::SecureStringToBSTR($text)
      try {{ $text = [Runtime.InteropServices.Marshal]::PtrToStringBSTR($memory) }}
      finally {{ [Runtime.InteropServices.Marshal]::ZeroFreeBSTR($memory) }}
    }}
  }}
  [Console]::Out.WriteLine('azsdk%' + $text + '%' + $given.ExpiresOn.ToUnixTimeSeconds())
}} catch {{
  [Console]::Error.WriteLine($_.Exception.Message)
  exit 1
}}
"
    )
}

/// As `-EncodedCommand` wants it: base64 of UTF-16, little end first.
fn encoded(script: &str) -> String {
    let bytes: Vec<u8> = script.encode_utf16().flat_map(u16::to_le_bytes).collect();
    STANDARD.encode(bytes)
}

impl Credential for AzurePowerShellCredential {
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

impl fmt::Debug for AzurePowerShellCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(NAME)
            .field("tenant", &self.0.tenants.own())
            .field("timeout", &self.0.timeout)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`AzurePowerShellCredential`].
///
/// Made by [`AzurePowerShellCredential::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct AzurePowerShellCredentialBuilder {
    settings: Settings,
}

impl AzurePowerShellCredentialBuilder {
    tenant_settings!();
    executable_settings!();

    /// Makes the credential. Runs nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when a setting cannot be used.
    pub fn build(self) -> Result<AzurePowerShellCredential, Error> {
        self.build_in(&Environment::of_process())
    }

    pub(in crate::azure) fn build_in(
        self,
        environment: &Environment,
    ) -> Result<AzurePowerShellCredential, Error> {
        self.settings
            .tool(&KIND, PROGRAMS, &["PATH"], environment)
            .map(|tool| AzurePowerShellCredential(Arc::new(tool)))
            .map_err(|error| error.with_credential(NAME))
    }
}
