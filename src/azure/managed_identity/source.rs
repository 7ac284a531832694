//! The kinds of hosts that give their processes an identity.

use std::fmt;

/// The kind of host that a [`ManagedIdentityCredential`] has found itself on.
///
/// `Display` says it for people, such as `Azure App Service`.
///
/// [`ManagedIdentityCredential`]: super::ManagedIdentityCredential
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ManagedIdentitySource {
    /// A virtual machine, a scale set, a node of AKS or a container instance:
    /// whatever has the Instance Metadata Service.
    Imds,
    /// App Service, Functions, Container Apps, Automation, and Kubernetes with
    /// Azure Arc: the protocol of version 2019-08-01.
    AppService,
    /// Azure Machine Learning, and App Service by the protocol of version
    /// 2017-09-01.
    MachineLearning,
    /// Azure Cloud Shell, whose tokens are those of the person that uses it.
    CloudShell,
    /// A server outside of Azure that is managed by Azure Arc.
    AzureArc,
    /// A Service Fabric cluster.
    ServiceFabric,
}

impl fmt::Display for ManagedIdentitySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Imds => "an Azure virtual machine",
            Self::AppService => "Azure App Service",
            Self::MachineLearning => {
                "Azure Machine Learning, or App Service by the protocol of 2017"
            }
            Self::CloudShell => "Azure Cloud Shell",
            Self::AzureArc => "a server with Azure Arc",
            Self::ServiceFabric => "Azure Service Fabric",
        })
    }
}
