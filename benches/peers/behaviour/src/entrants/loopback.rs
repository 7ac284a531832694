//! The scripted identity provider behind a socket on 127.0.0.1, for libraries
//! that will not let another transport in.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use peers::BoxError;
use peers::identity::IdentityProvider;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Settings that would send a library elsewhere than it is told to go.
const DIVERSIONS: [&str; 5] = [
    "GCE_METADATA_HOST",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Serves until it is dropped.
pub(super) struct Loopback {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Loopback {
    pub(super) fn start(identity: IdentityProvider) -> Result<Self, BoxError> {
        if let Some(name) = DIVERSIONS
            .iter()
            .find(|name| std::env::var_os(name).is_some())
        {
            return Err(format!("{name} is set: nothing here may leave this machine").into());
        }
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, identity.clone()));
            }
        });
        Ok(Self {
            address,
            _serving: serving,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(stream: TcpStream, identity: IdentityProvider) {
    let service = service_fn(|request| answer(request, &identity));
    // A client that goes away is none of the server's business.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    identity: &IdentityProvider,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    // Metadata endpoints are asked for more than tokens.
    let is_for_token = request.uri().path().ends_with("/token");
    let form = request.into_body().collect().await?.to_bytes();
    let (status, body) = if is_for_token {
        identity.answer(&form).await
    } else {
        (StatusCode::NOT_FOUND, String::new())
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}
