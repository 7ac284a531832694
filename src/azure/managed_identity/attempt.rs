//! One attempt to get a token, and what its failure leaves to hope for.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;

use crate::azure::answer::{Issued, Reader};
use crate::runtime::Timestamp;
use crate::transport::{Again, Answer, Failure, Transport, place};
use crate::{Error, ErrorKind, Runtime};

/// One attempt, which may take more than one request but no more time than it
/// was given.
pub(super) struct Attempt<'a> {
    transport: &'a Transport,
    runtime: &'a dyn Runtime,
    ends: Duration,
}

/// An answer, with what must be known to read it.
pub(super) struct Received {
    pub(super) answer: Answer,
    place: String,
    asked: Timestamp,
    at: Timestamp,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(transport: &'a Transport, runtime: &'a dyn Runtime, limit: Duration) -> Self {
        Self {
            transport,
            runtime,
            ends: runtime.now().monotonic.saturating_add(limit),
        }
    }

    pub(super) fn runtime(&self) -> &'a dyn Runtime {
        self.runtime
    }

    /// The time that is left.
    pub(super) fn left(&self) -> Duration {
        self.ends.saturating_sub(self.runtime.now().monotonic)
    }

    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Received, Failure> {
        let place = place(request.uri());
        let asked = self.runtime.now();
        let answer = self
            .transport
            .send(request, self.runtime, self.left())
            .await?;
        Ok(Received {
            answer,
            place,
            asked,
            at: self.runtime.now(),
        })
    }

    /// Sends `request` and reads the token in the answer. `secrets` are kept
    /// out of errors.
    pub(super) async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        secrets: &[&str],
        again: fn(&Error) -> Again,
    ) -> Result<Issued, Failure> {
        self.send(request).await?.read(secrets, again)
    }
}

impl Received {
    pub(super) fn read(
        &self,
        secrets: &[&str],
        again: fn(&Error) -> Again,
    ) -> Result<Issued, Failure> {
        let reader = Reader {
            place: &self.place,
            asked: self.asked,
            received: self.at.wall,
            secrets,
            token_type_optional: true,
        };
        reader.read(&self.answer).map_err(|error| {
            let again = again(&error);
            Failure::new(error, again)
        })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }
}

/// Whether another attempt may do better. 404 is what these endpoints answer
/// while they start.
pub(super) fn again(error: &Error) -> Again {
    if error.status() == Some(StatusCode::NOT_FOUND) {
        return Again::Later;
    }
    again_unless_missing(error)
}

/// As [`again`], but 404 is final.
pub(super) fn again_unless_missing(error: &Error) -> Again {
    match error.kind() {
        ErrorKind::Throttled | ErrorKind::Unreachable | ErrorKind::Timeout => Again::Later,
        ErrorKind::InvalidResponse => Again::Once,
        _ => Again::Never,
    }
}
