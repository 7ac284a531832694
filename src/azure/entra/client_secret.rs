//! An application with a secret.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::settings::{Settings, sign_in_settings};
use super::{Application, form};
use crate::environment::Environment;
use crate::{AccessToken, Credential, Error, ErrorKind, TenantId, TokenRequest};

const NAME: &str = "ClientSecretCredential";

/// Signs an application in with its client secret.
///
/// Cheap to clone. The secret is wiped from memory with the last clone, as are
/// the requests that held it; what TLS and the sockets keep for a moment is out
/// of this crate's hands.
///
/// ```no_run
/// use tower_bearer::azure::ClientSecretCredential;
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let credential = ClientSecretCredential::new(
///     "contoso.onmicrosoft.com",
///     "11111111-2222-3333-4444-555555555555",
///     std::fs::read_to_string("/run/secrets/client").unwrap_or_default().trim_end(),
/// )?;
/// # Ok(())
/// # }
/// ```
///
/// # How it behaves
///
/// - The token is for `{audience}/.default`. Blanks around tenant and client
///   id are dropped; around a secret they are an error, since they are never
///   part of one.
/// - A request for another [tenant](TokenRequest::tenant) is refused, unless
///   [`additionally_allowed_tenants`](ClientSecretCredentialBuilder::additionally_allowed_tenants)
///   names that tenant.
/// - Failures that may pass (408, 429 and 5xx answers, lost connections,
///   answers that are no token) are tried again, up to 3 times in all, after
///   0.8 s and then twice that, each with up to half as much added at random. A
///   connection that was lost is replaced at once, the first time. Of all
///   requests of a credential together a tenth may be tried again, and one more
///   a second, so that many audiences do not make an outage worse. A
///   `Retry-After` is kept to; one that comes with 429 is not waited for but
///   returned in the error, for the cache to remember.
/// - Redirects are never followed, and answers of more than 1 MiB are not read.
#[derive(Clone)]
pub struct ClientSecretCredential(Arc<Inner>);

struct Inner {
    application: Application,
    secret: Zeroizing<String>,
}

impl ClientSecretCredential {
    /// The application `client_id` of `tenant`, in the cloud that the variable
    /// `AZURE_AUTHORITY_HOST` names, else the public one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when one of the three cannot be used, and
    /// when the built-in transport cannot be made: see
    /// [`TransportBuilder::build`](crate::TransportBuilder::build).
    pub fn new(
        tenant: impl Into<String>,
        client_id: impl Into<String>,
        secret: impl Into<String>,
    ) -> Result<Self, Error> {
        Self::builder(tenant, client_id, secret).build()
    }

    /// The same, with settings.
    pub fn builder(
        tenant: impl Into<String>,
        client_id: impl Into<String>,
        secret: impl Into<String>,
    ) -> ClientSecretCredentialBuilder {
        ClientSecretCredentialBuilder {
            tenant: tenant.into(),
            client_id: client_id.into(),
            secret: Zeroizing::new(secret.into()),
            settings: Settings::default(),
        }
    }

    /// The application that the variables `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`
    /// and `AZURE_CLIENT_SECRET` name. `AZURE_ADDITIONALLY_ALLOWED_TENANTS` is
    /// a list of tenants, separated by `;`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] with the names of those that are missing, so
    /// that a chain goes on to its next credential; else as [`new`](Self::new).
    pub fn from_env() -> Result<Self, Error> {
        Self::from_environment(&Environment::of_process(), Settings::default())
    }

    pub(in crate::azure) fn from_environment(
        environment: &Environment,
        settings: Settings,
    ) -> Result<Self, Error> {
        let names = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"];
        let values = [
            environment.text(names[0])?,
            environment.text(names[1])?,
            environment.text(names[2])?,
        ];
        let [Some(tenant), Some(client_id), Some(secret)] = values else {
            let missing: Vec<_> = names
                .into_iter()
                .filter(|name| environment.raw(name).is_none())
                .collect();
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("not set in the environment: {}", missing.join(", ")),
            )
            .with_advice(
                "set all three of AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
            )
            .with_credential(NAME));
        };
        Self::builder(tenant, client_id, secret)
            .with_settings(settings.with_tenants_of(environment)?)
            .build_in(environment)
    }
}

impl Credential for ClientSecretCredential {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        let secret = self.0.secret.as_str();
        let encoded = form::encode_value(secret);
        self.0
            .application
            .sign_in(request, &[("client_secret", secret)], &[secret, &encoded])
            .await
            .map(|token| token.with_credential(NAME))
            .map_err(|error| error.with_credential(NAME))
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        self.0.application.tenants.other(asked)
    }
}

impl fmt::Debug for ClientSecretCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let application = &self.0.application;
        f.debug_struct(NAME)
            .field("tenant", &application.tenants.own().as_str())
            .field("client_id", &application.client_id)
            .field("authority", &application.authority.to_string())
            .finish_non_exhaustive()
    }
}

/// Settings of a [`ClientSecretCredential`].
///
/// Made by [`ClientSecretCredential::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientSecretCredentialBuilder {
    tenant: String,
    client_id: String,
    secret: Zeroizing<String>,
    settings: Settings,
}

impl ClientSecretCredentialBuilder {
    sign_in_settings!();

    /// Makes the credential. Sends nothing.
    ///
    /// # Errors
    ///
    /// As [`ClientSecretCredential::new`], and when settings contradict each
    /// other.
    pub fn build(self) -> Result<ClientSecretCredential, Error> {
        self.build_in(&Environment::of_process())
    }

    pub(in crate::azure) fn build_in(
        self,
        environment: &Environment,
    ) -> Result<ClientSecretCredential, Error> {
        let Self {
            tenant,
            client_id,
            secret,
            settings,
        } = self;
        check_secret(&secret)
            .and_then(|()| settings.application(&tenant, &client_id, environment))
            .map(|application| {
                ClientSecretCredential(Arc::new(Inner {
                    application,
                    secret,
                }))
            })
            .map_err(|error| error.with_credential(NAME))
    }
}

fn check_secret(secret: &str) -> Result<(), Error> {
    if secret.is_empty() {
        return Err(
            Error::new(ErrorKind::Configuration, "the client secret is empty")
                .with_advice("give the value of a client secret of the app registration"),
        );
    }
    if secret.trim() != secret {
        return Err(Error::new(
            ErrorKind::Configuration,
            "the client secret begins or ends with blanks or a line break",
        )
        .with_advice("trim it; files often end with a line break"));
    }
    Ok(())
}

impl fmt::Debug for ClientSecretCredentialBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSecretCredentialBuilder")
            .field("tenant", &self.tenant)
            .field("client_id", &self.client_id)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_are_missing_are_listed() {
        let error = ClientSecretCredential::from_environment(
            &Environment::of(&[("AZURE_TENANT_ID", "contoso.com"), ("AZURE_CLIENT_ID", "")]),
            Settings::default(),
        )
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error
                .message()
                .ends_with(": AZURE_CLIENT_ID, AZURE_CLIENT_SECRET"),
            "{error}"
        );
    }

    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    #[test]
    fn i10_the_environment_gives_a_credential_that_does_not_show_its_secret() {
        let credential = ClientSecretCredential::from_environment(
            &Environment::of(&[
                ("AZURE_TENANT_ID", "contoso.com"),
                ("AZURE_CLIENT_ID", "app"),
                ("AZURE_CLIENT_SECRET", "canary"),
                ("AZURE_AUTHORITY_HOST", "login.microsoftonline.us"),
                (
                    "AZURE_ADDITIONALLY_ALLOWED_TENANTS",
                    "other.com; third.com;",
                ),
            ]),
            Settings::default(),
        )
        .unwrap();
        let shown = format!("{credential:?}");
        assert!(shown.contains("login.microsoftonline.us"), "{shown}");
        assert!(!shown.contains("canary"));
    }
}
