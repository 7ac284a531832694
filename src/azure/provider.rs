//! One provider that finds the identity by itself, or is told by a string.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::chain::{Chain, Link, developer, identity_settings};
use super::connection_string::{ConnectionString, DeveloperTool, Identity, RetryTimeout};
use super::entra::Settings;
use super::key_vault_certificate::KeyVaultCertificateCredential;
use super::{
    ClientCertificate, ClientCertificateCredential, ClientSecretCredential,
    ManagedIdentityCredential, ManagedIdentityId, WorkloadIdentityCredential,
};
use crate::environment::Environment;
use crate::runtime::{Runtime, TokioRuntime};
use crate::{
    AccessToken, Audience, Credential, Error, Principal, SharedCredential, TenantId, TokenCache,
    TokenRequest,
};

const VARIABLE: &str = "AzureServicesAuthConnectionString";

/// Finds the identity that a program runs as, or is told by a connection
/// string, and gives tokens: what `AzureServiceTokenProvider` was in .NET.
///
/// Cheap to clone; clones share one [`TokenCache`]. A provider is at the same
/// time what a [layer](crate::BearerAuthLayer::azure), a database pool and an
/// SDK's client take their tokens from. Make one and keep it: .NET has one cache
/// for the whole process, while here each provider that is made, rather than
/// cloned, begins with an empty one.
///
/// ```no_run
/// use tower_bearer::{BearerAuthLayer, azure};
///
/// # async fn run() -> Result<(), tower_bearer::Error> {
/// let tokens = azure::TokenProvider::from_env()?;
/// let layer = BearerAuthLayer::azure(tokens.clone());
///
/// let token = tokens.token("https://database.windows.net/").await?;
/// // IsAuthenticated:True Type:App AppId:… TenantId:…
/// println!("{}", token.principal());
/// # Ok(())
/// # }
/// ```
///
/// # Which identity
///
/// A connection string says it; see [`ConnectionString`] for what it can say.
/// Without one these are tried, in this order, as AppAuthentication does:
///
/// 1. the managed identity of the place that the program runs in
///    ([`ManagedIdentityCredential`], after a short look whether there is one),
/// 2. the user of Visual Studio,
/// 3. the user of the Azure CLI.
///
/// The search goes on only after what is not available here; see
/// [`ChainedTokenCredential`](super::ChainedTokenCredential). What works is kept
/// to. For the chain of Azure's current libraries, with environment variables
/// and workload identity, put a
/// [`DefaultAzureCredential`](super::DefaultAzureCredential) into a
/// [`TokenCache`].
#[derive(Clone)]
pub struct TokenProvider {
    tokens: TokenCache,
    credential: SharedCredential,
    connection_string: Option<Arc<ConnectionString>>,
}

impl TokenProvider {
    /// Signs in as the variable `AzureServicesAuthConnectionString` says; if it
    /// is not set, or blank, as whatever identity is found.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) when the
    /// string cannot be used. It names the key and where it is, never a value.
    pub fn from_env() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Signs in as `connection_string` says; if it is blank, as whatever
    /// identity is found. The environment's string is not looked at.
    ///
    /// ```
    /// use tower_bearer::azure::TokenProvider;
    ///
    /// # fn main() -> Result<(), tower_bearer::Error> {
    /// let tokens = TokenProvider::from_connection_string("RunAs=App")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn from_connection_string(connection_string: &str) -> Result<Self, Error> {
        Self::builder().connection_string(connection_string).build()
    }

    /// Settings.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tower_bearer::azure::TokenProvider;
    ///
    /// # fn main() -> Result<(), tower_bearer::Error> {
    /// let tokens = TokenProvider::builder()
    ///     .deny_warnings()
    ///     .probe_timeout(Duration::from_secs(6))
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> TokenProviderBuilder {
        TokenProviderBuilder {
            connection_string: Given::Nothing,
            deny_warnings: false,
            entra: Settings::default(),
            probe_timeout: None,
            environment: None,
            runtime: Arc::new(TokioRuntime::new()),
        }
    }

    /// A token for `resource` that is good now; with it, when it ends and for
    /// whom it was issued.
    ///
    /// # Errors
    ///
    /// As [`TokenCache::token`]. If no identity was found, with every
    /// [attempt](Error::attempts).
    pub async fn token(&self, resource: impl Into<Audience>) -> Result<AccessToken, Error> {
        self.tokens.token(resource).await
    }

    /// A token as `request` describes it, such as of another tenant.
    ///
    /// ```no_run
    /// # async fn run(tokens: tower_bearer::azure::TokenProvider) -> Result<(), tower_bearer::Error> {
    /// use tower_bearer::{TenantId, TokenRequest};
    ///
    /// let request = TokenRequest::new("https://management.azure.com/")
    ///     .with_tenant(TenantId::new("fabrikam.com")?);
    /// let token = tokens.token_for(&request).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`TokenCache::token_for`].
    pub async fn token_for(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        self.tokens.token_for(request).await
    }

    /// A new token, even if the one that is kept is good: after a change of
    /// group membership or role that is to have effect at once.
    ///
    /// Azure keeps the tokens of managed identities itself, for up to a day, and
    /// gives the same one again: for them such a change takes that long.
    ///
    /// ```no_run
    /// # async fn run(tokens: tower_bearer::azure::TokenProvider) -> Result<(), tower_bearer::Error> {
    /// let token = tokens.refresh("https://graph.microsoft.com").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`TokenCache::refresh`].
    pub async fn refresh(&self, request: impl Into<TokenRequest>) -> Result<AccessToken, Error> {
        self.tokens.refresh(request).await
    }

    /// For whom tokens for `resource` are issued. Gets a token if there is
    /// none yet.
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token).
    pub async fn principal(&self, resource: impl Into<Audience>) -> Result<Principal, Error> {
        self.tokens.principal(resource).await
    }

    /// The cache that the tokens are kept in.
    #[must_use]
    pub fn cache(&self) -> &TokenCache {
        &self.tokens
    }

    /// What gets the tokens, without a cache: to put into a cache with
    /// [options](TokenCache::builder) of one's own.
    #[must_use]
    pub fn credential(&self) -> &SharedCredential {
        &self.credential
    }

    /// The connection string that says who signs in, if one does, with what is
    /// [suspicious](ConnectionString::warnings) about it.
    #[must_use]
    pub fn connection_string(&self) -> Option<&ConnectionString> {
        self.connection_string.as_deref()
    }
}

impl From<TokenProvider> for TokenCache {
    fn from(provider: TokenProvider) -> Self {
        provider.tokens
    }
}

impl From<&TokenProvider> for TokenCache {
    fn from(provider: &TokenProvider) -> Self {
        provider.tokens.clone()
    }
}

impl fmt::Debug for TokenProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenProvider")
            .field("connection_string", &self.connection_string)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`TokenProvider`].
///
/// Made by [`TokenProvider::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct TokenProviderBuilder {
    connection_string: Given,
    deny_warnings: bool,
    entra: Settings,
    probe_timeout: Option<Duration>,
    environment: Option<Environment>,
    runtime: Arc<dyn Runtime>,
}

/// The connection string that a [`TokenProviderBuilder`] was given.
#[derive(Clone)]
enum Given {
    Nothing,
    Text(Zeroizing<String>),
    Read(ConnectionString),
}

impl TokenProviderBuilder {
    /// Signs in as this string says. A blank one stands for whatever identity
    /// is found. Default: what the variable `AzureServicesAuthConnectionString`
    /// says.
    pub fn connection_string(mut self, text: &str) -> Self {
        self.connection_string = Given::Text(Zeroizing::new(text.to_owned()));
        self
    }

    /// Signs in as this string says, which was read before, or made
    /// [from its parts](super::ConnectionStringBuilder).
    ///
    /// ```
    /// use tower_bearer::azure::{ConnectionStringBuilder, TokenProvider};
    ///
    /// # fn main() -> Result<(), tower_bearer::Error> {
    /// # let secret = "a;b";
    /// let string = ConnectionStringBuilder::client_secret("contoso.com", "app", secret).build()?;
    /// let tokens = TokenProvider::builder().parsed_connection_string(string).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn parsed_connection_string(mut self, string: ConnectionString) -> Self {
        self.connection_string = Given::Read(string);
        self
    }

    /// Makes an error of what is suspicious about the connection string: keys
    /// that are unknown or of no use, typographic quotes, secrets that were
    /// probably cut. Default: they are [warnings](ConnectionString::warnings).
    pub fn deny_warnings(mut self) -> Self {
        self.deny_warnings = true;
        self
    }

    identity_settings!();

    /// Where time, randomness and tasks come from. Default: [`TokioRuntime`].
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.runtime = Arc::new(runtime);
        self
    }

    /// Makes the provider. Sends nothing yet.
    ///
    /// # Errors
    ///
    /// As [`TokenProvider::from_env`], and when settings contradict each other.
    pub fn build(self) -> Result<TokenProvider, Error> {
        let environment = self
            .environment
            .clone()
            .unwrap_or_else(Environment::of_process);
        let connection_string = self.read_connection_string(&environment)?;
        let credential = match &connection_string {
            Some(connection_string) => {
                let told = self.told(connection_string.identity(), &environment)?;
                match connection_string.doubts() {
                    Some(doubts) => SharedCredential::new(Doubtful {
                        credential: told,
                        doubts,
                    }),
                    None => told,
                }
            }
            None => self.found(None, None, &environment),
        };
        let tokens = TokenCache::builder(credential.clone())
            .runtime(self.runtime)
            .build();
        Ok(TokenProvider {
            tokens,
            credential,
            connection_string: connection_string.map(Arc::new),
        })
    }

    /// The given string, else that of the environment; `None` if it is blank.
    fn read_connection_string(
        &self,
        environment: &Environment,
    ) -> Result<Option<ConnectionString>, Error> {
        match &self.connection_string {
            Given::Read(string) => self.check(string.clone()).map(Some),
            Given::Text(text) => self.parse(text),
            Given::Nothing => match environment.text(VARIABLE)?.map(Zeroizing::new) {
                Some(text) => self
                    .parse(&text)
                    .map_err(|error| error.in_context(&format!("in the variable {VARIABLE}"))),
                None => Ok(None),
            },
        }
    }

    fn parse(&self, text: &str) -> Result<Option<ConnectionString>, Error> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let string = ConnectionString::parse(text)?;
        self.check(string).map(Some)
    }

    fn check(&self, string: ConnectionString) -> Result<ConnectionString, Error> {
        if self.deny_warnings {
            string.deny_warnings()
        } else {
            Ok(string)
        }
    }

    /// The credential of the identity that a string selects.
    fn told(
        &self,
        identity: &Identity,
        environment: &Environment,
    ) -> Result<SharedCredential, Error> {
        Ok(match identity {
            Identity::Developer { tool, tenant } => {
                let others = &self.entra.additionally_allowed_tenants;
                developer::credential(*tool, tenant.as_ref(), others, environment)?
            }
            Identity::ManagedIdentity {
                client_id,
                retry_timeout,
            } => self.managed_identity(client_id.as_deref(), *retry_timeout, false, environment)?,
            Identity::Secret {
                tenant,
                client_id,
                secret,
            } => ClientSecretCredential::builder(tenant.as_str(), client_id, secret.as_str())
                .with_settings(self.entra.clone())
                .build_in(environment)
                .map(SharedCredential::new)?,
            Identity::Workload {
                tenant,
                client_id,
                token_file,
            } => {
                let mut builder =
                    WorkloadIdentityCredential::builder().with_settings(self.entra.clone());
                if let Some(tenant) = tenant {
                    builder = builder.tenant(tenant.as_str());
                }
                if let Some(client_id) = client_id {
                    builder = builder.client_id(client_id);
                }
                if let Some(path) = token_file {
                    builder = builder.token_file(path);
                }
                builder.build_in(environment).map(SharedCredential::new)?
            }
            Identity::CertificateFile {
                tenant,
                client_id,
                path,
                password,
            } => {
                let mut certificate = ClientCertificate::from_file(path);
                if let Some(password) = password {
                    certificate = certificate.with_password(password.as_str());
                }
                // As AppAuthentication does it, for applications that trust a
                // subject name and an issuer.
                ClientCertificateCredential::builder(tenant.as_str(), client_id, certificate)
                    .with_settings(self.entra.clone())
                    .send_certificate_chain(true)
                    .build_in(environment)
                    .map(SharedCredential::new)?
            }
            Identity::VaultCertificate {
                secret_identifier,
                client_id,
                tenant,
                vault_identity,
                retry_timeout,
            } => {
                let reader = self.found(vault_identity.as_deref(), *retry_timeout, environment);
                KeyVaultCertificateCredential::new(
                    secret_identifier,
                    client_id,
                    tenant.clone(),
                    reader,
                    self.entra.clone(),
                    environment,
                )
                .map(SharedCredential::new)?
            }
            Identity::CurrentUser => return Err(Identity::no_integrated_sign_in()),
            Identity::StoreCertificate { location } => return Err(location.cannot_be_read()),
        })
    }

    /// The credential that finds an identity by itself.
    fn found(
        &self,
        client_id: Option<&str>,
        retry_timeout: Option<RetryTimeout>,
        environment: &Environment,
    ) -> SharedCredential {
        let managed_identity = self.managed_identity(client_id, retry_timeout, true, environment);
        SharedCredential::new(Chain::new(vec![
            Link::new("ManagedIdentityCredential", managed_identity),
            developer::link(DeveloperTool::VisualStudio, environment),
            developer::link(DeveloperTool::AzureCli, environment),
        ]))
    }

    fn managed_identity(
        &self,
        client_id: Option<&str>,
        retry_timeout: Option<RetryTimeout>,
        is_one_of_several: bool,
        environment: &Environment,
    ) -> Result<SharedCredential, Error> {
        let mut builder = ManagedIdentityCredential::builder().probe(is_one_of_several);
        if let Some(id) = client_id {
            builder = builder.user_assigned(ManagedIdentityId::ClientId(id.to_owned()));
        }
        if let Some(limit) = self.probe_timeout {
            builder = builder.probe_timeout(limit);
        }
        // Where no limit is wanted the cache goes on asking for ever.
        if let Some(RetryTimeout::After(limit)) = retry_timeout {
            builder = builder.timeout(limit);
        }
        builder.build_in(environment).map(SharedCredential::new)
    }
}

/// The credential of a string that most likely means something else: its errors
/// say so, since few look at warnings before something fails.
struct Doubtful {
    credential: SharedCredential,
    doubts: String,
}

impl Credential for Doubtful {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        self.credential.token(request).await.map_err(|error| {
            let advice = match error.advice() {
                Some(advice) => format!("{advice}; also, {}", self.doubts),
                None => self.doubts.clone(),
            };
            error.with_advice(advice)
        })
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        self.credential.tenant(asked)
    }

    fn max_concurrency(&self) -> usize {
        self.credential.max_concurrency()
    }
}

impl fmt::Debug for TokenProviderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenProviderBuilder")
            .field(
                "has_connection_string",
                &!matches!(self.connection_string, Given::Nothing),
            )
            .field("entra", &self.entra)
            .finish_non_exhaustive()
    }
}
