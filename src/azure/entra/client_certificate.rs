//! An application with a certificate.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::certificate::{Algorithm, Assertion, Certificate, ClientCertificate, Holder};
use super::settings::{Settings, sign_in_settings};
use super::tenants::is_ad_fs;
use super::{Application, assertion};
use crate::environment::Environment;
use crate::{AccessToken, Credential, Error, ErrorKind, TenantId, TokenRequest};

const NAME: &str = "ClientCertificateCredential";
const TENANT: &str = "AZURE_TENANT_ID";
const CLIENT: &str = "AZURE_CLIENT_ID";
const PATH: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
const PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
const SEND_CHAIN: &str = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN";

/// Signs an application in with its certificate.
///
/// Cheap to clone. The private key never leaves the program: it signs a token
/// of ten minutes (RFC 7523) for each token request.
///
/// ```no_run
/// use tower_bearer::azure::{ClientCertificate, ClientCertificateCredential};
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let credential = ClientCertificateCredential::new(
///     "contoso.onmicrosoft.com",
///     "11111111-2222-3333-4444-555555555555",
///     ClientCertificate::from_file("/run/secrets/client.pem"),
/// )?;
/// # Ok(())
/// # }
/// ```
///
/// # How it behaves
///
/// - The signature is PS256, and the certificate is named by its SHA-256
///   (`x5t#S256`), as Microsoft's page on certificate credentials has it. For
///   AD FS, the tenant `adfs` of an authority of one's own, it is RS256 and
///   SHA-1 (`x5t`).
/// - A file is read for each token request. A new certificate is used at once.
///   One that cannot be used, or not yet, leaves the old one in use, which
///   [`reload_error`](Self::reload_error) tells, and the error, should the old
///   one end or be refused.
/// - A certificate that has expired, or is not valid yet by the clock of the
///   [runtime](crate::Runtime), is an error that says when.
/// - The [principal](AccessToken::principal) has the certificate's SHA-1
///   thumbprint.
/// - Everything else is as with
///   [`ClientSecretCredential`](super::ClientSecretCredential).
#[derive(Clone)]
pub struct ClientCertificateCredential(Arc<Inner>);

struct Inner {
    application: Application,
    holder: Holder,
    sends_chain: bool,
}

impl ClientCertificateCredential {
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
        certificate: ClientCertificate,
    ) -> Result<Self, Error> {
        Self::builder(tenant, client_id, certificate).build()
    }

    /// The same, with settings.
    pub fn builder(
        tenant: impl Into<String>,
        client_id: impl Into<String>,
        certificate: ClientCertificate,
    ) -> ClientCertificateCredentialBuilder {
        ClientCertificateCredentialBuilder {
            tenant: tenant.into(),
            client_id: client_id.into(),
            certificate,
            sends_chain: false,
            settings: Settings::default(),
        }
    }

    /// The application that the variables `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`
    /// and `AZURE_CLIENT_CERTIFICATE_PATH` name, with the password
    /// `AZURE_CLIENT_CERTIFICATE_PASSWORD` if that is set.
    /// `AZURE_CLIENT_SEND_CERTIFICATE_CHAIN` set to `1` or `true` is
    /// [`send_certificate_chain`](ClientCertificateCredentialBuilder::send_certificate_chain),
    /// and `AZURE_ADDITIONALLY_ALLOWED_TENANTS` a list of tenants, separated by
    /// `;`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] with the names of those that are missing, so
    /// that a chain goes on to its next credential; else as [`new`](Self::new).
    pub fn from_env() -> Result<Self, Error> {
        Self::from_environment(&Environment::of_process(), Settings::default())
    }

    /// Why the certificate that lies in the file now was not taken when the last
    /// token was asked for, and an older one was; `None` if it was. To be
    /// watched: the older one ends one day.
    ///
    /// ```no_run
    /// # fn run(credential: &tower_bearer::azure::ClientCertificateCredential) {
    /// if let Some(problem) = credential.reload_error() {
    ///     eprintln!("the new certificate is of no use: {problem}");
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn reload_error(&self) -> Option<Error> {
        self.0.holder.problem()
    }

    /// Whether its certificate may be used at `now`.
    pub(in crate::azure) fn is_in_time(&self, now: SystemTime) -> bool {
        self.0.holder.is_in_time(now)
    }

    pub(in crate::azure) fn from_environment(
        environment: &Environment,
        settings: Settings,
    ) -> Result<Self, Error> {
        let tenant = environment.text(TENANT)?;
        let client_id = environment.text(CLIENT)?;
        let path = environment.raw(PATH);
        let (Some(tenant), Some(client_id), Some(path)) = (tenant, client_id, path) else {
            let missing: Vec<_> = [TENANT, CLIENT, PATH]
                .into_iter()
                .filter(|name| environment.raw(name).is_none())
                .collect();
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("not set in the environment: {}", missing.join(", ")),
            )
            .with_advice(
                "set all three of AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_CERTIFICATE_PATH",
            )
            .with_credential(NAME));
        };
        let mut certificate = ClientCertificate::from_file(path);
        if let Some(password) = environment.text(PASSWORD)? {
            certificate = certificate.with_password(password);
        }
        let sends_chain = environment
            .text(SEND_CHAIN)?
            .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"));
        Self::builder(tenant, client_id, certificate)
            .with_settings(settings.with_tenants_of(environment)?)
            .send_certificate_chain(sends_chain)
            .build_in(environment)
    }
}

impl Inner {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        let now = request.runtime().now().wall;
        let (certificate, problem) = self.holder.newest(now).await;
        let refusal = match self.sign_in(request, &certificate).await {
            Err(error)
                if error.kind() == ErrorKind::Rejected || certificate.check(now).is_err() =>
            {
                error
            }
            other => return other,
        };
        // It may have been replaced in that very moment.
        let (newest, _) = self.holder.newest(now).await;
        if newest.thumbprint() != certificate.thumbprint() {
            return self.sign_in(request, &newest).await;
        }
        Err(match problem {
            Some(problem) => {
                let told = format!("{}; a newer one is not used: {problem}", refusal.message());
                refusal.with_message(told)
            }
            None => refusal,
        })
    }

    async fn sign_in(
        &self,
        request: &TokenRequest,
        certificate: &Arc<Certificate>,
    ) -> Result<AccessToken, Error> {
        let endpoint = self.application.endpoint(request)?;
        let signed = Assertion {
            client_id: &self.application.client_id,
            audience: &endpoint.to_string(),
            with_chain: self.sends_chain,
            algorithm: if is_ad_fs(self.application.tenants.own()) {
                Algorithm::Rs256
            } else {
                Algorithm::Ps256
            },
        }
        .sign(certificate, request.runtime())
        .await?;
        let token = self
            .application
            .sign_in(request, &assertion::proof(&signed), &[&signed])
            .await?;
        let principal = token
            .principal()
            .clone()
            .with_certificate_thumbprint(format!("{:?}", certificate.thumbprint()));
        Ok(token.with_principal(principal))
    }
}

impl Credential for ClientCertificateCredential {
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

impl fmt::Debug for ClientCertificateCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let application = &self.0.application;
        f.debug_struct(NAME)
            .field("tenant", &application.tenants.own().as_str())
            .field("client_id", &application.client_id)
            .field("authority", &application.authority.to_string())
            .field("reload_error", &self.reload_error())
            .finish_non_exhaustive()
    }
}

/// Settings of a [`ClientCertificateCredential`].
///
/// Made by [`ClientCertificateCredential::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientCertificateCredentialBuilder {
    tenant: String,
    client_id: String,
    certificate: ClientCertificate,
    sends_chain: bool,
    settings: Settings,
}

impl ClientCertificateCredentialBuilder {
    sign_in_settings!();

    /// Sends the certificate and its chain along (`x5c`), for applications that
    /// trust every certificate of a subject name and an issuer. Default: only
    /// the name of the certificate is sent.
    pub fn send_certificate_chain(mut self, on: bool) -> Self {
        self.sends_chain = on;
        self
    }

    /// Makes the credential. Sends nothing, but reads the file if the
    /// certificate is in one.
    ///
    /// # Errors
    ///
    /// As [`ClientCertificateCredential::new`], and when settings contradict
    /// each other.
    pub fn build(self) -> Result<ClientCertificateCredential, Error> {
        self.build_in(&Environment::of_process())
    }

    pub(in crate::azure) fn build_in(
        self,
        environment: &Environment,
    ) -> Result<ClientCertificateCredential, Error> {
        let Self {
            tenant,
            client_id,
            certificate,
            sends_chain,
            settings,
        } = self;
        Holder::new(certificate)
            .and_then(|holder| {
                let application = settings.application(&tenant, &client_id, environment)?;
                Ok(ClientCertificateCredential(Arc::new(Inner {
                    application,
                    holder,
                    sends_chain,
                })))
            })
            .map_err(|error| error.with_credential(NAME))
    }
}
