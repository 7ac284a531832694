//! The chain that suits most programs: in Azure and on a developer's machine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::selection::{Member, Selection};
use super::{Chain, EnvironmentCredential, Link, developer, identity_settings};
use crate::azure::entra::Settings;
use crate::azure::{ManagedIdentityCredential, ManagedIdentityId, WorkloadIdentityCredential};
use crate::environment::Environment;
use crate::{AccessToken, Credential, Error, SharedCredential, TenantId, TokenRequest};

const NAME: &str = "DefaultAzureCredential";

/// Finds an identity wherever the program runs: in Azure, in Kubernetes, or on
/// a developer's machine.
///
/// Cheap to clone.
///
/// ```no_run
/// use tower_bearer::{TokenCache, azure};
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let tokens = TokenCache::new(azure::DefaultAzureCredential::new()?);
/// # Ok(())
/// # }
/// ```
///
/// # What is tried, in this order
///
/// | credential | name in `AZURE_TOKEN_CREDENTIALS` |
/// | --- | --- |
/// | [`EnvironmentCredential`] | `EnvironmentCredential` |
/// | [`WorkloadIdentityCredential`] | `WorkloadIdentityCredential` |
/// | [`ManagedIdentityCredential`], after a short look whether there is one; user-assigned if `AZURE_CLIENT_ID` is set | `ManagedIdentityCredential` |
/// | Visual Studio | `VisualStudioCredential` |
/// | Azure CLI | `AzureCliCredential` |
/// | Azure Developer CLI | `AzureDeveloperCliCredential` |
/// | Azure PowerShell | `AzurePowerShellCredential` |
///
/// The last four need the feature `developer-tools`, which is on by default.
///
/// The variable `AZURE_TOKEN_CREDENTIALS` selects: `prod` the first three, `dev`
/// the last four, a name that one credential. A managed identity that is named is
/// not looked for but asked at once, with its full number of attempts.
///
/// # How it behaves
///
/// As [`ChainedTokenCredential`](super::ChainedTokenCredential), with one
/// exception: a developer's tool that hangs or whose answer makes no sense is
/// passed over like one that is not there. If it refuses to give a token, the
/// search ends.
#[derive(Clone)]
pub struct DefaultAzureCredential(Arc<Chain>);

impl DefaultAzureCredential {
    /// The chain with its defaults. Sends nothing yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) when `AZURE_TOKEN_CREDENTIALS` is none of
    /// the names above. What is wrong with one of the credentials is told when
    /// its turn comes.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Settings.
    pub fn builder() -> DefaultAzureCredentialBuilder {
        DefaultAzureCredentialBuilder::default()
    }
}

impl Credential for DefaultAzureCredential {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        self.0.token(request).await
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        self.0.tenant(asked)
    }

    fn max_concurrency(&self) -> usize {
        self.0.max_concurrency()
    }
}

impl fmt::Debug for DefaultAzureCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(NAME)
            .field("credentials", &self.0.len())
            .finish_non_exhaustive()
    }
}

/// Settings of a [`DefaultAzureCredential`].
///
/// Made by [`DefaultAzureCredential::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct DefaultAzureCredentialBuilder {
    user_assigned: Option<ManagedIdentityId>,
    probe_timeout: Option<Duration>,
    entra: Settings,
    environment: Option<Environment>,
}

impl DefaultAzureCredentialBuilder {
    /// Which managed identity to sign in as. Default: the user-assigned one
    /// with the client id `AZURE_CLIENT_ID` if that is set, else the
    /// system-assigned one.
    pub fn user_assigned(mut self, id: ManagedIdentityId) -> Self {
        self.user_assigned = Some(id);
        self
    }

    identity_settings!();

    /// Makes the credential. Sends nothing.
    ///
    /// # Errors
    ///
    /// As [`DefaultAzureCredential::new`].
    pub fn build(self) -> Result<DefaultAzureCredential, Error> {
        let environment = self
            .environment
            .clone()
            .unwrap_or_else(Environment::of_process);
        let selection =
            Selection::in_environment(&environment).map_err(|error| error.with_credential(NAME))?;
        let links = selection
            .members()
            .map(|member| self.link(member, selection, &environment))
            .collect();
        Ok(DefaultAzureCredential(Arc::new(Chain::new(links))))
    }

    fn link(&self, member: Member, selection: Selection, environment: &Environment) -> Link {
        let name = member.name();
        match member {
            Member::Environment => Link::new(
                name,
                EnvironmentCredential::from_environment(environment, &self.entra)
                    .map(SharedCredential::new),
            ),
            Member::WorkloadIdentity => Link::new(
                name,
                WorkloadIdentityCredential::builder()
                    .with_settings(self.entra.clone())
                    .build_in(environment)
                    .map(SharedCredential::new),
            ),
            Member::ManagedIdentity => {
                Link::new(name, self.managed_identity(selection, environment))
            }
            Member::Developer(tool) => developer::link(tool, environment),
        }
    }

    fn managed_identity(
        &self,
        selection: Selection,
        environment: &Environment,
    ) -> Result<SharedCredential, Error> {
        let id = match &self.user_assigned {
            Some(id) => Some(id.clone()),
            None => environment
                .text("AZURE_CLIENT_ID")?
                .map(ManagedIdentityId::ClientId),
        };
        // Whoever names it alone is better served by all attempts.
        let is_one_of_several = selection != Selection::Only(Member::ManagedIdentity);
        let mut builder = ManagedIdentityCredential::builder().probe(is_one_of_several);
        if let Some(id) = id {
            builder = builder.user_assigned(id);
        }
        if let Some(limit) = self.probe_timeout {
            builder = builder.probe_timeout(limit);
        }
        builder.build_in(environment).map(SharedCredential::new)
    }
}
