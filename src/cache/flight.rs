//! One fetch, on a task that belongs to no caller.

use std::sync::Arc;
use std::time::Duration;

use super::Source;
use super::permits::Permit;
use super::slot::{Departure, Slot};
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

enum Fetched {
    /// What the credential answered, and when it was asked. The permit goes
    /// back when all have heard of a `Retry-After`.
    Answer(Timestamp, Result<AccessToken, Error>, Permit),
    /// It was not asked, because its authority wants to be left alone.
    HeldBack(Error),
    /// It was not asked, because the slot has another flight by now, or is
    /// itself no longer needed.
    GivenUp,
}

impl Flight {
    pub(super) fn new(
        slot: Arc<Slot>,
        source: Arc<Source>,
        id: u64,
        asked_at: Timestamp,
        delay: Duration,
        refused: Option<AccessToken>,
    ) -> Self {
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
        let source = Arc::clone(&self.source);
        let slot = Arc::clone(&self.slot);
        source.runtime.spawn(Box::pin(self.fly()))?;
        slot.keep_tended(&source);
        Ok(())
    }

    async fn fly(mut self) {
        match self.source.until_closed(self.fetch()).await {
            Some(Fetched::Answer(asked_at, answer, _permit)) => {
                self.landed = true;
                self.slot.land(&self.source, self.id, asked_at, answer);
            }
            Some(Fetched::HeldBack(error)) => {
                self.landed = true;
                self.slot.turn_back(&self.source, self.id, &error);
            }
            Some(Fetched::GivenUp) | None => {}
        }
    }

    async fn fetch(&self) -> Fetched {
        let source = &*self.source;
        if !self.delay.is_zero() {
            source.runtime.sleep(self.delay).await;
        }
        let mut permit = source.permits.queue();
        permit
            .granted(|| self.slot.is_queued(source, self.id))
            .await;
        let asked_at = source.runtime.now();
        // Others may have heard meanwhile that the authority wants its rest.
        if let Some(error) = source.throttled(asked_at) {
            return Fetched::HeldBack(error);
        }
        // The cache may have given the key up meanwhile. If nobody waits for
        // it either, the token would be nobody's.
        let is_forgotten = Arc::strong_count(&self.slot) == 1;
        if is_forgotten {
            return Fetched::GivenUp;
        }
        let Some(departure) = self.slot.departs(source, self.id, asked_at) else {
            return Fetched::GivenUp;
        };
        let key = self.slot.key();
        let mut request = TokenRequest::new(key.audience).with_runtime(Arc::clone(&source.runtime));
        if let Some(tenant) = key.tenant {
            request = request.with_tenant(tenant.clone());
        }
        if let Some(claims) = key.claims {
            request = request.with_claims(claims.clone());
        }
        if let Some(refused) = &self.refused {
            request = request.with_refused(refused.clone());
        }
        if departure == Departure::AheadOfNeed {
            request = request.ahead_of_need();
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
        Fetched::Answer(asked_at, brought, permit)
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
