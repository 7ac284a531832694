//! The identity that Azure gives to the host that this runs on.

mod app_service;
mod attempt;
mod azure_arc;
mod builder;
mod cloud_shell;
mod endpoint;
mod explain;
mod host;
mod id;
mod imds;
mod msi_endpoint;
mod probe;
mod secret;
mod service_fabric;
mod source;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use self::builder::ManagedIdentityCredentialBuilder;
pub use self::id::ManagedIdentityId;
pub use self::source::ManagedIdentitySource;

use self::attempt::Attempt;
use self::explain::Situation;
use self::host::Host;
use self::probe::Findings;
use super::app_principal;
use crate::transport::{Retries, RetryBudget, Transport};
use crate::{AccessToken, Credential, Error, TenantId, TokenRequest};

const NAME: &str = "ManagedIdentityCredential";

/// Signs in as the managed identity of the host that this runs on: a virtual
/// machine, App Service, Functions, Container Apps, Azure Machine Learning,
/// Service Fabric, Cloud Shell, or a server with Azure Arc.
///
/// Cheap to clone.
///
/// ```no_run
/// use tower_bearer::azure::{ManagedIdentityCredential, ManagedIdentityId};
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let system_assigned = ManagedIdentityCredential::new()?;
/// println!("on {}", system_assigned.source());
///
/// let user_assigned = ManagedIdentityCredential::builder()
///     .user_assigned(ManagedIdentityId::ClientId(
///         "11111111-2222-3333-4444-555555555555".to_owned(),
///     ))
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// # Hosts
///
/// The first row of which all variables are set says where this runs. They are
/// read once, when the credential is made.
///
/// | host | by | user-assigned identities by |
/// | --- | --- | --- |
/// | [Service Fabric](ManagedIdentitySource::ServiceFabric) | `IDENTITY_ENDPOINT`, `IDENTITY_HEADER`, `IDENTITY_SERVER_THUMBPRINT` | object id |
/// | [App Service and its kin](ManagedIdentitySource::AppService) | `IDENTITY_ENDPOINT`, `IDENTITY_HEADER` | client, object or resource id |
/// | [Azure Arc](ManagedIdentitySource::AzureArc) | `IDENTITY_ENDPOINT`, `IMDS_ENDPOINT` | client, object or resource id |
/// | [Machine Learning, old App Service](ManagedIdentitySource::MachineLearning) | `MSI_ENDPOINT`, `MSI_SECRET` | client id |
/// | [Cloud Shell](ManagedIdentitySource::CloudShell) | `MSI_ENDPOINT` | none |
/// | [Azure Arc](ManagedIdentitySource::AzureArc) | its agent in the place where it is installed, unless the next row's variable is set | client, object or resource id |
/// | [virtual machine](ManagedIdentitySource::Imds) | all else; `AZURE_POD_IDENTITY_AUTHORITY_HOST` names another address than `http://169.254.169.254` | client, object or resource id |
///
/// # How it behaves
///
/// - Requests go to the endpoint straight: through no proxy, whatever the
///   environment says, and never on to where a redirect points. Over plain HTTP
///   they go to loopback, link-local and private addresses alone. What proves
///   that this runs on a host (`IDENTITY_HEADER`, `MSI_SECRET`) goes to the
///   endpoint that came with it and nowhere else.
/// - On virtual machines 404, 408, 410, 429 and 5xx answers and lost or refused
///   connections are tried again, up to 6 times in all, after 1 s and then twice
///   that each time up to 16 s, each with up to half as much added at random,
///   and not before a `Retry-After`. 410 means that the service is being
///   updated, which takes up to 70 s: so long it is tried, however often. On all
///   other hosts there are 4 attempts, a second apart and up to half as much;
///   410 is final there, and so is 404 on Service Fabric. A `Retry-After` longer
///   than the time that is left is returned in the error at once. Of all
///   requests of a credential together a tenth may be tried again, and one more
///   a second.
/// - A host that sets the variables of both protocols of App Service, and
///   refuses the version of the newer one, is asked by the older one, which is
///   remembered until that is refused.
/// - The agent of Azure Arc lets this process read a file to prove that it may
///   have a token. Only a `.key` file in the agent's own folder is read, no link
///   and no more than 4096 bytes. What the agent says of the identity is
///   compared with the one that was asked for, since older agents pass that
///   over.
/// - Service Fabric's certificate must be the one that the environment names.
/// - Metadata services have a cache of their own and cannot be made to issue
///   a new token, so a [refused token](TokenRequest::refused) may come again.
///   Only Service Fabric is told of it, and of [claims](TokenRequest::claims).
///   They know no other [tenant](TokenRequest::tenant) than that of the
///   identity. Both are passed over elsewhere, as they are by Azure's own
///   libraries: a challenge of the service that is called often names the very
///   tenant that the identity is of, and where it does not, that service refuses
///   the token.
#[derive(Clone)]
pub struct ManagedIdentityCredential(Arc<Inner>);

struct Inner {
    host: Host,
    id: Option<ManagedIdentityId>,
    transport: Transport,
    retry_budget: RetryBudget,
    timeout: Duration,
    attempt_timeout: Duration,
    /// For a link of a chain.
    probe: Option<Probe>,
    /// Once a host has issued a token, its errors are no longer a sign that it
    /// is none.
    has_issued: AtomicBool,
}

struct Probe {
    timeout: Duration,
    findings: Findings,
}

impl ManagedIdentityCredential {
    /// The system-assigned identity.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) when the
    /// variables of the host are set to what cannot be used.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Settings, such as a user-assigned identity.
    pub fn builder() -> ManagedIdentityCredentialBuilder {
        ManagedIdentityCredentialBuilder::new()
    }

    /// The kind of host that this runs on, as the environment has it. Nobody
    /// has been asked: a machine that is none of Azure's is taken for a
    /// [virtual machine](ManagedIdentitySource::Imds).
    #[must_use]
    pub fn source(&self) -> ManagedIdentitySource {
        self.0.host.source()
    }
}

impl Inner {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        request.audience().check()?;
        let runtime = request.runtime();
        let schedule = self.host.schedule(self.timeout);
        let mut retries = Retries::new(request, schedule, &self.retry_budget);
        if let (Host::Imds(imds), Some(probe)) = (&self.host, &self.probe) {
            let limit = retries.limit(probe.timeout);
            let attempt = Attempt::new(&self.transport, runtime, limit);
            probe.findings.look(imds, &attempt).await?;
        }
        let issued = loop {
            let limit = retries.limit(self.attempt_timeout);
            let attempt = Attempt::new(&self.transport, runtime, limit);
            match self.host.token(&attempt, request, self.id.as_ref()).await {
                Ok(issued) => break issued,
                Err(failure) => retries
                    .wait(failure)
                    .await
                    .map_err(|error| self.situation().explain(error))?,
            }
        };
        self.has_issued.store(true, Ordering::Release);
        if self.host.source() == ManagedIdentitySource::CloudShell {
            // It speaks for a person, of whom its claims know best.
            return Ok(issued.token);
        }
        let client_id = issued.client_id.as_deref().or(match &self.id {
            Some(ManagedIdentityId::ClientId(id)) => Some(id.as_str()),
            _ => None,
        });
        let principal = app_principal(&issued.token, client_id, None);
        Ok(issued.token.with_principal(principal))
    }

    fn situation(&self) -> Situation<'_> {
        Situation {
            source: self.host.source(),
            id: self.id.as_ref(),
            in_chain: self.probe.is_some(),
            has_issued: self.has_issued.load(Ordering::Acquire),
            is_recognised: self.host.is_recognised(),
        }
    }
}

impl Credential for ManagedIdentityCredential {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        self.0
            .token(request)
            .await
            .map(|token| token.with_credential(NAME))
            .map_err(|error| error.with_credential(NAME))
    }

    fn tenant(&self, _: &TenantId) -> Option<TenantId> {
        None
    }

    /// The metadata service answers 429 to about five requests a second.
    fn max_concurrency(&self) -> usize {
        5
    }
}

impl fmt::Debug for ManagedIdentityCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(NAME)
            .field("source", &self.source())
            .field("id", &self.0.id)
            .field("endpoint", self.0.host.endpoint())
            .finish_non_exhaustive()
    }
}
