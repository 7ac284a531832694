//! The programs by which Visual Studio hands out tokens.

mod provider;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use self::provider::Provider;
use super::kind::{Ask, Kind};
use super::local_time::LocalZone;
use super::said::Said;
use super::settings::{Settings, tenant_settings};
use super::tenant::TenantChoice;
use super::{arguments, executable, issued, look};
use crate::azure::secret_file;
use crate::environment::Environment;
use crate::error::Attempt;
use crate::{AccessToken, Credential, Error, ErrorKind, Runtime, TenantId, TokenRequest};

const NAME: &str = "VisualStudioCredential";
const TIMEOUT: Duration = Duration::from_secs(30);
const BELOW_HOME: &str = ".IdentityService/AzureServiceAuth/tokenprovider.json";

const FILE: secret_file::Bounds = secret_file::Bounds {
    max_bytes: 256 * 1024,
    follow_links: true,
};

static TURN: Semaphore = Semaphore::const_new(1);

static KIND: Kind = Kind {
    credential: NAME,
    title: "Visual Studio",
    install: "install Visual Studio with its Azure workload, and sign in there",
    check: "see whether Visual Studio shows an account under Tools > Options > Azure Service Authentication",
    trust: "if a proxy opens TLS here, have this machine trust its certificate authority",
    client_id: "872cd9fa-d31f-45e0-9eab-6e460a02d1f1",
    signed_out: &["re-authenticate", "reauthenticate", "not signed in"],
    sign_in,
    turn: &TURN,
};

fn sign_in(_: &Ask<'_>) -> String {
    "sign in with Visual Studio, under Tools > Options > Azure Service Authentication".to_owned()
}

/// Gets tokens from Visual Studio, in which a developer has signed in.
///
/// Cheap to clone. Sends nothing itself: it runs the programs that Visual
/// Studio lists in a file, `tokenprovider.json`, the most preferred one (that
/// with the lowest `Preference`) first, until one gives a token.
///
/// ```
/// use tower_bearer::azure::VisualStudioCredential;
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let credential = VisualStudioCredential::new()?;
/// # Ok(())
/// # }
/// ```
///
/// # How it behaves
///
/// - The file is `.IdentityService\AzureServiceAuth\tokenprovider.json` below
///   `LOCALAPPDATA`, and below `HOME` where there is no such variable. If it is
///   not there, nor any of the programs that it lists, or if another user of
///   the machine may have written it, the error is [`ErrorKind::Unavailable`].
/// - Programs that are gone are passed over. Others are run as
///   [`AzureCliCredential`](super::AzureCliCredential) runs its tool, each for
///   [30 seconds](VisualStudioCredentialBuilder::timeout) at most, and one at a
///   time in a process. If all fail, the error has the reason of
///   [each](Error::attempts).
/// - Visual Studio cannot be asked for [claims](TokenRequest::claims).
#[derive(Clone)]
pub struct VisualStudioCredential(Arc<Inner>);

struct Inner {
    file: Option<PathBuf>,
    /// By whoever made the credential, who knows who may write there.
    file_was_given: bool,
    tenants: TenantChoice,
    zone: LocalZone,
    timeout: Duration,
}

impl VisualStudioCredential {
    /// As whoever is signed in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when a variable of the environment cannot
    /// be used. Whether there is a Visual Studio is found out when a token is
    /// asked for.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Settings, such as a tenant.
    pub fn builder() -> VisualStudioCredentialBuilder {
        VisualStudioCredentialBuilder {
            settings: Settings {
                timeout: TIMEOUT,
                ..Settings::default()
            },
            file: None,
        }
    }
}

impl Inner {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        let ask = Ask {
            resource: arguments::resource(request.audience())?,
            tenant: self.tenants.select(request.tenant())?,
        };
        if request.claims().is_some() {
            return Err(Error::new(
                ErrorKind::Rejected,
                "the service wants a token with further claims, which Visual Studio cannot be asked for",
            )
            .with_advice("sign in with the Azure CLI, and use AzureCliCredential"));
        }
        let Some(file) = &self.file else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "neither LOCALAPPDATA nor HOME says where Visual Studio keeps its token providers",
            )
            .with_advice(KIND.install));
        };
        let listed = file.clone();
        let is_trusted = self.file_was_given;
        let runtime = request.runtime();
        let providers = look(runtime, self.timeout, move || {
            let providers = read(&listed)?;
            if !is_trusted && may_be_foreign(&listed) {
                return Err(foreign(&listed));
            }
            there(&listed, providers)
        })
        .await
        .and_then(|found| found)
        .map_err(|error| match error.advice() {
            Some(_) => error,
            None => error.with_advice(KIND.install),
        })?;
        self.first_token(&ask, providers, runtime).await
    }

    async fn first_token(
        &self,
        ask: &Ask<'_>,
        providers: Vec<Provider>,
        runtime: &dyn Runtime,
    ) -> Result<AccessToken, Error> {
        let mut attempts = Vec::with_capacity(providers.len());
        for provider in providers {
            let began = runtime.now().monotonic;
            match self.token_of(&provider, ask, runtime).await {
                Ok(token) => return Ok(token),
                Err(error) => {
                    let took = runtime.now().monotonic.saturating_sub(began);
                    let error = error.with_credential(executable::name(&provider.path));
                    attempts.push(Attempt::new(error, took));
                }
            }
        }
        Err(all_failed(attempts))
    }

    async fn token_of(
        &self,
        provider: &Provider,
        ask: &Ask<'_>,
        runtime: &dyn Runtime,
    ) -> Result<AccessToken, Error> {
        let mut arguments = provider.arguments.clone();
        arguments.extend(["--resource".to_owned(), ask.resource.to_owned()]);
        if let Some(tenant) = &ask.tenant {
            arguments.extend(["--tenant".to_owned(), tenant.to_string()]);
        }
        let output = KIND
            .run(&provider.path, &arguments, runtime, self.timeout)
            .await?;
        if output.exit_code == Some(0) {
            return issued::read(
                &KIND,
                ask,
                &output.stdout,
                output.started,
                &self.zone,
                &self.tenants,
            )
            .await;
        }
        let mut said = Said::of_bytes(&output.stderr);
        if said.line().is_none() {
            said = Said::of_bytes(&output.stdout);
        }
        Err(KIND.refusal(ask, output.exit_code, &said))
    }
}

/// What the file at `path` lists, in order of preference.
fn read(path: &Path) -> Result<Vec<Provider>, Error> {
    let bytes = secret_file::read_now(path, FILE).map_err(|problem| {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "Visual Studio's list of token providers {} {problem}",
                executable::shown(path)
            ),
        )
    })?;
    provider::parse(&bytes).map_err(|problem| {
        Error::new(
            ErrorKind::InvalidResponse,
            format!(
                "Visual Studio's list of token providers {} {problem}",
                executable::shown(path)
            ),
        )
        .with_advice("update Visual Studio, which writes it")
    })
}

/// Whether another user of this machine may have written what is at `path`, or
/// put its folders there: it says what to run. So it may be where the home
/// folder is one that all share, such as /tmp.
#[cfg(unix)]
fn may_be_foreign(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    const ROOT: u32 = 0;
    let own = rustix::process::geteuid().as_raw();
    let is_foreign = |path: &Path| {
        path.symlink_metadata()
            .map_or(true, |file| file.uid() != own && file.uid() != ROOT)
    };
    let folders = Path::new(BELOW_HOME).components().count();
    executable::is_open_to_all(path) || path.ancestors().take(folders).any(is_foreign)
}

#[cfg(not(unix))]
fn may_be_foreign(_: &Path) -> bool {
    false
}

fn foreign(path: &Path) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "{} may be another user's, so nothing that it lists is run",
            executable::shown(path)
        ),
    )
    .with_advice(
        "let it and its folders belong to this user, and no other write there; or name it with `token_provider_file`",
    )
}

/// Those whose programs are still there: updates move them.
fn there(file: &Path, mut providers: Vec<Provider>) -> Result<Vec<Provider>, Error> {
    let listed: Vec<_> = providers
        .iter()
        .map(|provider| executable::shown(&provider.path))
        .collect();
    providers.retain(|provider| {
        provider.path.is_absolute() && executable::is_executable(&provider.path)
    });
    if !providers.is_empty() {
        return Ok(providers);
    }
    let file = executable::shown(file);
    let message = if listed.is_empty() {
        format!("{file} lists no token providers")
    } else {
        let listed = listed.join(", ");
        format!("none of the token providers that {file} lists is there: {listed}")
    };
    Err(Error::new(ErrorKind::Unavailable, message).with_advice(
        "update Visual Studio, or sign in there again, so that it writes the list anew",
    ))
}

/// One failure is told as it is. Of several, a refusal says more than a
/// failure of a program.
fn all_failed(attempts: Vec<Attempt>) -> Error {
    let rank = |kind: ErrorKind| match kind {
        ErrorKind::Rejected => 4,
        ErrorKind::Throttled | ErrorKind::Unreachable => 3,
        ErrorKind::Timeout => 2,
        ErrorKind::InvalidResponse => 1,
        _ => 0,
    };
    let worst = attempts
        .iter()
        .map(Attempt::error)
        .max_by_key(|error| rank(error.kind()))
        .cloned();
    match (worst, attempts.len()) {
        (Some(error), 1) => error,
        (Some(worst), count) => Error::new(
            worst.kind(),
            format!("all {count} token providers of Visual Studio failed"),
        )
        .with_aadsts_codes(worst.aadsts_codes().iter().copied())
        .with_attempts(attempts),
        (None, _) => KIND.unusable("nothing"),
    }
}

impl Credential for VisualStudioCredential {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        self.0
            .token(request)
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

impl fmt::Debug for VisualStudioCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(NAME)
            .field("tenant", &self.0.tenants.own())
            .field("timeout", &self.0.timeout)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`VisualStudioCredential`].
///
/// Made by [`VisualStudioCredential::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct VisualStudioCredentialBuilder {
    settings: Settings,
    file: Option<PathBuf>,
}

impl VisualStudioCredentialBuilder {
    tenant_settings!();

    /// Reads the list of token providers from this file, whoever may write
    /// there. Default: where Visual Studio keeps it.
    pub fn token_provider_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// How long each program may run, and how long it may be waited for while
    /// it gets other tokens. Default: 30 seconds.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.settings.timeout = limit;
        self
    }

    /// Makes the credential. Runs nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when a setting cannot be used.
    pub fn build(self) -> Result<VisualStudioCredential, Error> {
        self.build_in(&Environment::of_process())
    }

    pub(in crate::azure) fn build_in(
        self,
        environment: &Environment,
    ) -> Result<VisualStudioCredential, Error> {
        let tenants = self
            .settings
            .tenants(environment)
            .map_err(|error| error.with_credential(NAME))?;
        let home = ["LOCALAPPDATA", "HOME"]
            .iter()
            .filter_map(|name| environment.raw(name).map(PathBuf::from))
            // Another one would be below the working directory.
            .find(|home| home.is_absolute());
        let file_was_given = self.file.is_some();
        let file = self.file.or_else(|| Some(home?.join(BELOW_HOME)));
        Ok(VisualStudioCredential(Arc::new(Inner {
            file,
            file_was_given,
            tenants,
            zone: LocalZone::of(environment),
            timeout: self.settings.timeout,
        })))
    }
}
