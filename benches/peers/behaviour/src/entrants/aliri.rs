//! `aliri_tokens`' `TokenWatcher`, over a source of its own.

use std::sync::Arc;
use std::time::Duration;

use aliri_clock::DurationSecs;
use aliri_tokens::backoff::ErrorBackoffConfig;
use aliri_tokens::jitter::NullJitter;
use aliri_tokens::sources::AsyncTokenSource;
use aliri_tokens::{AccessToken, IdToken, TokenLifetimeConfig, TokenWatcher, TokenWithLifetime};
use async_trait::async_trait;
use peers::BoxError;
use peers::identity::IdentityProvider;
use tokio::sync::OnceCell;

use super::handed::{Handed, Tokens};
use super::issued::{Issued, NotIssued};
use super::with_version;
use crate::entrant::{Ageing, Entrant};

/// Stale after a twentieth of its life, which is told in whole seconds.
const AGEING: Ageing = Ageing::of(Duration::from_mins(1), Duration::from_secs(2));
const FRESH: f64 = 0.05;

pub(super) fn entrant() -> Entrant {
    Entrant {
        // A watcher is made with its first token.
        starts_cold: false,
        ..Entrant::new(with_version("aliri_tokens"), AGEING, |servers| {
            let watcher = Watcher {
                identity: servers.identity.clone(),
                started: OnceCell::new(),
            };
            Ok(Arc::new(Handed::new(watcher, servers)))
        })
    }
}

struct Watcher {
    identity: IdentityProvider,
    started: OnceCell<TokenWatcher>,
}

#[async_trait]
impl Tokens for Watcher {
    async fn token(&self) -> Result<String, BoxError> {
        let watcher = self
            .started
            .get_or_try_init(|| {
                TokenWatcher::spawn_from_token_source(
                    Source(self.identity.clone()),
                    NullJitter,
                    ErrorBackoffConfig::default(),
                )
            })
            .await?;
        let token = watcher.token();
        Ok(token.access_token().as_str().to_owned())
    }
}

struct Source(IdentityProvider);

#[async_trait]
impl AsyncTokenSource for Source {
    type Error = NotIssued;

    async fn request_token(&mut self) -> Result<TokenWithLifetime, NotIssued> {
        let issued = Issued::by(&self.0).await?;
        let life = DurationSecs(issued.life().as_secs());
        Ok(
            TokenLifetimeConfig::new(FRESH, DurationSecs(0)).create_token(
                AccessToken::new(issued.access_token),
                None::<IdToken>,
                life,
            ),
        )
    }
}
