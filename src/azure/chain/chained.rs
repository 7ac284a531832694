//! A chain of the user's own.

use std::fmt;
use std::sync::Arc;

use super::{Chain, Link};
use crate::{AccessToken, Credential, Error, SharedCredential, TenantId, TokenRequest};

/// Takes the first of several credentials that can be used where the program
/// runs.
///
/// ```
/// use tower_bearer::azure::{
///     ChainedTokenCredential, ClientSecretCredential, ManagedIdentityCredential,
/// };
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// # let (tenant, client_id, secret) = ("contoso.com", "id", "secret");
/// let credential = ChainedTokenCredential::builder()
///     .then(ManagedIdentityCredential::builder().probe(true).build()?)
///     .then(ClientSecretCredential::new(tenant, client_id, secret)?)
///     .build();
/// # Ok(())
/// # }
/// ```
///
/// # How it behaves
///
/// - The next credential is tried only after one that is
///   [not available here](crate::ErrorKind::Unavailable). A refusal, an outage
///   or a wrong setting ends the search: to sign in as somebody else then would
///   hide what is wrong.
/// - What worked is asked from then on, and alone. When it refuses or is no
///   longer available, the search begins anew.
/// - If nothing works, the error has [every attempt](Error::attempts) in its
///   order, with duration, reason and what to do.
/// - Each credential is asked for no more tokens at once than it
///   [bears](Credential::max_concurrency).
#[derive(Clone)]
pub struct ChainedTokenCredential(Arc<Chain>);

impl ChainedTokenCredential {
    /// An empty chain to put credentials into.
    pub fn builder() -> ChainedTokenCredentialBuilder {
        ChainedTokenCredentialBuilder { links: Vec::new() }
    }
}

impl Credential for ChainedTokenCredential {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        self.0.token(request).await
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        self.0.tenant(asked)
    }

    fn max_concurrency(&self) -> usize {
        self.0.max_concurrency()
    }
}

impl fmt::Debug for ChainedTokenCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainedTokenCredential")
            .field("credentials", &self.0.len())
            .finish_non_exhaustive()
    }
}

/// The credentials of a [`ChainedTokenCredential`], in their order.
///
/// Made by [`ChainedTokenCredential::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ChainedTokenCredentialBuilder {
    links: Vec<Link>,
}

impl ChainedTokenCredentialBuilder {
    /// Tries `credential` after those that were given before.
    pub fn then(mut self, credential: impl Credential) -> Self {
        let credential = SharedCredential::new(credential);
        self.links.push(Link::new("credential", Ok(credential)));
        self
    }

    /// Makes the chain. One without credentials gives errors instead of
    /// tokens.
    #[must_use]
    pub fn build(self) -> ChainedTokenCredential {
        ChainedTokenCredential(Arc::new(Chain::new(self.links)))
    }
}
