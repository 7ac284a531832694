//! The token cache of `object_store`, as its Azure store hands it out.

use http::header::HeaderMap;
use object_store::azure::{AzureCredential, AzureCredentialProvider, MicrosoftAzureBuilder};

use crate::cases::subject;
use crate::wrapper::{Authorize, Wrapper, insert_bearer};
use crate::{Case, token_server};

pub(super) fn cases() -> [Case; 1] {
    [Case::library(
        "object_store",
        "client secret, get_credential()",
        || {
            let store = MicrosoftAzureBuilder::new()
                .with_account("account")
                .with_container_name("container")
                .with_client_secret_authorization("client", "secret", "tenant")
                .with_authority_host(token_server::start())
                .with_allow_http(true)
                .build()
                .unwrap();
            subject(Wrapper(Provider(store.credentials().clone())))
        },
    )]
}

#[derive(Clone)]
struct Provider(AzureCredentialProvider);

impl Authorize for Provider {
    async fn authorize(&mut self, headers: &mut HeaderMap) {
        let credential = self.0.get_credential().await.unwrap();
        let AzureCredential::BearerToken(token) = &*credential else {
            unreachable!("it was given a client secret");
        };
        insert_bearer(headers, token);
    }
}
