//! Tokens from the scripted identity provider, for libraries whose source of
//! tokens is the caller's own code.

use std::time::Duration;

use peers::identity::IdentityProvider;
use serde::Deserialize;

/// A token as it was issued.
#[derive(Deserialize)]
pub(super) struct Issued {
    pub(super) access_token: String,
    expires_in: u64,
}

impl Issued {
    /// Asks for one.
    pub(super) async fn by(identity: &IdentityProvider) -> Result<Self, NotIssued> {
        let (status, body) = identity.answer(b"").await;
        if !status.is_success() {
            return Err(NotIssued);
        }
        serde_json::from_str(&body).map_err(|_| NotIssued)
    }

    pub(super) fn life(&self) -> Duration {
        Duration::from_secs(self.expires_in)
    }
}

/// The identity provider did not give a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotIssued;

impl std::fmt::Display for NotIssued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no token was issued")
    }
}

impl std::error::Error for NotIssued {}
