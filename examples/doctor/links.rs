//! The credentials that there are, each by itself.

use std::time::Duration;

use tower_bearer::azure::{
    AzureCliCredential, AzureDeveloperCliCredential, AzurePowerShellCredential,
    DefaultAzureCredential, EnvironmentCredential, ManagedIdentityCredential, ManagedIdentityId,
    TokenProvider, VisualStudioCredential, WorkloadIdentityCredential,
};
use tower_bearer::{
    AccessToken, Credential, Error, Runtime as _, SharedCredential, TokenRequest, TokioRuntime,
};

/// A credential, or why there is none.
pub(crate) struct Link {
    name: &'static str,
    credential: Result<SharedCredential, Error>,
}

/// What came of asking one.
pub(crate) struct Finding {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    pub(crate) outcome: Result<AccessToken, Error>,
}

impl Link {
    pub(crate) fn new<C: Credential>(name: &'static str, credential: Result<C, Error>) -> Self {
        Self {
            name,
            credential: credential.map(SharedCredential::new),
        }
    }

    /// What looks for an identity by itself.
    pub(crate) fn chains() -> [Self; 2] {
        // A string that is blank says to look, whatever the variable says.
        let provider =
            TokenProvider::from_connection_string("").map(|found| found.credential().clone());
        [
            Self::new("TokenProvider", provider),
            Self::new("DefaultAzureCredential", DefaultAzureCredential::new()),
        ]
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
            Self::new("VisualStudioCredential", VisualStudioCredential::new()),
            Self::new("AzureCliCredential", AzureCliCredential::new()),
            Self::new(
                "AzureDeveloperCliCredential",
                AzureDeveloperCliCredential::new(),
            ),
            Self::new(
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
}
