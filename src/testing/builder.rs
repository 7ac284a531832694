//! How the embedded Azure is set up and started.

use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::app_service::AppService;
use super::azure::{Azure, Running};
use super::azure_arc::AzureArc;
use super::directory::{CLIENT_ID, CLIENT_SECRET, Directory, TENANT_ID};
use super::federation::Volume;
use super::imds::Imds;
use super::record::Record;
use super::server::{self, Door};
use super::service_fabric::ServiceFabric;
use super::state::State;
use super::tls::{CertificateFile, SelfSigned, Tls};
use super::tokens::Issuer;
use super::vault::VaultState;
use crate::azure::LOGIN_HOSTS;
use crate::runtime::{Runtime, TokioRuntime};
use crate::{Error, ErrorKind};

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
    pub(super) fn new() -> Self {
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

    /// The port of IMDS and of the other hosts. The default, 0, is any that is free.
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
        self.vault_name = name.into().to_ascii_lowercase();
        self
    }

    /// The resource that tokens for the vaults must be for, which also gives
    /// the suffix of their hosts. The default is `https://vault.azure.net`;
    /// other clouds have others, such as `https://vault.usgovcloudapi.net`.
    pub fn vault_audience(mut self, audience: impl Into<String>) -> Self {
        self.vault_audience = audience.into().to_ascii_lowercase();
        self
    }

    /// How many connections each of the three listeners serves at once, those
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
        let ready = tokio::task::spawn_blocking(move || {
            let tls = Tls::generate(certificate_names(&suffix))?;
            let ca_file = CertificateFile::write(&tls.ca_pem)?;
            Ok::<_, Error>((
                tls,
                ca_file,
                Issuer::generate()?,
                SelfSigned::generate()?,
                AzureArc::new()?,
                Volume::new()?,
            ))
        });
        let (tls, ca_file, issuer, cluster, arc, volume) = ready.await.map_err(|source| {
            Error::new(ErrorKind::Aborted, "the embedded Azure did not start").with_source(source)
        })??;
        let (tls_listener, tls_port) = server::listen(self.tls_port).await?;
        let (imds_listener, imds_port) = server::listen(self.imds_port).await?;
        let (cluster_listener, cluster_port) = server::listen(0).await?;

        let mut directory = Directory::new();
        directory.register(&self.tenant, &self.client_id, &self.client_secret);
        let state = Arc::new(State {
            runtime: self.runtime,
            issuer,
            directory: Mutex::new(directory),
            imds: Imds::default(),
            app_service: AppService::new(host_secret(), host_secret()),
            arc,
            volume,
            service_fabric: ServiceFabric {
                port: cluster_port,
                thumbprint: cluster.thumbprint,
                identity_header: host_secret(),
            },
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
        let cloud = Door::Cloud(TlsAcceptor::from(tls.server));
        let cluster = Door::ServiceFabric(TlsAcceptor::from(cluster.server));
        for (listener, door) in [
            (tls_listener, cloud),
            (imds_listener, Door::Hosts),
            (cluster_listener, cluster),
        ] {
            tasks.spawn(server::serve(
                listener,
                door,
                Arc::clone(&state),
                self.max_connections,
            ));
        }
        Ok(Azure::new(Running {
            state,
            ca_pem: tls.ca_pem,
            ca_file,
            client_tls: tls.client,
            client_id: self.client_id,
            client_secret: self.client_secret,
            tasks: Mutex::new(tasks),
        }))
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

/// What a host gives to its processes, other at each start.
fn host_secret() -> String {
    let runtime = TokioRuntime::new();
    format!("{:016X}{:016X}", runtime.random(), runtime.random())
}

fn certificate_names(vault_suffix: &str) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1", "*.vault.localhost"]
        .iter()
        .chain(&LOGIN_HOSTS)
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
