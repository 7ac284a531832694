//! What comes in and what goes out: parameters, JSON answers, and bodies that
//! misbehave on purpose.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};

pub(super) type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// A request, read to its end.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Parameters,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The parameters of a form. A body of another type has none, which is how
    /// Entra reads it.
    pub(super) fn form(&self) -> Parameters {
        let media_type = self
            .header("content-type")
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim();
        if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Parameters::parse(std::str::from_utf8(&self.body).unwrap_or_default())
        } else {
            Parameters::default()
        }
    }

    /// The parts of the path between its slashes.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path
            .split('/')
            .filter(|part| !part.is_empty())
            .collect()
    }
}

/// Decoded `name=value` pairs of a query or a form.
#[derive(Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn parse(text: &str) -> Self {
        Self(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decoded(name), decoded(value))
                })
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// A value that is there and not empty.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn duplicate(&self) -> Option<&str> {
        self.0.iter().enumerate().find_map(|(at, (name, _))| {
            let earlier = &self.0[..at];
            earlier
                .iter()
                .any(|(known, _)| known == name)
                .then_some(name.as_str())
        })
    }
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8_lossy()
        .into_owned()
}

pub(super) fn answer(status: StatusCode, media_type: &'static str, text: String) -> Answer {
    let mut answer = Response::new(boxed(Full::from(text)));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    answer(status, "application/json; charset=utf-8", value.to_string())
}

pub(super) fn boxed<B>(body: B) -> UnsyncBoxBody<Bytes, io::Error>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    UnsyncBoxBody::new(body.map_err(io::Error::other))
}

/// Adds a header that was made at run time; one that cannot be sent is left out.
pub(super) fn with_header(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// Sends `start` and then the same byte until `remaining` is used up, from one
/// small buffer.
pub(super) struct Endless {
    start: Bytes,
    remaining: u64,
    chunk: Bytes,
}

impl Endless {
    pub(super) fn new(start: &'static str, bytes: u64) -> Self {
        Self {
            start: Bytes::from_static(start.as_bytes()),
            remaining: bytes,
            chunk: Bytes::from(vec![b'a'; 16 * 1024]),
        }
    }
}

impl Body for Endless {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !self.start.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.start)))));
        }
        let whole = self.chunk.len();
        let length = usize::try_from(self.remaining).map_or(whole, |left| left.min(whole));
        if length == 0 {
            return Poll::Ready(None);
        }
        self.remaining -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(self.chunk.slice(..length)))))
    }
}

/// Promises `promised` bytes, sends fewer and breaks the connection.
pub(super) struct Broken {
    sent: Bytes,
    promised: u64,
    flushed: bool,
}

impl Broken {
    pub(super) fn new(sent: &'static str) -> Self {
        Self {
            promised: 2 * sent.len() as u64,
            sent: Bytes::from_static(sent.as_bytes()),
            flushed: false,
        }
    }
}

impl Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !self.sent.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.sent)))));
        }
        if !self.flushed {
            // An error at once would take what is still buffered with it.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}

/// Sends one byte at a time, with a pause before each.
pub(super) struct Drip {
    left: Bytes,
    pause: Duration,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl Drip {
    pub(super) fn new(text: &'static str, pause: Duration) -> Self {
        Self {
            left: Bytes::from_static(text.as_bytes()),
            pause,
            sleep: Box::pin(tokio::time::sleep(pause)),
        }
    }
}

impl Body for Drip {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        ready!(self.sleep.as_mut().poll(cx));
        let next = tokio::time::Instant::now() + self.pause;
        self.sleep.as_mut().reset(next);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(1)))))
    }
}

pub(super) fn epoch_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Year, month, day of a day counted from 1970-01-01, in the proleptic
/// Gregorian calendar.
pub(super) fn civil_date(days: u64) -> (u64, u64, u64) {
    // Counted in eras of 400 years that start on a 1st of March, leap days
    // come last in their year and need no exceptions.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..=9 => (year, month + 3),
        _ => (year + 1, month - 9),
    };
    (era * 400 + year, month, date)
}

/// `2026-11-23 19:25:00Z`, as Entra writes it.
pub(super) fn entra_timestamp(seconds: u64) -> String {
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_duplicates_are_seen() {
        let form = Parameters::parse("scope=a%2Fb+c&empty=&bare&scope=2");
        assert_eq!(form.get("scope"), Some("a/b c"));
        assert_eq!(form.get("empty"), Some(""));
        assert_eq!(form.filled("empty"), None);
        assert_eq!(form.get("bare"), Some(""));
        assert_eq!(form.duplicate(), Some("scope"));
        assert_eq!(Parameters::parse("a=1&b=2").duplicate(), None);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (951_868_799, "2000-02-29 23:59:59Z"),
            (1_709_251_199, "2024-02-29 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
            (1_795_461_900, "2026-11-23 19:25:00Z"),
        ] {
            assert_eq!(entra_timestamp(seconds), text);
        }
    }
}
