//! Azure: credentials, the host table, and what Azure's challenges ask for.

mod answer;
mod audiences;
mod blocking;
mod chain;
mod challenges;
mod cloud;
mod connection_string;
#[cfg(feature = "developer-tools")]
mod developer;
mod entra;
mod key_vault_certificate;
mod managed_identity;
mod provider;
mod secret_file;

pub use self::audiences::Audiences;
pub use self::chain::{
    ChainedTokenCredential, ChainedTokenCredentialBuilder, DefaultAzureCredential,
    DefaultAzureCredentialBuilder, EnvironmentCredential,
};
pub use self::challenges::Challenges;
pub use self::cloud::Cloud;
#[cfg(feature = "test-util")]
pub(crate) use self::cloud::LOGIN_HOSTS;
pub use self::connection_string::{
    ConnectionString, ConnectionStringBuilder, ConnectionStringWarning,
    ConnectionStringWarningKind, DeveloperTool,
};
#[cfg(feature = "developer-tools")]
pub use self::developer::{
    AzureCliCredential, AzureCliCredentialBuilder, AzureDeveloperCliCredential,
    AzureDeveloperCliCredentialBuilder, AzurePowerShellCredential,
    AzurePowerShellCredentialBuilder, VisualStudioCredential, VisualStudioCredentialBuilder,
};
pub use self::entra::{
    ClientCertificate, ClientCertificateCredential, ClientCertificateCredentialBuilder,
    ClientSecretCredential, ClientSecretCredentialBuilder, WorkloadIdentityCredential,
    WorkloadIdentityCredentialBuilder,
};
pub use self::managed_identity::{
    ManagedIdentityCredential, ManagedIdentityCredentialBuilder, ManagedIdentityId,
    ManagedIdentitySource,
};
pub use self::provider::{TokenProvider, TokenProviderBuilder};

use crate::{AccessToken, BearerAuthLayer, Principal, PrincipalType, TokenCache};

impl BearerAuthLayer {
    /// A layer for Azure: audiences by [`Audiences`], the built-in table of
    /// all clouds, and [`Challenges`] followed.
    ///
    /// Requests to hosts that the table does not name are refused; see
    /// [`unknown_hosts`](Self::unknown_hosts). To add hosts of your own, or to
    /// unlock the hosts whose audience is ambiguous, use
    /// [`new`](Self::new) with `Hosts::new().allow(…)?.or(azure::Audiences::new())`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_bearer::{AccessToken, credential_fn};
    /// use tower_bearer::{BearerAuthLayer, TokenCache};
    ///
    /// # let credential = credential_fn(|_| async {
    /// #     AccessToken::expiring_in("abc", Duration::from_secs(60))
    /// # });
    /// let layer = BearerAuthLayer::azure(TokenCache::new(credential));
    /// ```
    pub fn azure(tokens: impl Into<TokenCache>) -> Self {
        Self::new(tokens, Audiences::new()).challenges(Challenges::new())
    }
}

/// What endpoints of version 1 and tools take for an audience: not the scope
/// that stands for all of its permissions.
#[cfg(feature = "developer-tools")]
fn resource(audience: &crate::Audience) -> &str {
    let audience = audience.as_str();
    audience.strip_suffix("/.default").unwrap_or(audience)
}

/// The principal of a token that was issued to an application: what the token
/// says, completed by what the credential knows.
fn app_principal(token: &AccessToken, app_id: Option<&str>, tenant_id: Option<&str>) -> Principal {
    let mut principal = token.principal().clone().with_type(PrincipalType::App);
    if let (None, Some(id)) = (principal.app_id(), app_id) {
        principal = principal.with_app_id(id);
    }
    if let (None, Some(id)) = (principal.tenant_id(), tenant_id) {
        principal = principal.with_tenant_id(id);
    }
    principal
}
