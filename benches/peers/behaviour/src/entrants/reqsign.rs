//! `reqsign-core`'s `Signer`, with the credential and the request signer of
//! `reqsign-azure-storage`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use peers::BoxError;
use peers::identity::IdentityProvider;
use peers::peer::{Audience, CLIENT_ID, CLIENT_SECRET, Client, TENANT};
use peers::resource::ResourceServer;
use reqsign_azure_storage::{ClientSecretCredentialProvider, Credential, RequestSigner};
use reqsign_core::{Context, HttpSend, Signer};

use super::with_version;
use crate::entrant::{Ageing, Entrant};

/// Neither reused nor accepted in its last 20 s.
const AGEING: Ageing = Ageing::of(Duration::from_secs(22), Duration::from_millis(2_500));

pub(super) fn entrant() -> Entrant {
    let name = format!("{} Signer", with_version("reqsign-core"));
    Entrant::new(name, AGEING, |servers| {
        let credential = ClientSecretCredentialProvider::new()
            .with_tenant_id(TENANT)
            .with_client_id(CLIENT_ID)
            .with_client_secret(CLIENT_SECRET);
        let context = Context::new().with_http_send(Transport(servers.identity.clone()));
        Ok(Arc::new(Signed {
            signer: Signer::new(context, credential, RequestSigner::new()),
            resource: servers.resource.clone(),
        }))
    })
}

#[derive(Debug)]
struct Transport(IdentityProvider);

impl HttpSend for Transport {
    async fn http_send(&self, request: Request<Bytes>) -> reqsign_core::Result<Response<Bytes>> {
        let (status, body) = self.0.answer(request.body()).await;
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        Ok(response)
    }
}

struct Signed {
    signer: Signer<Credential>,
    resource: ResourceServer,
}

impl Signed {
    async fn sign(&self, audience: Audience) -> Result<Request<()>, BoxError> {
        let (mut parts, body) = Request::get(audience.url()).body(())?.into_parts();
        self.signer.sign(&mut parts, None).await?;
        Ok(Request::from_parts(parts, body))
    }
}

#[async_trait]
impl Client for Signed {
    async fn send(&self, audience: Audience) -> Result<StatusCode, BoxError> {
        let request = self.sign(audience).await?;
        let authorization = request.headers().get(AUTHORIZATION);
        let authorization = authorization.map(|value| value.to_str()).transpose()?;
        Ok(self.resource.answer(authorization).await)
    }

    async fn token(&self, audience: Audience) -> Result<(), BoxError> {
        self.sign(audience).await.map(drop)
    }
}
