//! `WWW-Authenticate`: what a server that answered 401 asks for.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

mod claims;
mod demand;
mod parse;

pub use claims::ClaimsChallenges;
pub use demand::Demand;

use crate::Origin;
use crate::error::printable;

/// One challenge of a `WWW-Authenticate` header (RFC 9110 section 11.3): a
/// scheme, with either parameters or a `token68`.
///
/// All of it is the word of the server that refused the request, so it is
/// nothing to act on without a check.
///
/// ```
/// use http::HeaderMap;
/// use http::header::WWW_AUTHENTICATE;
/// use tower_bearer::Challenge;
///
/// # fn main() -> Result<(), http::header::InvalidHeaderValue> {
/// let mut headers = HeaderMap::new();
/// headers.insert(
///     WWW_AUTHENTICATE,
///     r#"Negotiate, Bearer realm="a \"b\", c", error=invalid_token"#.parse()?,
/// );
/// let challenges = Challenge::parse(&headers);
/// assert!(challenges[0].is("negotiate"));
/// assert_eq!(challenges[1].param("Realm"), Some(r#"a "b", c"#));
/// assert_eq!(challenges[1].param("error"), Some("invalid_token"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    token68: Option<String>,
    params: Vec<(String, String)>,
}

impl Challenge {
    const MAX_BYTES: usize = 32 * 1024;
    const MAX_CHALLENGES: usize = 16;
    const MAX_PARAMS: usize = 64;

    /// The challenges on all `WWW-Authenticate` lines, in their order.
    ///
    /// Besides what the grammar allows, parameters may follow each other after
    /// blanks instead of commas, and values without quotes may hold what URLs
    /// and base64 hold: Azure Storage sends both. A challenge that breaks the
    /// grammar otherwise, or that has a parameter twice or more than 64 of
    /// them, is left out. At most 16 challenges and the lines that fit into 32
    /// KiB are read. Bytes that are no UTF-8 become U+FFFD.
    #[must_use]
    pub fn parse(headers: &HeaderMap) -> Vec<Self> {
        let mut found = Vec::new();
        let mut budget = Self::MAX_BYTES;
        for line in headers.get_all(WWW_AUTHENTICATE) {
            // A line that is cut could say something else than the whole.
            let Some(left) = budget.checked_sub(line.len()) else {
                break;
            };
            budget = left;
            parse::parse_line(line.as_bytes(), &mut found, Self::MAX_CHALLENGES);
        }
        found
    }

    fn new(scheme: String) -> Self {
        Self {
            scheme,
            token68: None,
            params: Vec::new(),
        }
    }

    /// Adds a parameter, or answers `false` if it may not be there.
    fn add(&mut self, name: String, value: String) -> bool {
        let sound = self.token68.is_none()
            && self.params.len() < Self::MAX_PARAMS
            && self.param(&name).is_none();
        if sound {
            self.params.push((name, value));
        }
        sound
    }

    /// The scheme, as the server wrote it.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Whether this is a challenge of `scheme`. Upper and lower case are equal.
    #[must_use]
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// What stands in place of parameters: base64 in `Negotiate`, for example.
    #[must_use]
    pub fn token68(&self) -> Option<&str> {
        self.token68.as_deref()
    }

    /// The value of a parameter, without quotes and escapes. Upper and lower
    /// case of the name are equal.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All parameters, in their order.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params: Vec<_> = self
            .params()
            .map(|(name, value)| (printable(name), printable(value)))
            .collect();
        f.debug_struct("Challenge")
            .field("scheme", &printable(&self.scheme))
            .field("token68", &self.token68().map(printable))
            .field("params", &params)
            .finish()
    }
}

/// Decides what the token of the next try must be, from the challenges of the
/// server that refused the last one.
///
/// The server is a stranger until proven otherwise: an implementation must
/// verify that it may ask for what it asks for, before anything comes of it.
/// Never does a challenge decide where a token is fetched.
///
/// ```
/// use tower_bearer::{Challenge, Demand, FollowChallenge, Origin};
///
/// /// Takes no orders: a refused token is renewed, and that is all.
/// struct Ignore;
///
/// impl FollowChallenge for Ignore {
///     fn follow(&self, _origin: &Origin<'_>, _challenges: &[Challenge]) -> Demand {
///         Demand::new()
///     }
/// }
/// ```
pub trait FollowChallenge: Send + Sync + 'static {
    /// What the next token must be, after a 401 from `origin` with these
    /// challenges. Nothing beyond being new, if the demand
    /// [is empty](Demand::is_empty).
    fn follow(&self, origin: &Origin<'_>, challenges: &[Challenge]) -> Demand;
}

impl<F: FollowChallenge + ?Sized> FollowChallenge for Arc<F> {
    fn follow(&self, origin: &Origin<'_>, challenges: &[Challenge]) -> Demand {
        (**self).follow(origin, challenges)
    }
}
