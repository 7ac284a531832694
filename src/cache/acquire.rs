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

/// Added to the time limit of a fetch, so that the fetch's own error, which
/// says more, comes first.
const GRACE: Duration = Duration::from_secs(5);

/// A runtime that goes away takes its flights along; whoever waited starts
/// another. More often than this is no accident.
const MOST_ABANDONED: u32 = 8;

/// Waits for a token of one slot. Dropping it leaves the flight alone.
pub(crate) struct Acquire {
    // Holding the cache keeps its flights in the air.
    cache: TokenCache,
    slot: Arc<Slot>,
    refused: Option<Arc<Entry>>,
    limit: Duration,
    outcome: Option<oneshot::Receiver<Outcome>>,
    deadline: Option<BoxFuture<'static, ()>>,
    abandoned: u32,
}

impl Acquire {
    /// Waits for a token that may be sent, for at most `limit`.
    pub(crate) fn new(cache: TokenCache, slot: Arc<Slot>, limit: Option<Duration>) -> Self {
        let longest = cache.source().fetch_timeout.saturating_add(GRACE);
        Self {
            limit: limit.map_or(longest, |limit| limit.min(longest)),
            cache,
            slot,
            refused: None,
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
            refused: Some(refused),
            ..Self::new(cache, slot, limit)
        }
    }

    fn ask(&self) -> Acquired {
        let source = self.cache.source();
        let now = self.cache.now();
        match &self.refused {
            Some(refused) => self.slot.renew(source, refused, now),
            None => self.slot.acquire(source, now),
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
                    Acquired::Ready(entry) => return Poll::Ready(Ok(entry)),
                    Acquired::Failed(error) => return Poll::Ready(Err(error)),
                    Acquired::Wait(outcome) => this.outcome = Some(outcome),
                }
                continue;
            };
            match Pin::new(outcome).poll(cx) {
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
