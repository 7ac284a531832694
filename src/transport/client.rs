//! The built-in transports: hyper over rustls for identity providers, and
//! hyper over bare TCP for metadata endpoints.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
#[cfg(feature = "azure")]
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::CryptoProvider;
use tower_service::Service;

use super::Transport;
use super::connect::TimeLimited;
#[cfg(feature = "azure")]
use super::pin::Thumbprint;
use super::proxy::{MaybeProxied, ProxyRules};
use super::tls;
use crate::audience::Origin;
use crate::environment::Environment;
use crate::runtime::BoxFuture;
use crate::{BoxError, Error, ErrorKind};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than what servers and load balancers keep idle connections for, so
/// that it is this side that closes them. Longer would gain nothing: tokens are
/// fetched in bursts, half an hour apart.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
const IDLE_CONNECTIONS_PER_HOST: usize = 2;

/// Metadata endpoints are on the same machine or the one that hosts it; where
/// there is none, the network often swallows the packets.
#[cfg(feature = "azure")]
const METADATA_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

impl Transport {
    /// Settings for the built-in transport to identity providers: HTTP/1.1
    /// over TLS, with the root certificates of the system.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tower_bearer::Transport;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let transport = Transport::builder()
    ///     .add_root_certificates(std::fs::read("corporate-ca.pem")?)
    ///     .connect_timeout(Duration::from_secs(2))
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> TransportBuilder {
        TransportBuilder {
            crypto_provider: None,
            extra_roots: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
            use_proxies: true,
            http_to_loopback: false,
        }
    }

    /// The transport to metadata endpoints: plain HTTP/1.1, and no proxy
    /// whatever the environment says.
    #[cfg(feature = "azure")]
    pub(crate) fn direct() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self::new(OnTokio(hyper_client(TimeLimited::new(
            connector,
            METADATA_CONNECT_TIMEOUT,
        ))))
    }

    /// The transport to a server that is known by the thumbprint of its
    /// certificate: HTTP/1.1 over TLS, and no proxy whatever the environment
    /// says.
    #[cfg(feature = "azure")]
    pub(crate) fn pinned(thumbprint: Thumbprint) -> Result<Self, Error> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::pinned(thumbprint)?)
            .https_only()
            .enable_http1()
            .wrap_connector(TimeLimited::new(connector, METADATA_CONNECT_TIMEOUT));
        Ok(Self::new(OnTokio(hyper_client(connector))))
    }
}

/// Settings for the built-in transport to identity providers.
///
/// Made by [`Transport::builder`].
///
/// # Environment
///
/// | variable | meaning |
/// | --- | --- |
/// | `SSL_CERT_FILE` | PEM file with the root certificates to trust |
/// | `SSL_CERT_DIR` | directories of such files, separated as in `PATH` |
/// | `HTTPS_PROXY`, else `ALL_PROXY` | the proxy to go through, as `http://[user:password@]host[:port]` |
/// | `NO_PROXY` | hosts that are reached without it, separated by commas; a name stands for its subdomains too, and `*` for everything |
///
/// If either of the first two is set, the system's own roots are not used; if
/// both are, all that they name is trusted. The proxy variables may also be
/// written in lower case, and the port of a proxy is 80 if not given. Loopback
/// is always reached without a proxy. A variable that is set to nothing counts
/// as not set. All are read by [`build`](TransportBuilder::build).
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct TransportBuilder {
    crypto_provider: Option<Arc<CryptoProvider>>,
    extra_roots: Vec<Vec<u8>>,
    connect_timeout: Duration,
    use_proxies: bool,
    http_to_loopback: bool,
}

impl TransportBuilder {
    /// Takes cryptography from `provider`, which is rustls 0.23's.
    ///
    /// Default: that of the feature `aws-lc-rs`, else that of the feature
    /// `ring`. The default provider of the process is neither read nor set.
    pub fn crypto_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.crypto_provider = Some(provider);
        self
    }

    /// Also trusts the certificate authorities in `pem`.
    pub fn add_root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.extra_roots.push(pem.as_ref().to_vec());
        self
    }

    /// How long it may take to look up a name and to open a connection to it,
    /// through a proxy if there is one. Default: 5 seconds.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Uses no proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> Self {
        self.use_proxies = false;
        self
    }

    /// Also sends over plain HTTP, but to loopback alone: for emulators.
    /// Default: HTTPS only.
    pub fn allow_http_loopback(mut self) -> Self {
        self.http_to_loopback = true;
        self
    }

    /// Makes the transport. Reads the system's root certificates from disk,
    /// which takes some milliseconds: make one and share it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when there is no crypto provider, no root
    /// certificate, or a variable or setting that cannot be used.
    pub fn build(self) -> Result<Transport, Error> {
        self.build_in(&Environment::of_process())
    }

    fn build_in(self, environment: &Environment) -> Result<Transport, Error> {
        let proxies = if self.use_proxies {
            ProxyRules::from_environment(environment)?
        } else {
            None
        };
        let tls = tls::configuration(self.crypto_provider, &self.extra_roots, environment)?;
        let connector: HttpsConnector<_> = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(TimeLimited::new(
                MaybeProxied::new(proxies),
                self.connect_timeout,
            ));
        Ok(Transport::new(Guarded {
            client: OnTokio(hyper_client(connector)),
            http_to_loopback: self.http_to_loopback,
        }))
    }
}

impl fmt::Debug for TransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportBuilder")
            .field("extra_roots", &self.extra_roots.len())
            .field("connect_timeout", &self.connect_timeout)
            .field("use_proxies", &self.use_proxies)
            .field("http_to_loopback", &self.http_to_loopback)
            .finish_non_exhaustive()
    }
}

fn hyper_client<C>(connector: C) -> Client<C, Full<Bytes>>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST)
        .build(connector)
}

/// Sends nothing in the clear, unless asked to and then to loopback alone.
#[derive(Clone)]
struct Guarded<S> {
    client: S,
    http_to_loopback: bool,
}

impl<S> Guarded<S> {
    fn check(&self, request: &Request<Full<Bytes>>) -> Result<(), Error> {
        let origin = Origin::of(request.uri())?;
        if origin.is_https() {
            return Ok(());
        }
        if *origin.scheme() == Scheme::HTTP && self.http_to_loopback && origin.is_loopback() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "nothing is sent to {} over {}: it could be read on the way",
                crate::error::printable(origin.authority().host()),
                origin.scheme(),
            ),
        )
        .with_advice("use https; plain http can be allowed for an emulator on loopback"))
    }
}

impl<S> Service<Request<Full<Bytes>>> for Guarded<S>
where
    S: Service<Request<Full<Bytes>>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        match self.check(&request) {
            Ok(()) => Box::pin(self.client.call(request)),
            Err(error) => Box::pin(async move { Err(error.into()) }),
        }
    }
}

/// hyper's client, with an error instead of a panic where there is no Tokio
/// runtime for its sockets and tasks.
#[derive(Clone)]
struct OnTokio<C>(Client<C, Full<Bytes>>);

impl<C> Service<Request<Full<Bytes>>> for OnTokio<C>
where
    C: hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + 'static,
{
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        if tokio::runtime::Handle::try_current().is_err() {
            let error = Error::new(
                ErrorKind::Configuration,
                "the built-in transport needs a Tokio runtime",
            )
            .with_advice("run on one, or pass a transport of your own");
            return Box::pin(std::future::ready(Err(error.into())));
        }
        let response = self.0.request(request);
        Box::pin(async move { response.await.map_err(Into::into) })
    }
}
