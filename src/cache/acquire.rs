//! Waiting for a token, with a limit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;

use super::slot::Outcome;
use super::{Acquired, Entry, Slot, TokenCache};
use crate::runtime::BoxFuture;
use crate::{Error, ErrorKind};

/// A runtime that goes away takes its flights along; whoever waited starts
/// another. More often than this is no accident.
const MOST_ABANDONED: u32 = 8;

/// Waits for a token of one slot. Dropping it leaves the flight alone.
pub(crate) struct Acquire {
    // Holding the cache keeps its flights in the air.
    cache: TokenCache,
    slot: Arc<Slot>,
    refused: Refused,
    limit: Duration,
    outcome: Option<oneshot::Receiver<Outcome>>,
    deadline: Option<BoxFuture<'static, ()>>,
    abandoned: u32,
}

enum Refused {
    Nothing,
    /// The slot's own token.
    Own(Arc<Entry>),
    /// Nothing either, but the caller wants another one than the slot's.
    Unwanted(Arc<Entry>),
    /// The token of another slot.
    Other(Arc<Entry>),
}

impl Acquire {
    /// Waits for a token that may be sent, for at most `limit`. `refused` is
    /// another slot's, which a server would not take.
    pub(crate) fn new(
        cache: TokenCache,
        slot: Arc<Slot>,
        refused: Option<Arc<Entry>>,
        limit: Option<Duration>,
    ) -> Self {
        let longest = cache.source().flight_limit();
        Self {
            limit: limit.map_or(longest, |limit| limit.min(longest)),
            cache,
            slot,
            refused: refused.map_or(Refused::Nothing, Refused::Other),
            outcome: None,
            deadline: None,
            abandoned: 0,
        }
    }

    /// Waits for a token to take the place of `refused`, for at most `limit`.
    /// It may turn out to be the same one.
    pub(crate) fn renewal(
        cache: TokenCache,
        slot: Arc<Slot>,
        refused: Arc<Entry>,
        limit: Option<Duration>,
    ) -> Self {
        Self {
            refused: Refused::Own(refused),
            ..Self::new(cache, slot, None, limit)
        }
    }

    /// Waits for a token to take the place of `unwanted`, which is good, for as
    /// long as a fetch may take. It may turn out to be the same one.
    pub(crate) fn another(cache: TokenCache, slot: Arc<Slot>, unwanted: Arc<Entry>) -> Self {
        Self {
            refused: Refused::Unwanted(unwanted),
            ..Self::new(cache, slot, None, None)
        }
    }

    /// Has only what is left of the time that `before` had.
    pub(crate) fn after(mut self, before: &mut Self) -> Self {
        self.deadline = before.deadline.take();
        self
    }

    fn ask(&self) -> Acquired {
        let source = self.cache.source();
        let now = self.cache.now();
        match &self.refused {
            Refused::Own(entry) => self.slot.renew(source, entry, now),
            Refused::Unwanted(entry) => self.slot.replace(source, entry, now),
            Refused::Other(entry) => self.slot.acquire(source, now, Some(&entry.token)),
            Refused::Nothing => self.slot.acquire(source, now, None),
        }
    }
}

impl Future for Acquire {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let Some(outcome) = &mut this.outcome else {
                match this.ask() {
                    Acquired::Ready(entry) => {
                        entry.hit();
                        return Poll::Ready(Ok(entry));
                    }
                    Acquired::Failed(error) => return Poll::Ready(Err(error)),
                    Acquired::Wait(outcome) => this.outcome = Some(outcome),
                }
                continue;
            };
            match Pin::new(outcome).poll(cx) {
                // Polled so late that the token has ended meanwhile, as after a
                // night's sleep: the wait starts anew.
                Poll::Ready(Ok(Ok(entry))) if !entry.is_usable(this.cache.now()) => {
                    this.outcome = None;
                    this.deadline = None;
                }
                Poll::Ready(Ok(outcome)) => return Poll::Ready(outcome),
                Poll::Ready(Err(_)) if this.abandoned < MOST_ABANDONED => {
                    this.abandoned += 1;
                    this.outcome = None;
                }
                Poll::Ready(Err(_)) => {
                    return Poll::Ready(Err(Error::new(
                        ErrorKind::Aborted,
                        "the runtimes that fetched the token all went away",
                    )));
                }
                Poll::Pending => {
                    let deadline = this
                        .deadline
                        .get_or_insert_with(|| this.cache.source().runtime.sleep(this.limit));
                    ready!(deadline.as_mut().poll(cx));
                    return Poll::Ready(Err(Error::new(
                        ErrorKind::Timeout,
                        format!("no token came within {} s", this.limit.as_secs_f32()),
                    )));
                }
            }
        }
    }
}
