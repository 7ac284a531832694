//! The service: the way of each request while there is a token at hand.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arc_swap::ArcSwapOption;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use tower_service::Service;

use super::error::BearerAuthError;
use super::future::{Original, Resent, ResponseFuture};
use super::replay::{ReplayBody, ReplayCheap};
use crate::authorize::{Authorizer, ExistingHeader, Found, Known, Sent};
use crate::cache::Hits;
use crate::cache::Slot;
use crate::runtime::Timestamp;
use crate::{BoxError, Error, Origin};

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
    own: Option<Arc<Supply<S>>>,
    /// How many calls in a row were not served by what is its own.
    others: u16,
    /// How many there have to be until something else becomes its own.
    calls_for_another: u16,
}

/// What all clones of a service share.
struct Shared<S> {
    core: Arc<Core<S>>,
    /// What a request was sent with by one of the clones.
    last: ArcSwapOption<Supply<S>>,
}

/// What a request under way may need yet.
pub(super) struct Core<S> {
    pub(super) authorizer: Arc<Authorizer>,
    /// What resends clone. Apart from the service that is in use; behind a
    /// lock, since services need not be `Sync`. Taken after a 401 only.
    spare: Mutex<S>,
}

/// All that it takes to send a request to one place, and to send it again: one
/// reference for a request to count.
///
/// If all threads counted their references in one place of memory, each would
/// wait for the others. So a service that goes on being called makes a supply
/// of its own, with bytes of the token that are its own as well.
pub(super) struct Supply<S> {
    known: Known,
    header_value: HeaderValue,
    /// What counts its uses, if only one service has it.
    own_hits: Option<Arc<Hits>>,
    core: Arc<Core<S>>,
}

/// With how many calls in a row for something else a service makes that its
/// own, which costs as much as some ten calls save: if it has nothing that is
/// still good, and if it has. For one that is called for ever other places the
/// latter grows.
const CALLS_WITHOUT: u16 = 8;
const LEAST_CALLS_FOR_ANOTHER: u16 = 16;
const MOST_CALLS_FOR_ANOTHER: u16 = 4096;

// Counted in steps of the first.
const _: () = assert!(
    LEAST_CALLS_FOR_ANOTHER % CALLS_WITHOUT == 0 && MOST_CALLS_FOR_ANOTHER % CALLS_WITHOUT == 0
);

/// What a request was sent with, for as long as it is under way.
pub(super) enum Used<S> {
    /// To where the supply is for.
    Supply(Arc<Supply<S>>),
    /// To another place, for which the token is the same.
    Elsewhere(Arc<Supply<S>>),
    Parts(Sent, Arc<Core<S>>),
    /// After a 401.
    Resent(Box<Resent>),
}

impl<S> Used<S> {
    #[inline]
    pub(super) fn sent(&self) -> &Sent {
        match self {
            Self::Supply(supply) | Self::Elsewhere(supply) => supply.known.sent(),
            Self::Parts(sent, _) => sent,
            Self::Resent(resent) => &resent.sent,
        }
    }

    /// Takes in how the server liked the token.
    #[inline]
    pub(super) fn answered(&self, status: StatusCode) {
        match self {
            Self::Resent(resent) => resent.answered(status),
            _ => Authorizer::answered(self.sent(), status),
        }
    }

    /// Whether the [origin](Self::origin) of the request is known.
    #[inline]
    fn knows_origin(&self) -> bool {
        matches!(self, Self::Supply(_))
    }

    pub(super) fn origin(&self) -> Option<Origin<'_>> {
        match self {
            Self::Supply(supply) => Some(supply.known.origin()),
            Self::Elsewhere(_) | Self::Parts(..) | Self::Resent(_) => None,
        }
    }

    /// Puts the token on a request, unless there is one that is to stay.
    #[inline]
    fn put_on(&self, headers: &mut HeaderMap, existing_header: ExistingHeader) -> bool {
        let value = match self {
            Self::Supply(supply) | Self::Elsewhere(supply) => supply.header_value.clone(),
            _ => self.sent().header_value(),
        };
        if existing_header == ExistingHeader::Replace {
            headers.insert(AUTHORIZATION, value);
        } else if headers.append(AUTHORIZATION, value) {
            take_last_back(headers);
            return false;
        }
        if let Self::Supply(supply) | Self::Elsewhere(supply) = self {
            supply.hit();
        }
        true
    }

    /// What it takes to send the request again; `None` if that is done.
    pub(super) fn core(&self) -> Option<&Arc<Core<S>>> {
        match self {
            Self::Supply(supply) | Self::Elsewhere(supply) => Some(&supply.core),
            Self::Parts(_, core) => Some(core),
            Self::Resent(_) => None,
        }
    }
}

impl<S> Supply<S> {
    /// For all clones of a service.
    fn shared(known: Known, core: &Arc<Core<S>>) -> Self {
        Self {
            header_value: known.sent().header_value(),
            known,
            own_hits: None,
            core: Arc::clone(core),
        }
    }

    /// For one service.
    fn own(known: Known, core: &Arc<Core<S>>) -> Self {
        let sent = known.sent();
        let shared_value = sent.header_value();
        // The bytes of a header value are those of a header value.
        let mut header_value =
            HeaderValue::from_bytes(shared_value.as_bytes()).unwrap_or(shared_value);
        header_value.set_sensitive(true);
        // The first clone makes the bytes shareable.
        drop(header_value.clone());
        Self {
            own_hits: Some(sent.own_hits()),
            header_value,
            known,
            core: Arc::clone(core),
        }
    }

    /// Whether a request to `uri` can be sent with this at once.
    #[inline]
    fn serves(&self, uri: &Uri, now: Timestamp) -> bool {
        self.core.authorizer.serves(&self.known, uri, now)
    }

    #[inline]
    fn hit(&self) {
        match &self.own_hits {
            Some(hits) => hits.hit_alone(),
            None => self.known.sent().hit(),
        }
    }
}

impl<S: Clone> Core<S> {
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
                core: Arc::new(Core {
                    authorizer,
                    spare: Mutex::new(inner.clone()),
                }),
                last: ArcSwapOption::empty(),
            }),
            inner,
            replay,
            own: None,
            others: 0,
            calls_for_another: LEAST_CALLS_FOR_ANOTHER,
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
            calls_for_another: LEAST_CALLS_FOR_ANOTHER,
        }
    }
}

impl<S: fmt::Debug, P> fmt::Debug for BearerAuth<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerAuth")
            .field("inner", &self.inner)
            .field("authorizer", &self.shared.core.authorizer)
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
        let now = self.shared.core.authorizer.now();
        let mut used = match &self.own {
            Some(own) if own.serves(request.uri(), now) => {
                self.others = 0;
                Some(Used::Supply(Arc::clone(own)))
            }
            _ => match self.find(request.uri(), request.headers(), now) {
                Ok(used) => used,
                Err(hindrance) => return self.hold_back(request, hindrance),
            },
        };
        let mut original = None;
        if let Some(with) = &used {
            original = Original::keep(&request, &self.replay, with.knows_origin());
            let existing_header = self.shared.core.authorizer.existing_header;
            if !with.put_on(request.headers_mut(), existing_header) {
                (used, original) = (None, None);
            }
        }
        let future = self.inner.call(request);
        ResponseFuture::sent(future, used, original)
    }
}

/// Why a request cannot be sent at once.
enum Hindrance {
    NoToken(Error),
    NoTokenYet(Arc<Slot>),
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
    /// Whether a request to `uri` that is sent with `sent` is one too many
    /// without a supply of this service's own for that.
    fn wants_own(&mut self, sent: &Sent, uri: &Uri, lessons: u64, now: Timestamp) -> bool {
        self.others = self.others.wrapping_add(1);
        // Often enough, and less than each request to another place pays for.
        if self.others % CALLS_WITHOUT != 0 {
            return false;
        }
        let has_good = match &self.own {
            Some(own) if own.known.says(sent, lessons) && own.known.is_for(uri) => return false,
            Some(own) => own.known.is_as_good_as(sent, lessons, now),
            None => false,
        };
        if !has_good {
            self.calls_for_another = LEAST_CALLS_FOR_ANOTHER;
            return true;
        }
        if self.others < self.calls_for_another {
            return false;
        }
        self.calls_for_another = (self.calls_for_another * 2).min(MOST_CALLS_FOR_ANOTHER);
        true
    }

    fn make_own(&mut self, known: Known) {
        let own = Supply::own(known, &self.shared.core);
        self.own = Some(Arc::new(own));
        self.others = 0;
    }

    /// What to send a request with that this service has nothing for: it may be
    /// a clone for this request alone. `None`: as it is.
    #[inline(never)]
    fn find(
        &mut self,
        uri: &Uri,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Option<Used<S>>, Hindrance> {
        let last = self.shared.last.load();
        match last.as_ref() {
            Some(last) if last.serves(uri, now) => {
                if self.wants_own(last.known.sent(), uri, last.known.lessons(), now) {
                    self.make_own(last.known.clone());
                }
                Ok(Some(Used::Supply(Arc::clone(last))))
            }
            last => self.find_anew(uri, headers, now, last),
        }
    }

    /// For a request to another place than the last one, or when there is
    /// something to be done about the token.
    #[inline(never)]
    fn find_anew(
        &mut self,
        uri: &Uri,
        headers: &HeaderMap,
        now: Timestamp,
        last: Option<&Arc<Supply<S>>>,
    ) -> Result<Option<Used<S>>, Hindrance> {
        let authorizer = &*self.shared.core.authorizer;
        if authorizer.existing_header == ExistingHeader::Keep && headers.contains_key(AUTHORIZATION)
        {
            return Ok(None);
        }
        let supplies = self.own.iter().chain(last);
        let known = supplies.map(|supply| (supply, &supply.known));
        match authorizer.find(uri, known, now) {
            Ok(Found::Known(supply)) => {
                let supply = Arc::clone(supply);
                let (sent, lessons) = (supply.known.sent(), supply.known.lessons());
                if self.wants_own(sent, uri, lessons, now) {
                    if let Some(known) = Known::new(uri, sent.clone(), lessons) {
                        self.make_own(known);
                    }
                }
                Ok(Some(Used::Elsewhere(supply)))
            }
            Ok(Found::Token { sent, lessons }) => {
                let last = last.map(|last| &last.known);
                self.remember(uri, &sent, lessons, last, now);
                Ok(Some(Used::Parts(sent, Arc::clone(&self.shared.core))))
            }
            Ok(Found::Nothing) => Ok(None),
            Ok(Found::NotYet(slot)) => Err(Hindrance::NoTokenYet(slot)),
            Err(error) => Err(Hindrance::NoToken(error)),
        }
    }

    #[cold]
    fn hold_back<B, R>(
        &mut self,
        request: Request<B>,
        hindrance: Hindrance,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        P: ReplayBody<B>,
    {
        // What is ready is not called now, but may have reserved something.
        let next = self.inner.clone();
        let ready = mem::replace(&mut self.inner, next);
        match hindrance {
            Hindrance::NoToken(error) => ResponseFuture::failed(error),
            Hindrance::NoTokenYet(slot) => {
                let core = Arc::clone(&self.shared.core);
                let acquisition = core.authorizer.acquire(slot);
                let original = Original::keep(&request, &self.replay, false);
                ResponseFuture::waiting(ready, request, acquisition, core, original)
            }
        }
    }

    /// Remembers what a request to `uri` is sent with, for the next one through
    /// this service, and for those through other clones unless what they have
    /// is still good.
    fn remember(
        &mut self,
        uri: &Uri,
        sent: &Sent,
        lessons: u64,
        last: Option<&Known>,
        now: Timestamp,
    ) {
        let known = || Known::new(uri, sent.clone(), lessons);
        if !last.is_some_and(|last| last.is_as_good_as(sent, lessons, now)) {
            let Shared { core, last } = &*self.shared;
            let supply = known().map(|known| Supply::shared(known, core));
            last.store(supply.map(Arc::new));
        }
        if self.wants_own(sent, uri, lessons, now) {
            if let Some(known) = known() {
                self.make_own(known);
            }
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
