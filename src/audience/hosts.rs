//! Hosts of one's own, and the audience of each.

use hashbrown::HashMap;
use http::uri::{Authority, Scheme};

use super::origin::{label_suffixes, refused};
use super::{Audience, Origin, ResolveAudience};
use crate::{Error, ErrorKind};

/// Hosts of one's own services and emulators, and the audience of each.
///
/// ```
/// use tower_bearer::{Audience, Hosts, Origin, ResolveAudience};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hosts = Hosts::new()
///     .allow("api.example.com", "api://orders")?
///     .allow("api.example.com:8443", "api://orders-admin")?
///     .allow("*.team.example.com", "api://team")?
///     .allow("10.1.2.3", "api://orders")?
///     .allow_http_loopback("localhost:8080", "api://orders")?;
///
/// let uri = "https://a.team.example.com/".parse()?;
/// let audience = hosts.resolve(&Origin::of(&uri)?)?;
/// assert_eq!(audience, Some(Audience::from("api://team")));
/// # Ok(())
/// # }
/// ```
///
/// A rule is for one scheme, one host (or all below one) and one port. A host
/// that is named in full beats `*.`, and the longer `*.` beats the shorter. A
/// rule that cannot be used is an error where it is written, not at the first
/// request that needs it.
///
/// A request to a host that has rules, but none for its scheme and port, is
/// refused, since it was most likely meant to have a token. Only on loopback
/// another port is another service, and simply has no rule.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    exact: HashMap<String, Vec<Rule>>,
    below: HashMap<String, Vec<Rule>>,
}

#[derive(Clone, Debug)]
struct Rule {
    scheme: Scheme,
    port: u16,
    audience: Audience,
}

impl Hosts {
    /// No host yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives requests to `host` over https a token for `audience`.
    ///
    /// `host` is one of
    /// - a name or an IP address, `api.example.com`, `10.1.2.3`, `[fd00::1]`:
    ///   port 443;
    /// - the same with a port, `api.example.com:8443`: that port only;
    /// - `*.example.com`, with or without a port: every name below
    ///   `example.com`, at any depth, but not `example.com` itself. Whoever can
    ///   get a name there gets the token, so never write this for a domain in
    ///   which others register names (`*.azurewebsites.net`, `*.github.io`).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when `host` is none of these, has a scheme
    /// or a path, would name a whole top-level domain or what is known to be
    /// as good as one (`*.com`, `*.co.uk`), or has another audience already;
    /// and when `audience` is empty or has characters that no audience has.
    pub fn allow(self, host: &str, audience: impl Into<Audience>) -> Result<Self, Error> {
        let pattern = Pattern::parse(host, &Scheme::HTTPS)?;
        self.add(host, pattern, Scheme::HTTPS, audience.into())
    }

    /// Gives requests to `host` over **plain HTTP** a token for `audience`, if
    /// the host is this machine: `localhost`, `127.0.0.1` or `[::1]`, with or
    /// without a port (80 without).
    ///
    /// For emulators: any program on this machine can listen there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when `host` is not loopback, and in the
    /// cases of [`allow`](Self::allow).
    pub fn allow_http_loopback(
        self,
        host: &str,
        audience: impl Into<Audience>,
    ) -> Result<Self, Error> {
        let pattern = Pattern::parse(host, &Scheme::HTTP)?;
        if !pattern.loopback {
            return Err(unusable(
                host,
                "plain HTTP is for localhost and loopback addresses only",
                "use https, with Hosts::allow",
            ));
        }
        self.add(host, pattern, Scheme::HTTP, audience.into())
    }

    fn add(
        mut self,
        written: &str,
        pattern: Pattern,
        scheme: Scheme,
        audience: Audience,
    ) -> Result<Self, Error> {
        audience.check()?;
        let rules = if pattern.below {
            &mut self.below
        } else {
            &mut self.exact
        };
        let rules = rules.entry(pattern.host).or_default();
        if rules
            .iter()
            .any(|rule| rule.scheme == scheme && rule.port == pattern.port)
        {
            return Err(unusable(
                written,
                "there is a rule for this host and port already",
                "keep one of them",
            ));
        }
        rules.push(Rule {
            scheme,
            port: pattern.port,
            audience,
        });
        Ok(self)
    }

    /// The rules that name `host`, from the nearest to the widest.
    fn rules_for<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Rule> {
        let exact = self.exact.get(host).into_iter();
        // An address has dots too, but no rule is for what is below one.
        let below = label_suffixes(host)
            .skip(1)
            .filter_map(|suffix| self.below.get(suffix));
        exact.chain(below).flatten()
    }
}

impl ResolveAudience for Hosts {
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
        let Some(host) = origin.host_key() else {
            return Ok(None);
        };
        let port = origin.port();
        let mut named = self.rules_for(&host).peekable();
        if named.peek().is_none() {
            return Ok(None);
        }
        let mut same_port = false;
        for rule in named {
            if Some(rule.port) == port {
                same_port = true;
                if rule.scheme == *origin.scheme() {
                    origin.require_no_userinfo(&host)?;
                    return Ok(Some(rule.audience.clone()));
                }
            }
        }
        if !same_port && port.is_some() && origin.is_loopback() {
            return Ok(None);
        }
        origin.require_no_userinfo(&host)?;
        origin.require_https(&host)?;
        Err(refused(
            &host,
            "there are rules for this host, but none for https on the port of the request",
            "add a rule for host and port, such as Hosts::allow(\"host:8443\", audience)",
        ))
    }
}

/// What a rule names: a host, or all hosts below one, and a port.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) below: bool,
    pub(crate) loopback: bool,
}

impl Pattern {
    /// Reads `written` with the parser and in the way that requests are read.
    pub(crate) fn parse(written: &str, scheme: &Scheme) -> Result<Self, Error> {
        if written.is_empty() {
            return Err(unusable(written, "it is empty", EXPECTED));
        }
        if written.contains("://") {
            return Err(unusable(
                written,
                "it has a scheme",
                "leave out the scheme: write api.example.com, not https://api.example.com",
            ));
        }
        if written.contains(['/', '?', '#', '@']) {
            return Err(unusable(
                written,
                "it has more than host and port",
                "leave out user information, path and query",
            ));
        }
        let (below, host) = match written.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, written),
        };
        let authority: Authority = host
            .parse()
            .map_err(|_| unusable(written, "it is no host name or IP address", EXPECTED))?;
        let origin = Origin::new(scheme, &authority);
        let key = origin.host_key().ok_or_else(|| {
            unusable(
                written,
                "it is no host name of letters, digits and hyphens and no IP address",
                EXPECTED,
            )
        })?;
        let port = origin.port().ok_or_else(|| {
            unusable(
                written,
                "its port is no port number",
                "use a port from 1 to 65535",
            )
        })?;
        if below && (origin.ip().is_some() || is_open_to_everybody(&key)) {
            return Err(unusable(
                written,
                "anybody could get a host below that",
                "name the domain that is yours, such as *.example.com",
            ));
        }
        Ok(Self {
            host: key.into_owned(),
            port,
            below,
            loopback: !below && origin.is_loopback(),
        })
    }

    /// Whether this names `host`, which [`Origin::host_key`] gave, and `port`.
    #[cfg(feature = "azure")]
    pub(crate) fn names(&self, host: &str, port: Option<u16>) -> bool {
        !self.below && self.host == host && Some(self.port) == port
    }
}

const EXPECTED: &str = "give a host such as api.example.com, api.example.com:8443, *.example.com \
    or [::1]:8443; internationalised names are not supported";

/// Top-level domains, and the second level where countries sell the third. The
/// whole Public Suffix List would catch more, but is out of date on the day
/// after it is built in.
fn is_open_to_everybody(domain: &str) -> bool {
    match domain.split_once('.') {
        None => true,
        Some((second, top)) => {
            top.len() == 2
                && matches!(
                    second,
                    "ac" | "co"
                        | "com"
                        | "edu"
                        | "go"
                        | "gob"
                        | "gov"
                        | "ltd"
                        | "mil"
                        | "ne"
                        | "net"
                        | "nom"
                        | "or"
                        | "org"
                        | "plc"
                        | "sch"
                )
        }
    }
}

pub(crate) fn unusable(written: &str, why: &str, advice: &'static str) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!(
            "the host rule {:?} cannot be used: {why}",
            crate::error::printable(written)
        ),
    )
    .with_advice(advice)
}
