//! `yup-oauth2` with the credentials of the machine that it runs on.

use http::header::HeaderMap;
use yup_oauth2::authenticator::{ApplicationDefaultCredentialsTypes, DefaultAuthenticator};
use yup_oauth2::{
    ApplicationDefaultCredentialsAuthenticator, ApplicationDefaultCredentialsFlowOpts,
};

use crate::cases::subject;
use crate::wrapper::{Authorize, Wrapper, insert_bearer};
use crate::{Case, block_on, token_server};

pub(super) fn cases() -> [Case; 1] {
    [Case::library(
        "yup-oauth2",
        "ApplicationDefaultCredentials, token()",
        || {
            let options = ApplicationDefaultCredentialsFlowOpts {
                metadata_url: Some(token_server::start()),
            };
            let builder = block_on(ApplicationDefaultCredentialsAuthenticator::builder(options));
            let ApplicationDefaultCredentialsTypes::InstanceMetadata(builder) = builder else {
                panic!("unset GOOGLE_APPLICATION_CREDENTIALS: no other source is to be asked");
            };
            subject(Wrapper(Machine(block_on(builder.build()).unwrap())))
        },
    )]
}

#[derive(Clone)]
struct Machine(DefaultAuthenticator);

impl Authorize for Machine {
    async fn authorize(&mut self, headers: &mut HeaderMap) {
        let scopes = ["https://www.googleapis.com/auth/cloud-platform"];
        let token = self.0.token(&scopes).await.unwrap();
        insert_bearer(headers, token.token().unwrap());
    }
}
