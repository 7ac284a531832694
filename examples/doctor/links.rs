//! The credentials that there are, each by itself.

use std::time::Duration;

use tower_bearer::azure::{
    AzureCliCredential, AzureDeveloperCliCredential, AzurePowerShellCredential,
    EnvironmentCredential, ManagedIdentityCredential, ManagedIdentityId, VisualStudioCredential,
    WorkloadIdentityCredential,
};
use tower_bearer::{
    AccessToken, Credential, Error, ErrorKind, Runtime as _, SharedCredential, TokenRequest,
    TokioRuntime,
};

/// A credential, or why there is none.
pub(crate) struct Link {
    name: &'static str,
    credential: Result<SharedCredential, Error>,
    is_developer_tool: bool,
}

/// What came of asking one.
pub(crate) struct Finding {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    pub(crate) outcome: Result<AccessToken, Error>,
    is_developer_tool: bool,
}

impl Link {
    pub(crate) fn new<C: Credential>(name: &'static str, credential: Result<C, Error>) -> Self {
        Self {
            name,
            credential: credential.map(SharedCredential::new),
            is_developer_tool: false,
        }
    }

    fn tool<C: Credential>(name: &'static str, credential: Result<C, Error>) -> Self {
        Self {
            is_developer_tool: true,
            ..Self::new(name, credential)
        }
    }

    /// Those of the default chain, in its order.
    pub(crate) fn all() -> [Self; 7] {
        [
            Self::new("EnvironmentCredential", EnvironmentCredential::from_env()),
            Self::new(
                "WorkloadIdentityCredential",
                WorkloadIdentityCredential::from_env(),
            ),
            Self::new("ManagedIdentityCredential", managed_identity()),
            Self::tool("VisualStudioCredential", VisualStudioCredential::new()),
            Self::tool("AzureCliCredential", AzureCliCredential::new()),
            Self::tool(
                "AzureDeveloperCliCredential",
                AzureDeveloperCliCredential::new(),
            ),
            Self::tool(
                "AzurePowerShellCredential",
                AzurePowerShellCredential::new(),
            ),
        ]
    }

    pub(crate) async fn ask(self, request: &TokenRequest) -> Finding {
        let clock = TokioRuntime::new();
        let started = clock.now().monotonic;
        let outcome = match self.credential {
            Ok(credential) => credential.token(request).await,
            Err(error) => Err(error),
        };
        Finding {
            name: self.name,
            took: clock.now().monotonic.saturating_sub(started),
            outcome,
            is_developer_tool: self.is_developer_tool,
        }
    }
}

/// As the default chain has it: it looks for one before it asks.
fn managed_identity() -> Result<ManagedIdentityCredential, Error> {
    let mut builder = ManagedIdentityCredential::builder().probe(true);
    if let Ok(id) = std::env::var("AZURE_CLIENT_ID") {
        if !id.is_empty() {
            builder = builder.user_assigned(ManagedIdentityId::ClientId(id));
        }
    }
    builder.build()
}

impl Finding {
    pub(crate) fn works(&self) -> bool {
        self.outcome.is_ok()
    }

    /// Whether a chain goes on to its next credential after this.
    pub(crate) fn lets_a_chain_go_on(&self) -> bool {
        match self.outcome.as_ref().map_err(Error::kind) {
            Ok(_) | Err(ErrorKind::Rejected) => false,
            Err(ErrorKind::Unavailable) => true,
            Err(_) => self.is_developer_tool,
        }
    }
}
