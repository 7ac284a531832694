//! One fetch, on a task that belongs to no caller.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::Source;
use super::slot::Slot;
use crate::credential::{Credential as _, TokenRequest};
use crate::runtime::{Timestamp, within};
use crate::{AccessToken, Error, ErrorKind};

/// A flight that is registered in its slot. However it ends, the slot hears of
/// it: by landing, or by `Drop` when it panics or its runtime goes away.
pub(super) struct Flight {
    slot: Arc<Slot>,
    source: Arc<Source>,
    id: u64,
    delay: Duration,
    refused: Option<AccessToken>,
    asked_at: Timestamp,
    landed: bool,
}

impl Flight {
    pub(super) fn new(
        slot: Arc<Slot>,
        source: Arc<Source>,
        id: u64,
        delay: Duration,
        refused: Option<AccessToken>,
    ) -> Self {
        let asked_at = source.runtime.now();
        Self {
            slot,
            source,
            id,
            delay,
            refused,
            asked_at,
            landed: false,
        }
    }

    pub(super) fn launch(self) -> Result<(), Error> {
        let runtime = Arc::clone(&self.source.runtime);
        runtime.spawn(Box::pin(self.fly()))
    }

    async fn fly(mut self) {
        let mut closed = self.source.closed.clone();
        let fetched = {
            let mut last_handle_dropped = std::pin::pin!(closed.changed());
            let mut fetch = std::pin::pin!(self.fetch());
            std::future::poll_fn(|cx| {
                if last_handle_dropped.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                fetch.as_mut().poll(cx).map(Some)
            })
            .await
        };
        if let Some((asked_at, brought)) = fetched {
            self.landed = true;
            self.slot.land(&self.source, self.id, asked_at, brought);
        }
    }

    async fn fetch(&self) -> (Timestamp, Result<AccessToken, Error>) {
        let source = &*self.source;
        if !self.delay.is_zero() {
            source.runtime.sleep(self.delay).await;
        }
        let asked_at = source.runtime.now();
        let key = self.slot.key();
        let mut request =
            TokenRequest::new(&key.audience).with_runtime(Arc::clone(&source.runtime));
        if let Some(tenant) = &key.tenant {
            request = request.with_tenant(tenant.clone());
        }
        if let Some(claims) = &key.claims {
            request = request.with_claims(claims.clone());
        }
        if let Some(refused) = &self.refused {
            request = request.with_refused(refused.clone());
        }
        let fetch = source.credential.token(&request);
        let brought = match within(&*source.runtime, source.fetch_timeout, fetch).await {
            Some(brought) => brought,
            None => Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "the credential gave no token within {} s",
                    source.fetch_timeout.as_secs()
                ),
            )),
        };
        (asked_at, brought)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        if std::thread::panicking() {
            let error = Error::new(ErrorKind::Aborted, "the credential panicked")
                .with_advice("see the panic's message: this is a bug in the credential");
            self.slot
                .land(&self.source, self.id, self.asked_at, Err(error));
        } else {
            self.slot.abandon(self.id);
        }
    }
}
