//! One key: its current token, and at most one flight that fetches the next.

mod state;
mod status;
mod tending;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::{Notify, oneshot};

pub use status::KeyStatus;

use super::flight::Flight;
use super::schedule::{self, Force, Window};
use super::sync::{ArcSwapOption, AtomicU64, Mutex, MutexGuard, Ordering};
use super::{Key, KeyRef, Source};
use crate::runtime::{Timestamp, random_fraction};
use crate::{AccessToken, Audience, Error, ErrorKind};

use state::{Airborne, Failure, KeptWarm, State};

/// Fetches for one key start at least this far apart, however short-lived the
/// tokens are that they bring.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) type Outcome = Result<Arc<Entry>, Error>;

type Waiter = oneshot::Sender<Outcome>;

/// A token in use.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) token: AccessToken,
    /// The token's, one step nearer.
    pub(crate) header_value: HeaderValue,
    /// Counts the different tokens that this slot has held.
    pub(crate) generation: u64,
    /// Counts the entries, of which several may hold the same token.
    number: u64,
    window: Window,
    /// How often it was at hand, except to those with a counter of their own.
    /// Here and not in the slot, since whoever takes the token writes to this
    /// place of memory anyway.
    hits: Hits,
}

impl Entry {
    pub(super) fn is_usable(&self, now: Timestamp) -> bool {
        self.window.is_usable(now)
    }

    #[inline]
    pub(crate) fn hit(&self) {
        self.hits.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts how often a token was at hand.
#[derive(Debug)]
pub(crate) struct Hits(AtomicU64);

impl Hits {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts one. Only for the one who asked for this counter: what two count
    /// at the same time is counted once.
    #[inline]
    pub(crate) fn hit_alone(&self) {
        self.0.store(self.get() + 1, Ordering::Relaxed);
    }

    #[inline]
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The state of one key.
///
/// Readers see `current` and two atomics and take no lock. Everything else is
/// behind `state`, which is held for a few instructions at a time, never
/// across an await and never while foreign code runs.
#[derive(Debug)]
pub(crate) struct Slot {
    key: Key,
    current: ArcSwapOption<Entry>,
    /// Monotonic milliseconds before which a reader that finds its token due
    /// need not try to start a flight: because one is under way, or because
    /// the last one failed.
    next_attempt: AtomicU64,
    /// The newest generation that a server has accepted.
    accepted: AtomicU64,
    /// The number of the current entry.
    newest: AtomicU64,
    /// Wakes those who rest until a token is due: it may be another one now.
    landed: Notify,
    state: Mutex<State>,
}

/// Why a flight starts.
enum Reason {
    /// A token is wanted; perhaps another key's was refused.
    Wanted(Option<AccessToken>),
    /// This slot's own token was refused.
    Refused(AccessToken),
}

/// Whom a flight departs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Departure {
    /// Somebody who waits.
    Awaited,
    /// Nobody yet.
    AheadOfNeed,
}

/// What [`Slot::acquire`] and [`Slot::renew`] find.
#[derive(Debug)]
pub(crate) enum Acquired {
    /// A token to use at once.
    Ready(Arc<Entry>),
    /// A flight is under way; this receives what it brings. A closed channel
    /// means that the flight was abandoned, and the caller should ask again.
    Wait(oneshot::Receiver<Outcome>),
    /// No token, and no attempt to get one now.
    Failed(Error),
}

impl Slot {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            current: ArcSwapOption::empty(),
            next_attempt: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            landed: Notify::new(),
            state: Mutex::new(State::new()),
        }
    }

    pub(super) fn key(&self) -> KeyRef<'_> {
        self.key.as_ref()
    }

    pub(crate) fn audience(&self) -> &Audience {
        &self.key.audience
    }

    /// Whether its tokens are those of `audience` without any tenant or claims.
    pub(crate) fn is_of(&self, audience: &Audience) -> bool {
        self.key() == KeyRef::of(audience)
    }

    /// The hot path: the current token, if it may be sent. Starts a flight in
    /// the background when the token is due for a refresh.
    pub(crate) fn current(
        self: &Arc<Self>,
        source: &Arc<Source>,
        now: Timestamp,
    ) -> Option<Arc<Entry>> {
        let current = self.current.load();
        let entry = current.as_ref()?;
        if !entry.window.is_usable(now) {
            return None;
        }
        if entry.window.is_due(now)
            && millis(now.monotonic) >= self.next_attempt.load(Ordering::Relaxed)
        {
            self.refresh_in_background(source);
        }
        entry.hit();
        Some(Arc::clone(entry))
    }

    /// The current token, if nothing needs to be done about it.
    #[inline]
    pub(super) fn at_hand(&self, now: Timestamp) -> Option<AccessToken> {
        let current = self.current.load();
        // What is not due for a refresh has not ended.
        let entry = current.as_ref().filter(|entry| !entry.window.is_due(now))?;
        entry.hit();
        Some(entry.token.clone())
    }

    /// Whether `entry`, which was current once, still is and needs nothing
    /// done. The cheapest way to a token for whoever has one.
    #[inline]
    pub(crate) fn is_at_hand(&self, entry: &Entry, now: Timestamp) -> bool {
        // What is not due for a refresh has not ended.
        self.is_newest(entry) && !entry.window.is_due(now)
    }

    /// Whether `entry`, which was current once, still is.
    #[inline]
    pub(crate) fn is_newest(&self, entry: &Entry) -> bool {
        self.newest.load(Ordering::Acquire) == entry.number
    }

    /// A counter for one who finds tokens at hand often.
    pub(crate) fn own_hits(&self) -> Arc<Hits> {
        let hits = Arc::new(Hits::new());
        self.lock().add_own_hits(Arc::clone(&hits));
        hits
    }

    /// Notes that a server took `generation` for good.
    #[inline]
    pub(crate) fn mark_accepted(&self, generation: u64) {
        if self.accepted.load(Ordering::Relaxed) < generation {
            self.accepted.fetch_max(generation, Ordering::Relaxed);
        }
    }

    /// A token for a caller that has none: from the slot, or from the flight
    /// that is under way, or from one that this starts.
    ///
    /// `refused` is the token of another key that a server would not take.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        source: &Arc<Source>,
        now: Timestamp,
        refused: Option<&AccessToken>,
    ) -> Acquired {
        if let Some(entry) = self.current(source, now) {
            return Acquired::Ready(entry);
        }
        // Declared first, so dropped after the lock: its waiters wake up.
        let _stuck;
        let mut gone = Vec::new();
        let mut state = self.lock();
        _stuck = state.take_stuck(source, now);
        if let Some(receiver) = state.join(&mut gone) {
            return Acquired::Wait(receiver);
        }
        // The flight may have landed between the look at the slot and the lock.
        if let Some(entry) = self.usable(now) {
            return Acquired::Ready(entry);
        }
        if let Some(error) = state.held_back(source, now) {
            return Acquired::Failed(error);
        }
        let (sender, receiver) = oneshot::channel();
        let reason = Reason::Wanted(refused.cloned());
        let flight = self.prepare(&mut state, source, now, reason, Some(sender));
        drop(state);
        match flight.launch() {
            Ok(()) => Acquired::Wait(receiver),
            Err(error) => Acquired::Failed(error),
        }
    }

    /// A token newer than `refused`, if one can be had. A failure means: none
    /// can, for now.
    pub(crate) fn renew(
        self: &Arc<Self>,
        source: &Arc<Source>,
        refused: &Entry,
        now: Timestamp,
    ) -> Acquired {
        let accepted = self.accepted.load(Ordering::Relaxed) >= refused.generation;
        let why = if accepted {
            Force::Revoked
        } else {
            Force::Unproven
        };
        self.force(source, refused, now, why)
    }

    /// The same for a caller that wants another token than `unwanted`, which
    /// nobody has refused.
    pub(crate) fn replace(
        self: &Arc<Self>,
        source: &Arc<Source>,
        unwanted: &Entry,
        now: Timestamp,
    ) -> Acquired {
        self.force(source, unwanted, now, Force::Asked)
    }

    fn force(
        self: &Arc<Self>,
        source: &Arc<Source>,
        refused: &Entry,
        now: Timestamp,
        why: Force,
    ) -> Acquired {
        let _stuck;
        let mut gone = Vec::new();
        let mut state = self.lock();
        _stuck = state.take_stuck(source, now);
        match self.usable(now) {
            Some(entry) if entry.generation > refused.generation => {
                return Acquired::Ready(entry);
            }
            Some(_) => {}
            // It ended meanwhile, so nothing needs to be forced.
            None => {
                drop(state);
                return self.acquire(source, now, Some(&refused.token));
            }
        }
        if let Some(receiver) = state.join(&mut gone) {
            return Acquired::Wait(receiver);
        }
        if let Some(error) = state.held_back(source, now) {
            return Acquired::Failed(error);
        }
        if !state.force().take(now.monotonic, why) {
            return Acquired::Failed(too_often(why));
        }
        let (sender, receiver) = oneshot::channel();
        let reason = Reason::Refused(refused.token.clone());
        let flight = self.prepare(&mut state, source, now, reason, Some(sender));
        drop(state);
        match flight.launch() {
            Ok(()) => Acquired::Wait(receiver),
            Err(error) => Acquired::Failed(error),
        }
    }

    /// The entry that holds `token`, if the slot still does.
    pub(crate) fn entry_of(&self, token: &AccessToken) -> Option<Arc<Entry>> {
        let entry = self.current.load_full()?;
        entry.token.same_secret(token).then_some(entry)
    }

    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.flight.is_none() && state.kept_warm.is_none()
    }

    #[cold]
    fn refresh_in_background(self: &Arc<Self>, source: &Arc<Source>) {
        // The reader's clock may have been a coarse one.
        let now = source.runtime.now();
        let _stuck;
        let mut state = self.lock();
        _stuck = state.take_stuck(source, now);
        // Another reader may have been faster, and its flight may even have
        // landed since this one looked.
        let due = self
            .current
            .load()
            .as_ref()
            .is_some_and(|entry| entry.window.is_due(now));
        if !due
            || state.flight.is_some()
            || millis(now.monotonic) < self.next_attempt.load(Ordering::Relaxed)
        {
            return;
        }
        if let Some(until) = source.throttled_until(now) {
            self.next_attempt.store(millis(until), Ordering::Relaxed);
            return;
        }
        let flight = self.prepare(&mut state, source, now, Reason::Wanted(None), None);
        drop(state);
        // Without a runtime there is no refresh ahead; the error reaches the
        // first caller that has to wait.
        drop(flight.launch());
    }

    fn usable(&self, now: Timestamp) -> Option<Arc<Entry>> {
        self.current
            .load_full()
            .filter(|entry| entry.window.is_usable(now))
    }

    /// Registers a flight. It is launched after the lock is gone.
    fn prepare(
        self: &Arc<Self>,
        state: &mut State,
        source: &Arc<Source>,
        now: Timestamp,
        reason: Reason,
        waiter: Option<Waiter>,
    ) -> Flight {
        let id = state.next_task();
        let (forced, refused) = match reason {
            Reason::Wanted(refused) => (false, refused),
            Reason::Refused(token) => (true, Some(token)),
        };
        let delay = match state.last_start {
            // How often a fetch is forced has a limit of its own.
            Some(last) if !forced => (last + LEAST_INTERVAL).saturating_sub(now.monotonic),
            _ => Duration::ZERO,
        };
        state.last_start = Some(now.monotonic + delay);
        let started = now.monotonic + delay;
        state.flight = Some(Box::new(Airborne {
            id,
            started,
            forced,
            waiters: waiter.into_iter().collect(),
        }));
        self.leave_alone_while_flying(source, started);
        Flight::new(
            Arc::clone(self),
            Arc::clone(source),
            id,
            now,
            delay,
            refused,
        )
    }

    fn leave_alone_while_flying(&self, source: &Source, started: Duration) {
        let overdue = started.saturating_add(source.flight_limit());
        self.next_attempt
            .store(millis(overdue).saturating_add(1), Ordering::Relaxed);
    }

    /// Flight `id` still waits for its turn, so its time has not begun.
    pub(super) fn is_queued(&self, source: &Source, id: u64) {
        let now = source.runtime.now().monotonic;
        let mut state = self.lock();
        if let Some(flight) = state.flight_mut(id) {
            flight.started = now;
            self.leave_alone_while_flying(source, now);
        }
    }

    /// Flight `id` wants to ask the credential now. It may not if it was given
    /// up meanwhile: another one flies in its place.
    pub(super) fn departs(&self, source: &Source, id: u64, now: Timestamp) -> Option<Departure> {
        let mut state = self.lock();
        let outlasts = self.current.load().as_ref().is_some_and(|entry| {
            let limit = source.flight_limit();
            let end = now.wall.checked_add(limit);
            end.is_some_and(|wall| {
                entry.is_usable(Timestamp::new(now.monotonic.saturating_add(limit), wall))
            })
        });
        let flight = state.flight_mut(id)?;
        flight.started = now.monotonic;
        let forced = flight.forced;
        let departure = if flight.waiters.is_empty() && outlasts {
            Departure::AheadOfNeed
        } else {
            Departure::Awaited
        };
        state.last_start = Some(now.monotonic);
        state.counters.fetches += 1;
        state.counters.forced += u64::from(forced);
        self.leave_alone_while_flying(source, now.monotonic);
        Some(departure)
    }

    /// Takes in what flight `id` brought and tells everybody who waited.
    pub(super) fn land(
        &self,
        source: &Source,
        id: u64,
        asked_at: Timestamp,
        brought: Result<AccessToken, Error>,
    ) {
        let now = source.runtime.now();
        let chance = random_fraction(&*source.runtime);
        let mut state = self.lock();
        let Some(flight) = state.take_flight(id) else {
            return;
        };
        // Kept until the lock is gone: errors hold sources of any type.
        let mut previous_failure = None;
        let mut throttled_until = None;
        let outcome = brought
            .and_then(|token| self.install(&mut state, token, asked_at, now, chance, flight.forced))
            .inspect_err(|error| {
                state.failures = state.failures.saturating_add(1);
                state.counters.failures += 1;
                let wait = schedule::back_off(error, state.failures, chance);
                let not_before = now.monotonic + wait;
                previous_failure = state.failure.replace(Box::new(Failure {
                    error: error.clone(),
                    at: now.wall,
                    not_before,
                }));
                throttled_until = error.retry_after().map(|_| not_before);
                self.next_attempt
                    .store(millis(not_before), Ordering::Relaxed);
            });
        drop(state);
        drop(previous_failure);
        if let (Err(error), Some(until)) = (&outcome, throttled_until) {
            source.throttle(error, until);
        }
        flight.tell(&outcome);
        self.landed.notify_waiters();
    }

    /// Flight `id` never asked, because the authority wants to be left alone.
    pub(super) fn turn_back(&self, source: &Source, id: u64, error: &Error) {
        let now = source.runtime.now();
        let mut state = self.lock();
        let Some(flight) = state.take_flight(id) else {
            return;
        };
        let until = source.throttled_until(now).unwrap_or_default();
        self.next_attempt.store(millis(until), Ordering::Relaxed);
        drop(state);
        flight.tell(&Err(error.clone()));
    }

    fn install(
        &self,
        state: &mut State,
        token: AccessToken,
        asked_at: Timestamp,
        now: Timestamp,
        chance: f64,
        forced: bool,
    ) -> Outcome {
        let token = match token.anchor() {
            Some(_) => token,
            None => token.requested_at(asked_at),
        };
        let before = self.current.load_full();
        let known = before
            .as_ref()
            .filter(|entry| entry.token.same_secret(&token));
        if known.is_some() && forced {
            state.force().same_token_came(now.monotonic);
        }
        let known_window = known.map(|known| known.window);
        let window = Window::of(&token, asked_at, now, chance, known_window)?;
        let generation = before.as_ref().map_or(0, |entry| entry.generation);
        let number = self.newest.load(Ordering::Relaxed) + 1;
        let entry = Arc::new(Entry {
            header_value: token.header_value().clone(),
            token,
            generation: generation + u64::from(known.is_none()),
            number,
            window,
            hits: Hits::new(),
        });
        state.failures = 0;
        if let Some(replaced) = self.current.swap(Some(Arc::clone(&entry))) {
            state.counters.hits += replaced.hits.get();
        }
        self.newest.store(number, Ordering::Release);
        let soonest = state.last_start.unwrap_or(now.monotonic) + LEAST_INTERVAL;
        self.next_attempt.store(millis(soonest), Ordering::Relaxed);
        Ok(entry)
    }

    /// Flight `id` ended without an answer, because its runtime went away.
    /// Whoever waited asks again.
    pub(super) fn abandon(&self, id: u64) {
        let mut state = self.lock();
        let flight = state.take_flight(id);
        if flight.is_some() {
            self.next_attempt.store(0, Ordering::Relaxed);
        }
        drop(state);
        drop(flight);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock, so the state is whole even if
        // a thread died with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_often(why: Force) -> Error {
    let (message, advice) = match why {
        Force::Revoked | Force::Unproven => (
            "the token was refused, but has been renewed too often to be renewed again now",
            "see why the server refuses it: wrong audience, missing permission, or clocks that differ",
        ),
        Force::Asked => (
            "the token has been renewed too often to be renewed again now",
            "use the one that is kept, or ask again in a minute",
        ),
    };
    Error::new(ErrorKind::Throttled, message).with_advice(advice)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
