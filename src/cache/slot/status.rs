//! What a slot holds, for people and health checks.

use std::time::SystemTime;

use super::super::{Key, Source};
use super::Slot;
use crate::credential::{Claims, TenantId};
use crate::runtime::Timestamp;
use crate::{Audience, Error, Principal};

/// What a [`TokenCache`](crate::TokenCache) holds under one key, from
/// [`TokenCache::status`](crate::TokenCache::status). It gives no secret away.
#[derive(Clone, Debug)]
pub struct KeyStatus {
    key: Key,
    issued: Option<Issued>,
    is_usable: bool,
    next_refresh: Option<SystemTime>,
    is_fetching: bool,
    is_kept_warm: bool,
    last_error: Option<(SystemTime, Error)>,
    failures_in_a_row: u32,
    counters: Counters,
}

/// What there is to say of a token. Not the token: a status may be kept for
/// long.
#[derive(Clone, Debug)]
struct Issued {
    principal: Principal,
    credential: String,
    expires_on: SystemTime,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: u64,
    pub(super) fetches: u64,
    pub(super) failures: u64,
    pub(super) forced: u64,
}

impl KeyStatus {
    /// Whom the tokens are for.
    #[must_use]
    pub fn audience(&self) -> &Audience {
        &self.key.audience
    }

    /// The tenant that issues them, if not the credential's own.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.key.tenant.as_ref()
    }

    /// What they fulfil.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        self.key.claims.as_ref()
    }

    /// Whether there is a token that may be sent now.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.is_usable
    }

    /// For whom the token was issued; `None` while there has been none.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.issued.as_ref().map(|token| &token.principal)
    }

    /// The name of the credential that got the token, if it gave one.
    #[must_use]
    pub fn credential(&self) -> Option<&str> {
        let token = self.issued.as_ref()?;
        Some(token.credential.as_str()).filter(|name| !name.is_empty())
    }

    /// When the token ends by the wall clock; `None` while there has been
    /// none. It is given up [a little earlier](Self::is_usable).
    #[must_use]
    pub fn expires_on(&self) -> Option<SystemTime> {
        self.issued.as_ref().map(|token| token.expires_on)
    }

    /// From when on a token is fetched again, if one is asked for then or the
    /// key is kept warm: the refresh point of the token, or the end of a
    /// back-off. `None` while a fetch is under way.
    #[must_use]
    pub fn next_refresh(&self) -> Option<SystemTime> {
        self.next_refresh
    }

    /// Whether a fetch is under way.
    #[must_use]
    pub fn is_fetching(&self) -> bool {
        self.is_fetching
    }

    /// Whether the key is [kept warm](crate::TokenCache::keep_warm).
    #[must_use]
    pub fn is_kept_warm(&self) -> bool {
        self.is_kept_warm
    }

    /// Why the last fetch that failed did. It stays when later fetches
    /// succeed: see [`failures_in_a_row`](Self::failures_in_a_row).
    #[must_use]
    pub fn last_error(&self) -> Option<&Error> {
        self.last_error.as_ref().map(|(_, error)| error)
    }

    /// When the last fetch failed that did.
    #[must_use]
    pub fn last_error_at(&self) -> Option<SystemTime> {
        self.last_error.as_ref().map(|(at, _)| *at)
    }

    /// How many fetches have failed since the last one that did not.
    #[must_use]
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    /// How often a token was at hand when one was asked for.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.counters.hits
    }

    /// How often the credential was asked for a token.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.counters.fetches
    }

    /// How many fetches have failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.counters.failures
    }

    /// How many fetches were made because a server refused the token.
    #[must_use]
    pub fn forced_refreshes(&self) -> u64 {
        self.counters.forced
    }
}

impl Slot {
    pub(in super::super) fn status(&self, source: &Source, now: Timestamp) -> KeyStatus {
        let state = self.lock();
        let current = self.current.load_full();
        let mut counters = state.counters;
        counters.hits += state.own_hits.iter().map(|hits| hits.get()).sum::<u64>();
        let mut wait = state.back_off_left(source, now);
        if let Some(entry) = &current {
            counters.hits += entry.hits.get();
            wait = wait.max(entry.window.left_until_due(now));
        }
        KeyStatus {
            key: self.key.clone(),
            is_usable: current.as_ref().is_some_and(|entry| entry.is_usable(now)),
            issued: current.map(|entry| Issued {
                principal: entry.token.principal().clone(),
                credential: entry.token.credential().to_owned(),
                expires_on: entry.token.expires_on(),
            }),
            next_refresh: state
                .flight
                .is_none()
                .then(|| now.wall.checked_add(wait).unwrap_or(now.wall)),
            is_fetching: state.flight.is_some(),
            is_kept_warm: state.kept_warm.is_some(),
            last_error: state
                .failure
                .as_ref()
                .map(|failure| (failure.at, failure.error.clone())),
            failures_in_a_row: state.failures,
            counters,
        }
    }
}
