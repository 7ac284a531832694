//! `BearerAuthLayer::azure` before the resource server and
//! `azure::ClientSecretCredential` behind it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{
    BearerAuthLayer, Runtime, TokenCache, TokioRuntime, Transport, azure::ClientSecretCredential,
};

use super::locked_version;
use crate::BoxError;
use crate::identity::IdentityProvider;
use crate::peer::{
    Audience, ByHand, CLIENT_ID, CLIENT_SECRET, Client, Clock, Peer, Servers, TENANT,
};
use crate::resource::ResourceServer;

type Body = Full<Bytes>;

/// This repository's crate.
#[derive(Clone, Copy, Debug)]
pub struct TowerBearer;

impl Peer for TowerBearer {
    fn name(&self) -> String {
        format!("tower-bearer {}", locked_version("tower-bearer"))
    }

    fn client(&self, servers: &Servers) -> Result<Arc<dyn Client>, BoxError> {
        client(servers, TokioRuntime::new())
    }

    fn client_by_hand(&self, servers: &Servers) -> Result<Option<ByHand>, BoxError> {
        let clock = ManualRuntime::new();
        Ok(Some(ByHand {
            client: client(servers, clock.clone())?,
            clock: Arc::new(clock),
        }))
    }
}

impl Clock for ManualRuntime {
    fn advance(&self, by: Duration) {
        self.advance(by);
    }
}

fn client(servers: &Servers, runtime: impl Runtime) -> Result<Arc<dyn Client>, BoxError> {
    let credential = ClientSecretCredential::builder(TENANT, CLIENT_ID, CLIENT_SECRET)
        .transport(transport(servers.identity.clone()))
        .build()?;
    let tokens = TokenCache::builder(credential).runtime(runtime).build();
    let service = BearerAuthLayer::azure(tokens.clone()).layer(resource(servers.resource.clone()));
    Ok(Arc::new(Layered {
        service: BoxCloneSyncService::new(service.map_err(BoxError::from)),
        tokens,
    }))
}

fn transport(identity: IdentityProvider) -> Transport {
    Transport::new(service_fn(move |request: Request<Body>| {
        let identity = identity.clone();
        async move {
            let form = request.into_body().collect().await?.to_bytes();
            let (status, body) = identity.answer(&form).await;
            let mut response = Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = status;
            Ok::<_, BoxError>(response)
        }
    }))
}

fn resource(
    resource: ResourceServer,
) -> impl tower::Service<
    Request<Body>,
    Response = Response<()>,
    Error = BoxError,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    service_fn(move |request: Request<Body>| {
        let resource = resource.clone();
        async move {
            let authorization = request.headers().get(AUTHORIZATION);
            let status = resource
                .answer(authorization.and_then(|value| value.to_str().ok()))
                .await;
            let mut response = Response::new(());
            *response.status_mut() = status;
            if status == StatusCode::UNAUTHORIZED {
                let challenge = HeaderValue::try_from(ResourceServer::challenge())?;
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            Ok(response)
        }
    })
}

struct Layered {
    service: BoxCloneSyncService<Request<Body>, Response<()>, BoxError>,
    tokens: TokenCache,
}

#[async_trait]
impl Client for Layered {
    async fn send(&self, audience: Audience) -> Result<StatusCode, BoxError> {
        let request = Request::get(audience.url()).body(Body::default())?;
        let response = self.service.clone().oneshot(request).await?;
        Ok(response.status())
    }

    async fn token(&self, audience: Audience) -> Result<(), BoxError> {
        self.tokens.token(audience.resource()).await?;
        Ok(())
    }
}
