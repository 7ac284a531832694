//! The public face of the embedded Azure.

use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::task::JoinSet;

use super::builder::AzureBuilder;
use super::client::{Connector, HttpClient};
use super::directory::ManagedIdentity;
use super::failure::Failure;
use super::imds::Imds;
use super::record::RecordedRequest;
use super::state::State;
use super::switches::{Hold, Switches, lock};
use super::tls::CertificateFile;
use super::vault::{Vault, VaultState};
use crate::Error;

/// An Azure of one's own: managed identity, Entra and Key Vault on loopback.
///
/// A handle that is cheap to clone; when the last clone is dropped, all
/// listeners, connections and tasks of it end. See the [module](super) for
/// what it does.
#[derive(Clone)]
pub struct Azure(Arc<Running>);

pub(super) struct Running {
    pub(super) state: Arc<State>,
    pub(super) ca_pem: String,
    pub(super) ca_file: CertificateFile,
    pub(super) client_tls: Arc<ClientConfig>,
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) tasks: Mutex<JoinSet<()>>,
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

    pub(super) fn new(running: Running) -> Self {
        Self(Arc::new(running))
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
    /// is given this environment, and no `SSL_CERT_DIR`, reaches nothing else
    /// over TLS.
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
    #[allow(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn assign_user_identity(&self, name: &str) -> ManagedIdentity {
        let identity = ManagedIdentity::user_assigned(name);
        lock(&self.state().directory).assign(identity.clone());
        identity
    }
}

/// What was asked so far.
impl Azure {
    /// Requests for a token, to IMDS, the other hosts and Entra together,
    /// whatever they were answered with. [Probes](Self::imds_probes) and look-ups do not count.
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

    pub(super) fn state(&self) -> &Arc<State> {
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
