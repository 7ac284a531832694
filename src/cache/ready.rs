//! Waiting until a program may begin.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::{Slot, Source};
use crate::runtime::within;
use crate::{Error, ErrorKind};

type Waiting = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Waits until each of `slots` has a token, for at most `limit`.
pub(super) async fn ready(
    source: &Arc<Source>,
    slots: Vec<Arc<Slot>>,
    limit: Duration,
) -> Result<(), Error> {
    let waiting = slots
        .iter()
        .map(|slot| until_usable(Arc::clone(slot), Arc::clone(source)))
        .collect();
    match within(&*source.runtime, limit, all(waiting)).await {
        Some(outcome) => outcome,
        None => Err(late(source, &slots, limit)),
    }
}

fn until_usable(slot: Arc<Slot>, source: Arc<Source>) -> Waiting {
    Box::pin(async move {
        slot.until_usable(&source)
            .await
            .map_err(|error| about(&slot, &error))
    })
}

async fn all(mut waiting: Vec<Waiting>) -> Result<(), Error> {
    poll_fn(|cx| {
        let mut failed = None;
        waiting.retain_mut(|slot| match slot.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(outcome) => {
                failed = failed.take().or(outcome.err());
                false
            }
        });
        match failed {
            Some(error) => Poll::Ready(Err(error)),
            None if waiting.is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    })
    .await
}

fn late(source: &Source, slots: &[Arc<Slot>], limit: Duration) -> Error {
    let now = source.runtime.now();
    let mut missing = slots.iter().filter(|slot| !slot.is_usable(now));
    let Some(slot) = missing.next() else {
        return Error::new(ErrorKind::Timeout, "the tokens came too late");
    };
    let error = slot.failure().unwrap_or_else(|| {
        Error::new(
            ErrorKind::Timeout,
            format!("no answer came within {} s", limit.as_secs_f32()),
        )
    });
    about(slot, &error)
}

fn about(slot: &Slot, error: &Error) -> Error {
    error.in_context(&format!("no token for {}", slot.audience()))
}
