//! The tower layer.

mod error;
mod future;
mod kept;
mod replay;
mod service;

use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

pub use error::BearerAuthError;
pub use future::ResponseFuture;
pub use replay::{ReplayBody, ReplayCheap, ReplayClone, ReplayEmpty};
pub use service::BearerAuth;

use crate::authorize::{Authorizer, ExistingHeader, UnknownHosts};
use crate::challenge::FollowChallenge;
use crate::{ResolveAudience, TokenCache};

/// Puts a bearer token on each request, and a new one if it is refused.
///
/// For each request the layer asks its rules which audience the host is (see
/// [`ResolveAudience`]), takes that audience's token from the
/// [`TokenCache`] and sets `Authorization: Bearer …`, marked sensitive. If the
/// answer is 401, it has the refused token replaced and sends the request once
/// more, provided that its body can be [replayed](ReplayBody).
///
/// | case | what happens |
/// | --- | --- |
/// | token at hand | the request goes out at once |
/// | no token yet | it waits for the one fetch that everybody waits for |
/// | no token to be had | [`BearerAuthError::Token`], nothing is sent |
/// | 401, body can be replayed, another token can be had | resent once; the second answer is given back whatever it is |
/// | 401 otherwise | given back untouched; the token is replaced for later requests |
/// | 403 | given back: the token was good, the permission is missing |
/// | host without a rule | as [`UnknownHosts`] says |
/// | plain HTTP, user information in the URL, other port | [`BearerAuthError::Token`], unless a rule allows it |
/// | `Authorization` is set already | as [`ExistingHeader`] says |
///
/// # Where to put it
///
/// *Inside* of what times out or retries whole calls, so that the wait for a
/// token counts.
///
/// *Inside* of what follows redirects (above it in a `ServiceBuilder`): then
/// each hop passes through the layer and is judged by its own host. Outside,
/// hops go unseen, so none may be followed that leaves the origin: give
/// tower-http's `FollowRedirect` the policy `SameOrigin`, and a client that
/// follows redirects by itself, as reqwest does, one like it. The standard
/// policies are not enough. Up to tower-http 0.6 and reqwest 0.13.5 they take
/// `Authorization` off the first hop to another host and hand it out at the
/// second; and a 401 from there is taken for one of the first host, so that
/// another could have tokens renewed, or fetched with claims of its choice.
///
/// A request that waits for its first token holds the ready inner service, and
/// with it a place in a `ConcurrencyLimit` that is inside of the layer. A
/// credential must never send through the same limited client: each would wait
/// for the other until the request's deadline. Give it a transport of its own,
/// as all of this crate's have.
///
/// # What it costs
///
/// With a token at hand nothing is allocated and no lock taken, and the request
/// goes out in the same call. A service that goes on being called, rather than
/// being cloned for each request, makes a copy of each token for itself, so that
/// threads do not slow each other down. The header itself may make the request's header
/// map grow, which costs more than all else: a map that was made with
/// `HeaderMap::with_capacity(8)` holds seven headers without.
///
/// On HTTP/2 the token is sent whole with each request, some 1,200 bytes for one
/// of 1,500 characters: marked sensitive, the header is never put into a
/// compression table, here or by proxies on the way. There is no setting for
/// that, since nothing would be saved: h2, which hyper uses, puts no
/// `Authorization` there in any case.
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_bearer::{AccessToken, BearerAuthLayer, FixedAudience, TokenCache, credential_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_bearer::BoxError> {
/// # let http_client = tower::service_fn(|request: Request<Full<Bytes>>| async move {
/// #     assert_eq!(request.headers()["authorization"], "Bearer fresh");
/// #     Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
/// # });
/// let tokens = TokenCache::new(credential_fn(|_| async {
///     AccessToken::expiring_in("fresh", Duration::from_secs(3600))
/// }));
/// let client = ServiceBuilder::new()
///     .layer(BearerAuthLayer::new(tokens, FixedAudience::new("api://orders")))
///     .service(http_client);
/// let request = Request::get("https://orders.example.com/1").body(Full::default())?;
/// let response = client.oneshot(request).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct BearerAuthLayer<P = ReplayCheap> {
    authorizer: Arc<Authorizer>,
    replay: P,
}

impl BearerAuthLayer {
    /// A layer that takes tokens from `tokens`, for the audiences that
    /// `audiences` finds.
    pub fn new(tokens: impl Into<TokenCache>, audiences: impl ResolveAudience) -> Self {
        Self {
            authorizer: Arc::new(Authorizer::new(tokens.into(), audiences)),
            replay: ReplayCheap::new(),
        }
    }
}

impl<P> BearerAuthLayer<P> {
    /// What happens to requests to hosts that no rule names. Default:
    /// [`UnknownHosts::Refuse`].
    pub fn unknown_hosts(mut self, unknown_hosts: UnknownHosts) -> Self {
        Arc::make_mut(&mut self.authorizer).unknown_hosts = unknown_hosts;
        self
    }

    /// What happens to requests that have an `Authorization` header already.
    /// Default: [`ExistingHeader::Keep`].
    pub fn existing_header(mut self, existing_header: ExistingHeader) -> Self {
        Arc::make_mut(&mut self.authorizer).existing_header = existing_header;
        self
    }

    /// How long a request waits for a token when there is none. Default: as
    /// long as a fetch may take.
    pub fn token_timeout(mut self, limit: Duration) -> Self {
        Arc::make_mut(&mut self.authorizer).token_timeout = Some(limit);
        self
    }

    /// Which challenges of servers are followed. Default:
    /// [`ClaimsChallenges`](crate::ClaimsChallenges).
    pub fn challenges(mut self, challenges: impl FollowChallenge) -> Self {
        Arc::make_mut(&mut self.authorizer).follow(challenges);
        self
    }

    /// Which request bodies can be sent twice. Default: [`ReplayCheap`].
    pub fn replay<Q>(self, replay: Q) -> BearerAuthLayer<Q> {
        BearerAuthLayer {
            authorizer: self.authorizer,
            replay,
        }
    }
}

#[cfg(feature = "reqwest-middleware")]
impl<P> BearerAuthLayer<P> {
    pub(crate) fn into_authorizer(self) -> Arc<Authorizer> {
        self.authorizer
    }
}

impl<S: Clone, P: Clone> Layer<S> for BearerAuthLayer<P> {
    type Service = BearerAuth<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        BearerAuth::new(inner, Arc::clone(&self.authorizer), self.replay.clone())
    }
}
