//! An OAuth client that hands out headers.

use std::sync::Arc;

use http::Request;
use huskarl::TokenError;
use huskarl::authorizer::HttpAuthorizer;
use huskarl::cache::{InMemoryTokenCache, TokenSource};
use huskarl::core::platform::{MaybeSendBoxFuture, SystemTime};
use huskarl::grant::core::{RawTokenResponse, TokenResponse};
use tower::Service as _;

use crate::cases::subject;
use crate::client::{Client, Run};
use crate::request::{Body, Inner, request, token};
use crate::{Case, TOKEN_LIFETIME};

pub(super) fn cases() -> [Case; 1] {
    [Case::library("huskarl", "HttpAuthorizer", || {
        let cache = InMemoryTokenCache::builder().source(Source).build();
        let authorizer = HttpAuthorizer::builder().cache(cache).build();
        subject(Authorized(Arc::new(authorizer)))
    })]
}

#[derive(Clone)]
struct Authorized(Arc<HttpAuthorizer>);

impl Client for Authorized {
    type Request = Request<Body>;

    fn request(capacity: usize) -> Request<Body> {
        request(capacity)
    }

    fn send(&mut self, mut request: Request<Body>, run: &impl Run) {
        run.run(async {
            let (method, uri) = (request.method(), request.uri());
            let headers = self.0.get_headers(method, uri).await.unwrap();
            request.headers_mut().extend(headers);
            let uri = request.uri().clone();
            let Ok(response) = Inner.call(request).await;
            // It asks for this after each response.
            self.0.process_response(&uri, response.headers());
        });
    }
}

struct Source;

impl TokenSource for Source {
    #[expect(clippy::disallowed_methods, reason = "its cache reads this clock")]
    fn token(&self) -> MaybeSendBoxFuture<'_, Result<Arc<TokenResponse>, TokenError>> {
        let response = RawTokenResponse::builder()
            .access_token(token())
            .token_type("Bearer")
            .expires_in(TOKEN_LIFETIME.as_secs())
            .build()
            .into_token_response(None, SystemTime::now())
            .unwrap();
        Box::pin(async { Ok(Arc::new(response)) })
    }
}
