//! Keeping a slot's token fresh without waiting for somebody to ask for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::oneshot;

use super::super::Source;
use super::{KeptWarm, LEAST_INTERVAL, Outcome, Reason, Slot};
use crate::runtime::{BoxFuture, Timestamp, within};
use crate::{Error, ErrorKind};

/// A machine that was asleep does not see it on the monotonic clock, which
/// timers go by. So the wall clock is looked at now and then.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// A task that looks after a slot and has not done so for this long sits on a
/// runtime that nobody drives any more.
const GONE_AFTER: Duration = Duration::from_secs(3 * 60);

/// What comes next for somebody who wants a slot to have a fresh token.
enum Next {
    /// The flight that is under way lands.
    Landing(oneshot::Receiver<Outcome>),
    /// Nothing, for so long.
    Rest(Duration),
}

impl Slot {
    /// Keeps a fresh token here from now on, by a task that ends with the last
    /// handle of the cache.
    pub(in super::super) fn keep_warm(self: &Arc<Self>, source: &Arc<Source>) -> Result<(), Error> {
        let now = source.runtime.now().monotonic;
        let mut state = self.lock();
        let kept_warm = state.kept_warm.as_deref();
        if kept_warm.is_some_and(|kept_warm| kept_warm.is_tended(now)) {
            return Ok(());
        }
        let by = state.next_task();
        let tended = KeptWarm::Tended { by, seen: now };
        let before = state.kept_warm.replace(Box::new(tended));
        drop(state);
        let tender = Tender {
            slot: Arc::clone(self),
            id: by,
        };
        let spawned = source.runtime.spawn(tender.tend(Arc::clone(source)));
        if spawned.is_err() {
            self.lock().kept_warm = before;
        }
        spawned
    }

    /// The task that keeps this slot warm ends at its next look.
    pub(in super::super) fn let_cool(&self) {
        self.lock().kept_warm = None;
    }

    /// Whether task `id` is the one that keeps this slot warm. Notes that it
    /// is there.
    fn is_tended_by(&self, id: u64, now: Duration) -> bool {
        match self.lock().kept_warm.as_deref_mut() {
            Some(KeptWarm::Tended { by, seen }) if *by == id => {
                *seen = now;
                true
            }
            _ => false,
        }
    }

    /// Takes up again what a task did whose runtime has gone away or is no
    /// longer driven.
    pub(in super::super) fn keep_tended(self: &Arc<Self>, source: &Arc<Source>) {
        let now = source.runtime.now().monotonic;
        let state = self.lock();
        let kept_warm = state.kept_warm.as_deref();
        let is_untended = kept_warm.is_some_and(|kept_warm| !kept_warm.is_tended(now));
        drop(state);
        if is_untended {
            // Without a runtime the next caller tries again.
            drop(self.keep_warm(source));
        }
    }

    /// Waits until there is a token that may be sent. Fetches, backs off and
    /// fetches again for as long as that takes.
    ///
    /// Fails only where no amount of waiting helps.
    pub(in super::super) async fn until_usable(
        self: &Arc<Self>,
        source: &Arc<Source>,
    ) -> Result<(), Error> {
        loop {
            let landed = self.landed.notified();
            let now = source.runtime.now();
            if self.is_usable(now) {
                return Ok(());
            }
            let next = self.look_after(source, now)?;
            // While a fetch is under way its answer counts, not the last one's.
            if let (Next::Rest(_), Some(error)) = (&next, self.failure()) {
                if error.kind() == ErrorKind::Configuration {
                    return Err(error);
                }
            }
            next.wait(source, landed).await;
        }
    }

    pub(in super::super) fn is_usable(&self, now: Timestamp) -> bool {
        self.usable(now).is_some()
    }

    /// The failure that stands between this slot and a token.
    pub(in super::super) fn failure(&self) -> Option<Error> {
        let state = self.lock();
        state.unmended().map(|failure| failure.error.clone())
    }

    /// Starts a flight if one is due.
    fn look_after(self: &Arc<Self>, source: &Arc<Source>, now: Timestamp) -> Result<Next, Error> {
        // Declared first, so dropped after the lock: its waiters wake up.
        let _stuck;
        let mut gone = Vec::new();
        let mut state = self.lock();
        _stuck = state.take_stuck(source, now);
        if let Some(receiver) = state.join(&mut gone) {
            return Ok(Next::Landing(receiver));
        }
        let due = self
            .usable(now)
            .map_or(Duration::ZERO, |entry| entry.window.left_until_due(now));
        let rest = state.back_off_left(source, now).max(due);
        if !rest.is_zero() {
            return Ok(Next::Rest(rest.min(LOOK_INTERVAL)));
        }
        let (sender, receiver) = oneshot::channel();
        let reason = Reason::Wanted(None);
        let flight = self.prepare(&mut state, source, now, reason, Some(sender));
        drop(state);
        flight.launch()?;
        Ok(Next::Landing(receiver))
    }
}

impl Next {
    /// `landed` is from before the slot was looked at, so that no landing is
    /// missed.
    async fn wait(self, source: &Source, landed: Notified<'_>) {
        match self {
            // What it brought is in the slot. Should it never land, it is
            // given up at the next look.
            Self::Landing(landing) => {
                let landed = within(&*source.runtime, LOOK_INTERVAL, landing).await;
                if let Some(Err(_abandoned)) = landed {
                    source.runtime.sleep(LEAST_INTERVAL).await;
                }
            }
            Self::Rest(duration) => {
                let _landed = within(&*source.runtime, duration, landed).await;
            }
        }
    }
}

impl KeptWarm {
    fn is_tended(&self, now: Duration) -> bool {
        matches!(self, Self::Tended { seen, .. } if now.saturating_sub(*seen) <= GONE_AFTER)
    }
}

/// The task that keeps a slot warm.
struct Tender {
    slot: Arc<Slot>,
    id: u64,
}

impl Tender {
    fn tend(self, source: Arc<Source>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let tending = async {
                loop {
                    let landed = self.slot.landed.notified();
                    let now = source.runtime.now();
                    if !self.slot.is_tended_by(self.id, now.monotonic) {
                        return;
                    }
                    let next = self.slot.look_after(&source, now);
                    let rest = Next::Rest(LOOK_INTERVAL);
                    next.unwrap_or(rest).wait(&source, landed).await;
                }
            };
            source.until_closed(tending).await;
        })
    }
}

impl Drop for Tender {
    fn drop(&mut self) {
        if let Some(kept_warm) = self.slot.lock().kept_warm.as_deref_mut() {
            if matches!(kept_warm, KeptWarm::Tended { by, .. } if *by == self.id) {
                *kept_warm = KeptWarm::Untended;
            }
        }
    }
}
