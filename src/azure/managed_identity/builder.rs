//! Settings of a managed identity.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::host::Host;
use super::imds::Imds;
use super::probe::Findings;
use super::{Inner, ManagedIdentityCredential, ManagedIdentityId, NAME, Probe};
use crate::Error;
use crate::environment::Environment;
use crate::transport::{RetryBudget, Transport};

const TIMEOUT: Duration = Duration::from_secs(80);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Settings of a [`ManagedIdentityCredential`].
///
/// Made by [`ManagedIdentityCredential::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ManagedIdentityCredentialBuilder {
    id: Option<ManagedIdentityId>,
    endpoint: Option<String>,
    transport: Option<Transport>,
    timeout: Duration,
    attempt_timeout: Duration,
    probe: bool,
    probe_timeout: Duration,
    environment: Option<Environment>,
    arc_keys: Option<PathBuf>,
}

impl ManagedIdentityCredentialBuilder {
    pub(super) fn new() -> Self {
        Self {
            id: None,
            endpoint: None,
            transport: None,
            timeout: TIMEOUT,
            attempt_timeout: ATTEMPT_TIMEOUT,
            probe: false,
            probe_timeout: PROBE_TIMEOUT,
            environment: None,
            arc_keys: None,
        }
    }

    /// Signs in as a user-assigned identity. Default: the system-assigned one.
    ///
    /// [Not every host](ManagedIdentityCredential#hosts) knows its identities
    /// by each kind of id.
    pub fn user_assigned(mut self, id: ManagedIdentityId) -> Self {
        self.id = Some(id);
        self
    }

    /// Asks the metadata service of a virtual machine at another place: scheme,
    /// address and port. Default: whatever host
    /// [the environment names](ManagedIdentityCredential#hosts).
    ///
    /// Plain HTTP is accepted to addresses that are loopback, link-local or
    /// private, and to `localhost`.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sends through `transport`, which must use no proxy, and on Service
    /// Fabric take no certificate but the one of `IDENTITY_SERVER_THUMBPRINT`.
    /// Default: one of this crate that cannot use any proxy, and takes 2
    /// seconds at most to connect.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// How long it may take to get a token, with probe, attempts and waits.
    /// Default: 80 seconds, which is as long as an update of the metadata
    /// service takes and 10 seconds more.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// How long one attempt may take, with the whole of its answer. Default:
    /// 10 seconds.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.attempt_timeout = limit;
        self
    }

    /// Makes it a good link of a chain: where there is no managed identity the
    /// error is [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), so
    /// that the chain goes on to its next credential.
    ///
    /// On what is taken for a virtual machine it looks first, for
    /// [a short time](Self::probe_timeout), whether there is a metadata service
    /// at all. A service that was found is not looked for again; one that was
    /// not is, after 30 seconds. What other clouds and some networks have at its
    /// address is none: what is no error of Azure's in JSON counts only if it is
    /// 400, 408, 410, 429, 500 or 503, which the service may send while it
    /// starts. On all hosts an identity that is not assigned counts as none.
    ///
    /// Default: off. Who asks for a managed identity and nothing else is
    /// better served by the full number of attempts.
    pub fn probe(mut self, on: bool) -> Self {
        self.probe = on;
        self
    }

    /// How long a [probe](Self::probe) may take. Default: 1 second, which is
    /// long for a service on the same machine and short for who waits in vain.
    /// Cold hosts have been seen to take 6 seconds.
    pub fn probe_timeout(mut self, limit: Duration) -> Self {
        self.probe_timeout = limit;
        self
    }

    /// Finds the host by these variables in place of those of the process: for
    /// tests, which cannot set the latter.
    ///
    /// ```
    /// use tower_bearer::azure::{ManagedIdentityCredential, ManagedIdentitySource};
    /// use tower_bearer::testing::Azure;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_bearer::Error> {
    /// let azure = Azure::start().await?;
    /// let credential = ManagedIdentityCredential::builder()
    ///     .environment(azure.app_service_environment())
    ///     .build()?;
    /// assert_eq!(credential.source(), ManagedIdentitySource::AppService);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "test-util")]
    pub fn environment<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<std::ffi::OsString>,
    {
        self.environment = Some(Environment::of_variables(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        ));
        self
    }

    /// Looks for the key files of Azure Arc in another folder than the agent's.
    #[cfg(feature = "test-util")]
    pub(crate) fn arc_keys(mut self, folder: PathBuf) -> Self {
        self.arc_keys = Some(folder);
        self
    }

    /// Makes the credential. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) when the
    /// id is empty or of a kind that the host does not know, or when the
    /// endpoint cannot be used.
    pub fn build(self) -> Result<ManagedIdentityCredential, Error> {
        let environment = self
            .environment
            .clone()
            .unwrap_or_else(Environment::of_process);
        self.build_in(&environment)
    }

    pub(in crate::azure) fn build_in(
        self,
        environment: &Environment,
    ) -> Result<ManagedIdentityCredential, Error> {
        self.try_build(environment)
            .map_err(|error| error.with_credential(NAME))
    }

    fn try_build(self, environment: &Environment) -> Result<ManagedIdentityCredential, Error> {
        if let Some(id) = &self.id {
            id.check()?;
        }
        let host = match &self.endpoint {
            Some(endpoint) => Host::Imds(Imds::new(Some(endpoint), environment)?),
            None => Host::find(environment, self.id.as_ref(), self.arc_keys)?,
        };
        let transport = match self.transport {
            Some(transport) => transport,
            None => host.transport()?,
        };
        Ok(ManagedIdentityCredential(Arc::new(Inner {
            host,
            id: self.id,
            transport,
            retry_budget: RetryBudget::default(),
            timeout: self.timeout,
            attempt_timeout: self.attempt_timeout,
            probe: self.probe.then(|| Probe {
                timeout: self.probe_timeout,
                findings: Findings::default(),
            }),
            has_issued: AtomicBool::new(false),
        })))
    }
}
