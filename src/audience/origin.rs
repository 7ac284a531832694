//! Where a request goes, read in the one way that every parser agrees on.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::{Authority, Scheme};

use super::Audience;
use crate::{Error, ErrorKind};

/// Where a request goes: scheme and authority of its URI, as the HTTP client
/// will read them.
///
/// URL parsers differ on what the host of a hostile URL is. So this is read
/// from the parsed [`Uri`] that the client sends, and whatever another parser
/// might take for another host or port is no [domain](Self::domain), no
/// [address](Self::ip) or no [port](Self::port) here.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    scheme: &'a Scheme,
    authority: &'a Authority,
    /// As `authority` has it, which looks for it each time.
    host: &'a str,
    /// What is in `host`.
    kinds: u8,
}

impl<'a> Origin<'a> {
    /// The origin of an absolute URI.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnknownHost`] when the URI has no scheme or no host.
    pub fn of(uri: &'a Uri) -> Result<Self, Error> {
        match (uri.scheme(), uri.authority()) {
            (Some(scheme), Some(authority)) => Ok(Self::new(scheme, authority)),
            _ => Err(Error::new(
                ErrorKind::UnknownHost,
                "the request's URI does not say which host it goes to",
            )
            .with_advice("send requests with an absolute URI through this layer")),
        }
    }

    pub(crate) fn new(scheme: &'a Scheme, authority: &'a Authority) -> Self {
        // Most authorities are nothing but a host, which is seen in a fraction of
        // the time that it takes to look for its ends.
        let (mut host, mut kinds) = (authority.as_str(), kinds_in(authority.as_str()));
        if kinds & OTHER != 0 {
            host = authority.host();
            kinds = kinds_in(host);
        }
        Self {
            scheme,
            authority,
            host,
            kinds,
        }
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> &'a Scheme {
        self.scheme
    }

    /// Host, port and user information, as they stand in the URI. User
    /// information may hold a password, so this is nothing to log.
    #[must_use]
    pub fn authority(&self) -> &'a Authority {
        self.authority
    }

    /// Whether the scheme is `https`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        *self.scheme == Scheme::HTTPS
    }

    /// The port, or the one that the scheme implies.
    ///
    /// `None` for a scheme that implies none, and for a port that is not a
    /// number from 1 to 65535 in decimal digits: clients take the scheme's
    /// port in place of one that they cannot read, other parsers refuse it.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let text = self.authority.as_str();
        let after_host = if self.is_host_alone() {
            ""
        } else {
            let host_and_port = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
            host_and_port.strip_prefix(self.host)?
        };
        match after_host {
            "" if self.is_https() => Some(443),
            "" if *self.scheme == Scheme::HTTP => Some(80),
            "" => None,
            rest => rest
                .strip_prefix(':')
                // `u16::from_str` would also take a sign.
                .filter(|port| port.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0),
        }
    }

    /// Whether the authority holds `user@` or `user:password@`.
    #[must_use]
    pub fn has_userinfo(&self) -> bool {
        !self.is_host_alone() && self.authority.as_str().contains('@')
    }

    /// Whether the authority has neither user information nor port.
    fn is_host_alone(&self) -> bool {
        self.authority.as_str().len() == self.host.len()
    }

    /// The host in the one form that rules are compared with: lower case, no
    /// dot at the end, letters, digits and hyphens in labels of 1 to 63 bytes.
    /// `None` for everything else, such as IP addresses, internationalised
    /// names and hosts that only some parsers accept.
    #[must_use]
    pub fn domain(&self) -> Option<String> {
        self.domain_key().map(Cow::into_owned)
    }

    /// [`domain`](Self::domain), borrowed where it stands like that in the URI.
    pub(crate) fn domain_key(&self) -> Option<Cow<'a, str>> {
        let host = self.host.strip_suffix('.').unwrap_or(self.host);
        if host.len() > 253 {
            return None;
        }
        if self.kinds & OTHER != 0 {
            return None;
        }
        let has_hyphens = self.kinds & HYPHEN != 0;
        let mut last: &[u8] = &[];
        for label in host.as_bytes().split(|b| *b == b'.') {
            if !(1..=63).contains(&label.len()) || (has_hyphens && !has_plain_hyphens(label)) {
                return None;
            }
            last = label;
        }
        // Some parsers take a name that ends in a number for an address
        // (WHATWG URL, section 3.5), so it is no name here.
        let numeric = last.iter().all(u8::is_ascii_digit)
            || last
                .get(..2)
                .is_some_and(|hex| hex.eq_ignore_ascii_case(b"0x"));
        if numeric {
            return None;
        }
        Some(if self.kinds & UPPER != 0 {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        })
    }

    /// The host, if it is written as an IP address: four decimal numbers, or
    /// IPv6 in brackets.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        let host = self.host;
        if let Some(v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            return v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
        }
        host.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
    }

    /// Whether the host is this machine: a loopback address or the name
    /// `localhost` (RFC 6761 section 6.3).
    ///
    /// Names below `localhost` are not counted: resolvers should keep them on
    /// this machine too, but not all do, and then a stranger's DNS decides.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.is_loopback(),
            None => self.domain_key().is_some_and(|name| name == "localhost"),
        }
    }

    /// Whether this is plain HTTP that does not leave this machine.
    pub(crate) fn is_http_loopback(&self) -> bool {
        *self.scheme == Scheme::HTTP && self.is_loopback()
    }

    /// What most resolvers want: asks `rule` for the audience of the
    /// [domain](Self::domain), and gives it out only for `https` on port 443
    /// without user information.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RefusedHost`] when the rule has an audience for the host,
    /// but the request is over plain HTTP, to another port or with user
    /// information.
    pub fn resolve_secure(
        &self,
        rule: impl FnOnce(&str) -> Option<Audience>,
    ) -> Result<Option<Audience>, Error> {
        let Some(domain) = self.domain_key() else {
            return Ok(None);
        };
        let audience = rule(&domain);
        if audience.is_some() {
            self.require_secure(&domain)?;
        }
        Ok(audience)
    }

    /// The host as rules spell it: the domain, or the address without
    /// brackets. No address can be mistaken for a domain.
    pub(crate) fn host_key(&self) -> Option<Cow<'a, str>> {
        self.domain_key()
            .or_else(|| self.ip().map(|address| Cow::Owned(address.to_string())))
    }

    pub(crate) fn require_secure(&self, host: &str) -> Result<(), Error> {
        self.require_no_userinfo(host)?;
        self.require_https(host)?;
        if self.port() != Some(443) {
            return Err(refused(
                host,
                "the request is not to port 443",
                "add a rule for host and port, such as Hosts::allow(\"host:8443\", audience)",
            ));
        }
        Ok(())
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

    pub(crate) fn require_https(&self, host: &str) -> Result<(), Error> {
        if !self.is_https() {
            return Err(refused(
                host,
                "the request is not https, so the token could be read on the way",
                "use https",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the authority: its user information may hold a password.
        f.debug_struct("Origin")
            .field("scheme", &self.scheme.as_str())
            .field("host", &self.host)
            .field("port", &self.port())
            .field("has_userinfo", &self.has_userinfo())
            .finish()
    }
}

/// The host, then what is left of it after each dot: from the longest suffix
/// at a label border to the shortest.
pub(crate) fn label_suffixes(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(host), |rest| {
        let dot = rest.bytes().position(|b| b == b'.')?;
        rest.get(dot + 1..)
    })
}

pub(crate) fn refused(host: &str, why: &str, advice: impl Into<Cow<'static, str>>) -> Error {
    Error::new(
        ErrorKind::RefusedHost,
        format!("no token for {}: {why}", crate::error::printable(host)),
    )
    .with_advice(advice)
}

/// What a byte is in a host name: one load instead of a dozen comparisons, as
/// each request to another host than the last asks it of each byte.
static KINDS: [u8; 256] = {
    let mut kinds = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let ascii = byte as u8;
        if ascii.is_ascii_uppercase() {
            kinds[byte] = UPPER;
        } else if ascii == b'-' {
            kinds[byte] = HYPHEN;
        } else if ascii.is_ascii_alphanumeric() || ascii == b'.' {
            kinds[byte] = 0;
        }
        byte += 1;
    }
    kinds
};

const UPPER: u8 = 1;
const HYPHEN: u8 = 2;
/// Neither of these, nor a small letter, a digit or a dot.
const OTHER: u8 = 4;

fn kinds_in(host: &str) -> u8 {
    host.bytes()
        .fold(0, |kinds, byte| kinds | KINDS[usize::from(byte)])
}

/// Whether `label` has hyphens only where a label may, and is not an
/// internationalised one.
fn has_plain_hyphens(label: &[u8]) -> bool {
    !label.starts_with(b"-")
        && !label.ends_with(b"-")
        && !label
            .get(..4)
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"xn--"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i10_debug_hides_the_password_in_a_url() {
        let uri: Uri = "https://user:hunter2@api.example.com:8443/"
            .parse()
            .unwrap();
        let shown = format!("{:?}", Origin::of(&uri).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("api.example.com") && shown.contains("8443"));
    }

    #[test]
    fn suffixes_are_cut_at_label_borders_longest_first() {
        let suffixes: Vec<_> = label_suffixes("a.bc.d").collect();
        assert_eq!(suffixes, ["a.bc.d", "bc.d", "d"]);
    }
}
