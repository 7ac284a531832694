//! Azure's policy, which has a request type of its own.

use std::hint::black_box;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::Bytes;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::http::headers::Headers;
use azure_core::http::policies::auth::BearerTokenAuthorizationPolicy;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{AsyncRawResponse, Context, Method, Request, StatusCode, Url};
use azure_core::time::OffsetDateTime;

use crate::cases::subject;
use crate::client::{Client, Run};
use crate::{Case, Family, TOKEN_LIFETIME, request};

pub(super) fn cases() -> [Case; 2] {
    [
        Case::floor(Family::Azure, "floor of azure_core", || {
            subject(Policies::new(vec![Arc::new(End)]))
        }),
        Case::library("azure_core", "BearerTokenAuthorizationPolicy", || {
            let policy = BearerTokenAuthorizationPolicy::new(
                Arc::new(Credential),
                ["https://vault.azure.net/.default"],
            );
            subject(Policies::new(vec![Arc::new(policy), Arc::new(End)]))
        })
        .of(Family::Azure),
    ]
}

#[derive(Clone)]
struct Policies {
    context: Context<'static>,
    policies: Arc<[Arc<dyn Policy>]>,
}

impl Policies {
    fn new(policies: Vec<Arc<dyn Policy>>) -> Self {
        Self {
            context: Context::new(),
            policies: policies.into(),
        }
    }
}

impl Client for Policies {
    type Request = Request;

    /// The same request. Its map has room for seven headers.
    fn request(capacity: usize) -> Request {
        let request = request::request(capacity);
        let mut same = Request::new(Url::parse(&request.uri().to_string()).unwrap(), Method::Get);
        for (name, value) in request.headers() {
            same.insert_header(name.to_string(), value.to_str().unwrap().to_owned());
        }
        same
    }

    fn send(&mut self, mut request: Request, run: &impl Run) {
        let (first, next) = self.policies.split_first().unwrap();
        run.run(first.send(&self.context, &mut request, next));
        drop(black_box(request));
    }
}

/// Answers at once, as the inner service of the others.
#[derive(Debug)]
struct End;

#[async_trait]
impl Policy for End {
    async fn send(&self, _: &Context, _: &mut Request, _: &[Arc<dyn Policy>]) -> PolicyResult {
        Ok(AsyncRawResponse::from_bytes(
            StatusCode::Ok,
            Headers::new(),
            Bytes::new(),
        ))
    }
}

#[derive(Debug)]
struct Credential;

#[async_trait]
impl TokenCredential for Credential {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let ends = OffsetDateTime::now_utc() + TOKEN_LIFETIME;
        Ok(AccessToken::new(request::token(), ends))
    }
}
