//! Azure: credentials, the host table, and what Azure's challenges ask for.

mod audiences;
mod challenges;
mod cloud;
mod entra;
mod managed_identity;

pub use audiences::Audiences;
pub use challenges::Challenges;

use crate::{BearerAuthLayer, TokenCache};

impl BearerAuthLayer {
    /// A layer for Azure: audiences by [`Audiences`], the built-in table of
    /// all clouds, and [`Challenges`] followed.
    ///
    /// Requests to hosts that the table does not name are refused; see
    /// [`unknown_hosts`](Self::unknown_hosts). To add hosts of your own, or to
    /// unlock the hosts whose audience is ambiguous, use
    /// [`new`](Self::new) with `Hosts::new().allow(…)?.or(azure::Audiences::new())`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_bearer::{AccessToken, credential_fn};
    /// use tower_bearer::{BearerAuthLayer, TokenCache};
    ///
    /// # let credential = credential_fn(|_| async {
    /// #     AccessToken::expiring_in("abc", Duration::from_secs(60))
    /// # });
    /// let layer = BearerAuthLayer::azure(TokenCache::new(credential));
    /// ```
    pub fn azure(tokens: TokenCache) -> Self {
        Self::new(tokens, Audiences::new()).challenges(Challenges::new())
    }
}
