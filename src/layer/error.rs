//! The one failure that the layer adds to those of the client.

use std::fmt;

use crate::{BoxError, Error};

/// Why a request through [`BearerAuth`](crate::BearerAuth) got no response.
///
/// ```
/// use tower_bearer::BearerAuthError;
///
/// fn report(error: BearerAuthError) {
///     match error {
///         BearerAuthError::Token(error) => eprintln!("no token: {error}"),
///         BearerAuthError::Service(error) => eprintln!("not sent: {error}"),
///         _ => {}
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum BearerAuthError {
    /// No token could be had, so the request was not sent.
    Token(Error),
    /// The inner service failed. Its own error type can be had by
    /// `downcast_ref`.
    Service(BoxError),
}

impl BearerAuthError {
    pub(crate) fn service(error: impl Into<BoxError>) -> Self {
        Self::Service(error.into())
    }

    /// The reason that there is no token, if that is what failed.
    #[must_use]
    pub fn token_error(&self) -> Option<&Error> {
        match self {
            Self::Token(error) => Some(error),
            Self::Service(_) => None,
        }
    }
}

impl fmt::Display for BearerAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error) => error.fmt(f),
            Self::Service(error) => error.fmt(f),
        }
    }
}

// Not generic over the inner error: such a type could implement either `Error`
// or `Into<BoxError>` for inner errors that are boxed already, as those of
// tower's own middleware are, but not both.
impl std::error::Error for BearerAuthError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Token(error) => error.source(),
            Self::Service(error) => error.source(),
        }
    }
}
