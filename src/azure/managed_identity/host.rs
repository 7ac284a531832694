//! The host that this runs on: found by the environment, then asked.

use std::path::PathBuf;
use std::time::Duration;

use super::app_service::AppService;
use super::attempt::Attempt;
use super::azure_arc::AzureArc;
use super::cloud_shell::CloudShell;
use super::endpoint::Endpoint;
use super::imds::Imds;
use super::msi_endpoint::MsiEndpoint;
use super::service_fabric::ServiceFabric;
use super::{ManagedIdentityId, ManagedIdentitySource};
use crate::azure::answer::Issued;
use crate::environment::Environment;
use crate::transport::{Failure, Schedule, Transport};
use crate::{Error, TokenRequest};

#[derive(Debug)]
pub(super) enum Host {
    Imds(Imds),
    AppService(AppService),
    MsiEndpoint(MsiEndpoint),
    CloudShell(CloudShell),
    AzureArc(AzureArc),
    ServiceFabric(ServiceFabric),
}

impl Host {
    /// The first that the environment names, in the order in which Azure's own
    /// libraries look; an agent of Azure Arc that is installed; else the
    /// metadata service.
    pub(super) fn find(
        environment: &Environment,
        id: Option<&ManagedIdentityId>,
        arc_keys: Option<PathBuf>,
    ) -> Result<Self, Error> {
        if let Some(host) = ServiceFabric::find(environment)? {
            id.map_or(Ok(()), ServiceFabric::check)?;
            return Ok(Self::ServiceFabric(host));
        }
        if let Some(host) = AppService::find(environment, id)? {
            return Ok(Self::AppService(host));
        }
        if let Some(host) = AzureArc::find(environment, arc_keys)? {
            return Ok(Self::AzureArc(host));
        }
        if let Some(host) = MsiEndpoint::find(environment)? {
            id.map_or(Ok(()), MsiEndpoint::check)?;
            return Ok(Self::MsiEndpoint(host));
        }
        if let Some(host) = CloudShell::find(environment)? {
            return match id {
                Some(id) => Err(CloudShell::check(id)),
                None => Ok(Self::CloudShell(host)),
            };
        }
        if let Some(host) = AzureArc::find_installed(environment)? {
            return Ok(Self::AzureArc(host));
        }
        Imds::new(None, environment).map(Self::Imds)
    }

    pub(super) fn source(&self) -> ManagedIdentitySource {
        match self {
            Self::Imds(_) => ManagedIdentitySource::Imds,
            Self::AppService(_) => ManagedIdentitySource::AppService,
            Self::MsiEndpoint(_) => ManagedIdentitySource::MachineLearning,
            Self::CloudShell(_) => ManagedIdentitySource::CloudShell,
            Self::AzureArc(_) => ManagedIdentitySource::AzureArc,
            Self::ServiceFabric(_) => ManagedIdentitySource::ServiceFabric,
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Imds(host) => host.endpoint(),
            Self::AppService(host) => host.endpoint(),
            Self::MsiEndpoint(host) => host.endpoint(),
            Self::CloudShell(host) => host.endpoint(),
            Self::AzureArc(host) => host.endpoint(),
            Self::ServiceFabric(host) => host.endpoint(),
        }
    }

    /// Whether what is there has shown that it is this host and nothing else
    /// in its place. Variables need no proof.
    pub(super) fn is_recognised(&self) -> bool {
        match self {
            Self::Imds(host) => host.is_recognised(),
            _ => true,
        }
    }

    /// The transport that this crate has for it.
    pub(super) fn transport(&self) -> Result<Transport, Error> {
        if let Self::ServiceFabric(host) = self {
            return host.transport();
        }
        self.endpoint().require_plain_http()?;
        Ok(Transport::direct())
    }

    /// Microsoft documents how often the metadata service may be asked again.
    /// For all others its own clients make three more attempts, a second apart.
    pub(super) fn schedule(&self, budget: Duration) -> Schedule {
        match self {
            Self::Imds(_) => Schedule {
                tries: 6,
                base: Duration::from_secs(1),
                longest: Duration::from_secs(16),
                budget,
            },
            _ => Schedule {
                tries: 4,
                base: Duration::from_secs(1),
                longest: Duration::from_secs(1),
                budget,
            },
        }
    }

    pub(super) async fn token(
        &self,
        attempt: &Attempt<'_>,
        request: &TokenRequest,
        id: Option<&ManagedIdentityId>,
    ) -> Result<Issued, Failure> {
        let audience = request.audience().as_str();
        let resource = audience.strip_suffix("/.default").unwrap_or(audience);
        match self {
            Self::Imds(host) => host.token(attempt, resource, id).await,
            Self::AppService(host) => host.token(attempt, resource, id).await,
            Self::MsiEndpoint(host) => host.token(attempt, resource, id).await,
            Self::CloudShell(host) => host.token(attempt, resource).await,
            Self::AzureArc(host) => host.token(attempt, resource, id).await,
            Self::ServiceFabric(host) => host.token(attempt, resource, id, request).await,
        }
    }
}
