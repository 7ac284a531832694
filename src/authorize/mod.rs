//! Which token a request gets, and what a 401 means: everything that the layer
//! and its relatives for other clients decide alike, without sending anything.

mod learned;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use crate::cache::{Acquire, Entry, Hits, Slot, TokenCache};
use crate::challenge::{Challenge, ClaimsChallenges, Demand, FollowChallenge};
use crate::runtime::Timestamp;
use crate::{Audience, Error, ErrorKind, Origin, ResolveAudience};
use learned::Learned;

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
}

/// A token that was put on a request, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    slot: Arc<Slot>,
    entry: Arc<Entry>,
}

/// What requests to one place are sent with, as long as nothing changes.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    scheme: Scheme,
    authority: Authority,
    lessons: u64,
    sent: Sent,
}

/// What a request is to be sent with.
#[derive(Debug)]
pub(crate) enum Found<T> {
    /// The token of one of those that are known, which is at hand.
    Known(T),
    /// A token that is at hand. `lessons` says what had been learned when it
    /// was looked for.
    Token { sent: Sent, lessons: u64 },
    /// A token that must be waited for.
    NotYet(Arc<Slot>),
    /// Nothing: no rule names the host, and requests to such hosts are passed
    /// on.
    Nothing,
}

/// Waits for a token for a request that has none yet.
pub(crate) struct Acquisition {
    acquire: Acquire,
    slot: Arc<Slot>,
}

/// Waits for another token after a 401. `None`: there is none, so the 401 is
/// the answer.
pub(crate) struct Renewal {
    acquire: Acquire,
    slot: Arc<Slot>,
    refused: Arc<Entry>,
    lesson: Option<Lesson>,
    otherwise: Option<(Acquire, Arc<Slot>)>,
}

/// Where there is another token now, and what to remember if it is accepted.
#[derive(Debug)]
pub(crate) struct Renewed {
    pub(crate) slot: Arc<Slot>,
    pub(crate) lesson: Option<Lesson>,
}

/// What an origin asks for.
#[derive(Debug)]
pub(crate) struct Lesson {
    scheme: Scheme,
    authority: Authority,
    demand: Demand,
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
        }
    }

    /// Follows `challenges`. What was learned by following others is forgotten:
    /// these might not have followed them.
    pub(crate) fn follow(&mut self, challenges: impl FollowChallenge) {
        self.challenges = Arc::new(challenges);
        self.learned = Arc::new(Learned::new());
    }

    /// The time, as read once for each request.
    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        self.cache.coarse_now()
    }

    /// Whether a request to `uri` is to be sent with what is `known`, and
    /// nothing needs to be done about the token. The cheapest way to one.
    #[inline]
    pub(crate) fn serves(&self, known: &Known, uri: &Uri, now: Timestamp) -> bool {
        self.leads_to(known, uri) && known.sent.is_at_hand(now)
    }

    #[inline]
    fn leads_to(&self, known: &Known, uri: &Uri) -> bool {
        known.is_for(uri) && known.lessons == self.learned.count()
    }

    /// What a request to `uri` is to be sent with. `known` are answers to
    /// earlier questions, none of which [serves](Self::serves).
    pub(crate) fn find<'a, T>(
        &self,
        uri: &Uri,
        known: impl Iterator<Item = (T, &'a Known)> + Clone,
        now: Timestamp,
    ) -> Result<Found<T>, Error> {
        let due = known
            .clone()
            .find(|(_, known)| !known.sent.is_at_hand(now) && self.leads_to(known, uri));
        let (slot, lessons) = match due {
            Some((_, Known { sent, lessons, .. })) => (Arc::clone(&sent.slot), *lessons),
            None => {
                // Read first: what is learned meanwhile makes this stale.
                let lessons = self.learned.count();
                let Some((audience, demand)) = self.look_up(uri)? else {
                    return Ok(Found::Nothing);
                };
                let mut known = known;
                if let Some((which, _)) = known.find(|(_, known)| {
                    known.lessons == lessons && known.is_at_hand_for(&audience, &demand, now)
                }) {
                    return Ok(Found::Known(which));
                }
                (self.slot(&audience, &demand)?, lessons)
            }
        };
        Ok(match self.at_hand(&slot, now) {
            Some(sent) => Found::Token { sent, lessons },
            None => Found::NotYet(slot),
        })
    }

    /// Which tokens requests to `uri` want. `None`: none.
    fn look_up(&self, uri: &Uri) -> Result<Option<(Audience, Demand)>, Error> {
        match Origin::of(uri).and_then(|origin| self.route_to(&origin)) {
            Ok(route) => Ok(Some(route)),
            Err(error)
                if error.kind() == ErrorKind::UnknownHost
                    && self.unknown_hosts == UnknownHosts::PassOn =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The audience of `origin`, and what it is known to ask for.
    fn route_to(&self, origin: &Origin<'_>) -> Result<(Audience, Demand), Error> {
        let Some(audience) = self.audiences.resolve(origin)? else {
            return Err(unknown(origin.authority().host()));
        };
        Ok((audience, self.learned.of(origin).unwrap_or_default()))
    }

    /// The token of `slot`, if it is at hand.
    pub(crate) fn at_hand(&self, slot: &Arc<Slot>, now: Timestamp) -> Option<Sent> {
        let entry = slot.current(self.cache.source(), now)?;
        Some(Sent {
            slot: Arc::clone(slot),
            entry,
        })
    }

    /// The way to a token of `slot`.
    pub(crate) fn acquire(&self, slot: Arc<Slot>) -> Acquisition {
        let acquire = Acquire::new(
            self.cache.clone(),
            Arc::clone(&slot),
            None,
            self.token_timeout,
        );
        Acquisition { acquire, slot }
    }

    /// What to do about a 401 with `headers` from `origin`; `None`: nothing.
    pub(crate) fn renew(
        &self,
        origin: &Origin<'_>,
        sent: &Sent,
        headers: &HeaderMap,
    ) -> Option<Renewal> {
        // Another request may have learned something since this one was sent,
        // or the rules may not name the host any more.
        let (audience, before) = self.route_to(origin).ok()?;
        let slot = self.slot(&audience, &before).ok()?;
        let asked = self.challenges.follow(origin, &Challenge::parse(headers));
        let demand = together(&before, &asked);
        if demand != before {
            let now = self.cache.now().monotonic;
            if let Some(asked_for) = self.slot_for(origin, &slot, &demand, now) {
                let lesson = Lesson {
                    scheme: origin.scheme().clone(),
                    authority: origin.authority().clone(),
                    demand,
                };
                let mut renewal = self.renewal(asked_for, sent, Some(lesson));
                // The credential may not be able to do what the server asks:
                // then this is a refused token like any other.
                let plain = self.renewal(slot, sent, None);
                renewal.otherwise = Some((plain.acquire, plain.slot));
                return Some(renewal);
            }
        }
        Some(self.renewal(slot, sent, None))
    }

    /// A slot for what the server asks for. A server that asks for something
    /// new each time does not get it each time.
    fn slot_for(
        &self,
        origin: &Origin<'_>,
        slot: &Slot,
        demand: &Demand,
        now: Duration,
    ) -> Option<Arc<Slot>> {
        if !self.learned.permits(origin, demand, now) {
            return None;
        }
        self.slot(slot.audience(), demand).ok()
    }

    fn slot(&self, audience: &Audience, demand: &Demand) -> Result<Arc<Slot>, Error> {
        self.cache.slot(
            demand.audience().unwrap_or(audience),
            demand.tenant(),
            demand.claims(),
        )
    }

    fn renewal(&self, slot: Arc<Slot>, sent: &Sent, lesson: Option<Lesson>) -> Renewal {
        let cache = self.cache.clone();
        let refused = Arc::clone(&sent.entry);
        let limit = self.token_timeout.unwrap_or(RENEWAL_TIMEOUT);
        let limit = Some(limit.min(RENEWAL_TIMEOUT));
        let acquire = if Arc::ptr_eq(&slot, &sent.slot) {
            Acquire::renewal(cache, Arc::clone(&slot), Arc::clone(&refused), limit)
        } else {
            Acquire::new(cache, Arc::clone(&slot), Some(Arc::clone(&refused)), limit)
        };
        Renewal {
            acquire,
            slot,
            refused,
            lesson,
            otherwise: None,
        }
    }

    /// Takes in how the server liked a token.
    #[inline]
    pub(crate) fn answered(sent: &Sent, status: StatusCode) {
        if status.is_success() {
            sent.slot.mark_accepted(sent.entry.generation);
        }
    }

    /// Has a token replaced that was refused, for other requests than the one
    /// that it was refused to.
    pub(crate) fn replace(&self, sent: &Sent) {
        let (source, now) = (self.cache.source(), self.cache.now());
        drop(sent.slot.renew(source, &sent.entry, now));
    }

    /// Takes in how the server liked the token of a resend. What it had asked
    /// for is remembered only now that it has proved right.
    pub(crate) fn answered_resend(&self, sent: &Sent, lesson: Option<&Lesson>, status: StatusCode) {
        Self::answered(sent, status);
        let Some(lesson) = lesson else {
            return;
        };
        if status == StatusCode::UNAUTHORIZED {
            // The next request starts from the old token again, so it would
            // never come to refresh this one.
            self.replace(sent);
        } else {
            let origin = Origin::new(&lesson.scheme, &lesson.authority);
            self.learned.remember(&origin, &lesson.demand);
        }
    }
}

impl Known {
    /// That a request to `uri` was sent with `sent`. `None` for a URI without
    /// a host.
    pub(crate) fn new(uri: &Uri, sent: Sent, lessons: u64) -> Option<Self> {
        Some(Self {
            scheme: uri.scheme()?.clone(),
            authority: uri.authority()?.clone(),
            lessons,
            sent,
        })
    }

    #[inline]
    pub(crate) fn sent(&self) -> &Sent {
        &self.sent
    }

    pub(crate) fn origin(&self) -> Origin<'_> {
        Origin::new(&self.scheme, &self.authority)
    }

    pub(crate) fn lessons(&self) -> u64 {
        self.lessons
    }

    /// Whether its token is at hand, and is that of this audience and demand.
    fn is_at_hand_for(&self, audience: &Audience, demand: &Demand, now: Timestamp) -> bool {
        // What is demanded is looked for by its slot.
        demand.is_empty() && self.sent.is_at_hand(now) && self.sent.slot.is_of(audience)
    }

    pub(crate) fn says(&self, sent: &Sent, lessons: u64) -> bool {
        self.lessons == lessons && self.sent.is(sent)
    }

    /// Whether this is still of use, and `sent` is not more so.
    pub(crate) fn is_as_good_as(&self, sent: &Sent, lessons: u64, now: Timestamp) -> bool {
        self.lessons == lessons
            && self.sent.is_newest()
            && (self.sent.is_at_hand(now) || !sent.is_at_hand(now))
    }

    #[inline]
    pub(crate) fn is_for(&self, uri: &Uri) -> bool {
        uri.authority()
            .is_some_and(|authority| authority.as_str() == self.authority.as_str())
            && uri.scheme() == Some(&self.scheme)
    }
}

impl Sent {
    /// Whether the token is still its slot's, and nothing needs to be done
    /// about it.
    #[inline]
    pub(crate) fn is_at_hand(&self, now: Timestamp) -> bool {
        self.slot.is_at_hand(&self.entry, now)
    }

    /// Whether its slot has no newer one.
    pub(crate) fn is_newest(&self) -> bool {
        self.slot.is_newest(&self.entry)
    }

    /// Whether `other` is the same token from the same place.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry)
    }

    #[inline]
    pub(crate) fn header_value(&self) -> HeaderValue {
        self.entry.header_value.clone()
    }

    #[inline]
    pub(crate) fn hit(&self) {
        self.entry.hit();
    }

    /// A counter of hits that nobody else writes to.
    pub(crate) fn own_hits(&self) -> Arc<Hits> {
        self.slot.own_hits()
    }
}

impl Future for Acquisition {
    type Output = Result<Sent, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let entry = ready!(Pin::new(&mut this.acquire).poll(cx))?;
        Poll::Ready(Ok(Sent {
            slot: Arc::clone(&this.slot),
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
            if let Some((acquire, slot)) = this.otherwise.take() {
                this.acquire = acquire.after(&mut this.acquire);
                this.slot = slot;
                this.lesson = None;
                acquired = ready!(Pin::new(&mut this.acquire).poll(cx));
            }
        }
        match acquired {
            Ok(entry) if !entry.token.same_secret(&this.refused.token) => {
                Poll::Ready(Some(Renewed {
                    slot: Arc::clone(&this.slot),
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
