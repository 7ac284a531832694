//! The two bearer layers of `cf-gears-toolkit-auth`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use peers::BoxError;
use peers::peer::{Audience, CLIENT_ID, CLIENT_SECRET, Client, Servers};
use peers::resource::ResourceServer;
use toolkit_auth::oauth2::{
    BearerAuthAutoRefreshLayer, BearerAuthLayer, OAuthClientConfig, SecretString, TokenProvider,
};
use toolkit_http::HttpError;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _};

use super::loopback::Loopback;
use super::sends::sends;
use super::with_version;
use crate::entrant::{Ageing, Entrant};

/// Refreshed in the background after 2 s.
const AGEING: Ageing = Ageing::of(Duration::from_secs(242), Duration::from_millis(1_500));
const MARGIN: Duration = Duration::from_mins(4);

type Body = Full<Bytes>;
type Service = BoxCloneSyncService<Request<Body>, Response<()>, HttpError>;

pub(super) fn entrants() -> [Entrant; 2] {
    let name = with_version("cf-gears-toolkit-auth");
    let plain = Entrant::new(format!("{name} BearerAuthLayer"), AGEING, |servers| {
        connect(servers, |tokens, resource| {
            BoxCloneSyncService::new(BearerAuthLayer::new(tokens).layer(sends(resource)))
        })
    });
    let name = format!("{name} BearerAuthAutoRefreshLayer");
    let refreshing = Entrant::new(name, AGEING, |servers| {
        connect(servers, |tokens, resource| {
            BoxCloneSyncService::new(BearerAuthAutoRefreshLayer::new(tokens).layer(sends(resource)))
        })
    });
    [
        plain,
        Entrant {
            resends: true,
            ..refreshing
        },
    ]
}

fn connect(
    servers: &Servers,
    service: fn(TokenProvider, ResourceServer) -> Service,
) -> Result<Arc<dyn Client>, BoxError> {
    let endpoint = Loopback::start(servers.identity.clone())?;
    let tokens = TokenProvider::new(OAuthClientConfig {
        token_endpoint: Some(format!("http://{}/token", endpoint.address()).parse()?),
        client_id: CLIENT_ID.to_owned(),
        client_secret: SecretString::new(CLIENT_SECRET),
        refresh_offset: MARGIN,
        jitter_max: Duration::ZERO,
        ..OAuthClientConfig::default()
    })?;
    Ok(Arc::new(Layered {
        service: service(tokens.clone(), servers.resource.clone()),
        tokens,
        _endpoint: endpoint,
    }))
}

struct Layered {
    service: Service,
    tokens: TokenProvider,
    _endpoint: Loopback,
}

#[async_trait]
impl Client for Layered {
    async fn send(&self, audience: Audience) -> Result<StatusCode, BoxError> {
        let request = Request::get(audience.url()).body(Body::default())?;
        Ok(self.service.clone().oneshot(request).await?.status())
    }

    async fn token(&self, _: Audience) -> Result<(), BoxError> {
        self.tokens.get().await?;
        Ok(())
    }
}
