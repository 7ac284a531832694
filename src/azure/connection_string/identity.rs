//! The identities that there are.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::key::Key;
use crate::{Error, ErrorKind, TenantId};

/// In whose name.
#[derive(Clone, Copy)]
pub(super) enum RunAs {
    Developer,
    CurrentUser,
    App,
    Workload,
}

impl RunAs {
    pub(super) const ALL: [Self; 4] = [
        Self::Developer,
        Self::CurrentUser,
        Self::App,
        Self::Workload,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Developer => "Developer",
            Self::CurrentUser => "CurrentUser",
            Self::App => "App",
            Self::Workload => "Workload",
        }
    }
}

/// A tool that a developer is signed in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeveloperTool {
    /// The Azure CLI, `az`.
    AzureCli,
    /// The Azure Developer CLI, `azd`.
    AzureDeveloperCli,
    /// The `Az` modules of PowerShell.
    AzurePowerShell,
    /// Visual Studio.
    VisualStudio,
}

impl DeveloperTool {
    pub(super) const ALL: [Self; 4] = [
        Self::AzureCli,
        Self::VisualStudio,
        Self::AzureDeveloperCli,
        Self::AzurePowerShell,
    ];

    /// As it is written in a connection string.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AzureCli => "AzureCLI",
            Self::AzureDeveloperCli => "AzureDeveloperCLI",
            Self::AzurePowerShell => "AzurePowerShell",
            Self::VisualStudio => "VisualStudio",
        }
    }
}

impl fmt::Display for DeveloperTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How long a managed identity's endpoint is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::azure) enum RetryTimeout {
    /// Written as 0: as long as that takes.
    Unlimited,
    After(Duration),
}

/// A part of the certificate store of Windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::azure) enum StoreLocation {
    CurrentUser,
    LocalMachine,
}

impl StoreLocation {
    pub(super) const ALL: [Self; 2] = [Self::CurrentUser, Self::LocalMachine];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CurrentUser => "CurrentUser",
            Self::LocalMachine => "LocalMachine",
        }
    }

    pub(in crate::azure) fn cannot_be_read(self) -> Error {
        Error::new(
            ErrorKind::Configuration,
            format!(
                "connection string: CertificateStoreLocation={} names the certificate \
                 store of Windows, which this library cannot read",
                self.name()
            ),
        )
        .with_advice(
            "export the certificate with its key and give CertificatePath=FILE (PEM or \
             PFX), or keep it in Key Vault and give KeyVaultCertificateSecretIdentifier=URL",
        )
    }
}

/// The identity that a string selects. What AppAuthentication always does with
/// certificates goes for both kinds of them here: the chain is sent along, so
/// that applications that trust a subject name and issuer accept them.
#[derive(Clone)]
#[expect(
    clippy::enum_variant_names,
    reason = "a managed identity is called that"
)]
pub(in crate::azure) enum Identity {
    Developer {
        tool: DeveloperTool,
        tenant: Option<TenantId>,
    },
    CurrentUser,
    ManagedIdentity {
        /// None for the system-assigned identity.
        client_id: Option<String>,
        retry_timeout: Option<RetryTimeout>,
    },
    Secret {
        tenant: TenantId,
        client_id: String,
        secret: Zeroizing<String>,
    },
    CertificateFile {
        tenant: TenantId,
        client_id: String,
        path: PathBuf,
        password: Option<Zeroizing<String>>,
    },
    StoreCertificate {
        location: StoreLocation,
    },
    VaultCertificate {
        secret_identifier: String,
        client_id: String,
        /// None for the tenant that the vault's token is of.
        tenant: Option<TenantId>,
        /// The client id of the managed identity that reads the vault.
        vault_identity: Option<String>,
        retry_timeout: Option<RetryTimeout>,
    },
    Workload {
        // Those that are not given are what the environment says.
        tenant: Option<TenantId>,
        client_id: Option<String>,
        token_file: Option<PathBuf>,
    },
}

impl Identity {
    /// What is said of it in a sentence.
    pub(super) fn description(&self) -> &'static str {
        match self {
            Self::Developer { tool, .. } => match tool {
                DeveloperTool::AzureCli => "the Azure CLI's user",
                DeveloperTool::AzureDeveloperCli => "the Azure Developer CLI's user",
                DeveloperTool::AzurePowerShell => "Azure PowerShell's user",
                DeveloperTool::VisualStudio => "Visual Studio's user",
            },
            Self::CurrentUser => "the user that Windows is signed in with",
            Self::ManagedIdentity {
                client_id: None, ..
            } => "the system-assigned managed identity",
            Self::ManagedIdentity { .. } => "a user-assigned managed identity",
            Self::Secret { .. } => "an application with a secret",
            Self::CertificateFile { .. } => "an application with a certificate from a file",
            Self::StoreCertificate { .. } => {
                "an application with a certificate from the Windows store"
            }
            Self::VaultCertificate { .. } => "an application with a certificate from Key Vault",
            Self::Workload { .. } => "a workload identity",
        }
    }

    /// The keys that had a say in it, or could have.
    pub(super) fn uses(&self, key: Key) -> bool {
        let more: &[Key] = match self {
            Self::Developer { .. } => &[Key::DeveloperTool, Key::TenantId],
            Self::CurrentUser => &[],
            Self::ManagedIdentity { .. } => &[Key::AppId, Key::MsiRetryTimeout],
            Self::Secret { .. } => &[Key::AppId, Key::TenantId, Key::AppKey],
            Self::CertificateFile { .. } => &[
                Key::AppId,
                Key::TenantId,
                Key::CertificatePath,
                Key::CertificatePassword,
            ],
            Self::StoreCertificate { .. } => &[
                Key::AppId,
                Key::TenantId,
                Key::CertificateStoreLocation,
                Key::CertificateThumbprint,
                Key::CertificateSubjectName,
            ],
            Self::VaultCertificate { .. } => &[
                Key::AppId,
                Key::TenantId,
                Key::VaultCertificateSecretIdentifier,
                Key::VaultUserAssignedManagedIdentityId,
                Key::MsiRetryTimeout,
            ],
            Self::Workload { .. } => &[Key::AppId, Key::TenantId, Key::TokenFile],
        };
        key == Key::RunAs || more.contains(&key)
    }

    /// Why this crate cannot sign in as this identity, if it cannot.
    pub(super) fn unsupported(&self) -> Option<Error> {
        match self {
            Self::CurrentUser => Some(Self::no_integrated_sign_in()),
            Self::StoreCertificate { location } => Some(location.cannot_be_read()),
            _ => None,
        }
    }

    pub(in crate::azure) fn no_integrated_sign_in() -> Error {
        Error::new(
            ErrorKind::Configuration,
            "connection string: RunAs=CurrentUser is integrated sign-in on Windows, \
             which this library cannot do",
        )
        .with_advice(
            "sign in with a developer tool instead: RunAs=Developer;DeveloperTool=AzureCLI",
        )
    }
}
