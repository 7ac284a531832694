//! Libraries that hand out tokens and leave it to the caller to put them on a
//! request.

use async_trait::async_trait;
use http::StatusCode;
use peers::BoxError;
use peers::peer::{Audience, Client, Servers};
use peers::resource::ResourceServer;

/// What such a library does.
#[async_trait]
pub(super) trait Tokens: Send + Sync {
    async fn token(&self) -> Result<String, BoxError>;
}

/// The shortest way from its token to a request.
pub(super) struct Handed<T> {
    tokens: T,
    resource: ResourceServer,
}

impl<T> Handed<T> {
    pub(super) fn new(tokens: T, servers: &Servers) -> Self {
        Self {
            tokens,
            resource: servers.resource.clone(),
        }
    }
}

#[async_trait]
impl<T: Tokens> Client for Handed<T> {
    async fn send(&self, _: Audience) -> Result<StatusCode, BoxError> {
        let authorization = format!("Bearer {}", self.tokens.token().await?);
        Ok(self.resource.answer(Some(&authorization)).await)
    }

    async fn token(&self, _: Audience) -> Result<(), BoxError> {
        self.tokens.token().await.map(drop)
    }
}
