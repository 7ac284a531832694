//! Whom a token is for, and how that follows from where a request goes.

use std::fmt;
use std::sync::Arc;

use crate::{Error, ErrorKind};

mod fixed;
mod hosts;
mod origin;

pub use fixed::FixedAudience;
pub use hosts::Hosts;
pub use origin::Origin;

#[cfg(feature = "azure")]
pub(crate) use hosts::{Pattern, unusable};
#[cfg(feature = "azure")]
pub(crate) use origin::{label_suffixes, refused};

/// Whom a token is for: the `resource` of OAuth 2 (RFC 8707), in Azure the
/// application id URI of a service, such as `https://vault.azure.net`.
///
/// Compared byte for byte: `https://management.azure.com` and
/// `https://management.azure.com/` are two audiences.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Audience(Arc<str>);

impl Audience {
    /// The audience as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An audience goes into URLs, forms and command lines.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.0.is_empty() {
            return Err(
                Error::new(ErrorKind::Configuration, "the audience is empty").with_advice(
                    "give the application id URI of the service, such as https://vault.azure.net",
                ),
            );
        }
        if !self.0.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "the audience {:?} has characters that no audience has",
                    crate::error::printable(&self.0)
                ),
            )
            .with_advice("give one application id URI, without blanks"));
        }
        Ok(())
    }
}

impl From<&str> for Audience {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl From<String> for Audience {
    fn from(text: String) -> Self {
        Self(Arc::from(text))
    }
}

impl From<&Audience> for Audience {
    fn from(audience: &Audience) -> Self {
        audience.clone()
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Audience({:?})", &*self.0)
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Decides which audience a request's token must be for, by where the request
/// goes.
///
/// The answer must depend on the origin alone: it is kept for further requests
/// to the same one. It is asked for on each request to another origin than the
/// last ones went to, so it should come from memory, and fast.
///
/// ```
/// use tower_bearer::{Audience, Error, Origin, ResolveAudience};
///
/// struct OneTeam;
///
/// impl ResolveAudience for OneTeam {
///     fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
///         origin.resolve_secure(|host| {
///             let service = host.strip_suffix(".team.example.com")?;
///             Some(Audience::from(format!("api://{service}")))
///         })
///     }
/// }
/// ```
pub trait ResolveAudience: Send + Sync + 'static {
    /// The audience for requests to `origin`; `None` when no rule names its
    /// host.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RefusedHost`] when a rule names the host, but requests to
    /// this origin may not have a token: over plain HTTP, for example.
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error>;

    /// Asks `fallback` about hosts that `self` has no rule for.
    fn or<R: ResolveAudience>(self, fallback: R) -> Or<Self, R>
    where
        Self: Sized,
    {
        Or {
            first: self,
            second: fallback,
        }
    }
}

impl<R: ResolveAudience + ?Sized> ResolveAudience for Arc<R> {
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
        (**self).resolve(origin)
    }
}

/// What [`ResolveAudience::or`] returns.
#[derive(Clone, Copy, Debug)]
pub struct Or<A, B> {
    first: A,
    second: B,
}

impl<A: ResolveAudience, B: ResolveAudience> ResolveAudience for Or<A, B> {
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
        match self.first.resolve(origin)? {
            Some(audience) => Ok(Some(audience)),
            None => self.second.resolve(origin),
        }
    }
}
