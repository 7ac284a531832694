//! A token that a background task keeps fresh.

use aliri_clock::DurationSecs;
use aliri_tokens::backoff::ErrorBackoffConfig;
use aliri_tokens::jitter::NullJitter;
use aliri_tokens::sources::ConstTokenSource;
use aliri_tokens::{AccessToken, TokenWatcher};
use http::header::HeaderMap;

use crate::cases::subject;
use crate::request::token;
use crate::wrapper::{Authorize, Wrapper, insert_bearer};
use crate::{Case, TOKEN_LIFETIME, block_on};

pub(super) fn cases() -> [Case; 1] {
    [Case::library("aliri_tokens", "TokenWatcher", || {
        let source = ConstTokenSource::new(AccessToken::new(token()))
            .with_token_valid_for(DurationSecs(TOKEN_LIFETIME.as_secs()));
        let watcher = block_on(TokenWatcher::spawn_from_token_source(
            source,
            NullJitter,
            ErrorBackoffConfig::default(),
        ));
        subject(Wrapper(Watched(watcher.unwrap())))
    })]
}

#[derive(Clone)]
struct Watched(TokenWatcher);

impl Authorize for Watched {
    async fn authorize(&mut self, headers: &mut HeaderMap) {
        insert_bearer(headers, self.0.token().access_token().as_str());
    }
}
