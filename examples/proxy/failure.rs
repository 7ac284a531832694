//! What the proxy says when there is no answer of an upstream.

use std::error::Error as StdError;
use std::io;

use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::LengthLimitError;
use hyper_util::client::legacy::Error as ClientError;
use tower_bearer::{BearerAuthError, BoxError, Error, ErrorKind};

use super::body::{Busy, ResponseBody};

static PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// An answer in place of the upstream's.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    /// A type of error that RFC 9209 registers.
    class: &'static str,
    text: String,
    retry_after: Option<u64>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, class: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            class,
            text: text.into(),
            retry_after: None,
        }
    }

    pub(crate) fn denied(status: StatusCode, text: &str) -> Self {
        Self::new(status, "http_request_denied", text)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "http_request_error",
            format!("the body of a request may have {limit} bytes"),
        )
    }

    pub(crate) fn no_answer_in_time(upstream: &str) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "http_response_timeout",
            format!("{upstream} did not answer in time"),
        )
    }

    /// What became of a request to `upstream`.
    pub(crate) fn of(error: &BoxError, upstream: &str, body_limit: usize) -> Self {
        if let Some(BearerAuthError::Token(error)) = find(&**error) {
            return Self::no_token(error, upstream);
        }
        if has::<LengthLimitError>(&**error) {
            return Self::too_large(body_limit);
        }
        let reason = with_causes(innermost(&**error));
        if !find::<ClientError>(&**error).is_some_and(ClientError::is_connect) {
            return Self::new(
                StatusCode::BAD_GATEWAY,
                "connection_terminated",
                format!("{upstream} gave no answer: {reason}"),
            );
        }
        let timed_out = find::<io::Error>(&**error)
            .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
        let (status, class) = if timed_out {
            (StatusCode::GATEWAY_TIMEOUT, "connection_timeout")
        } else {
            (StatusCode::BAD_GATEWAY, "destination_unavailable")
        };
        let text = format!("{upstream} cannot be reached: {reason}");
        Self::new(status, class, text)
    }

    fn no_token(error: &Error, upstream: &str) -> Self {
        let status = match error.kind() {
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self {
            // Rounded up: earlier would be too early.
            retry_after: error
                .retry_after()
                .map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
            ..Self::new(
                status,
                "proxy_internal_error",
                format!("no token for {upstream}: {error}"),
            )
        }
    }

    pub(crate) fn into_response(self, busy: Busy) -> Response<ResponseBody> {
        let text = format!("proxy: {}\n", self.text);
        let mut response = Response::new(ResponseBody::own(text, busy));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        let status = format!("{}; error={}", super::headers::PSEUDONYM, self.class);
        if let Ok(status) = HeaderValue::try_from(status) {
            headers.insert(&PROXY_STATUS, status);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The error and all that caused it.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    // What the layer passes on stands beside its causes, not among them.
    chain(error).find_map(|error| match error.downcast_ref() {
        Some(BearerAuthError::Service(inner)) => chain(&**inner).find_map(|e| e.downcast_ref()),
        _ => error.downcast_ref(),
    })
}

fn has<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    find::<E>(error).is_some()
}

fn innermost<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    chain(error).last().unwrap_or(error)
}

/// The error and what caused it, in one line.
pub(crate) fn with_causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    for error in chain(error) {
        let next = error.to_string();
        if text.is_empty() {
            text = next;
        } else if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
    }
    text
}
