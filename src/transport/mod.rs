//! The way to identity providers: a tower service of the user's own, or the
//! built-in one.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::{Request, Response};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use tower_service::Service;

use crate::BoxError;
use crate::runtime::BoxFuture;

#[cfg(feature = "azure")]
mod budget;
#[cfg(feature = "client")]
mod causes;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod connect;
#[cfg(feature = "azure")]
mod exchange;
#[cfg(feature = "azure")]
mod pin;
#[cfg(feature = "client")]
mod proxy;
#[cfg(feature = "azure")]
mod retry;
#[cfg(feature = "client")]
mod tls;

#[cfg(feature = "azure")]
pub(crate) use budget::RetryBudget;
#[cfg(feature = "client")]
pub use client::TransportBuilder;
#[cfg(feature = "azure")]
pub(crate) use exchange::{Again, Answer, Failure, place};
#[cfg(feature = "azure")]
pub(crate) use pin::Thumbprint;
#[cfg(feature = "azure")]
pub(crate) use retry::{Retries, Schedule};
#[cfg(feature = "azure")]
pub(crate) use tls::built_in_signing_key;
#[cfg(feature = "azure")]
pub(crate) use tls::sha256;

/// How credentials send their HTTP requests.
///
/// Every credential comes with one that suits it:
/// `Transport::builder` (feature `client`) makes what identity providers on the
/// internet are reached by, and metadata endpoints get a connector of their own
/// without any proxy. Give one built by hand to a credential for settings of
/// your own, to share connections and root certificates between several
/// credentials, or to send through any other HTTP client.
///
/// Cheap to clone; clones share connections.
///
/// A service of one's own sees each attempt of each token request. Time limits,
/// retries and the limit on the size of an answer are applied around it, so it
/// must neither retry nor follow redirects: those would carry secrets to
/// wherever a server points.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower_bearer::{BoxError, Transport};
///
/// let transport = Transport::new(tower::service_fn(|request: Request<Full<Bytes>>| async move {
///     println!("asking {:?}", request.uri().host());
///     Ok::<_, BoxError>(Response::new(Full::new(Bytes::from_static(b"{}"))))
/// }));
/// ```
#[derive(Clone)]
pub struct Transport(Arc<dyn Exchange>);

/// What comes back, whatever the body's type was.
type Received = Response<UnsyncBoxBody<Bytes, BoxError>>;

trait Exchange: Send + Sync {
    fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> BoxFuture<'static, Result<Received, BoxError>>;
}

/// The lock makes a service that is not `Sync` shareable. It is held for a
/// clone and nothing more.
struct Shared<S>(Mutex<S>);

impl<S, B> Exchange for Shared<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> BoxFuture<'static, Result<Received, BoxError>> {
        let mut service = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let response = service.call(request).await.map_err(Into::into)?;
            Ok(response.map(|body| {
                body.map_frame(|frame| {
                    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
                })
                .map_err(Into::into)
                .boxed_unsync()
            }))
        })
    }
}

impl Transport {
    /// Sends through `service`.
    ///
    /// Each request gets a fresh clone of it, is sent once that clone is ready,
    /// and on that very clone.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(Shared(Mutex::new(service))))
    }
}

/// One request and its response as they are, without time limit or retry.
impl Service<Request<Full<Bytes>>> for Transport {
    type Response = Received;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Received, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        self.0.exchange(request)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}
