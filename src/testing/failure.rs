//! Failures that are played on demand.

use std::fmt;
use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::wire::{Answer, Broken, Drip, Endless, answer, boxed, json};

const TOKEN_START: &str =
    r#"{"token_type":"Bearer","expires_in":"3599","expires_on":"4102444800","access_token":"ey"#;
const WHOLE_TOKEN: &str = r#"{"token_type":"Bearer","expires_in":"3599","expires_on":"4102444800","access_token":"dripped"}"#;

/// An answer that is no good, to be given in place of the right one.
///
/// ```no_run
/// use std::time::Duration;
/// use http::StatusCode;
/// use tower_bearer::testing::{Azure, Failure};
///
/// # async fn doc() -> Result<(), tower_bearer::Error> {
/// let azure = Azure::start().await?;
/// azure.fail_next_token_requests(
///     2,
///     Failure::status(StatusCode::TOO_MANY_REQUESTS).with_retry_after(Duration::from_secs(60)),
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Failure {
    kind: Kind,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Clone)]
enum Kind {
    Status(StatusCode),
    OAuth {
        status: StatusCode,
        error: String,
        code: u32,
    },
    Answer {
        status: StatusCode,
        media_type: &'static str,
        body: String,
    },
    Truncated,
    Endless(u64),
    Drip(Duration),
    Hang,
    Disconnect,
    NoAnswer,
}

impl Failure {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            headers: Vec::new(),
        }
    }

    /// `status` with a line of plain text.
    #[must_use]
    pub fn status(status: StatusCode) -> Self {
        Self::new(Kind::Status(status))
    }

    /// An OAuth error (RFC 6749 section 5.2) in Entra's form: `error` is a code
    /// such as `invalid_client`, `aadsts` the number of an AADSTS code.
    #[must_use]
    pub fn oauth_error(status: StatusCode, error: impl Into<String>, aadsts: u32) -> Self {
        Self::new(Kind::OAuth {
            status,
            error: error.into(),
            code: aadsts,
        })
    }

    /// `status` with `body`, labelled as JSON whatever it is.
    #[must_use]
    pub fn answer(status: StatusCode, body: impl Into<String>) -> Self {
        Self::new(Kind::Answer {
            status,
            media_type: "application/json",
            body: body.into(),
        })
    }

    /// 200 with a page for people, as captive portals and proxies send it.
    #[must_use]
    pub fn html() -> Self {
        Self::new(Kind::Answer {
            status: StatusCode::OK,
            media_type: "text/html; charset=utf-8",
            body: "<!DOCTYPE html><html><title>Sign in</title><p>Please sign in</html>".to_owned(),
        })
    }

    /// 200 with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self::answer(StatusCode::OK, "")
    }

    /// 200 with JSON whose fields have types that no token answer has.
    #[must_use]
    pub fn mistyped() -> Self {
        Self::answer(
            StatusCode::OK,
            r#"{"token_type":["Bearer"],"expires_in":{"seconds":3599},"expires_on":true,"access_token":12345}"#,
        )
    }

    /// 200 with JSON that stops in the middle, in an HTTP message that is whole.
    #[must_use]
    pub fn truncated() -> Self {
        Self::new(Kind::Truncated)
    }

    /// 200 with the beginning of a good answer and a token that goes on for
    /// `bytes` bytes. The server never holds more than a few kilobytes of it.
    #[must_use]
    pub fn endless(bytes: u64) -> Self {
        Self::new(Kind::Endless(bytes))
    }

    /// 200 with a good answer, sent byte by byte with `pause` before each (on
    /// tokio's clock).
    #[must_use]
    pub fn drip(pause: Duration) -> Self {
        Self::new(Kind::Drip(pause))
    }

    /// The request is read and never answered.
    #[must_use]
    pub fn hang() -> Self {
        Self::new(Kind::Hang)
    }

    /// 200 and half of the promised body, then the connection breaks.
    #[must_use]
    pub fn disconnect() -> Self {
        Self::new(Kind::Disconnect)
    }

    /// The connection breaks as soon as the request has been read.
    #[must_use]
    pub fn no_answer() -> Self {
        Self::new(Kind::NoAnswer)
    }

    /// Adds `Retry-After` in whole seconds (RFC 9110 section 10.2.3).
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        self.with_header(RETRY_AFTER, HeaderValue::from(wait.as_secs()))
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) async fn play(self) -> Result<Answer, io::Error> {
        let mut played = match self.kind {
            Kind::Status(status) => {
                let reason = status.canonical_reason().unwrap_or("failed");
                answer(status, "text/plain", reason.to_owned())
            }
            Kind::OAuth {
                status,
                error,
                code,
            } => json(
                status,
                &json!({
                    "error": error,
                    "error_description": format!("AADSTS{code}: Failed on demand."),
                    "error_codes": [code],
                }),
            ),
            Kind::Answer {
                status,
                media_type,
                body,
            } => answer(status, media_type, body),
            Kind::Truncated => answer(StatusCode::OK, "application/json", TOKEN_START.to_owned()),
            Kind::Endless(bytes) => ok(boxed(Endless::new(TOKEN_START, bytes))),
            Kind::Drip(pause) => ok(boxed(Drip::new(WHOLE_TOKEN, pause))),
            Kind::Hang => pending().await,
            Kind::Disconnect => ok(boxed(Broken::new(TOKEN_START))),
            Kind::NoAnswer => return Err(io::ErrorKind::ConnectionReset.into()),
        };
        for (name, value) in self.headers {
            played.headers_mut().insert(name, value);
        }
        Ok(played)
    }
}

fn ok(body: http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>) -> Answer {
    let mut answer = Response::new(body);
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.kind {
            Kind::Status(status) | Kind::OAuth { status, .. } | Kind::Answer { status, .. } => {
                return f.debug_tuple("Failure").field(&status.as_u16()).finish();
            }
            Kind::Truncated => "truncated",
            Kind::Endless(_) => "endless",
            Kind::Drip(_) => "drip",
            Kind::Hang => "hang",
            Kind::Disconnect => "disconnect",
            Kind::NoAnswer => "no_answer",
        };
        f.debug_tuple("Failure")
            .field(&format_args!("{name}"))
            .finish()
    }
}
