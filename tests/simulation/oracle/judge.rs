//! What follows for requests from what is known of their tokens.

use std::time::Duration;

use tower_bearer::{KeyStatus, Timestamp};

use super::slot::{Counts, Held};
use super::{CacheId, Oracle, ROUNDING, TokenId};
use crate::places::{HOSTS, Key};

/// After this long without trouble everything must work: the longest pause of
/// forced fetches, and what it takes to earn the next one.
const RECOVERY: Duration = Duration::from_secs(6 * 60);

impl Oracle {
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
        let slot = self.slots.get_mut(&(cache, key));
        let held = slot.and_then(|slot| {
            if slot.perhaps.is_some_and(|perhaps| perhaps.token == token) {
                slot.held = slot.perhaps.take();
            }
            slot.held
        });
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

    /// Whether nobody can have known yet that `token` is refused, or nothing
    /// could be done about it.
    pub fn is_news(&mut self, cache: CacheId, token: Option<TokenId>, now: Timestamp) -> bool {
        let Some(token) = token else { return false };
        let known = &self.caches[&cache];
        let slots = self.slots.iter().filter(|((of, _), _)| *of == cache);
        let trouble = slots
            .map(|(_, slot)| slot.trouble.max(slot.failed.most))
            .fold(known.throttled.most, Duration::max);
        let found_out = &mut self.tokens[token].found_out;
        let first = found_out.filter(|first| *first > trouble);
        let first = *found_out.insert(first.unwrap_or(now.monotonic));
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
            && self.slots.iter().all(|((of, key), slot)| {
                // Where few fetches may be under way, one waits for the other.
                let concerned = *of == cache
                    && (known.settings.is_limited() || self.keys(host).any(|known| known == *key));
                if !concerned {
                    return true;
                }
                let slow = slot
                    .airborne
                    .is_some_and(|fetch| now.monotonic - fetch.started > known.settings.patience());
                !slow
                    && long_ago(slot.failed.most)
                    && long_ago(slot.trouble)
                    && slot.forced.same_came.is_none_or(long_ago)
            })
    }

    /// Whether a request to `host` need not wait for its token, because it is
    /// kept warm and nothing has been in the way.
    pub fn is_warm(&self, cache: CacheId, host: usize, now: Timestamp) -> bool {
        let known = &self.caches[&cache];
        let warm = |key: Key| known.settings.warm[key.audience] && key == Key::plain(key.audience);
        HOSTS[host].audience.is_some()
            && self.keys(host).all(warm)
            && known.disturbed.is_none()
            && self.jumped + RECOVERY < now.monotonic
            && self.is_calm(cache, host, now)
    }

    /// Compares what a cache says of itself with what was seen.
    pub fn check_status(&mut self, cache: CacheId, status: &[KeyStatus], now: Timestamp) {
        for said in status {
            let key = Key::from_parts(said.audience(), said.tenant(), said.claims());
            let slot = self.slots.get(&(cache, key));
            let mut seen = slot.map_or_else(Counts::default, |slot| slot.counts);
            let counted = Counts {
                fetches: said.fetches(),
                failures: said.failures(),
                forced: said.forced_refreshes(),
            };
            let known = &self.caches[&cache];
            if slot.is_some_and(|slot| slot.was_late) {
                continue;
            }
            if known.settings.is_limited() {
                // A refused token may end while its fetch waits its turn.
                seen.forced = counted.forced;
            }
            let good = slot.and_then(|slot| slot.held);
            let good = good.is_some_and(|held: Held| held.is_good(now));
            let warm = known.settings.warm[key.audience] && key == Key::plain(key.audience);
            if counted != seen || said.is_usable() != good || said.is_kept_warm() != warm {
                self.violate("status", format!("{said:?} of {key:?}, and {seen:?}"));
            }
        }
        let counted: u64 = status.iter().map(KeyStatus::fetches).sum();
        let slots = self.slots.iter().filter(|((of, _), _)| *of == cache);
        let seen: u64 = slots.map(|(_, slot)| slot.counts.fetches).sum();
        if counted != seen {
            self.violate("status", format!("{counted} fetches instead of {seen}"));
        }
    }
}
