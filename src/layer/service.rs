//! The service: the way of each request while there is a token at hand.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{Request, Response};
use tower_service::Service;

use super::error::BearerAuthError;
use super::future::{Original, ResponseFuture};
use super::replay::{ReplayBody, ReplayCheap};
use crate::BoxError;
use crate::authorize::{Authorizer, ExistingHeader, Route};

/// The service that [`BearerAuthLayer`](crate::BearerAuthLayer) makes.
///
/// # Clone
///
/// The inner service must be `Clone`: a request that is resent, or that waits
/// for a token, needs a service of its own. While a token is at hand nothing
/// is cloned; the very instance that was polled ready is called. A clone of
/// `BearerAuth` shares tokens and settings with the original.
pub struct BearerAuth<S, P = ReplayCheap> {
    inner: S,
    /// What resends clone. Apart from `inner`, which is in use; behind a lock,
    /// since services need not be `Sync`. Taken after a 401 only.
    spare: Arc<Mutex<S>>,
    authorizer: Arc<Authorizer>,
    replay: P,
    last_route: Option<Arc<Route>>,
}

impl<S: Clone, P> BearerAuth<S, P> {
    pub(super) fn new(inner: S, authorizer: Arc<Authorizer>, replay: P) -> Self {
        Self {
            spare: Arc::new(Mutex::new(inner.clone())),
            inner,
            authorizer,
            replay,
            last_route: None,
        }
    }
}

impl<S, P> BearerAuth<S, P> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to keep.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, P: Clone> Clone for BearerAuth<S, P> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            spare: Arc::clone(&self.spare),
            authorizer: Arc::clone(&self.authorizer),
            replay: self.replay.clone(),
            last_route: self.last_route.clone(),
        }
    }
}

impl<S: fmt::Debug, P> fmt::Debug for BearerAuth<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerAuth")
            .field("inner", &self.inner)
            .field("authorizer", &self.authorizer)
            .finish_non_exhaustive()
    }
}

impl<S, B, R, P> Service<Request<B>> for BearerAuth<S, P>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    P: ReplayBody<B>,
{
    type Response = Response<R>;
    type Error = BearerAuthError;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(BearerAuthError::service)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.authorizer.existing_header == ExistingHeader::Keep
            && request.headers().contains_key(AUTHORIZATION)
        {
            return ResponseFuture::passing_on(self.inner.call(request));
        }
        let route = match self
            .authorizer
            .route(request.uri(), self.last_route.as_ref())
        {
            Ok(Some(route)) => route,
            Ok(None) => return ResponseFuture::passing_on(self.inner.call(request)),
            Err(error) => {
                // What the inner service reserved for this call goes back.
                self.inner = self.inner.clone();
                return ResponseFuture::failed(error);
            }
        };
        let known = self.last_route.as_ref();
        if !known.is_some_and(|known| Arc::ptr_eq(known, &route)) {
            self.last_route = Some(Arc::clone(&route));
        }

        let original = Original::keep(&request, &self.replay, &self.authorizer, &self.spare);
        match self.authorizer.token_at_hand(&route) {
            Some(sent) => ResponseFuture::sending(&mut self.inner, request, sent, original),
            None => {
                let next = self.inner.clone();
                let ready = mem::replace(&mut self.inner, next);
                let acquisition = self.authorizer.acquire(route);
                ResponseFuture::waiting(ready, request, acquisition, original)
            }
        }
    }
}
