//! What must be true, worked out from what is seen outside of the crate: what
//! the identity provider was asked and promised, and what the servers were
//! sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tower_bearer::{ErrorKind, Timestamp};

use crate::places::{HOSTS, Key, RULED};

pub type TokenId = usize;
pub type CacheId = u32;

const SECOND: Duration = Duration::from_secs(1);
/// The schedule counts whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);
/// What a fetch may take beyond its limit before it is given up.
const GRACE: Duration = Duration::from_secs(5);
/// After this long without trouble everything must work: the longest pause of
/// forced fetches, and what it takes to earn the next one.
const RECOVERY: Duration = Duration::from_secs(6 * 60);
/// A fetch that takes longer may be too slow for those who wait.
const SLOW: Duration = Duration::from_secs(4);

/// What the provider says of a token's end.
#[derive(Clone, Copy, Debug)]
pub enum Promise {
    In(Duration),
    On(SystemTime),
}

#[derive(Default)]
pub struct Oracle {
    pub violation: Option<String>,
    pub tokens: Vec<Token>,
    caches: BTreeMap<CacheId, Cache>,
    slots: BTreeMap<(CacheId, Key), Slot>,
    fetches: u64,
    /// When something last went wrong at each host.
    trouble: [Duration; RULED],
    /// What each host has asked for so far.
    asked: [Vec<Key>; RULED],
    /// How often the wall clock was set, or the machine slept.
    pub jumps: u64,
}

/// A token as its issuer knows it.
pub struct Token {
    pub key: Key,
    pub accepted: bool,
    pub refused: bool,
    /// When it was first found out, by a request that could do no more.
    found_out: Option<Duration>,
}

impl Token {
    pub fn new(key: Key) -> Self {
        Self {
            key,
            accepted: false,
            refused: false,
            found_out: None,
        }
    }
}

struct Cache {
    born: Duration,
    fetch_timeout: Duration,
    /// Its handles, apart from this one.
    handles: Arc<()>,
    throttled: Span,
    /// When tasks of its were last frozen or killed.
    disturbed: Option<Duration>,
}

/// Nothing may happen before `least`, and after `most` nothing hinders it.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    least: Duration,
    most: Duration,
}

/// One key of one cache.
#[derive(Default)]
struct Slot {
    airborne: Option<Airborne>,
    newest: u64,
    last_start: Option<Duration>,
    held: Option<Held>,
    failed: Span,
    trouble: Duration,
    forced: Forced,
}

#[derive(Clone, Copy, Debug)]
struct Airborne {
    started: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    token: TokenId,
    /// When it may no longer be sent.
    ends: Timestamp,
}

/// How often a refused token has forced a fetch.
#[derive(Default)]
struct Forced {
    spent: f64,
    counted_at: Duration,
    last: Option<Duration>,
    same_came: Option<Duration>,
    under_way: bool,
}

/// What a fetch was, to be handed back when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    pub number: u64,
    pub cache: CacheId,
    pub key: Key,
    asked: Timestamp,
}

/// How a fetch ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    Panicked,
    Killed,
    Dropped,
}

impl Held {
    fn is_good(&self, now: Timestamp) -> bool {
        now.monotonic < self.ends.monotonic && now.wall < self.ends.wall
    }
}

impl Oracle {
    pub fn violate(&mut self, invariant: &str, mut what: String) {
        what.insert_str(0, &format!("{invariant}: "));
        self.violation.get_or_insert(what);
    }

    pub fn cache_opened(
        &mut self,
        cache: CacheId,
        fetch_timeout: Duration,
        handles: Arc<()>,
        now: Timestamp,
    ) {
        let opened = Cache {
            born: now.monotonic,
            fetch_timeout,
            handles,
            throttled: Span::default(),
            disturbed: None,
        };
        self.caches.insert(cache, opened);
    }

    /// Whether anybody still holds `cache`.
    pub fn is_held(&self, cache: CacheId) -> bool {
        Arc::strong_count(&self.caches[&cache].handles) > 1
    }

    pub fn cache_closed(&mut self, cache: CacheId) {
        self.caches.remove(&cache);
        self.slots.retain(|(of, _), _| *of != cache);
    }

    pub fn disturbed(&mut self, cache: CacheId, now: Timestamp) {
        if let Some(cache) = self.caches.get_mut(&cache) {
            cache.disturbed = Some(now.monotonic);
        }
    }

    /// How long `cache` waits for a fetch, at most.
    pub fn flight_limit(&self, cache: CacheId) -> Duration {
        self.caches[&cache].fetch_timeout + GRACE
    }

    pub fn fetch_started(
        &mut self,
        cache: CacheId,
        key: Key,
        refused: Option<TokenId>,
        now: Timestamp,
    ) -> Fetch {
        self.fetches += 1;
        let fetch = Fetch {
            number: self.fetches,
            cache,
            key,
            asked: now,
        };
        let known = &self.caches[&cache];
        let limit = known.fetch_timeout + GRACE;
        let steady = known
            .disturbed
            .is_none_or(|at| now.monotonic.saturating_sub(at) > 2 * limit);
        let throttled = known.throttled.least;
        let slot = self.slots.entry((cache, key)).or_default();
        let mut broken = Vec::new();

        if let Some(other) = slot.airborne {
            if now.monotonic.saturating_sub(other.started) <= limit {
                broken.push(("I3", format!("{key:?} is being fetched already: {other:?}")));
            }
        }
        let early = |least: Duration| now.monotonic + ROUNDING < least;
        if early(slot.failed.least) {
            let least = slot.failed.least;
            broken.push((
                "back-off",
                format!("{key:?} was to be left alone until {least:?}"),
            ));
        }
        if early(throttled) {
            broken.push((
                "R09",
                format!("the provider was to be left alone until {throttled:?}"),
            ));
        }
        let forced = refused.is_some_and(|refused| {
            self.tokens[refused].key == key && slot.held.is_some_and(|held| held.is_good(now))
        });
        if let Some(refused) = refused {
            let token = &self.tokens[refused];
            if !token.refused {
                broken.push(("403", format!("nobody refused token {refused}")));
            }
            if forced {
                if slot.held.is_some_and(|held| held.token != refused) {
                    broken.push((
                        "R36",
                        format!("token {refused} is not {key:?}'s newest, so nothing was wrong"),
                    ));
                }
                if let Err(what) = slot.forced.take(now.monotonic, token.accepted, steady) {
                    broken.push(("R38", format!("{key:?}: {what}")));
                }
            }
        }
        slot.forced.under_way = forced;
        if let Some(last) = slot.last_start {
            if !forced && steady && early(last + SECOND) {
                broken.push((
                    "R16",
                    format!("{key:?} was fetched less than a second ago, at {last:?}"),
                ));
            }
        }
        slot.last_start = Some(now.monotonic);
        slot.newest = fetch.number;
        slot.airborne = Some(Airborne {
            started: now.monotonic,
        });
        for (invariant, what) in broken {
            self.violate(invariant, what);
        }
        fetch
    }

    /// What a fetch brought reaches the cache in the same instant. The time
    /// that it is good for; none if it was not good on arrival.
    pub fn fetch_brought(
        &mut self,
        fetch: &Fetch,
        token: TokenId,
        promise: Promise,
        now: Timestamp,
    ) -> Duration {
        let asked = fetch.asked;
        let refused = self.tokens[token].refused;
        let Some(slot) = self.landing(fetch, now) else {
            return Duration::ZERO;
        };
        if refused {
            slot.trouble = now.monotonic;
        }
        let life = match promise {
            Promise::In(life) => life,
            Promise::On(end) => end.duration_since(asked.wall).unwrap_or_default(),
        }
        .min(Duration::from_secs(48 * 3600));
        // R04: what is left of a token when it is sent must be enough for the
        // request to arrive.
        let life = life - (life / 10).min(Duration::from_secs(30));
        let mut ends = Timestamp::new(asked.monotonic + life, asked.wall + life);
        let known = slot.held.filter(|held| held.token == token);
        if let (Promise::On(_), Some(known)) = (promise, known) {
            ends.monotonic = ends.monotonic.min(known.ends.monotonic);
            ends.wall = ends.wall.min(known.ends.wall);
        }
        if known.is_some() && slot.forced.under_way {
            slot.forced.same_came = Some(now.monotonic);
        }
        let held = Held { token, ends };
        if held.is_good(now) {
            slot.held = Some(held);
            slot.failed = Span::default();
            ends.monotonic - now.monotonic
        } else {
            slot.fail(ErrorKind::InvalidResponse, None, now.monotonic);
            Duration::ZERO
        }
    }

    pub fn fetch_failed(
        &mut self,
        fetch: &Fetch,
        kind: ErrorKind,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) {
        let Some(slot) = self.landing(fetch, now) else {
            return;
        };
        let span = slot.fail(kind, retry_after, now.monotonic);
        if retry_after.is_some() {
            let cache = self.caches.get_mut(&fetch.cache).unwrap();
            cache.throttled.least = cache.throttled.least.max(span.least);
            cache.throttled.most = cache.throttled.most.max(span.most);
        }
    }

    pub fn fetch_aborted(&mut self, fetch: &Fetch, abort: Abort, now: Timestamp) {
        let Some(cache) = self.caches.get(&fetch.cache) else {
            return;
        };
        let flown = now.monotonic - fetch.asked.monotonic;
        let in_time = flown < cache.fetch_timeout;
        let held = self.is_held(fetch.cache);
        let Some(slot) = self.landing(fetch, now) else {
            return;
        };
        match abort {
            Abort::Panicked => {
                slot.fail(ErrorKind::Aborted, None, now.monotonic);
            }
            Abort::Killed => slot.trouble = now.monotonic,
            Abort::Dropped if !in_time => {
                slot.fail(ErrorKind::Timeout, None, now.monotonic);
            }
            Abort::Dropped if held => {
                let key = fetch.key;
                self.violate(
                    "I3",
                    format!("the fetch of {key:?} was dropped after {flown:?}"),
                );
            }
            Abort::Dropped => {}
        }
    }

    /// The slot of a fetch that ends; none if the fetch was given up for a
    /// newer one, so that nothing may come of it.
    fn landing(&mut self, fetch: &Fetch, now: Timestamp) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(&(fetch.cache, fetch.key))?;
        if slot.newest != fetch.number {
            return None;
        }
        slot.airborne = None;
        if now.monotonic.saturating_sub(fetch.asked.monotonic) > SLOW {
            slot.trouble = now.monotonic;
        }
        Some(slot)
    }

    pub fn asks(&mut self, host: usize, key: Key, now: Timestamp) {
        self.trouble_at(host, now);
        if !self.asked[host].contains(&key) {
            self.asked[host].push(key);
        }
    }

    /// Hosts of one audience share tokens, and what their refusals cost.
    pub fn trouble_at(&mut self, host: usize, now: Timestamp) {
        for (other, trouble) in HOSTS.iter().zip(&mut self.trouble) {
            if other.audience == HOSTS[host].audience {
                *trouble = now.monotonic;
            }
        }
    }

    /// The keys that a request to `host` may be authorized with.
    fn keys(&self, host: usize) -> impl Iterator<Item = Key> {
        let plain = HOSTS[host].audience.map(Key::plain);
        let asked = self.asked.get(host).into_iter().flatten().copied();
        plain.into_iter().chain(asked)
    }

    /// Whether a request to `host` has its token at hand, whichever of its
    /// keys it goes by.
    pub fn at_hand(&self, cache: CacheId, host: usize, now: Timestamp) -> bool {
        HOSTS[host].audience.is_some()
            && self.keys(host).all(|key| {
                let slot = self.slots.get(&(cache, key));
                slot.and_then(|slot| slot.held)
                    .is_some_and(|held| held.is_good(now))
            })
    }

    /// `token` is about to leave for `host`.
    pub fn sent(&mut self, cache: CacheId, host: usize, token: TokenId, now: Timestamp) {
        let key = self.tokens[token].key;
        if !self.keys(host).any(|allowed| allowed == key) {
            self.violate(
                "I2",
                format!("token {token}, of {key:?}, at host {}", HOSTS[host].origin),
            );
            return;
        }
        let held = self.slots.get(&(cache, key)).and_then(|slot| slot.held);
        match held.filter(|held| held.token == token) {
            None => self.violate(
                "newest",
                format!("token {token} is not what {key:?} has: {held:?}"),
            ),
            Some(held) if !held.is_good(now) => {
                self.violate("I1", format!("token {token} has ended: {held:?}"));
            }
            Some(_) => {}
        }
    }

    /// Whether there was a reason to have no token for `host` at `now`.
    pub fn may_lack_a_token(&self, cache: CacheId, host: usize, now: Timestamp) -> bool {
        self.caches[&cache].throttled.most + ROUNDING >= now.monotonic
            || self.keys(host).any(|key| {
                self.slots
                    .get(&(cache, key))
                    .is_some_and(|slot| slot.failed.most + ROUNDING >= now.monotonic)
            })
    }

    /// Whether nobody can have known yet that `token` is refused.
    pub fn is_news(&mut self, token: Option<TokenId>, now: Timestamp) -> bool {
        let Some(token) = token else { return false };
        let first = *self.tokens[token].found_out.get_or_insert(now.monotonic);
        now.monotonic < first + RECOVERY
    }

    /// Whether nothing has gone wrong for so long that all must be well.
    pub fn is_calm(&self, cache: CacheId, host: usize, now: Timestamp) -> bool {
        let long_ago = |at: Duration| at + RECOVERY < now.monotonic;
        let known = &self.caches[&cache];
        long_ago(known.born)
            && long_ago(known.throttled.most)
            && known.disturbed.is_none_or(long_ago)
            && long_ago(self.trouble[host])
            && self.keys(host).all(|key| {
                let Some(slot) = self.slots.get(&(cache, key)) else {
                    return true;
                };
                let slow = slot
                    .airborne
                    .is_some_and(|fetch| now.monotonic - fetch.started > SLOW);
                !slow
                    && long_ago(slot.failed.most)
                    && long_ago(slot.trouble)
                    && slot.forced.same_came.is_none_or(long_ago)
            })
    }
}

impl Slot {
    fn fail(&mut self, kind: ErrorKind, retry_after: Option<Duration>, now: Duration) -> Span {
        let permanent = matches!(
            kind,
            ErrorKind::Rejected | ErrorKind::Configuration | ErrorKind::Unavailable
        );
        let (least, most) = if permanent { (10, 60) } else { (1, 30) };
        let asked = retry_after.unwrap_or_default();
        self.trouble = now;
        self.failed = Span {
            least: now + asked.max(SECOND * least),
            most: now + (SECOND * most).max(asked + SECOND),
        };
        self.failed
    }
}

impl Forced {
    const ALLOWANCE: f64 = 8.0;
    const REFILL: Duration = Duration::from_secs(60);
    const PAUSE: Duration = Duration::from_secs(30);

    fn take(&mut self, now: Duration, proven: bool, steady: bool) -> Result<(), String> {
        let passed = now.saturating_sub(self.counted_at).as_secs_f64();
        self.counted_at = now;
        self.spent = (self.spent - passed / Self::REFILL.as_secs_f64()).max(0.0) + 1.0;
        let last = self.last.replace(now);
        let soon =
            |at: Option<Duration>| at.is_some_and(|at| steady && now + ROUNDING < at + Self::PAUSE);
        if self.spent > Self::ALLOWANCE + 0.001 {
            Err(format!(
                "{:.2} forced fetches at once, of at most eight",
                self.spent
            ))
        } else if soon(last) && !proven {
            Err(format!(
                "forced at {last:?} already, and the token never worked"
            ))
        } else if soon(self.same_came) {
            Err(format!(
                "the same token had come again at {:?}",
                self.same_came
            ))
        } else {
            Ok(())
        }
    }
}
