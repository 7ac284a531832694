//! A proxy, what it leads to and what asks it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower_bearer::TokenCache;

use crate::issuer::{Calls, issuer, token};
use crate::loopback::Server;
use crate::proxy::{Ended, Identity, Parsed, Settings, run};

pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed()
}

/// What begins an HTTP/2 connection of a client that says no more.
pub(crate) const HTTP2_BEGUN: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";

/// Fails what would otherwise hang.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    let result = tokio::time::timeout(Duration::from_secs(60), future).await;
    result.expect("this must not hang")
}

pub(crate) fn settings(arguments: &[&str]) -> Settings {
    let arguments = arguments.iter().map(ToString::to_string);
    match Settings::parse(arguments).unwrap() {
        Parsed::Run(settings) => *settings,
        Parsed::Help => panic!("asked for help"),
    }
}

/// A proxy that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    stop_at_once: Option<oneshot::Sender<()>>,
    task: JoinHandle<Ended>,
}

impl Running {
    pub(crate) async fn start(settings: Settings, identity: Identity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (stop_at_once, stopped_at_once) = oneshot::channel();
        let task = tokio::spawn(async {
            let stopped = async { drop(stopped.await) };
            let at_once = async { drop(stopped_at_once.await) };
            let ended = run(settings, identity, listener, stopped, at_once).await;
            ended.unwrap()
        });
        Self {
            address,
            stop: Some(stop),
            stop_at_once: Some(stop_at_once),
            task,
        }
    }

    /// One that sends no tokens, to upstreams as they stand in `{}`.
    pub(crate) async fn plain(arguments: &[&str]) -> Self {
        Self::start(settings(arguments), Identity::Nobody).await
    }

    /// One that sends `token-1` until it is refused, then `token-2`.
    pub(crate) async fn with_tokens(arguments: &[&str]) -> (Self, Calls) {
        let (credential, calls) = issuer(|number, _| async move { token(number) });
        let identity = Identity::Fresh(TokenCache::new(credential));
        (Self::start(settings(arguments), identity).await, calls)
    }

    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn stop_at_once(&mut self) {
        drop(self.stop_at_once.take());
    }

    pub(crate) async fn ended(self) -> Ended {
        soon(self.task).await.unwrap()
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::get(self.uri(path)).body(full("")).unwrap();
        read(soon(http1().request(request)).await.unwrap()).await
    }

    /// Status line, fields and body of the answer to exactly these bytes.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is as good an end as any.
        let _ = soon(stream.read_to_end(&mut answer)).await;
        String::from_utf8(answer).unwrap()
    }
}

pub(crate) async fn read(answer: Response<Incoming>) -> (StatusCode, HeaderMap, String) {
    let (parts, body) = answer.into_parts();
    let body = soon(body.collect()).await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (parts.status, parts.headers, text)
}

pub(crate) fn http1() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn http2() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

/// A server that keeps the heads of what it is sent.
pub(crate) struct Upstream {
    server: Server,
    seen: Arc<Mutex<Vec<Parts>>>,
}

impl Upstream {
    /// Answers over HTTP/1 and HTTP/2 with what `answer` makes of a request.
    pub(crate) async fn start<F, Fut>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        let seen: Arc<Mutex<Vec<Parts>>> = Arc::default();
        let keep = Arc::clone(&seen);
        let server = Server::start(move |_, stream| {
            let (keep, answer) = (Arc::clone(&keep), answer.clone());
            async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let (parts, body) = request.into_parts();
                    keep.lock().unwrap().push(parts.clone());
                    let answer = answer(Request::from_parts(parts, body));
                    async { Ok::<_, Infallible>(answer.await) }
                });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        })
        .await;
        Self { server, seen }
    }

    /// Says what it was asked for.
    pub(crate) async fn telling() -> Self {
        Self::start(|request| async move {
            let path = request.uri().path_and_query().unwrap().to_string();
            Response::new(full(path))
        })
        .await
    }

    /// Accepts this token and no other.
    pub(crate) async fn wanting(token: &'static str) -> Self {
        Self::start(move |request| async move {
            let mut response = Response::new(full("welcome"));
            if request.headers().get("authorization").unwrap() != token {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                *response.body_mut() = full("not you");
            }
            response
        })
        .await
    }

    pub(crate) fn route(&self, prefix: &str) -> String {
        format!("{prefix}=http://{}", self.server.address)
    }

    pub(crate) fn http2_route(&self, prefix: &str) -> String {
        format!("{prefix}=h2c://{}", self.server.address)
    }

    pub(crate) fn host(&self) -> String {
        self.server.address.to_string()
    }

    pub(crate) fn seen(&self) -> Vec<Parts> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Parts {
        self.seen().pop().unwrap()
    }

    pub(crate) fn last_version(&self) -> Version {
        self.last().version
    }
}
