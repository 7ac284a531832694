//! One attempt: a request and the whole of its answer, within limits.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::header::CONTENT_LENGTH;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use tower_service::Service as _;
use zeroize::Zeroizing;

use super::causes::{causes, root_cause};
use super::{Received, Transport, tls};
use crate::error::printable;
use crate::runtime::{Runtime, within};
use crate::{BoxError, Error, ErrorKind};

/// Far more than any token: those with hundreds of groups have some 10 KiB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Status, headers and all of the body, whose last copy is wiped when dropped.
pub(crate) type Answer = Response<Zeroizing<Vec<u8>>>;

/// An attempt that failed, and what is to be thought of another one.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) again: Again,
}

/// Whether another attempt may do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// No: nothing will have changed.
    Never,
    /// Yes, and without waiting if this is the first of its kind: the usual
    /// cause is a kept connection that the server has closed.
    AtOnce,
    /// One attempt more may be had, as far as this kind of failure goes.
    Once,
    /// Yes, after a while.
    Later,
    /// Yes, until so much time has passed since the first attempt, even if
    /// that means more attempts than usual.
    Until(Duration),
}

impl Failure {
    pub(crate) fn new(error: Error, again: Again) -> Self {
        Self { error, again }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error, Again::Never)
    }
}

impl Transport {
    /// Sends `request` and receives the whole of its answer.
    ///
    /// `limit` holds for all of it, so that a server that sends byte by byte
    /// gains nothing; an answer of more than 1 MiB is read no further; a
    /// redirect is an error, since the request holds secrets that are meant for
    /// this server alone.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        runtime: &dyn Runtime,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let uri = request.uri().clone();
        let exchange = async {
            let mut transport = self.clone();
            let received = transport
                .call(request)
                .await
                .map_err(|cause| unreachable(&uri, cause))?;
            refuse_redirect(&uri, &received)?;
            receive(&uri, received).await
        };
        // On the heap: what the client needs on the way is of no fixed size.
        within(runtime, limit, Box::pin(exchange))
            .await
            .unwrap_or_else(|| {
                Err(Failure::new(
                    Error::new(
                        ErrorKind::Timeout,
                        format!("{} gave no answer within {limit:.1?}", place(&uri)),
                    ),
                    Again::Later,
                ))
            })
    }
}

/// Host and port, as errors name them.
pub(crate) fn place(uri: &Uri) -> String {
    let host = printable(uri.host().unwrap_or_default());
    match uri.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

fn refuse_redirect(uri: &Uri, received: &Received) -> Result<(), Failure> {
    if !received.status().is_redirection() {
        return Ok(());
    }
    let target = received
        .headers()
        .get(http::header::LOCATION)
        .and_then(|location| location.to_str().ok())
        .and_then(|location| location.parse::<Uri>().ok())
        .filter(|location| location.host().is_some())
        .map_or_else(|| "another place".to_owned(), |location| place(&location));
    Err(Error::new(
        ErrorKind::InvalidResponse,
        format!(
            "{} answered {} to {target}, which is not followed: the request holds credentials",
            place(uri),
            received.status(),
        ),
    )
    .with_status(received.status())
    .with_advice(
        "check the endpoint's address; a proxy or a sign-in page may be answering in its place",
    )
    .into())
}

async fn receive(uri: &Uri, received: Received) -> Result<Answer, Failure> {
    let (parts, mut body) = received.into_parts();
    let too_large = || {
        Failure::new(
            Error::new(
                ErrorKind::InvalidResponse,
                format!("the answer of {} is larger than 1 MiB", place(uri)),
            )
            .with_status(parts.status)
            .with_advice("check that the endpoint's address is that of an identity provider"),
            Again::Once,
        )
    };
    let announced = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(0);
    if announced > MAX_ANSWER_BYTES {
        return Err(too_large());
    }
    let mut whole = Zeroizing::new(Vec::with_capacity(announced));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| unreachable(uri, cause))?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        if whole.len() + data.remaining() > MAX_ANSWER_BYTES {
            return Err(too_large());
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            whole.extend_from_slice(chunk);
            data.advance(chunk.len());
        }
    }
    Ok(Response::from_parts(parts, whole))
}

/// Why no answer came, or not all of it.
enum Diagnosis {
    /// Another part of this crate has said already what is wrong.
    Told(Error),
    Certificate {
        problem: String,
        advice: &'static str,
    },
    Lost,
    TimedOut,
}

fn diagnose(cause: &(dyn StdError + 'static)) -> Option<Diagnosis> {
    if let Some(error) = cause.downcast_ref::<Error>() {
        return Some(Diagnosis::Told(error.clone()));
    }
    if let Some(advice) = tls::certificate_advice(cause) {
        let problem = printable(&cause.to_string());
        return Some(Diagnosis::Certificate { problem, advice });
    }
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        let lost = error.is_incomplete_message() || error.is_canceled() || error.is_closed();
        return lost.then_some(Diagnosis::Lost);
    }
    match cause.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::TimedOut => Some(Diagnosis::TimedOut),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(Diagnosis::Lost),
        _ => None,
    }
}

fn unreachable(uri: &Uri, cause: BoxError) -> Failure {
    let place = place(uri);
    let root = root_cause(&*cause);
    let not_reached = format!("{place} could not be reached: {root}");
    let look =
        "check the address, and what lies on the way to it: name resolution, firewall, proxy";
    let (error, again) = match causes(&*cause).find_map(diagnose) {
        Some(Diagnosis::Told(error)) => {
            let again = if error.is_transient() {
                Again::Later
            } else {
                Again::Never
            };
            return Failure::new(error, again);
        }
        Some(Diagnosis::Certificate { problem, advice }) => (
            Error::new(
                ErrorKind::Unreachable,
                format!("the certificate of {place} is not trusted: {problem}"),
            )
            .with_advice(advice),
            Again::Never,
        ),
        Some(Diagnosis::Lost) => (
            Error::new(
                ErrorKind::Unreachable,
                format!(
                    "the connection to {place} was lost before the answer was complete: {root}"
                ),
            ),
            Again::AtOnce,
        ),
        Some(Diagnosis::TimedOut) => (
            Error::new(ErrorKind::Timeout, not_reached).with_advice(look),
            Again::Later,
        ),
        None => (
            Error::new(ErrorKind::Unreachable, not_reached).with_advice(look),
            Again::Later,
        ),
    };
    Failure::new(error.with_source(cause), again)
}
