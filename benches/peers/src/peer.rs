//! What a library has to offer to take part.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;

use crate::BoxError;
use crate::identity::IdentityProvider;
use crate::resource::ResourceServer;

/// Whom a token is for: two services of Azure, by whose names every peer knows
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Key Vault, which answers 401 with a challenge.
    Vault,
    /// Blob storage.
    Storage,
}

impl Audience {
    /// Where a request for it goes. The name is never resolved.
    #[must_use]
    pub fn url(self) -> &'static str {
        match self {
            Self::Vault => "https://peers.vault.azure.net/secrets/x?api-version=7.4",
            Self::Storage => "https://peers.blob.core.windows.net/container/blob",
        }
    }

    /// The resource, as Azure's older interfaces name it.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::Vault => "https://vault.azure.net",
            Self::Storage => "https://storage.azure.com",
        }
    }

    /// The scope, as token requests have it.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Vault => "https://vault.azure.net/.default",
            Self::Storage => "https://storage.azure.com/.default",
        }
    }
}

/// The tenant that every client belongs to.
pub const TENANT: &str = "72f988bf-0000-4000-8000-2d7cd011db47";
/// The application that every client signs in as.
pub const CLIENT_ID: &str = "11111111-2222-4333-8444-555555555555";
/// Its secret.
pub const CLIENT_SECRET: &str = "not-a-secret";

/// The servers that one client talks to. Cheap to clone; clones are the same
/// servers.
#[derive(Clone, Debug)]
pub struct Servers {
    /// Issues tokens.
    pub identity: IdentityProvider,
    /// Wants them.
    pub resource: ResourceServer,
}

/// A library, or one way to use it.
pub trait Peer: Send + Sync {
    /// What the table calls it, versions included.
    fn name(&self) -> String;

    /// A client with the library's own defaults, which signs in with
    /// [`CLIENT_SECRET`] and has no token yet.
    ///
    /// # Errors
    ///
    /// Whatever the library says.
    fn client(&self, servers: &Servers) -> Result<Arc<dyn Client>, BoxError>;

    /// The same on a clock that is moved by hand; `None` if the library has no
    /// way to put one in.
    ///
    /// # Errors
    ///
    /// Whatever the library says.
    fn client_by_hand(&self, servers: &Servers) -> Result<Option<ByHand>, BoxError> {
        let _ = servers;
        Ok(None)
    }
}

/// A client and the clock that it goes by.
#[allow(missing_debug_implementations, reason = "clients need not have one")]
pub struct ByHand {
    /// The client.
    pub client: Arc<dyn Client>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
}

/// A clock that is moved by hand.
pub trait Clock: Send + Sync {
    /// Moves it.
    fn advance(&self, by: Duration);
}

/// A library's client.
#[async_trait]
pub trait Client: Send + Sync {
    /// Sends one request that needs a token for `audience`, and gives back how
    /// it was answered.
    async fn send(&self, audience: Audience) -> Result<StatusCode, BoxError>;

    /// Gets a token for `audience` without a request, as for a database.
    async fn token(&self, audience: Audience) -> Result<(), BoxError>;
}
