//! A scripted resource server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;

use crate::peer::TENANT;

/// Accepts the tokens from a certain number on, refuses older ones as revoked,
/// and counts what is sent to it.
#[derive(Clone, Debug)]
pub struct ResourceServer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    oldest_good: AtomicUsize,
    sends: AtomicUsize,
    latency: fn(usize) -> Duration,
}

impl ResourceServer {
    /// One that answers at once and accepts every token.
    #[must_use]
    pub fn new() -> Self {
        Self::with_latency(|_| Duration::ZERO)
    }

    /// One whose answer to the request with a certain number, from 1, takes
    /// `latency` of that number.
    #[must_use]
    pub fn with_latency(latency: fn(usize) -> Duration) -> Self {
        Self(Arc::new(Inner {
            oldest_good: AtomicUsize::new(0),
            sends: AtomicUsize::new(0),
            latency,
        }))
    }

    /// Refuses all tokens below `number` from now on.
    pub fn refuse_below(&self, number: usize) {
        self.0.oldest_good.store(number, Ordering::SeqCst);
    }

    /// Refuses every token from now on.
    pub fn refuse_all(&self) {
        self.refuse_below(usize::MAX);
    }

    /// How many requests have come, resends included.
    #[must_use]
    pub fn sends(&self) -> usize {
        self.0.sends.load(Ordering::SeqCst)
    }

    /// Answers a request with this `Authorization`.
    pub async fn answer(&self, authorization: Option<&str>) -> StatusCode {
        let sent = self.0.sends.fetch_add(1, Ordering::SeqCst) + 1;
        let number = authorization
            .and_then(|value| value.strip_prefix("Bearer token-"))
            .and_then(|number| number.parse::<usize>().ok());
        let oldest_good = self.0.oldest_good.load(Ordering::SeqCst);
        let status = match number {
            Some(number) if number >= oldest_good => StatusCode::OK,
            _ => StatusCode::UNAUTHORIZED,
        };
        let latency = (self.0.latency)(sent);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        status
    }

    /// The `WWW-Authenticate` of its 401s, as Key Vault has it.
    #[must_use]
    pub fn challenge() -> String {
        format!(
            r#"Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="https://vault.azure.net""#
        )
    }
}

impl Default for ResourceServer {
    fn default() -> Self {
        Self::new()
    }
}
