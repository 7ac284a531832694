//! An application that proves itself by a token of Kubernetes.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::settings::{Settings, sign_in_settings};
use super::{Application, assertion};
use crate::azure::secret_file::{self, Bounds, Unreadable};
use crate::environment::Environment;
use crate::{AccessToken, Credential, Error, ErrorKind, TenantId, TokenRequest};

const NAME: &str = "WorkloadIdentityCredential";
const TENANT: &str = "AZURE_TENANT_ID";
const CLIENT: &str = "AZURE_CLIENT_ID";
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";

/// Kubernetes puts projected tokens behind symbolic links, and replaces those.
const FILE: Bounds = Bounds {
    max_bytes: 64 * 1024,
    follow_links: true,
};

/// Signs in an application with the token that Kubernetes projects into its
/// pod: workload identity, as AKS and Arc-enabled clusters have it.
///
/// Cheap to clone.
///
/// ```no_run
/// use tower_bearer::azure::WorkloadIdentityCredential;
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// // What the webhook of workload identity puts into the environment:
/// let credential = WorkloadIdentityCredential::from_env()?;
/// # Ok(())
/// # }
/// ```
///
/// # How it behaves
///
/// - The file is read for each token request, so that one that has been replaced
///   is used at once. It may be a symbolic link, and up to 64 KiB long. If Entra
///   refuses its token, it is read once more, and another token is tried.
/// - Everything else is as with
///   [`ClientSecretCredential`](super::ClientSecretCredential).
/// - The proxy of AKS for identity bindings is not used.
#[derive(Clone)]
pub struct WorkloadIdentityCredential(Arc<Inner>);

struct Inner {
    application: Application,
    token_file: PathBuf,
}

impl WorkloadIdentityCredential {
    /// The application that the variables `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`
    /// and `AZURE_FEDERATED_TOKEN_FILE` name, in the cloud that
    /// `AZURE_AUTHORITY_HOST` names, else the public one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] with the names of the variables that are
    /// missing, so that a chain goes on to its next credential;
    /// [`ErrorKind::Configuration`] when one of them cannot be used. The file is
    /// only read when a token is wanted.
    pub fn from_env() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Settings. What is not set is taken from the environment.
    pub fn builder() -> WorkloadIdentityCredentialBuilder {
        WorkloadIdentityCredentialBuilder {
            tenant: None,
            client_id: None,
            token_file: None,
            settings: Settings::default(),
        }
    }
}

impl Inner {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        let assertion = self.read().await?;
        let refusal = match self.sign_in(request, &assertion).await {
            Err(error) if error.kind() == ErrorKind::Rejected => error,
            other => return other,
        };
        // It may have been replaced in that very moment, or read half written.
        let again = self.read().await?;
        if *again == *assertion {
            return Err(refusal);
        }
        self.sign_in(request, &again).await
    }

    async fn sign_in(&self, request: &TokenRequest, token: &str) -> Result<AccessToken, Error> {
        self.application
            .sign_in(request, &assertion::proof(token), &[token])
            .await
    }

    async fn read(&self) -> Result<Zeroizing<String>, Error> {
        let refuse = |kind, problem: &dyn fmt::Display, advice: &'static str| {
            let file = self.token_file.display();
            Error::new(kind, format!("the token file {file} {problem}")).with_advice(advice)
        };
        let bytes = secret_file::read(self.token_file.clone(), FILE)
            .await
            .map_err(|problem| match problem {
                Unreadable::Missing => refuse(
                    ErrorKind::Unavailable,
                    &problem,
                    "check that the pod has the label azure.workload.identity/use: \"true\" and that AZURE_FEDERATED_TOKEN_FILE is as the webhook has set it",
                ),
                Unreadable::Denied => refuse(
                    ErrorKind::Configuration,
                    &problem,
                    "let the user that runs this read it (fsGroup in the pod's securityContext)",
                ),
                _ => refuse(
                    ErrorKind::Configuration,
                    &problem,
                    "give the file that holds the token of the service account",
                ),
            })?;
        let token = std::str::from_utf8(&bytes).unwrap_or_default().trim();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(refuse(
                ErrorKind::Configuration,
                &"holds no token",
                "give the file that holds the token of the service account",
            ));
        }
        Ok(Zeroizing::new(token.to_owned()))
    }
}

impl Credential for WorkloadIdentityCredential {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        self.0
            .token(request)
            .await
            .map(|token| token.with_credential(NAME))
            .map_err(|error| error.with_credential(NAME))
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        self.0.application.tenants.other(asked)
    }
}

impl fmt::Debug for WorkloadIdentityCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let application = &self.0.application;
        f.debug_struct(NAME)
            .field("tenant", &application.tenants.own().as_str())
            .field("client_id", &application.client_id)
            .field("authority", &application.authority.to_string())
            .field("token_file", &self.0.token_file)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`WorkloadIdentityCredential`].
///
/// Made by [`WorkloadIdentityCredential::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct WorkloadIdentityCredentialBuilder {
    tenant: Option<String>,
    client_id: Option<String>,
    token_file: Option<PathBuf>,
    settings: Settings,
}

impl WorkloadIdentityCredentialBuilder {
    /// The tenant of the application. Default: `AZURE_TENANT_ID`.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// The client id of the application. Default: `AZURE_CLIENT_ID`.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// The file with the token of the service account. Default:
    /// `AZURE_FEDERATED_TOKEN_FILE`.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    sign_in_settings!();

    /// Makes the credential. Sends nothing and reads nothing.
    ///
    /// # Errors
    ///
    /// As [`WorkloadIdentityCredential::from_env`].
    pub fn build(self) -> Result<WorkloadIdentityCredential, Error> {
        self.build_in(&Environment::of_process())
    }

    pub(in crate::azure) fn build_in(
        self,
        environment: &Environment,
    ) -> Result<WorkloadIdentityCredential, Error> {
        self.try_build(environment)
            .map_err(|error| error.with_credential(NAME))
    }

    fn try_build(self, environment: &Environment) -> Result<WorkloadIdentityCredential, Error> {
        let text = |given: Option<String>, name| match given {
            Some(given) => Ok(Some(given)),
            None => environment.text(name),
        };
        let tenant = text(self.tenant, TENANT)?;
        let client_id = text(self.client_id, CLIENT)?;
        let token_file = self
            .token_file
            .or_else(|| environment.raw(TOKEN_FILE).map(PathBuf::from));
        let missing: Vec<_> = [
            (TENANT, tenant.is_none()),
            (CLIENT, client_id.is_none()),
            (TOKEN_FILE, token_file.is_none()),
        ]
        .into_iter()
        .filter_map(|(name, is_missing)| is_missing.then_some(name))
        .collect();
        let (Some(tenant), Some(client_id), Some(token_file)) = (tenant, client_id, token_file)
        else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("not set in the environment: {}", missing.join(", ")),
            )
            .with_advice(
                "these come with workload identity in Kubernetes: label the pod azure.workload.identity/use: \"true\"",
            ));
        };
        let application = self
            .settings
            .application(&tenant, &client_id, environment)?;
        Ok(WorkloadIdentityCredential(Arc::new(Inner {
            application,
            token_file,
        })))
    }
}
