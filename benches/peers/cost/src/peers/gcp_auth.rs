//! `gcp_auth` with the key of a service account.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gcp_auth::{CustomServiceAccount, TokenProvider as _};
use http::header::HeaderMap;

use crate::cases::subject;
use crate::wrapper::{Authorize, Wrapper, insert_bearer};
use crate::{Case, token_server};

pub(super) fn cases() -> [Case; 1] {
    [Case::library(
        "gcp_auth",
        "CustomServiceAccount::token()",
        || {
            let key = format!(
                r#"{{"type":"service_account","client_email":"a@b","private_key":"{}","token_uri":"{}/token"}}"#,
                private_key(),
                token_server::start()
            );
            let account = CustomServiceAccount::from_json(&key).unwrap();
            subject(Wrapper(Account(Arc::new(account))))
        },
    )]
}

/// Made here, so that no key lies in the repository. As a string in JSON.
fn private_key() -> String {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der = pair.as_der().unwrap();
    let text = BASE64_STANDARD.encode(der.as_ref());
    format!(r"-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

#[derive(Clone)]
struct Account(Arc<CustomServiceAccount>);

impl Authorize for Account {
    async fn authorize(&mut self, headers: &mut HeaderMap) {
        let scopes = ["https://www.googleapis.com/auth/cloud-platform"];
        insert_bearer(headers, self.0.token(&scopes).await.unwrap().as_str());
    }
}
