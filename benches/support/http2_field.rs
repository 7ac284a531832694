//! The same token over HTTP/2 in fields that HPACK treats differently, and
//! what goes over the wire for it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tower_bearer::BoxError;

pub(crate) const TOKEN_LENGTH: usize = 1_500;

/// Where the token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Nowhere,
    /// In `Authorization`, as the layer sends it.
    Sensitive,
    /// In `Authorization`, without the mark.
    Plain,
    /// Under a name that the encoder has no reservations about.
    Indexed,
}

impl Field {
    /// Name and value; none if there is no field.
    pub(crate) fn header(self) -> Option<(HeaderName, HeaderValue)> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token())).ok()?;
        value.set_sensitive(self == Self::Sensitive);
        match self {
            Self::Nowhere => None,
            Self::Sensitive | Self::Plain => Some((AUTHORIZATION, value)),
            Self::Indexed => Some((HeaderName::from_static("x-token"), value)),
        }
    }
}

/// Characters as they come in real tokens, since the compression of each takes
/// its own number of bits.
pub(crate) fn token() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..TOKEN_LENGTH)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(ALPHABET[(state >> 58) as usize])
        })
        .collect()
}

/// One connection on loopback, whose client counts what it sends.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    sent: Arc<AtomicU64>,
}

impl Connection {
    pub(crate) async fn open() -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let client = TcpStream::connect(listener.local_addr()?).await?;
        let (server, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        tokio::spawn(async {
            let service = service_fn(|_: Request<Incoming>| async {
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(server), service)
                .await;
        });
        let sent = Arc::new(AtomicU64::new(0));
        let io = TokioIo::new(Counted {
            stream: client,
            sent: Arc::clone(&sent),
        });
        let executor = TokioExecutor::new();
        let (sender, connection) = hyper::client::conn::http2::handshake(executor, io).await?;
        tokio::spawn(async {
            let _ = connection.await;
        });
        Ok(Self { sender, sent })
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, BoxError> {
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// Bytes so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

/// As programs make it, without a token yet.
pub(crate) fn request() -> Result<Request<Empty<Bytes>>, http::Error> {
    Request::get("https://myvault.vault.azure.net/secrets/db?api-version=7.4")
        .header("accept", "application/json")
        .header("user-agent", "a-program/1.0")
        .body(Empty::new())
}

struct Counted {
    stream: TcpStream,
    sent: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.sent.fetch_add(*bytes as u64, Ordering::SeqCst);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
