//! Whom a token is for, and how that follows from where a request goes.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::{Error, ErrorKind};

/// Whom a token is for: the `resource` of OAuth 2 (RFC 8707), in Azure the
/// application id URI of a service, such as `https://vault.azure.net`.
///
/// Compared byte for byte: `https://management.azure.com` and
/// `https://management.azure.com/` are two audiences.
#[derive(Clone, PartialEq, Eq, Hash)]
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
/// to the same one.
///
/// ```
/// use tower_bearer::{Audience, Error, Origin, ResolveAudience};
///
/// struct OneTeam;
///
/// impl ResolveAudience for OneTeam {
///     fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
///         let Some(host) = origin.secure_host()? else {
///             return Ok(None);
///         };
///         Ok(host
///             .strip_suffix(".team.example.com")
///             .map(|service| Audience::from(format!("api://{service}"))))
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

/// Where a request goes: scheme and authority of its URI, as the HTTP client
/// will read them.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    scheme: &'a Scheme,
    authority: &'a Authority,
}

impl<'a> Origin<'a> {
    pub(crate) fn new(scheme: &'a Scheme, authority: &'a Authority) -> Self {
        Self { scheme, authority }
    }

    /// The origin of an absolute URI.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnknownHost`] when the URI has no scheme or no host.
    pub fn of(uri: &'a Uri) -> Result<Self, Error> {
        match (uri.scheme(), uri.authority()) {
            (Some(scheme), Some(authority)) => Ok(Self { scheme, authority }),
            _ => Err(Error::new(
                ErrorKind::UnknownHost,
                "the request's URI does not say which host it goes to",
            )
            .with_advice("send requests with an absolute URI through this layer")),
        }
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> &'a Scheme {
        self.scheme
    }

    /// Host, port and user information, as they stand in the URI.
    #[must_use]
    pub fn authority(&self) -> &'a Authority {
        self.authority
    }

    /// Whether the scheme is `https`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        *self.scheme == Scheme::HTTPS
    }

    /// The port, or the one that the scheme implies. `None` for a scheme that
    /// implies none.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.authority.port_u16().or_else(|| {
            if self.is_https() {
                Some(443)
            } else if *self.scheme == Scheme::HTTP {
                Some(80)
            } else {
                None
            }
        })
    }

    /// Whether the authority holds `user@` or `user:password@`.
    #[must_use]
    pub fn has_userinfo(&self) -> bool {
        self.authority.as_str().contains('@')
    }

    /// The host in the one form that rules are compared with: lower case, no
    /// dot at the end, letters, digits and hyphens in labels of 1 to 63 bytes.
    /// `None` for everything else, such as IP addresses, internationalised
    /// names and hosts that only some parsers accept.
    #[must_use]
    pub fn domain(&self) -> Option<String> {
        let host = self.authority.host();
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.len() > 253 || !host.split('.').all(is_ldh_label) {
            return None;
        }
        // Some parsers take a name that ends in a number for an address
        // (WHATWG URL, section 3.5), so it is no name here.
        let last = host.rsplit('.').next()?;
        let numeric = last.bytes().all(|b| b.is_ascii_digit())
            || last
                .get(..2)
                .is_some_and(|hex| hex.eq_ignore_ascii_case("0x"));
        (!numeric).then(|| host.to_ascii_lowercase())
    }

    /// The host, if it is written as an IP address.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        let host = self.authority.host();
        if let Some(v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            return v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
        }
        host.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
    }

    /// Whether the host is this machine, by address or by the name
    /// `localhost` (RFC 6761 section 6.3).
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.is_loopback(),
            None => self
                .domain()
                .is_some_and(|name| name == "localhost" || name.ends_with(".localhost")),
        }
    }

    /// What most resolvers want: the [domain](Self::domain), for `https` on
    /// port 443 without user information; `None` where there is no domain.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RefusedHost`] for plain HTTP, another port or user
    /// information. A resolver that does not know the host should answer
    /// `Ok(None)` before it asks this.
    pub fn secure_host(&self) -> Result<Option<String>, Error> {
        let Some(domain) = self.domain() else {
            return Ok(None);
        };
        self.require_secure(&domain)?;
        Ok(Some(domain))
    }

    pub(crate) fn require_secure(&self, host: &str) -> Result<(), Error> {
        self.require_no_userinfo(host)?;
        if !self.is_https() {
            return Err(refused(
                host,
                "the request is not https, so the token could be read on the way",
                "use https",
            ));
        }
        match self.port() {
            Some(443) if self.port_is_readable() => Ok(()),
            _ => Err(refused(
                host,
                "the request is not to port 443",
                "add a rule for host and port with Hosts::allow_port",
            )),
        }
    }

    pub(crate) fn require_no_userinfo(&self, host: &str) -> Result<(), Error> {
        if self.has_userinfo() {
            return Err(refused(
                host,
                "its URL holds user information, which must not stand beside a token",
                "take user:password@ out of the URL",
            ));
        }
        Ok(())
    }

    /// A port that `http` could not read as a number must not pass for none.
    fn port_is_readable(&self) -> bool {
        match self.authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => self.authority.port_u16().is_some(),
            _ => true,
        }
    }
}

pub(crate) fn refused(host: &str, why: &str, advice: &'static str) -> Error {
    Error::new(
        ErrorKind::RefusedHost,
        format!("no token for {}: {why}", crate::error::printable(host)),
    )
    .with_advice(advice)
}

fn is_ldh_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
        && !label
            .get(..4)
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"))
}
