//! The identity that Azure gives to the machine that this runs on.

mod endpoint;
mod imds;
mod probe;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::endpoint::Endpoint;
use self::imds::Imds;
use crate::environment::Environment;
use crate::transport::Transport;
use crate::{AccessToken, Credential, Error, ErrorKind, TenantId, TokenRequest};

const NAME: &str = "ManagedIdentityCredential";
const TIMEOUT: Duration = Duration::from_secs(80);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Signs in as the managed identity of the virtual machine that this runs on,
/// at the Instance Metadata Service (IMDS).
///
/// Cheap to clone.
///
/// ```
/// use tower_bearer::azure::{ManagedIdentityCredential, ManagedIdentityId};
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let system_assigned = ManagedIdentityCredential::new()?;
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
/// # How it behaves
///
/// - Requests go to the metadata endpoint straight: through no proxy, whatever
///   the environment says, and never on to where a redirect points.
/// - 404, 408, 410, 429 and 5xx answers and lost or refused connections are
///   tried again, up to 6 times in all, after 1 s and then twice that each time
///   up to 16 s, each with up to half as much added at random, and not before a
///   `Retry-After`. 410 means that the service is being updated, which takes
///   up to 70 s: so long it is tried, however often. A `Retry-After` longer
///   than the time that is left is returned in the error at once. Of all
///   requests of a credential together a tenth may be tried again, and one more
///   a second.
/// - The metadata service has a cache of its own and cannot be made to issue
///   a new token, so a [refused token](TokenRequest::refused) may come again.
///   It knows neither [claims](TokenRequest::claims) nor another
///   [tenant](TokenRequest::tenant) than that of the identity. Both are passed
///   over, as they are by Azure's own libraries: a challenge of the service
///   that is called often names the very tenant that the identity is of, and
///   where it does not, that service refuses the token.
#[derive(Clone)]
pub struct ManagedIdentityCredential(Arc<Imds>);

impl ManagedIdentityCredential {
    /// The system-assigned identity.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when the variable
    /// `AZURE_POD_IDENTITY_AUTHORITY_HOST` is set to what cannot be used.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Settings, such as a user-assigned identity.
    pub fn builder() -> ManagedIdentityCredentialBuilder {
        ManagedIdentityCredentialBuilder {
            id: None,
            endpoint: None,
            transport: None,
            timeout: TIMEOUT,
            attempt_timeout: ATTEMPT_TIMEOUT,
            probe: false,
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

    /// The endpoint answers 429 to about five requests a second.
    fn max_concurrency(&self) -> usize {
        5
    }
}

impl fmt::Debug for ManagedIdentityCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(NAME)
            .field("id", &self.0.id())
            .field("endpoint", &self.0.endpoint().to_string())
            .finish_non_exhaustive()
    }
}

/// Which of the user-assigned identities of a machine is meant. All three name
/// the same identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ManagedIdentityId {
    /// The client (application) id, a GUID.
    ClientId(String),
    /// The object (principal) id, a GUID.
    ObjectId(String),
    /// The id of the Azure resource: `/subscriptions/…/userAssignedIdentities/…`.
    ResourceId(String),
}

impl ManagedIdentityId {
    fn value(&self) -> &str {
        match self {
            Self::ClientId(id) | Self::ObjectId(id) | Self::ResourceId(id) => id,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let id = self.value();
        if !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(());
        }
        // Names of resource groups may have letters of any script.
        let may_be_any_script = matches!(self, Self::ResourceId(_));
        if may_be_any_script && !id.trim().is_empty() && !id.chars().any(char::is_control) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Configuration,
            format!("{self} is not the id of a managed identity"),
        )
        .with_advice(
            "give the id of a user-assigned identity, or none for the system-assigned one",
        ))
    }
}

impl fmt::Display for ManagedIdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::ClientId(_) => "client id",
            Self::ObjectId(_) => "object id",
            Self::ResourceId(_) => "resource id",
        };
        write!(f, "{kind} {:?}", crate::error::printable(self.value()))
    }
}

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
}

impl ManagedIdentityCredentialBuilder {
    /// Signs in as a user-assigned identity. Default: the system-assigned one.
    pub fn user_assigned(mut self, id: ManagedIdentityId) -> Self {
        self.id = Some(id);
        self
    }

    /// Asks another metadata endpoint: scheme, address and port. Default: what
    /// the variable `AZURE_POD_IDENTITY_AUTHORITY_HOST` names, else
    /// `http://169.254.169.254`.
    ///
    /// Plain HTTP is accepted to addresses that are loopback, link-local or
    /// private, and to `localhost`.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sends through `transport`, which must use no proxy. Default: one of
    /// this crate that cannot use any, and takes 2 seconds at most to connect.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// How long it may take to get a token, with all attempts and waits.
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

    /// Looks first, for 1 second at most, whether there is a metadata service
    /// at all, and says [`ErrorKind::Unavailable`] if there is none or if it
    /// knows no identity for this machine, so that a chain goes on to its next
    /// credential. A service that was found is not looked for again; one that
    /// was not is, after 30 seconds.
    ///
    /// Default: off. Who asks for a managed identity and nothing else is
    /// better served by the full number of attempts.
    pub fn probe(mut self, on: bool) -> Self {
        self.probe = on;
        self
    }

    /// Makes the credential. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when the id is empty or the endpoint cannot
    /// be used.
    pub fn build(self) -> Result<ManagedIdentityCredential, Error> {
        self.build_in(&Environment::of_process())
            .map_err(|error| error.with_credential(NAME))
    }

    pub(in crate::azure) fn build_in(
        self,
        environment: &Environment,
    ) -> Result<ManagedIdentityCredential, Error> {
        if let Some(id) = &self.id {
            id.check()?;
        }
        let endpoint = Endpoint::select(self.endpoint.as_deref(), environment)?;
        let transport = if let Some(transport) = self.transport {
            transport
        } else {
            endpoint.require_plain_http()?;
            Transport::direct()
        };
        Ok(ManagedIdentityCredential(Arc::new(Imds::new(
            endpoint,
            self.id,
            transport,
            self.timeout,
            self.attempt_timeout,
            self.probe,
        )?)))
    }
}
