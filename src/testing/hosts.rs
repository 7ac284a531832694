//! The hosts of managed identities besides virtual machines: where they are,
//! and what can be changed about them.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::azure::Azure;
use super::switches::lock;
use super::{app_service, azure_arc, cloud_shell, service_fabric};
use crate::azure::ManagedIdentityCredential;
use crate::azure::ManagedIdentityCredentialBuilder;

/// The variables that hosts give to their processes. Each of these goes with
/// those of [`environment`](Azure::environment), or into
/// [`ManagedIdentityCredentialBuilder::environment`].
impl Azure {
    /// Those of App Service and Functions, for the protocol of version
    /// 2019-08-01.
    #[must_use]
    pub fn app_service_environment(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "IDENTITY_ENDPOINT",
                self.plain(app_service::APP_SERVICE_PATH),
            ),
            (
                "IDENTITY_HEADER",
                self.state().app_service.identity_header.clone(),
            ),
        ]
    }

    /// Those of App Service for the protocol of version 2017-09-01. Functions
    /// on Linux Consumption set these as well as the
    /// [others](Self::app_service_environment).
    #[must_use]
    pub fn app_service_2017_environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("MSI_ENDPOINT", self.plain(app_service::APP_SERVICE_PATH)),
            ("MSI_SECRET", self.state().app_service.msi_secret.clone()),
        ]
    }

    /// Those of Container Apps: the protocol of App Service, under the name
    /// `localhost`.
    #[must_use]
    pub fn container_apps_environment(&self) -> Vec<(&'static str, String)> {
        let path = app_service::APP_SERVICE_PATH;
        let port = self.state().imds_port;
        vec![
            (
                "IDENTITY_ENDPOINT",
                format!("http://localhost:{port}{path}"),
            ),
            (
                "IDENTITY_HEADER",
                self.state().app_service.identity_header.clone(),
            ),
        ]
    }

    /// Those of Azure Machine Learning.
    #[must_use]
    pub fn machine_learning_environment(&self) -> Vec<(&'static str, String)> {
        let identity = self.system_assigned_identity();
        vec![
            (
                "MSI_ENDPOINT",
                self.plain(app_service::MACHINE_LEARNING_PATH),
            ),
            ("MSI_SECRET", self.state().app_service.msi_secret.clone()),
            (
                "DEFAULT_IDENTITY_CLIENT_ID",
                identity.client_id().to_owned(),
            ),
        ]
    }

    /// That of Cloud Shell, whose tokens are those of `person@embedded.example`.
    #[must_use]
    pub fn cloud_shell_environment(&self) -> Vec<(&'static str, String)> {
        vec![("MSI_ENDPOINT", self.plain(cloud_shell::PATH))]
    }

    /// Those of a server with Azure Arc. Its key files lie in a
    /// [folder](Self::arc_key_folder) that no client looks into but that of
    /// [`arc_identity`](Self::arc_identity).
    #[must_use]
    pub fn arc_environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("IDENTITY_ENDPOINT", self.plain(azure_arc::PATH)),
            ("IMDS_ENDPOINT", self.imds_host()),
        ]
    }

    /// Those of a Service Fabric cluster, whose certificate has a thumbprint
    /// and nobody's signature.
    #[must_use]
    pub fn service_fabric_environment(&self) -> Vec<(&'static str, String)> {
        let host = &self.state().service_fabric;
        let path = service_fabric::PATH;
        vec![
            (
                "IDENTITY_ENDPOINT",
                format!("https://localhost:{}{path}", host.port),
            ),
            ("IDENTITY_HEADER", host.identity_header.clone()),
            ("IDENTITY_SERVER_THUMBPRINT", host.thumbprint.clone()),
            (
                "IDENTITY_API_VERSION",
                service_fabric::API_VERSION.to_owned(),
            ),
        ]
    }

    /// A credential on a server with Azure Arc, to be built.
    pub fn arc_identity(&self) -> ManagedIdentityCredentialBuilder {
        ManagedIdentityCredential::builder()
            .environment(self.arc_environment())
            .arc_keys(self.arc_key_folder().to_owned())
    }

    /// Where the agent of Azure Arc puts its key files, in the temporary
    /// directory. It goes away with the last handle.
    #[must_use]
    pub fn arc_key_folder(&self) -> &Path {
        self.state().arc.key_folder()
    }

    fn plain(&self, path: &str) -> String {
        format!("{}{path}", self.imds_host())
    }
}

/// Switches of the hosts.
impl Azure {
    /// Whether App Service refuses the version 2019-08-01, as Linux Consumption
    /// did for long. Off by default.
    pub fn app_service_refuses_2019(&self, on: bool) {
        let switch = &self.state().app_service.refuses_2019;
        switch.store(on, Ordering::SeqCst);
    }

    /// Whether the protocol of version 2017-09-01 writes dates as App Service
    /// on Windows does: `6/20/2019 2:57:58 AM +00:00` in place of `06/20/2019
    /// 02:57:58 +00:00`. Off by default.
    pub fn app_service_on_windows(&self, on: bool) {
        let switch = &self.state().app_service.on_windows;
        switch.store(on, Ordering::SeqCst);
    }

    /// Whether the agent of Azure Arc knows user-assigned identities. One that
    /// does not answers with a token of the machine's own, and says of no token
    /// whose it is. On by default.
    pub fn arc_knows_user_assigned(&self, on: bool) {
        let switch = &self.state().arc.knows_user_assigned;
        switch.store(on, Ordering::SeqCst);
    }

    /// What the agent of Azure Arc puts into `WWW-Authenticate`, in place of
    /// `Basic realm=` and the path of a key file that it has made. `None`, the
    /// default, ends it.
    pub fn set_arc_challenge(&self, challenge: Option<&str>) {
        *lock(&self.state().arc.challenge) = challenge.map(str::to_owned);
    }
}
