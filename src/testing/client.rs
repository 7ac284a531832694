//! A client for which the real host names lead to the embedded Azure, and no
//! others lead anywhere.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection as Connects};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use super::server::label_before;
use super::state::State;
use crate::BoxError;
use crate::azure::LOGIN_HOSTS;
use crate::runtime::BoxFuture;

/// The HTTP client that [`Azure::http_client`](super::Azure::http_client)
/// makes.
pub type HttpClient = Client<Connector, Full<Bytes>>;

/// Connects to the embedded Azure and to nothing else.
///
/// `https://{vault}.vault.azure.net`, `https://login.microsoftonline.com` with
/// its aliases and other clouds, and `http://169.254.169.254` lead to the
/// listeners on loopback, as do their own addresses. No name is ever looked up,
/// and a connection to any other host, port or scheme is refused with an
/// error. For TLS it trusts the certificate authority of the embedded Azure
/// alone.
///
/// ```no_run
/// use bytes::Bytes;
/// use http_body_util::Empty;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower_bearer::testing::Azure;
///
/// # async fn doc() -> Result<(), tower_bearer::Error> {
/// let azure = Azure::start().await?;
/// let client: Client<_, Empty<Bytes>> =
///     Client::builder(TokioExecutor::new()).build(azure.connector());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connector(HttpsConnector<Dial>);

impl Connector {
    pub(super) fn new(state: Arc<State>, tls: &ClientConfig) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(Dial(state));
        Self(connector)
    }

    pub(super) fn into_client(self) -> HttpClient {
        Client::builder(TokioExecutor::new()).build(self)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Connection, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move { Ok(Connection(connecting.await?)) })
    }
}

#[derive(Clone)]
struct Dial(Arc<State>);

impl Dial {
    fn port(&self, uri: &Uri) -> Option<u16> {
        let host = uri.host()?.to_ascii_lowercase();
        let local = matches!(host.as_str(), "localhost" | "127.0.0.1");
        let (listener, implied, is_ours) = match uri.scheme_str()? {
            "http" => (self.0.imds_port, 80, host == "169.254.169.254"),
            "https" => {
                let vault = label_before(&host, self.0.vault_suffix())
                    .is_some_and(|name| self.0.vault(name).is_some());
                let ours = vault || LOGIN_HOSTS.contains(&host.as_str());
                (self.0.tls_port, 443, ours)
            }
            _ => return None,
        };
        let port = uri.port_u16().unwrap_or(implied);
        let reachable = (is_ours && port == implied) || (local && port == listener);
        reachable.then_some(listener)
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let port = self.port(&uri);
        Box::pin(async move {
            let Some(port) = port else {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!(
                        "the embedded Azure has no {}://{}",
                        uri.scheme_str().unwrap_or("?"),
                        uri.authority().map_or("?", http::uri::Authority::as_str)
                    ),
                ));
            };
            let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// A connection that a [`Connector`] has made.
#[derive(Debug)]
pub struct Connection(MaybeHttpsStream<TokioIo<TcpStream>>);

impl Connects for Connection {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

impl Read for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
