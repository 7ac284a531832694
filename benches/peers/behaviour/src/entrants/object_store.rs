//! `object_store`'s credential for Azure's blob storage.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Response;
use object_store::ClientOptions;
use object_store::azure::{AzureCredential, AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService,
};
use peers::BoxError;
use peers::identity::IdentityProvider;
use peers::peer::{CLIENT_ID, CLIENT_SECRET, TENANT};

use super::handed::{Handed, Tokens};
use super::with_version;
use crate::entrant::{Ageing, Entrant};

/// Refreshed in its last five minutes.
const AGEING: Ageing = Ageing::of(Duration::from_secs(200), Duration::ZERO);

pub(super) fn entrant() -> Entrant {
    Entrant::new(with_version("object_store"), AGEING, |servers| {
        let store = MicrosoftAzureBuilder::new()
            .with_account("peers")
            .with_container_name("container")
            .with_client_secret_authorization(CLIENT_ID, CLIENT_SECRET, TENANT)
            .with_http_connector(Connector(servers.identity.clone()))
            .build()?;
        let credentials = Credentials(Arc::clone(store.credentials()));
        Ok(Arc::new(Handed::new(credentials, servers)))
    })
}

struct Credentials(AzureCredentialProvider);

#[async_trait]
impl Tokens for Credentials {
    async fn token(&self) -> Result<String, BoxError> {
        match &*self.0.get_credential().await? {
            AzureCredential::BearerToken(token) => Ok(token.clone()),
            _ => Err("a credential of another kind".into()),
        }
    }
}

#[derive(Debug)]
struct Connector(IdentityProvider);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Transport(self.0.clone())))
    }
}

#[derive(Debug)]
struct Transport(IdentityProvider);

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let form = request.body().as_bytes().cloned().unwrap_or_default();
        let (status, body) = self.0.answer(&form).await;
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        Ok(response)
    }
}
