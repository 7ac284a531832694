//! The service: the way of each request while there is a token at hand.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arc_swap::ArcSwapOption;
use http::header::{AUTHORIZATION, Entry};
use http::{Request, Response};
use tower_service::Service;

use super::error::BearerAuthError;
use super::future::{Original, ResponseFuture};
use super::replay::{ReplayBody, ReplayCheap};
use crate::BoxError;
use crate::authorize::{Authorizer, ExistingHeader, Sent};
use crate::runtime::Timestamp;

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
    shared: Arc<Shared<S>>,
    replay: P,
    /// What the last request was sent with, as the next one most likely is.
    last: Option<Sent>,
}

/// What all clones of a service share.
pub(super) struct Shared<S> {
    pub(super) authorizer: Arc<Authorizer>,
    /// What resends clone. Apart from the service that is in use; behind a
    /// lock, since services need not be `Sync`. Taken after a 401 only.
    spare: Mutex<S>,
    /// What a request was sent with by one of the clones.
    last: ArcSwapOption<Sent>,
}

impl<S: Clone> Shared<S> {
    /// A service of its own for a resend.
    pub(super) fn spare(&self) -> S {
        // A clone that panicked has left the original as it was.
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl<S: Clone, P> BearerAuth<S, P> {
    pub(super) fn new(inner: S, authorizer: Arc<Authorizer>, replay: P) -> Self {
        Self {
            shared: Arc::new(Shared {
                authorizer,
                spare: Mutex::new(inner.clone()),
                last: ArcSwapOption::empty(),
            }),
            inner,
            replay,
            last: None,
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
            shared: Arc::clone(&self.shared),
            replay: self.replay.clone(),
            last: self.last.clone(),
        }
    }
}

impl<S: fmt::Debug, P> fmt::Debug for BearerAuth<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerAuth")
            .field("inner", &self.inner)
            .field("authorizer", &self.shared.authorizer)
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let authorizer = &*self.shared.authorizer;
        // Read once for all that follows: two clocks cost some 50 ns.
        let now = authorizer.now();
        let serves = |last: &Sent| authorizer.serves_again(last, request.uri(), now);
        if !self.last.as_ref().is_some_and(serves) {
            // This may be a clone for one request.
            let last = self.shared.last.load();
            match last.as_deref().filter(|last| serves(last)) {
                Some(last) => self.last = Some(last.clone()),
                None => return self.call_anew(request, now),
            }
        }
        let Some(sent) = &self.last else {
            return self.call_anew(request, now);
        };
        let original = Original::keep(&request, &self.replay, &self.shared);
        let headers = request.headers_mut();
        if authorizer.existing_header == ExistingHeader::Replace {
            headers.insert(AUTHORIZATION, sent.header_value());
        } else {
            match headers.entry(AUTHORIZATION) {
                Entry::Vacant(place) => {
                    place.insert(sent.header_value());
                }
                Entry::Occupied(_) => return ResponseFuture::passing_on(self.inner.call(request)),
            }
        }
        ResponseFuture::sent(self.inner.call(request), sent, original)
    }
}

impl<S, P> BearerAuth<S, P> {
    /// Remembers what a request is sent with: for the next one through this
    /// service, and for those through other clones unless what they have is
    /// still good.
    fn remember(&mut self, sent: &Sent, now: Timestamp) {
        self.last = Some(sent.clone());
        let Shared {
            authorizer, last, ..
        } = &*self.shared;
        let known = last.load();
        let keep = |known: &Sent| known.is(sent) || authorizer.is_at_hand(known, now);
        if !known.as_deref().is_some_and(keep) {
            last.store(Some(Arc::new(sent.clone())));
        }
    }

    /// For a request to another place than the last one, or when there is
    /// something to be done about the token.
    #[inline(never)]
    fn call_anew<B, R>(&mut self, request: Request<B>, now: Timestamp) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        S::Error: Into<BoxError>,
        P: ReplayBody<B>,
    {
        let authorizer = &*self.shared.authorizer;
        if authorizer.existing_header == ExistingHeader::Keep
            && request.headers().contains_key(AUTHORIZATION)
        {
            return ResponseFuture::passing_on(self.inner.call(request));
        }
        let last_route = self.last.as_ref().map(Sent::route);
        let route = match authorizer.route(request.uri(), last_route) {
            Ok(Some(route)) => route,
            Ok(None) => return ResponseFuture::passing_on(self.inner.call(request)),
            Err(error) => {
                // What the inner service reserved for this call goes back.
                self.inner = self.inner.clone();
                return ResponseFuture::failed(error);
            }
        };
        let original = Original::keep(&request, &self.replay, &self.shared);
        match authorizer.token_at_hand(&route, now) {
            Some(sent) => {
                self.remember(&sent, now);
                ResponseFuture::sending(&mut self.inner, request, sent, original)
            }
            None => {
                let next = self.inner.clone();
                let ready = mem::replace(&mut self.inner, next);
                let acquisition = authorizer.acquire(route);
                ResponseFuture::waiting(ready, request, acquisition, original)
            }
        }
    }
}
