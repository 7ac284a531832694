//! `az`.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::kind::{Ask, Kind};
use super::said::Said;
use super::settings::{Settings, executable_settings, tenant_settings};
use super::tool::Tool;
use super::{arguments, claims_are_for_signing_in};
use crate::environment::Environment;
use crate::{AccessToken, Credential, Error, ErrorKind, TenantId, TokenRequest};

const NAME: &str = "AzureCliCredential";

#[cfg(not(windows))]
const PROGRAMS: &[&str] = &["az"];
/// By the installer and by pip.
#[cfg(windows)]
const PROGRAMS: &[&str] = &["az.cmd", "az.exe", "az.bat"];

static TURN: Semaphore = Semaphore::const_new(1);

static KIND: Kind = Kind {
    credential: NAME,
    title: "the Azure CLI",
    install: "install the Azure CLI (https://aka.ms/azure-cli), or give the path of az with `executable`",
    check: "see whether `az account show` works in a terminal",
    trust: "if a proxy opens TLS here, set REQUESTS_CA_BUNDLE to a PEM file that has its certificate authority, too",
    client_id: "04b07795-8ddb-461a-bbee-02f9e1bf7b46",
    signed_out: &["az login", "az account set"],
    sign_in,
    turn: &TURN,
};

fn sign_in(ask: &Ask<'_>) -> String {
    super::run("az login", ask, "--tenant", "--scope")
}

/// Gets tokens from the Azure CLI, in which a developer has signed in with
/// `az login`.
///
/// Cheap to clone. Sends nothing itself: it runs
/// `az account get-access-token`.
///
/// ```
/// use tower_bearer::azure::AzureCliCredential;
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let as_signed_in = AzureCliCredential::new()?;
///
/// let of_a_subscription = AzureCliCredential::builder()
///     .subscription("Visual Studio Enterprise")
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// # How it behaves
///
/// - `az` is looked for in the directories that `AzureCLIPath` and then `PATH`
///   list, and where installers put it. Entries that are relative or empty,
///   which mean the working directory, are passed over, and so is what every
///   user of the machine may change. If it is not there, the error is
///   [`ErrorKind::Unavailable`] and says where it was looked for.
/// - It is run without a shell, without a terminal, in the root directory, for
///   [10 seconds](AzureCliCredentialBuilder::timeout) at most. Then it is
///   killed, with all that it has started that is still in its process group
///   (on Windows only itself); so it is when the future is dropped. Of its
///   output 1 MiB is read at most.
/// - One `az` runs at a time in a process, since several disturb each other.
///   Nothing is tried again: that is left to the cache.
/// - Audience, tenant and subscription may only have characters that mean
///   nothing to any shell; others are an [`ErrorKind::Configuration`] before
///   anything is run.
/// - That nobody is signed in is [`ErrorKind::Unavailable`], with the command
///   to run. What Entra refused is [`ErrorKind::Rejected`], with its
///   [codes](Error::aadsts_codes).
/// - The Azure CLI cannot be asked for [claims](TokenRequest::claims): the
///   error says with which command to sign in to get a token that has them.
/// - `expires_on` says when a token ends. Versions before 2.54 give local time
///   only, which is read in this machine's time zone, or, where that cannot be
///   known, as on Windows, from the token itself.
/// - The [principal](AccessToken::principal) is a person, unless the token says
///   that it is a service principal.
#[derive(Clone)]
pub struct AzureCliCredential(Arc<Inner>);

struct Inner {
    tool: Tool,
    subscription: Option<String>,
}

impl AzureCliCredential {
    /// As whoever is signed in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when a variable of the environment cannot
    /// be used. Whether there is an Azure CLI is found out when a token is asked
    /// for.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Settings, such as a tenant.
    pub fn builder() -> AzureCliCredentialBuilder {
        AzureCliCredentialBuilder {
            settings: Settings::default(),
            subscription: None,
        }
    }
}

impl Inner {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        let ask = self.ask(request)?;
        if let Some(claims) = request.claims() {
            let command = format!(
                "az login{} --claims-challenge",
                ask.options("--tenant", "--scope")
            );
            return Err(claims_are_for_signing_in(&KIND, claims, &command));
        }
        let mut arguments: Vec<String> = [
            "account",
            "get-access-token",
            "--output",
            "json",
            "--resource",
            ask.resource,
        ]
        .map(str::to_owned)
        .into();
        if let Some(subscription) = &self.subscription {
            arguments.extend(["--subscription".to_owned(), subscription.clone()]);
        } else if let Some(tenant) = &ask.tenant {
            arguments.extend(["--tenant".to_owned(), tenant.to_string()]);
        }
        let output = self.tool.run(&arguments, request.runtime()).await?;
        if output.exit_code == Some(0) {
            return self.tool.token(&ask, &output).await;
        }
        let said = Said::of_bytes(&output.stderr);
        Err(explain(&said).unwrap_or_else(|| KIND.refusal(&ask, output.exit_code, &said)))
    }

    fn ask<'a>(&self, request: &'a TokenRequest) -> Result<Ask<'a>, Error> {
        let ask = self.tool.ask(request)?;
        if let (Some(subscription), Some(tenant)) = (&self.subscription, &ask.tenant) {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "a token of tenant {tenant} is asked for, but the credential is for the subscription {subscription:?}"
                ),
            )
            .with_advice("ask for no tenant, or give the credential no subscription"));
        }
        Ok(ask)
    }
}

/// What only the Azure CLI says.
fn explain(said: &Said) -> Option<Error> {
    let line = || said.line().unwrap_or_default();
    if said.says(&["non-current tenants is not supported"]) {
        return Some(Error::new(ErrorKind::Rejected, line()).with_advice(
            "this sign-in, by a managed identity or Cloud Shell, has one tenant only: ask for none",
        ));
    }
    let no_such_subscription = said.says(&["subscription '", "subscription of '"])
        && said.says(&["not found", "doesn't exist"]);
    if no_such_subscription && said.aadsts_codes().is_empty() {
        return Some(
            Error::new(ErrorKind::Configuration, line())
                .with_advice("see `az account list` for the subscriptions that are signed in to"),
        );
    }
    if said.says(&["unrecognized arguments"]) {
        return Some(
            Error::new(
                ErrorKind::Unavailable,
                format!("the Azure CLI is too old: {}", line()),
            )
            .with_advice("update it: `az upgrade`"),
        );
    }
    None
}

impl Credential for AzureCliCredential {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        self.0
            .token(request)
            .await
            .map(|token| token.with_credential(NAME))
            .map_err(|error| error.with_credential(NAME))
    }

    /// A subscription is of one tenant.
    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        if self.0.subscription.is_some() {
            return None;
        }
        self.0.tool.tenants.other(asked)
    }

    fn max_concurrency(&self) -> usize {
        1
    }
}

impl fmt::Debug for AzureCliCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(NAME)
            .field("tenant", &self.0.tool.tenants.own())
            .field("subscription", &self.0.subscription)
            .field("timeout", &self.0.tool.timeout)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`AzureCliCredential`].
///
/// Made by [`AzureCliCredential::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct AzureCliCredentialBuilder {
    settings: Settings,
    subscription: Option<String>,
}

impl AzureCliCredentialBuilder {
    tenant_settings!();

    /// Asks for tokens of the tenant and the account of this subscription, by
    /// its id or its name. Default: the subscription that `az account set` has
    /// chosen. Cannot be set together with a tenant.
    pub fn subscription(mut self, subscription: impl Into<String>) -> Self {
        self.subscription = Some(subscription.into());
        self
    }

    executable_settings!();

    /// Makes the credential. Runs nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when a setting cannot be used, or both
    /// tenant and subscription are set.
    pub fn build(self) -> Result<AzureCliCredential, Error> {
        self.build_in(&Environment::of_process())
    }

    pub(in crate::azure) fn build_in(
        self,
        environment: &Environment,
    ) -> Result<AzureCliCredential, Error> {
        self.inner(environment)
            .map(|inner| AzureCliCredential(Arc::new(inner)))
            .map_err(|error| error.with_credential(NAME))
    }

    fn inner(self, environment: &Environment) -> Result<Inner, Error> {
        if let Some(subscription) = &self.subscription {
            arguments::subscription(subscription)?;
            if self.settings.tenant.is_some() {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    "both a tenant and a subscription are given",
                )
                .with_advice("give one of them: the Azure CLI takes no more"));
            }
        }
        let variables = ["AzureCLIPath", "PATH"];
        Ok(Inner {
            tool: self
                .settings
                .tool(&KIND, PROGRAMS, &variables, environment)?,
            subscription: self.subscription,
        })
    }
}
