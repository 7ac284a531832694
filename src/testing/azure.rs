//! The public face of the embedded Azure.

use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::client::{Connector, HttpClient};
use super::directory::{CLIENT_ID, CLIENT_SECRET, Directory, ManagedIdentity, TENANT_ID};
use super::failure::Failure;
use super::imds::Imds;
use super::record::{Record, RecordedRequest};
use super::server::{self, AUTHORITY_HOSTS};
use super::state::State;
use super::switches::{Hold, Switches, lock};
use super::tls::{CertificateFile, Tls};
use super::tokens::Issuer;
use super::vault::{Vault, VaultState};
use crate::runtime::{Runtime, TokioRuntime};
use crate::{Error, ErrorKind};

/// An Azure of one's own: managed identity, Entra and Key Vault on loopback.
///
/// A handle that is cheap to clone; when the last clone is dropped, all
/// listeners, connections and tasks of it end. See the [module](super) for
/// what it does.
#[derive(Clone)]
pub struct Azure(Arc<Running>);

struct Running {
    state: Arc<State>,
    ca_pem: String,
    ca_file: CertificateFile,
    client_tls: Arc<ClientConfig>,
    client_id: String,
    client_secret: String,
    tasks: Mutex<JoinSet<()>>,
}

/// Settings of an [`Azure`] that are fixed when it starts.
///
/// ```no_run
/// use tower_bearer::testing::Azure;
///
/// # async fn doc() -> Result<(), tower_bearer::Error> {
/// let azure = Azure::builder().vault_name("orders").tls_port(8443).start().await?;
/// assert_eq!(azure.vault_url(), "https://localhost:8443");
/// assert_eq!(azure.vault().url(), "https://orders.vault.azure.net");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing runs before `start`"]
pub struct AzureBuilder {
    runtime: Arc<dyn Runtime>,
    tls_port: u16,
    imds_port: u16,
    tenant: String,
    client_id: String,
    client_secret: String,
    vault_name: String,
    vault_audience: String,
    max_connections: usize,
}

impl AzureBuilder {
    fn new() -> Self {
        Self {
            runtime: Arc::new(TokioRuntime::new()),
            tls_port: 0,
            imds_port: 0,
            tenant: TENANT_ID.to_owned(),
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            vault_name: "myvault".to_owned(),
            vault_audience: "https://vault.azure.net".to_owned(),
            max_connections: 1_024,
        }
    }

    /// Takes the time that tokens are issued and checked by, and randomness,
    /// from `runtime`. The default is [`TokioRuntime`]; a
    /// [`ManualRuntime`](super::ManualRuntime) makes tokens expire by hand.
    ///
    /// TLS keeps to the real clock, and [delays](Azure::delay_token_requests)
    /// to tokio's.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }

    /// The port of Entra and Key Vault. The default, 0, is any that is free.
    pub fn tls_port(mut self, port: u16) -> Self {
        self.tls_port = port;
        self
    }

    /// The port of IMDS. The default, 0, is any that is free.
    pub fn imds_port(mut self, port: u16) -> Self {
        self.imds_port = port;
        self
    }

    /// The tenant of the managed identities, the vaults and the application.
    /// The default is one that no real tenant has.
    pub fn tenant_id(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// Client id and secret of the application that is registered at the
    /// start. The default is one that no real application has.
    pub fn application(
        mut self,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> Self {
        self.client_id = client_id.into();
        self.client_secret = client_secret.into();
        self
    }

    /// The name of the [default vault](Azure::vault). The default is `myvault`.
    pub fn vault_name(mut self, name: impl Into<String>) -> Self {
        self.vault_name = name.into();
        self
    }

    /// The resource that tokens for the vaults must be for, which also gives
    /// the suffix of their hosts. The default is `https://vault.azure.net`;
    /// other clouds have others, such as `https://vault.usgovcloudapi.net`.
    pub fn vault_audience(mut self, audience: impl Into<String>) -> Self {
        self.vault_audience = audience.into();
        self
    }

    /// How many connections each of the two listeners serves at once, those
    /// that clients keep open included; more have to wait. The default is
    /// 1024.
    pub fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit;
        self
    }

    /// Starts it.
    ///
    /// Its tasks run on the Tokio runtime that this is called on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when a port is taken, the vault's name or
    /// audience cannot be part of a URL, or the certificate cannot be written
    /// to the temporary directory.
    pub async fn start(self) -> Result<Azure, Error> {
        let suffix = self.checked_vault_suffix()?.to_owned();
        let random = self.runtime.random();
        let ready = tokio::task::spawn_blocking(move || {
            let tls = Tls::generate(certificate_names(&suffix))?;
            let ca_file = CertificateFile::write(&tls.ca_pem, random)?;
            Ok::<_, Error>((tls, ca_file, Issuer::generate()?))
        });
        let (tls, ca_file, issuer) = ready.await.map_err(|source| {
            Error::new(ErrorKind::Aborted, "the embedded Azure did not start").with_source(source)
        })??;
        let (tls_listener, tls_port) = server::listen(self.tls_port).await?;
        let (imds_listener, imds_port) = server::listen(self.imds_port).await?;

        let mut directory = Directory::new();
        directory.register(&self.tenant, &self.client_id, &self.client_secret);
        let state = Arc::new(State {
            runtime: self.runtime,
            issuer,
            directory: Mutex::new(directory),
            imds: Imds::default(),
            token_switches: Arc::default(),
            record: Record::default(),
            tenant: self.tenant,
            vault_audience: self.vault_audience,
            default_vault: Arc::new(VaultState::new(&self.vault_name)),
            vaults: Mutex::default(),
            lifetime: Mutex::default(),
            tls_port,
            imds_port,
        });
        let mut tasks = JoinSet::new();
        let acceptor = TlsAcceptor::from(tls.server);
        tasks.spawn(server::serve(
            tls_listener,
            Some(acceptor),
            Arc::clone(&state),
            self.max_connections,
        ));
        tasks.spawn(server::serve(
            imds_listener,
            None,
            Arc::clone(&state),
            self.max_connections,
        ));
        Ok(Azure(Arc::new(Running {
            state,
            ca_pem: tls.ca_pem,
            ca_file,
            client_tls: tls.client,
            client_id: self.client_id,
            client_secret: self.client_secret,
            tasks: Mutex::new(tasks),
        })))
    }

    fn checked_vault_suffix(&self) -> Result<&str, Error> {
        let is_label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !is_label(&self.vault_name) {
            return Err(Error::new(
                ErrorKind::Configuration,
                "the vault's name is not made of letters, digits and hyphens",
            ));
        }
        self.vault_audience
            .strip_prefix("https://")
            .filter(|suffix| suffix.split('.').all(is_label))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Configuration,
                    "the vaults' audience is not https:// and a host",
                )
            })
    }
}

fn certificate_names(vault_suffix: &str) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1", "*.vault.localhost"]
        .iter()
        .chain(&AUTHORITY_HOSTS)
        .map(|name| (*name).to_owned())
        .collect();
    names.push(format!("*.{vault_suffix}"));
    names
}

impl fmt::Debug for AzureBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureBuilder")
            .field("tls_port", &self.tls_port)
            .field("imds_port", &self.imds_port)
            .field("tenant", &self.tenant)
            .field("client_id", &self.client_id)
            .field("vault_name", &self.vault_name)
            .field("vault_audience", &self.vault_audience)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

/// Starting and stopping.
impl Azure {
    /// Starts one with default settings.
    ///
    /// # Errors
    ///
    /// Those of [`AzureBuilder::start`].
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// Settings that are fixed when it starts.
    pub fn builder() -> AzureBuilder {
        AzureBuilder::new()
    }

    /// Stops it before the last handle is dropped. When this returns, nothing
    /// listens any more, and open connections are being closed.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.0.tasks));
        tasks.shutdown().await;
    }
}

/// Where it is, and who may come in.
impl Azure {
    /// The default vault by its address on loopback, without a slash at the
    /// end.
    #[must_use]
    pub fn vault_url(&self) -> String {
        self.authority_host()
    }

    /// Entra by its address on loopback, without a slash at the end: what
    /// `AZURE_AUTHORITY_HOST` is for.
    #[must_use]
    pub fn authority_host(&self) -> String {
        format!("https://localhost:{}", self.state().tls_port)
    }

    /// IMDS by its address on loopback, without a slash at the end: what
    /// `AZURE_POD_IDENTITY_AUTHORITY_HOST` is for.
    #[must_use]
    pub fn imds_host(&self) -> String {
        format!("http://127.0.0.1:{}", self.state().imds_port)
    }

    /// The tenant.
    #[must_use]
    pub fn tenant_id(&self) -> &str {
        &self.state().tenant
    }

    /// The client id of the application that is registered from the start.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// The secret of that application.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.0.client_secret
    }

    /// The environment that makes a program in any language find all this:
    /// the variables of Azure's SDKs, those that name a CA certificate,
    /// `NO_PROXY`, and `VAULT_URL`.
    ///
    /// The CA certificate takes the place of the usual ones, so a program that
    /// is given this environment reaches nothing else over TLS.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let ca_file = self.ca_certificate_path().display().to_string();
        vec![
            ("AZURE_AUTHORITY_HOST", self.authority_host()),
            ("AZURE_TENANT_ID", self.tenant_id().to_owned()),
            ("AZURE_CLIENT_ID", self.client_id().to_owned()),
            ("AZURE_CLIENT_SECRET", self.client_secret().to_owned()),
            ("AZURE_POD_IDENTITY_AUTHORITY_HOST", self.imds_host()),
            ("VAULT_URL", self.vault_url()),
            ("SSL_CERT_FILE", ca_file.clone()),
            ("REQUESTS_CA_BUNDLE", ca_file.clone()),
            ("NODE_EXTRA_CA_CERTS", ca_file),
            ("NO_PROXY", "localhost,127.0.0.1".to_owned()),
        ]
    }

    /// The certificate of the authority that vouches for the TLS listener,
    /// made at the start, as PEM.
    #[must_use]
    pub fn ca_certificate_pem(&self) -> &str {
        &self.0.ca_pem
    }

    /// A file with that certificate, in the temporary directory. It goes away
    /// with the last handle.
    #[must_use]
    pub fn ca_certificate_path(&self) -> &Path {
        self.0.ca_file.path()
    }

    /// An HTTP client for which Azure's real host names lead here, and no
    /// others lead anywhere; see [`Connector`].
    #[must_use]
    pub fn http_client(&self) -> HttpClient {
        self.connector().into_client()
    }

    /// What [`http_client`](Self::http_client) connects with, for clients of
    /// other types.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector::new(Arc::clone(self.state()), &self.0.client_tls)
    }

    /// The default vault.
    #[must_use]
    pub fn vault(&self) -> Vault {
        let vault = Arc::clone(&self.state().default_vault);
        Vault::new(Arc::clone(self.state()), vault)
    }

    /// The vault of this name, made now if there is none: reached as
    /// `{name}.vault.azure.net` or `{name}.vault.localhost`.
    #[must_use]
    pub fn vault_named(&self, name: &str) -> Vault {
        let name = name.to_ascii_lowercase();
        let vault = self.state().vault(&name).unwrap_or_else(|| {
            let made = Arc::new(VaultState::new(&name));
            let mut vaults = lock(&self.state().vaults);
            Arc::clone(vaults.entry(name).or_insert(made))
        });
        Vault::new(Arc::clone(self.state()), vault)
    }

    /// Registers an application in a tenant, or gives one a new secret. A
    /// tenant is known as soon as an application is registered in it.
    pub fn register_application(&self, tenant_id: &str, client_id: &str, client_secret: &str) {
        lock(&self.state().directory).register(tenant_id, client_id, client_secret);
    }

    /// The identity that the machine has by itself.
    #[must_use]
    pub fn system_assigned_identity(&self) -> ManagedIdentity {
        ManagedIdentity::system_assigned()
    }

    /// Takes the identity that the machine has by itself away, or gives it
    /// back.
    pub fn assign_system_identity(&self, assigned: bool) {
        lock(&self.state().directory).assign_system(assigned);
    }

    /// Assigns an identity to the machine. Its ids follow from the name.
    pub fn assign_user_identity(&self, name: &str) -> ManagedIdentity {
        let identity = ManagedIdentity::user_assigned(name);
        lock(&self.state().directory).assign(identity.clone());
        identity
    }
}

/// What was asked so far.
impl Azure {
    /// Requests for a token, to IMDS and to Entra together, whatever they were
    /// answered with. [Probes](Self::imds_probes) and look-ups do not count.
    #[must_use]
    pub fn token_requests(&self) -> u64 {
        self.state().token_switches.arrived()
    }

    /// Tokens that were issued. Less than
    /// [`token_requests`](Self::token_requests) where requests failed or IMDS
    /// gave a token again.
    #[must_use]
    pub fn tokens_issued(&self) -> u64 {
        self.state().issuer.issued()
    }

    /// Requests to IMDS, probes included.
    #[must_use]
    pub fn imds_requests(&self) -> u64 {
        self.state().record.imds()
    }

    /// Requests to IMDS without `Metadata: true`, which is how clients ask
    /// whether it is there.
    #[must_use]
    pub fn imds_probes(&self) -> u64 {
        self.state().record.probes()
    }

    /// Requests to Entra, look-ups included.
    #[must_use]
    pub fn entra_requests(&self) -> u64 {
        self.state().record.entra()
    }

    /// The highest number of token requests that were in flight at the same
    /// moment.
    #[must_use]
    pub fn max_concurrent_token_requests(&self) -> u64 {
        self.state().token_switches.highest_load()
    }

    /// Waits until `count` token requests have come in since the start. Wrap
    /// it in a timeout: it waits for as long as it takes.
    pub async fn wait_for_token_requests(&self, count: u64) {
        self.state().token_switches.wait_for_arrivals(count).await;
    }

    /// The last 1000 requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state().record.recent()
    }
}

/// Switches. All of them work while it is running.
impl Azure {
    /// Refuses every token that was issued so far, at all vaults, and has IMDS
    /// issue new ones.
    ///
    /// The real IMDS goes on giving out a revoked token until half of its life
    /// is over; for that, see
    /// [`imds_keeps_revoked_tokens`](Self::imds_keeps_revoked_tokens).
    pub fn revoke_tokens(&self) {
        self.state().issuer.revoke_all();
    }

    /// The lifetime of tokens that are issued from now on, in whole seconds.
    /// Without it, Entra's live for 3599 s and IMDS's for 24 h.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        *lock(&self.state().lifetime) = Some(lifetime);
    }

    /// Whether IMDS answers with the token that it gave before until half of
    /// its life is over, as the real one does. On by default.
    pub fn imds_reuses_tokens(&self, on: bool) {
        self.imds().reuses_tokens.store(on, Ordering::SeqCst);
    }

    /// Whether IMDS gives out a token again even if it was revoked, as the
    /// real one does. Off by default, so that
    /// [`revoke_tokens`](Self::revoke_tokens) means the same for managed
    /// identities as for applications.
    pub fn imds_keeps_revoked_tokens(&self, on: bool) {
        self.imds().keeps_revoked_tokens.store(on, Ordering::SeqCst);
    }

    /// Holds token requests back until the guard is dropped. They are counted
    /// when they come in.
    pub fn hold_token_requests(&self) -> Hold {
        self.token_switches().hold()
    }

    /// Lets each token request wait for `latency` on tokio's clock. Zero, the
    /// default, ends it.
    pub fn delay_token_requests(&self, latency: Duration) {
        self.token_switches().set_delay(latency);
    }

    /// Answers all token requests with `failure`, until
    /// [`recover_token_requests`](Self::recover_token_requests).
    pub fn fail_token_requests(&self, failure: Failure) {
        self.token_switches().fail(failure, None);
    }

    /// Answers the next `count` token requests with `failure`.
    pub fn fail_next_token_requests(&self, count: u64, failure: Failure) {
        self.token_switches().fail(failure, Some(count));
    }

    /// Ends what [`fail_token_requests`](Self::fail_token_requests) and
    /// [`fail_next_token_requests`](Self::fail_next_token_requests) began.
    pub fn recover_token_requests(&self) {
        self.token_switches().recover();
    }

    /// Passes every good token answer, as JSON text, through `rewrite` before
    /// it is sent: for fields that are missing, of another type or absurd.
    pub fn rewrite_token_answers(
        &self,
        rewrite: impl Fn(String) -> String + Send + Sync + 'static,
    ) {
        self.token_switches().set_rewrite(Some(Arc::new(rewrite)));
    }

    /// Ends what [`rewrite_token_answers`](Self::rewrite_token_answers) began.
    pub fn keep_token_answers(&self) {
        self.token_switches().set_rewrite(None);
    }

    /// Answers all IMDS probes with `failure`, until
    /// [`recover_imds_probes`](Self::recover_imds_probes).
    pub fn fail_imds_probes(&self, failure: Failure) {
        self.imds().probe_switches.fail(failure, None);
    }

    /// Ends what [`fail_imds_probes`](Self::fail_imds_probes) began.
    pub fn recover_imds_probes(&self) {
        self.imds().probe_switches.recover();
    }

    fn token_switches(&self) -> &Arc<Switches> {
        &self.state().token_switches
    }

    fn imds(&self) -> &Imds {
        &self.state().imds
    }

    fn state(&self) -> &Arc<State> {
        &self.0.state
    }
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure")
            .field("vault_url", &self.vault_url())
            .field("imds_host", &self.imds_host())
            .field("tenant_id", &self.tenant_id())
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}
