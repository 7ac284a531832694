//! Which token a request gets, and what a 401 means: everything that the layer
//! and its relatives for other clients decide alike, without sending anything.

mod learned;
mod routes;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use crate::cache::{Acquire, Entry, Slot, TokenCache};
use crate::challenge::{Challenge, ClaimsChallenges, Demand, FollowChallenge};
use crate::runtime::Timestamp;
use crate::{Audience, Error, ErrorKind, Origin, ResolveAudience};
use learned::Learned;
use routes::Routes;

/// How long a 401 is kept back for a new token. It is an answer, and holds a
/// connection.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(15);

/// What happens to a request whose host no rule names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownHosts {
    /// It fails with [`ErrorKind::UnknownHost`] and is not sent. The default:
    /// a mistyped host or a forgotten rule shows at once, and a request that
    /// was meant to be authorized does not go out without.
    #[default]
    Refuse,
    /// It is sent without a token. For a client that talks to public hosts
    /// too.
    PassOn,
}

/// What happens to a request that has an `Authorization` header already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExistingHeader {
    /// The request is passed on as it is, whatever its host, and a 401 is
    /// given back. The default.
    #[default]
    Keep,
    /// The header is replaced, if the host has a rule.
    Replace,
}

/// Settings, and the memory that all clones of a layer share.
#[derive(Clone)]
pub(crate) struct Authorizer {
    pub(crate) cache: TokenCache,
    pub(crate) audiences: Arc<dyn ResolveAudience>,
    challenges: Arc<dyn FollowChallenge>,
    pub(crate) unknown_hosts: UnknownHosts,
    pub(crate) existing_header: ExistingHeader,
    pub(crate) token_timeout: Option<Duration>,
    learned: Arc<Learned>,
    routes: Arc<Routes>,
}

/// Where tokens for one origin come from.
#[derive(Debug)]
pub(crate) struct Route {
    scheme: Scheme,
    authority: Authority,
    slot: Arc<Slot>,
    demand: Demand,
    lessons: u64,
}

/// A token that was put on a request.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    route: Arc<Route>,
    entry: Arc<Entry>,
}

/// Waits for a token for a request that has none yet.
pub(crate) struct Acquisition {
    acquire: Acquire,
    route: Arc<Route>,
}

/// Waits for another token after a 401. `None`: there is none, so the 401 is
/// the answer.
pub(crate) struct Renewal {
    acquire: Acquire,
    route: Arc<Route>,
    refused: Arc<Entry>,
    lesson: Option<Demand>,
    otherwise: Option<(Acquire, Arc<Route>)>,
}

/// Where there is another token now, and what to remember if it is accepted.
#[derive(Debug)]
pub(crate) struct Renewed {
    pub(crate) route: Arc<Route>,
    pub(crate) lesson: Option<Demand>,
}

impl Authorizer {
    pub(crate) fn new(cache: TokenCache, audiences: impl ResolveAudience) -> Self {
        Self {
            cache,
            audiences: Arc::new(audiences),
            challenges: Arc::new(ClaimsChallenges::new()),
            unknown_hosts: UnknownHosts::default(),
            existing_header: ExistingHeader::default(),
            token_timeout: None,
            learned: Arc::new(Learned::new()),
            routes: Arc::default(),
        }
    }

    /// Follows `challenges`. What was learned by following others is forgotten:
    /// these might not have followed them.
    pub(crate) fn follow(&mut self, challenges: impl FollowChallenge) {
        self.challenges = Arc::new(challenges);
        self.learned = Arc::new(Learned::new());
        self.routes = Arc::default();
    }

    /// Where the token for a request to `uri` comes from; `None` if it is to
    /// be sent without one. `known` is the answer to an earlier question.
    pub(crate) fn route(
        &self,
        uri: &Uri,
        known: Option<&Arc<Route>>,
    ) -> Result<Option<Arc<Route>>, Error> {
        if let Some(route) = known {
            if route.leads_to(uri) && self.is_current(route) {
                return Ok(Some(Arc::clone(route)));
            }
        }
        if let Some(route) = self.routes.get(uri) {
            if self.is_current(&route) {
                return Ok(Some(route));
            }
        }
        let route = self.look_up(uri)?;
        if let Some(route) = &route {
            self.routes.put(route);
        }
        Ok(route)
    }

    #[inline]
    fn is_current(&self, route: &Route) -> bool {
        route.lessons == self.learned.count()
    }

    #[cold]
    fn look_up(&self, uri: &Uri) -> Result<Option<Arc<Route>>, Error> {
        let route = match Origin::of(uri) {
            Ok(origin) => self.route_to(&origin),
            Err(error) => Err(error),
        };
        match route {
            Err(error)
                if error.kind() == ErrorKind::UnknownHost
                    && self.unknown_hosts == UnknownHosts::PassOn =>
            {
                Ok(None)
            }
            route => route.map(Some),
        }
    }

    fn route_to(&self, origin: &Origin<'_>) -> Result<Arc<Route>, Error> {
        // Read first: what is learned meanwhile makes this route stale.
        let lessons = self.learned.count();
        let Some(audience) = self.audiences.resolve(origin)? else {
            return Err(unknown(origin.authority().host()));
        };
        let demand = self.learned.of(origin).unwrap_or_default();
        let slot = self.slot(&audience, &demand)?;
        Ok(Arc::new(Route {
            scheme: origin.scheme().clone(),
            authority: origin.authority().clone(),
            slot,
            demand,
            lessons,
        }))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.cache.now()
    }

    /// Whether `last`, which a request was sent with, is what one to `uri` is
    /// to be sent with too.
    #[inline]
    pub(crate) fn serves_again(&self, last: &Sent, uri: &Uri, now: Timestamp) -> bool {
        let serves = last.route.leads_to(uri) && self.is_at_hand(last, now);
        if serves {
            last.entry.hit();
        }
        serves
    }

    /// Whether a request to where `last` was sent would be sent with it too.
    #[inline]
    pub(crate) fn is_at_hand(&self, last: &Sent, now: Timestamp) -> bool {
        self.is_current(&last.route) && last.route.slot.is_at_hand(&last.entry, now)
    }

    /// The token for `route`, if it is at hand.
    pub(crate) fn token_at_hand(&self, route: &Arc<Route>, now: Timestamp) -> Option<Sent> {
        let entry = route.slot.current(self.cache.source(), now)?;
        Some(Sent {
            route: Arc::clone(route),
            entry,
        })
    }

    /// The way to a token for `route`.
    pub(crate) fn acquire(&self, route: Arc<Route>) -> Acquisition {
        let slot = Arc::clone(&route.slot);
        Acquisition {
            acquire: Acquire::new(self.cache.clone(), slot, None, self.token_timeout),
            route,
        }
    }

    /// What to do about a 401 with `headers`.
    pub(crate) fn renew(&self, sent: &Sent, headers: &HeaderMap) -> Renewal {
        // Another request may have learned something since this one was sent.
        let origin = sent.route.origin();
        let route = match self.route_to(&origin) {
            Ok(known) if !Arc::ptr_eq(&known.slot, &sent.route.slot) => known,
            _ => Arc::clone(&sent.route),
        };
        let asked = self.challenges.follow(&origin, &Challenge::parse(headers));
        let demand = together(&route.demand, &asked);
        if demand != route.demand {
            let now = self.cache.now().monotonic;
            if let Some(asked_for) = self.route_for(&route, &demand, now) {
                let mut renewal = self.renewal(asked_for, sent, Some(demand));
                // The credential may not be able to do what the server asks:
                // then this is a refused token like any other.
                let plain = self.renewal(route, sent, None);
                renewal.otherwise = Some((plain.acquire, plain.route));
                return renewal;
            }
        }
        self.renewal(route, sent, None)
    }

    /// A route to what the server asks for. A server that asks for something
    /// new each time does not get it each time.
    fn route_for(&self, route: &Route, demand: &Demand, now: Duration) -> Option<Arc<Route>> {
        if !self.learned.permits(&route.origin(), demand, now) {
            return None;
        }
        let slot = self.slot(route.slot.audience(), demand).ok()?;
        Some(Arc::new(Route {
            scheme: route.scheme.clone(),
            authority: route.authority.clone(),
            slot,
            demand: demand.clone(),
            lessons: route.lessons,
        }))
    }

    fn slot(&self, audience: &Audience, demand: &Demand) -> Result<Arc<Slot>, Error> {
        self.cache.slot(
            demand.audience().unwrap_or(audience),
            demand.tenant(),
            demand.claims(),
        )
    }

    fn renewal(&self, route: Arc<Route>, sent: &Sent, lesson: Option<Demand>) -> Renewal {
        let cache = self.cache.clone();
        let slot = Arc::clone(&route.slot);
        let refused = Arc::clone(&sent.entry);
        let limit = self.token_timeout.unwrap_or(RENEWAL_TIMEOUT);
        let limit = Some(limit.min(RENEWAL_TIMEOUT));
        let acquire = if Arc::ptr_eq(&slot, &sent.route.slot) {
            Acquire::renewal(cache, slot, Arc::clone(&refused), limit)
        } else {
            Acquire::new(cache, slot, Some(Arc::clone(&refused)), limit)
        };
        Renewal {
            acquire,
            route,
            refused,
            lesson,
            otherwise: None,
        }
    }

    /// Takes in how the server liked a token.
    #[inline]
    pub(crate) fn answered(sent: &Sent, status: StatusCode) {
        if status.is_success() {
            sent.route.slot.mark_accepted(sent.entry.generation);
        }
    }

    /// Takes in how the server liked the token of a resend. What it had asked
    /// for is remembered only now that it has proved right.
    pub(crate) fn answered_resend(&self, sent: &Sent, lesson: Option<&Demand>, status: StatusCode) {
        Self::answered(sent, status);
        let Some(demand) = lesson else {
            return;
        };
        if status == StatusCode::UNAUTHORIZED {
            // The next request starts from the old token again, so it would
            // never come to refresh this one.
            let (source, now) = (self.cache.source(), self.cache.now());
            drop(sent.route.slot.renew(source, &sent.entry, now));
        } else {
            self.learned.remember(&sent.route.origin(), demand);
        }
    }
}

impl Route {
    fn origin(&self) -> Origin<'_> {
        Origin::new(&self.scheme, &self.authority)
    }

    #[inline]
    fn leads_to(&self, uri: &Uri) -> bool {
        uri.authority()
            .is_some_and(|authority| authority.as_str() == self.authority.as_str())
            && uri.scheme() == Some(&self.scheme)
    }
}

impl Sent {
    /// Where it was sent to.
    pub(crate) fn place(&self) -> (&Scheme, &Authority) {
        (&self.route.scheme, &self.route.authority)
    }

    pub(crate) fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Whether `other` is the same token for the same place.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry) && Arc::ptr_eq(&self.route, &other.route)
    }

    /// Whether a server has accepted this token before.
    #[inline]
    pub(crate) fn is_proven(&self) -> bool {
        self.route.slot.is_accepted(&self.entry)
    }

    #[inline]
    pub(crate) fn header_value(&self) -> HeaderValue {
        self.entry.token.header_value().clone()
    }
}

impl Future for Acquisition {
    type Output = Result<Sent, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let entry = ready!(Pin::new(&mut this.acquire).poll(cx))?;
        Poll::Ready(Ok(Sent {
            route: Arc::clone(&this.route),
            entry,
        }))
    }
}

impl Future for Renewal {
    type Output = Option<Renewed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut acquired = ready!(Pin::new(&mut this.acquire).poll(cx));
        // The 401 has been kept back long enough if that was what failed.
        let in_time = |error: &Error| error.kind() != ErrorKind::Timeout;
        if acquired.as_ref().is_err_and(in_time) {
            if let Some((acquire, route)) = this.otherwise.take() {
                this.acquire = acquire.after(&mut this.acquire);
                this.route = route;
                this.lesson = None;
                acquired = ready!(Pin::new(&mut this.acquire).poll(cx));
            }
        }
        match acquired {
            Ok(entry) if !entry.token.same_secret(&this.refused.token) => {
                Poll::Ready(Some(Renewed {
                    route: Arc::clone(&this.route),
                    lesson: this.lesson.take(),
                }))
            }
            _ => Poll::Ready(None),
        }
    }
}

fn unknown(host: &str) -> Error {
    Error::new(
        ErrorKind::UnknownHost,
        format!(
            "no rule says which token {} may have",
            crate::error::printable(host)
        ),
    )
    .with_advice(
        "add the host to the layer's rules, or have requests to unknown hosts passed on without a token",
    )
}

/// What was asked for before, with what is asked for now taking its place.
fn together(before: &Demand, now: &Demand) -> Demand {
    let mut demand = Demand::default();
    if let Some(audience) = now.audience().or(before.audience()) {
        demand = demand.with_audience(audience.clone());
    }
    if let Some(tenant) = now.tenant().or(before.tenant()) {
        demand = demand.with_tenant(tenant.clone());
    }
    if let Some(claims) = now.claims().or(before.claims()) {
        demand = demand.with_claims(claims.clone());
    }
    demand
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer")
            .field("unknown_hosts", &self.unknown_hosts)
            .field("existing_header", &self.existing_header)
            .field("token_timeout", &self.token_timeout)
            .finish_non_exhaustive()
    }
}
