//! What was asked, counted and remembered.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, Method};

use super::switches::lock;
use super::wire::Call;

const REMEMBERED: usize = 1_000;

/// Which part of the embedded Azure a request went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// The instance metadata service, which issues tokens to managed
    /// identities.
    Imds,
    /// App Service, Functions and Container Apps.
    AppService,
    /// Azure Machine Learning.
    MachineLearning,
    /// Azure Cloud Shell.
    CloudShell,
    /// The agent of Azure Arc.
    AzureArc,
    /// Service Fabric.
    ServiceFabric,
    /// Microsoft Entra, which issues tokens to registered applications.
    Entra,
    /// A Key Vault.
    Vault,
}

/// A request as it came in, without anything that could be secret: of headers
/// and parameters only the names are kept.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    endpoint: Endpoint,
    method: Method,
    path: String,
    headers: Vec<HeaderName>,
    parameters: Vec<String>,
}

impl RecordedRequest {
    pub(super) fn new(endpoint: Endpoint, call: &Call) -> Self {
        let form = call.form();
        let parameters = call.query.names().chain(form.names());
        Self {
            endpoint,
            method: call.method.clone(),
            path: call.path.clone(),
            headers: call.headers.keys().cloned().collect(),
            parameters: parameters.map(str::to_owned).collect(),
        }
    }

    /// Where it went.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The names of its headers.
    #[must_use]
    pub fn header_names(&self) -> &[HeaderName] {
        &self.headers
    }

    /// The names of the parameters in its query and its form.
    #[must_use]
    pub fn parameter_names(&self) -> &[String] {
        &self.parameters
    }
}

#[derive(Default)]
pub(super) struct Record {
    imds: AtomicU64,
    probes: AtomicU64,
    entra: AtomicU64,
    recent: Mutex<VecDeque<RecordedRequest>>,
}

impl Record {
    pub(super) fn add(&self, request: RecordedRequest) {
        match request.endpoint {
            Endpoint::Imds => self.imds.fetch_add(1, Ordering::SeqCst),
            Endpoint::Entra => self.entra.fetch_add(1, Ordering::SeqCst),
            // Vaults count for themselves, since there may be several; the
            // other hosts' requests are among the token requests.
            _ => 0,
        };
        let mut recent = lock(&self.recent);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(request);
    }

    pub(super) fn add_probe(&self) {
        self.probes.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn imds(&self) -> u64 {
        self.imds.load(Ordering::SeqCst)
    }

    pub(super) fn probes(&self) -> u64 {
        self.probes.load(Ordering::SeqCst)
    }

    pub(super) fn entra(&self) -> u64 {
        self.entra.load(Ordering::SeqCst)
    }

    pub(super) fn recent(&self) -> Vec<RecordedRequest> {
        lock(&self.recent).iter().cloned().collect()
    }
}
