//! The service: the way of each request while there is a token at hand.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arc_swap::ArcSwapOption;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Request, Response, Uri};
use tower_service::Service;

use super::error::BearerAuthError;
use super::future::{Original, ResponseFuture};
use super::replay::{ReplayBody, ReplayCheap};
use crate::BoxError;
use crate::authorize::{Authorizer, ExistingHeader, Found, Known, Sent};
use crate::cache::Hits;
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
    /// For a service that is called more than once.
    own: Option<Arc<Own<S>>>,
    /// How many calls in a row were not served by what is its own.
    others: u8,
}

/// What all clones of a service share.
pub(super) struct Shared<S> {
    pub(super) authorizer: Arc<Authorizer>,
    /// What resends clone. Apart from the service that is in use; behind a
    /// lock, since services need not be `Sync`. Taken after a 401 only.
    spare: Mutex<S>,
    /// What a request was sent with by one of the clones.
    last: ArcSwapOption<Known>,
}

/// What a service keeps to itself.
///
/// A request takes a reference to what sends it again, and to the bytes of the
/// token. If all threads counted their references in the same place, each would
/// wait for the others: two would do 1.7 times what one does, and not twice as
/// much. So a service that goes on being called counts its own, of bytes that
/// are its own too.
pub(super) struct Own<S> {
    known: Known,
    header_value: HeaderValue,
    hits: Arc<Hits>,
    shared: Arc<Shared<S>>,
}

/// With how many calls in a row for something else a service makes that its
/// own: if it has nothing that is still good, and if it has. To make it costs
/// as much as some ten calls save.
const CALLS_WITHOUT: u8 = 2;
const CALLS_FOR_ANOTHER: u8 = 16;

/// What a request was sent with, for as long as it is under way.
pub(super) enum Used<S> {
    Own(Arc<Own<S>>),
    Lent(Sent, Arc<Shared<S>>),
}

impl<S> Used<S> {
    #[inline]
    pub(super) fn sent(&self) -> &Sent {
        match self {
            Self::Own(own) => own.known.sent(),
            Self::Lent(sent, _) => sent,
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared<S>> {
        match self {
            Self::Own(own) => &own.shared,
            Self::Lent(_, shared) => shared,
        }
    }
}

impl<S> Own<S> {
    fn new(known: Known, shared: &Arc<Shared<S>>) -> Self {
        let sent = known.sent();
        let shared_value = sent.header_value();
        // The bytes of a header value are those of a header value.
        let mut header_value =
            HeaderValue::from_bytes(shared_value.as_bytes()).unwrap_or(shared_value);
        header_value.set_sensitive(true);
        // The first clone makes the bytes shareable.
        drop(header_value.clone());
        Self {
            hits: sent.own_hits(),
            header_value,
            known,
            shared: Arc::clone(shared),
        }
    }
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
            own: None,
            others: 0,
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
            own: None,
            others: 0,
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
        let now = authorizer.now();
        let own = match &self.own {
            Some(own) if authorizer.serves(&own.known, request.uri(), now) => own,
            _ => return self.call_anew(request, now),
        };
        let original = Original::keep(&request, &self.replay);
        let headers = request.headers_mut();
        if authorizer.existing_header == ExistingHeader::Replace {
            headers.insert(AUTHORIZATION, own.header_value.clone());
        } else if headers.append(AUTHORIZATION, own.header_value.clone()) {
            take_last_back(headers);
            return ResponseFuture::passing_on(self.inner.call(request));
        }
        own.hits.hit_alone();
        self.others = 0;
        let future = self.inner.call(request);
        match original {
            Some(original) => ResponseFuture::sent(future, Used::Own(Arc::clone(own)), original),
            None => ResponseFuture::sent_once(future, own.known.sent()),
        }
    }
}

/// Takes back what was appended to values that were there before. To append
/// and to look at what it says is one search in the map; to look first is two.
#[cold]
fn take_last_back(headers: &mut HeaderMap) {
    let mut values: Vec<_> = headers.get_all(AUTHORIZATION).iter().cloned().collect();
    values.pop();
    let mut values = values.into_iter();
    if let Some(first) = values.next() {
        headers.insert(AUTHORIZATION, first);
    }
    for value in values {
        headers.append(AUTHORIZATION, value);
    }
}

impl<S, P> BearerAuth<S, P> {
    /// Remembers what a request to `uri` is sent with, for the next one through
    /// this service, and for those through other clones unless what they have
    /// is still good.
    fn remember(&mut self, uri: &Uri, sent: &Sent, lessons: u64, last: Option<&Known>) {
        let shared = &self.shared;
        if !last.is_some_and(|last| last.sent().is_newest()) {
            let known = Known::new(uri, sent.clone(), lessons);
            shared.last.store(known.map(Arc::new));
        }
        let calls = match &self.own {
            Some(own) if own.known.sent().is(sent) && own.known.is_for(uri) => return,
            Some(own) if own.known.sent().is_newest() => CALLS_FOR_ANOTHER,
            _ => CALLS_WITHOUT,
        };
        self.others += 1;
        if self.others >= calls {
            let known = Known::new(uri, sent.clone(), lessons);
            self.own = known.map(|known| Arc::new(Own::new(known, shared)));
            self.others = 0;
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
        let shared = Arc::clone(&self.shared);
        let last = shared.last.load();
        let own = self.own.as_deref().map(|own| &own.known);
        let known = own.into_iter().chain(last.as_deref());
        let found = match authorizer.find(request.uri(), known, now) {
            Ok(found) => found,
            Err(error) => {
                // What the inner service reserved for this call goes back.
                self.inner = self.inner.clone();
                return ResponseFuture::failed(error);
            }
        };
        match found {
            Found::Token { sent, lessons } => {
                self.remember(request.uri(), &sent, lessons, last.as_deref());
                drop(last);
                let original = Original::keep(&request, &self.replay);
                ResponseFuture::sending(&mut self.inner, request, sent, shared, original)
            }
            Found::NotYet(slot) => {
                let next = self.inner.clone();
                let ready = mem::replace(&mut self.inner, next);
                let acquisition = authorizer.acquire(slot);
                drop(last);
                let original = Original::keep(&request, &self.replay);
                ResponseFuture::waiting(ready, request, acquisition, shared, original)
            }
            Found::Nothing => ResponseFuture::passing_on(self.inner.call(request)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_was_there_before_is_left_as_it_was() {
        for before in [&["one"][..], &["one", "two"], &["one", "two", "three"]] {
            let mut headers = HeaderMap::new();
            headers.insert("accept", HeaderValue::from_static("text/html"));
            for value in before {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            let expected = headers.clone();
            assert!(headers.append(AUTHORIZATION, HeaderValue::from_static("new")));
            take_last_back(&mut headers);
            assert_eq!(headers, expected);
        }
    }
}
