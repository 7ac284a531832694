//! What must be true, worked out from what is seen outside of the crate: what
//! the identity provider was asked and promised, and what the servers were
//! sent.

mod judge;
mod settings;
mod slot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tower_bearer::{ErrorKind, Timestamp};

use crate::places::{HOSTS, Key, RULED};
pub use settings::Settings;
use slot::{Airborne, Held, Slot, Span};

pub type TokenId = usize;
pub type CacheId = u32;

const SECOND: Duration = Duration::from_secs(1);
/// The schedule counts whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);
/// What a fetch may take beyond its limit before it is given up.
const GRACE: Duration = Duration::from_secs(5);

/// A token that lives no longer may end before the next one is there.
const SHORT: Duration = Duration::from_secs(20);

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
    jumped: Duration,
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
    settings: Settings,
    /// Its handles, apart from this one.
    handles: Arc<()>,
    throttled: Span,
    /// When tasks of its were last frozen or killed.
    disturbed: Option<Duration>,
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

impl Oracle {
    pub fn violate(&mut self, invariant: &str, mut what: String) {
        what.insert_str(0, &format!("{invariant}: "));
        self.violation.get_or_insert(what);
    }

    pub fn cache_opened(
        &mut self,
        cache: CacheId,
        settings: Settings,
        handles: Arc<()>,
        now: Timestamp,
    ) {
        let opened = Cache {
            born: now.monotonic,
            settings,
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
        self.caches[&cache].settings.fetch_timeout + GRACE
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
        let limit = known.settings.fetch_timeout + GRACE;
        let steady = known
            .disturbed
            .is_none_or(|at| now.monotonic.saturating_sub(at) > 2 * limit);
        let throttled = known.throttled.least;
        let limited = known.settings.is_limited();
        let most = known.settings.most;
        let flying = |slot: &Slot| {
            slot.airborne
                .is_some_and(|other| now.monotonic - other.started <= limit)
        };
        let of_cache = self.slots.iter().filter(|((of, _), _)| *of == cache);
        let others = of_cache.filter(|(_, slot)| flying(slot)).count();
        let slot = self.slots.entry((cache, key)).or_default();
        let mut broken = Vec::new();

        if flying(slot) {
            broken.push(("I3", format!("{key:?} is being fetched already")));
        } else if others >= most && steady {
            broken.push(("R43", format!("{others} fetches are under way already")));
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
                if slot.holds_another_than(refused) {
                    broken.push((
                        "R36",
                        format!("token {refused} is not {key:?}'s newest, so nothing was wrong"),
                    ));
                }
                if let Err(what) =
                    slot.forced
                        .take(now.monotonic, token.accepted, steady && !limited)
                {
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
        slot.counts.fetches += 1;
        slot.counts.forced += u64::from(forced);
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
        let life = match promise {
            Promise::In(life) => life,
            Promise::On(end) => end.duration_since(asked.wall).unwrap_or_default(),
        }
        .min(Duration::from_secs(48 * 3600));
        // What is left of a token when it is sent must be enough for the request
        // to arrive (R04), and for clocks that drift (R34).
        let spare = Duration::from_secs(30).max(life / 1000).min(life / 10);
        let life = life - spare;
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
        if refused {
            slot.trouble = now.monotonic;
        }
        if held.ends.monotonic < now.monotonic + SHORT {
            slot.trouble = now.monotonic;
        }
        if held.is_good(now) {
            if slot.is_late {
                slot.perhaps = Some(held);
            } else {
                slot.held = Some(held);
                slot.perhaps = None;
            }
            slot.failed.least = Duration::ZERO;
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
        let is_late = slot.is_late;
        let span = slot.fail(kind, retry_after, now.monotonic);
        if retry_after.is_some() {
            let cache = self.caches.get_mut(&fetch.cache).unwrap();
            if !is_late {
                cache.throttled.least = cache.throttled.least.max(span.least);
            }
            cache.throttled.most = cache.throttled.most.max(span.most);
        }
    }

    pub fn fetch_aborted(&mut self, fetch: &Fetch, abort: Abort, now: Timestamp) {
        let Some(cache) = self.caches.get(&fetch.cache) else {
            return;
        };
        let flown = now.monotonic - fetch.asked.monotonic;
        let in_time = flown < cache.settings.fetch_timeout;
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
        let settings = &self.caches.get(&fetch.cache)?.settings;
        let limit = settings.fetch_timeout + GRACE;
        let patience = settings.patience();
        let slot = self.slots.get_mut(&(fetch.cache, fetch.key))?;
        if slot.newest != fetch.number {
            return None;
        }
        slot.airborne = None;
        let flown = now.monotonic - fetch.asked.monotonic;
        slot.is_late = flown > limit;
        slot.was_late |= slot.is_late;
        if flown > patience {
            slot.trouble = now.monotonic;
        }
        Some(slot)
    }

    pub fn clock_jumped(&mut self, now: Timestamp) {
        self.jumps += 1;
        self.jumped = now.monotonic;
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
}
