//! What can go wrong on the way to a token, as text and as data.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

/// The error type that tower's middleware converges on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

const MAX_FOREIGN_TEXT: usize = 200;

/// Why no token could be had.
///
/// The text says what happened and, where that is known, what to do about it.
/// The same facts are here as data: [`kind`](Error::kind), HTTP status, OAuth
/// `error` code, AADSTS codes, correlation id and `Retry-After`.
///
/// An `Error` is cheap to clone, since everybody who waited for the same token
/// gets the same one. It never holds a secret: text that came from a server is
/// stripped of control characters and cut at 200 characters, and bodies that
/// could not be parsed are not kept.
///
/// ```
/// use tower_bearer::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Unavailable, "no broker is running")
///     .with_advice("start the broker");
/// assert_eq!(error.to_string(), "no broker is running: start the broker");
/// assert!(!error.is_transient());
/// ```
#[derive(Clone)]
pub struct Error(Arc<Details>);

#[derive(Clone)]
struct Details {
    kind: ErrorKind,
    message: Cow<'static, str>,
    advice: Option<Cow<'static, str>>,
    credential: Option<Cow<'static, str>>,
    status: Option<StatusCode>,
    oauth_error: Option<String>,
    aadsts_codes: Vec<u32>,
    correlation_id: Option<String>,
    retry_after: Option<Duration>,
    attempts: Vec<Attempt>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// One of the credentials that a chain tried before it gave up.
///
/// See [`Error::attempts`].
#[derive(Clone, Debug)]
pub struct Attempt {
    error: Error,
    took: Duration,
}

impl Attempt {
    /// An attempt that ended with `error` after it `took` so long.
    #[must_use]
    pub fn new(error: Error, took: Duration) -> Self {
        Self { error, took }
    }

    /// Why it brought no token.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }
}

impl Attempt {
    fn fmt_at(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let error = &self.error;
        let credential = error.credential().unwrap_or("credential");
        write!(f, "{credential} ({:.1} s): ", self.took.as_secs_f64())?;
        error.fmt_without_credential(f, depth)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_at(f, 0)
    }
}

/// What class of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No rule names the host of the request, so it may not have a token.
    UnknownHost,
    /// A rule names the host, but this request to it may not have a token:
    /// plain HTTP, user information in the URL, another port, or an audience
    /// that only the user can choose.
    RefusedHost,
    /// A setting is missing, contradicts another, or cannot be used.
    Configuration,
    /// The credential cannot be used in this place (no managed identity here,
    /// tool not installed). In a chain the next one is tried.
    Unavailable,
    /// The identity provider understood the request and refused it.
    Rejected,
    /// The identity provider asked to be left alone for a while.
    Throttled,
    /// The identity provider could not be reached, or failed on its side.
    Unreachable,
    /// No answer came in time.
    Timeout,
    /// The identity provider answered, but not with a token that can be used.
    InvalidResponse,
    /// The credential panicked, or the runtime that fetched the token stopped.
    Aborted,
}

impl ErrorKind {
    fn is_transient(self) -> bool {
        match self {
            Self::Throttled
            | Self::Unreachable
            | Self::Timeout
            | Self::InvalidResponse
            | Self::Aborted => true,
            Self::UnknownHost
            | Self::RefusedHost
            | Self::Configuration
            | Self::Unavailable
            | Self::Rejected => false,
        }
    }
}

impl Error {
    /// An error of `kind` with a message that says what happened.
    ///
    /// The message must hold no secret: it is shown and logged.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Details {
            kind,
            message: message.into(),
            advice: None,
            credential: None,
            status: None,
            oauth_error: None,
            aadsts_codes: Vec::new(),
            correlation_id: None,
            retry_after: None,
            attempts: Vec::new(),
            source: None,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Details)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The same failure, seen as another kind of it.
    #[cfg(feature = "azure")]
    pub(crate) fn with_kind(self, kind: ErrorKind) -> Self {
        self.with(|details| details.kind = kind)
    }

    /// The same failure in other words.
    #[cfg(feature = "azure")]
    pub(crate) fn with_message(self, message: String) -> Self {
        self.with(|details| details.message = Cow::Owned(message))
    }

    /// The same failure, with what it led to before its message.
    pub(crate) fn in_context(&self, context: &str) -> Self {
        let message = format!("{context}: {}", self.message());
        self.clone()
            .with(|details| details.message = Cow::Owned(message))
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn with_advice(self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.with(|details| details.advice = Some(advice.into()))
    }

    /// Names the credential that failed.
    #[must_use]
    pub fn with_credential(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.with(|details| details.credential = Some(name.into()))
    }

    /// Records the HTTP status of the identity provider's answer.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        self.with(|details| details.status = Some(status))
    }

    /// Records the OAuth `error` code of the answer (RFC 6749 section 5.2).
    #[must_use]
    pub fn with_oauth_error(self, code: &str) -> Self {
        self.with(|details| details.oauth_error = Some(printable(code)))
    }

    /// Records the numbers of the `AADSTS…` codes in the answer.
    #[must_use]
    pub fn with_aadsts_codes(self, codes: impl IntoIterator<Item = u32>) -> Self {
        self.with(|details| details.aadsts_codes = codes.into_iter().collect())
    }

    /// Records the id under which the identity provider's support finds the
    /// request.
    #[must_use]
    pub fn with_correlation_id(self, id: &str) -> Self {
        self.with(|details| details.correlation_id = Some(printable(id)))
    }

    /// Records how long the identity provider wants to be left alone. The
    /// cache sends nothing to it for that long.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        self.with(|details| details.retry_after = Some(wait))
    }

    /// Records what was tried, in that order.
    #[must_use]
    pub fn with_attempts(self, attempts: impl IntoIterator<Item = Attempt>) -> Self {
        self.with(|details| details.attempts = attempts.into_iter().collect())
    }

    /// Records the error that caused this one.
    #[must_use]
    pub fn with_source(self, source: impl Into<BoxError>) -> Self {
        self.with(|details| details.source = Some(Arc::from(source.into())))
    }

    /// What class of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same request may succeed later with nothing changed. A chain
    /// in which nothing was available may do so if one of its
    /// [attempts](Self::attempts) may.
    ///
    /// The cache tries again in either case, but more slowly when this is
    /// `false`.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let may_pass = |attempt: &Attempt| attempt.error.is_transient();
        match self.0.kind {
            ErrorKind::Unavailable => self.attempts().iter().any(may_pass),
            kind => kind.is_transient(),
        }
    }

    /// What happened, without the advice.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.0.advice.as_deref()
    }

    /// The credential that failed.
    #[must_use]
    pub fn credential(&self) -> Option<&str> {
        self.0.credential.as_deref()
    }

    /// The HTTP status of the identity provider's answer.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// The OAuth `error` code of the answer, such as `invalid_client`.
    #[must_use]
    pub fn oauth_error(&self) -> Option<&str> {
        self.0.oauth_error.as_deref()
    }

    /// The numbers of the `AADSTS…` codes in the answer, such as 7000215.
    #[must_use]
    pub fn aadsts_codes(&self) -> &[u32] {
        &self.0.aadsts_codes
    }

    /// The id under which the identity provider's support finds the request.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.0.correlation_id.as_deref()
    }

    /// How long the identity provider wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The credentials that a chain tried, in that order; empty if it was no
    /// chain that failed.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.attempts
    }

    /// `depth` is how many chains this one is in.
    fn fmt_without_credential(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        f.write_str(self.message())?;
        if let Some(advice) = self.advice() {
            write!(f, ": {advice}")?;
        }
        let indented = 3 + 5 * depth;
        for (at, attempt) in self.attempts().iter().enumerate() {
            write!(f, "\n{:>indented$}. ", at + 1)?;
            attempt.fmt_at(f, depth + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(credential) = self.credential() {
            write!(f, "{credential}: ")?;
        }
        self.fmt_without_credential(f, 0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = &*self.0;
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &details.kind);
        debug.field("message", &details.message);
        for (name, text) in [
            ("advice", self.advice()),
            ("credential", self.credential()),
            ("oauth_error", self.oauth_error()),
            ("correlation_id", self.correlation_id()),
        ] {
            if let Some(text) = text {
                debug.field(name, &text);
            }
        }
        if let Some(status) = details.status {
            debug.field("status", &status.as_u16());
        }
        if !details.aadsts_codes.is_empty() {
            debug.field("aadsts_codes", &details.aadsts_codes);
        }
        if let Some(wait) = details.retry_after {
            debug.field("retry_after", &wait);
        }
        if !details.attempts.is_empty() {
            debug.field("attempts", &details.attempts);
        }
        if let Some(source) = &details.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_ref()?;
        Some(&**source)
    }
}

/// Text from a server, made safe to show: characters that break lines, drive a
/// terminal or turn what follows around become blanks, so that it can forge
/// neither log lines nor what stands beside it, and it is cut.
pub(crate) fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut cut: String = text
        .chars()
        .map(|c| if steers(c) { ' ' } else { c })
        .take(MAX_FOREIGN_TEXT)
        .collect();
    if cut.len() < text.len() && text.chars().nth(MAX_FOREIGN_TEXT).is_some() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t29_foreign_text_is_cut_and_has_no_control_characters() {
        let shown = printable(&format!("a\r\nb\x1b[31m{}", "x".repeat(400)));
        assert!(shown.starts_with("a  b [31m"));
        assert_eq!(shown.chars().count(), MAX_FOREIGN_TEXT + 1);
        assert_eq!(
            printable("a\u{2028}b\u{202e}c\u{2067}d é–\u{1f600}"),
            "a b c d é–\u{1f600}"
        );
    }

    #[test]
    fn text_leads_with_the_credential_and_ends_with_the_advice() {
        let error = Error::new(ErrorKind::Rejected, "the secret has expired")
            .with_credential("ClientSecretCredential")
            .with_advice("make a new one");
        assert_eq!(
            error.to_string(),
            "ClientSecretCredential: the secret has expired: make a new one"
        );
    }

    #[test]
    fn a_chain_tells_all_that_it_tried_in_order() {
        let attempt = |credential, message, advice, tenths: u64| {
            let error = Error::new(ErrorKind::Unavailable, message)
                .with_credential(credential)
                .with_advice(advice);
            Attempt::new(error, Duration::from_millis(tenths * 100))
        };
        let error = Error::new(ErrorKind::Unavailable, "2 credentials were tried").with_attempts([
            attempt(
                "ManagedIdentityCredential",
                "no metadata service",
                "leave Azure",
                10,
            ),
            attempt(
                "AzureCliCredential",
                "nobody is logged in",
                "run az login",
                14,
            ),
        ]);
        assert_eq!(
            error.to_string(),
            "2 credentials were tried\
             \n  1. ManagedIdentityCredential (1.0 s): no metadata service: leave Azure\
             \n  2. AzureCliCredential (1.4 s): nobody is logged in: run az login"
        );
        assert_eq!(error.attempts()[1].took(), Duration::from_millis(1400));
    }
}
