//! A scripted identity provider.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;

use crate::peer::Audience;

/// Answers the token requests of the OAuth client credentials grant as a script
/// says, and counts them.
#[derive(Clone)]
pub struct IdentityProvider(Arc<Inner>);

struct Inner {
    requests: AtomicUsize,
    script: Box<dyn Fn(TokenRequest) -> Answer + Send + Sync>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct TokenRequest {
    /// How many requests there have been, this one included.
    pub number: usize,
    /// Whom the token is for.
    pub audience: Audience,
}

/// What is answered, and how long that takes.
#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    body: String,
    after: Duration,
}

impl Answer {
    /// A token with a number, by which the resource server knows it again.
    #[must_use]
    pub fn token(number: usize, life: Duration) -> Self {
        let life = life.as_secs();
        Self::ok(format!(
            r#"{{"token_type":"Bearer","expires_in":{life},"access_token":"token-{number}"}}"#
        ))
    }

    /// The same with the server's word on when to replace it.
    #[must_use]
    pub fn token_to_refresh(number: usize, life: Duration, refresh_in: Duration) -> Self {
        let (life, refresh_in) = (life.as_secs(), refresh_in.as_secs());
        Self::ok(format!(
            r#"{{"token_type":"Bearer","expires_in":{life},"refresh_in":{refresh_in},"access_token":"token-{number}"}}"#
        ))
    }

    fn ok(body: String) -> Self {
        Self {
            status: StatusCode::OK,
            body,
            after: Duration::ZERO,
        }
    }

    /// A failure that may pass.
    #[must_use]
    pub fn server_error() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            body: r#"{"error":"server_error","error_description":"try again"}"#.to_owned(),
            after: Duration::ZERO,
        }
    }

    /// A refusal.
    #[must_use]
    pub fn refusal() -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            body: r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.","error_codes":[7000215]}"#.to_owned(),
            after: Duration::ZERO,
        }
    }

    /// The same, but `delay` later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self {
            after: delay,
            ..self
        }
    }
}

impl IdentityProvider {
    /// One that answers as `script` says.
    pub fn new(script: impl Fn(TokenRequest) -> Answer + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            requests: AtomicUsize::new(0),
            script: Box::new(script),
        }))
    }

    /// How many token requests have come, retries included.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// Answers the token request with the body `form`.
    pub async fn answer(&self, form: &[u8]) -> (StatusCode, String) {
        let form = String::from_utf8_lossy(form);
        // A host's name has nothing that would be percent-encoded.
        let audience = if form.contains("vault.azure.net") {
            Audience::Vault
        } else {
            Audience::Storage
        };
        let number = self.0.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = (self.0.script)(TokenRequest { number, audience });
        if !answer.after.is_zero() {
            tokio::time::sleep(answer.after).await;
        }
        (answer.status, answer.body)
    }
}

impl fmt::Debug for IdentityProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityProvider")
            .field("requests", &self.requests())
            .finish_non_exhaustive()
    }
}
