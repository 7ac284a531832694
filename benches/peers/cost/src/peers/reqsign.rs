//! The signer of `OpenDAL`'s storage clients.

use std::time::Duration;

use http::Request;
use http::request::Parts;
use reqsign_core::time::Timestamp;
use reqsign_core::{Context, ProvideCredential, Result, SignRequest, Signer, SigningCredential};
use tower::Service as _;

use crate::cases::subject;
use crate::client::{Client, Run};
use crate::request::{Body, Inner, request, token};
use crate::wrapper::insert_bearer;
use crate::{Case, TOKEN_LIFETIME};

pub(super) fn cases() -> [Case; 1] {
    [Case::library("reqsign-core", "Signer", || {
        subject(Signed(Signer::new(Context::new(), Provider, Bearer)))
    })]
}

#[derive(Clone)]
struct Signed(Signer<Token>);

impl Client for Signed {
    type Request = Request<Body>;

    fn request(capacity: usize) -> Request<Body> {
        request(capacity)
    }

    fn send(&mut self, request: Request<Body>, run: &impl Run) {
        run.run(async {
            let (mut parts, body) = request.into_parts();
            self.0.sign(&mut parts, None).await.unwrap();
            Inner.call(Request::from_parts(parts, body)).await
        });
    }
}

/// As the signer's own token of Google's service.
#[derive(Clone, Debug)]
struct Token {
    access_token: String,
    expires_at: Timestamp,
}

impl SigningCredential for Token {
    fn is_valid(&self) -> bool {
        self.is_valid_at(Timestamp::now() + Duration::from_mins(2))
    }

    fn is_valid_at(&self, time: Timestamp) -> bool {
        time < self.expires_at
    }
}

#[derive(Debug)]
struct Provider;

impl ProvideCredential for Provider {
    type Credential = Token;

    async fn provide_credential(&self, _: &Context) -> Result<Option<Token>> {
        Ok(Some(Token {
            access_token: token(),
            expires_at: Timestamp::now() + TOKEN_LIFETIME,
        }))
    }
}

#[derive(Debug)]
struct Bearer;

impl SignRequest for Bearer {
    type Credential = Token;

    async fn sign_request(
        &self,
        _: &Context,
        request: &mut Parts,
        credential: Option<&Token>,
        _: Option<Duration>,
    ) -> Result<()> {
        insert_bearer(&mut request.headers, &credential.unwrap().access_token);
        Ok(())
    }
}
