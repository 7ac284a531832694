//! Where requests go, by the beginning of their path.

use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;
use percent_encoding::percent_decode_str;
use tower_bearer::{Error, Origin};

use super::settings::pair;

/// The way to one upstream.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Without a slash at the end, so `/` is empty.
    prefix: String,
    /// Scheme and authority, with no path but a slash.
    upstream: Uri,
    /// What comes before the rest of the path, without a slash at the end.
    base: String,
    pub(crate) protocol: Protocol,
    pub(crate) audience: Option<String>,
}

/// How an upstream is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1, or what TLS comes to.
    Negotiated,
    /// HTTP/2 from the first byte.
    PriorKnowledge,
}

/// The longest prefix first.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Route>);

/// Why no upstream gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stray {
    NoRoute,
    /// It could mean another place to the upstream than it does here.
    Ambiguous,
}

impl Route {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (prefix, url) = pair("--route", text)?;
        let (url, protocol) = match url.strip_prefix("h2c://") {
            Some(rest) => (format!("http://{rest}"), Protocol::PriorKnowledge),
            None => (url.to_owned(), Protocol::Negotiated),
        };
        let mut parts = url.parse::<Uri>().unwrap_or_default().into_parts();
        let base = parts.path_and_query.replace(PathAndQuery::from_static("/"));
        let upstream = Uri::from_parts(parts).unwrap_or_default();
        check_upstream(prefix, &upstream)?;
        let base = base.as_ref().map_or("/", PathAndQuery::as_str);
        let plain =
            |path: &str| !ambiguous(path) && !path.contains(['?', '%']) && !path.contains("//");
        if !plain(prefix) || !plain(base) || url.contains('#') {
            return Err(format!(
                "the route {prefix} has more than plain paths in it"
            ));
        }
        Ok(Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
            base: base.trim_end_matches('/').to_owned(),
            upstream,
            protocol,
            audience: None,
        })
    }

    pub(crate) fn origin(&self) -> Result<Origin<'_>, Error> {
        Origin::of(&self.upstream)
    }

    /// Host and port, if one is named.
    pub(crate) fn host(&self) -> &str {
        self.upstream
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    pub(crate) fn is_https(&self) -> bool {
        self.upstream.scheme_str() == Some("https")
    }

    /// Whether that is known: what TLS comes to is not.
    pub(crate) fn is_http1(&self) -> bool {
        self.protocol == Protocol::Negotiated && !self.is_https()
    }

    pub(crate) fn prefix(&self) -> &str {
        match self.prefix.as_str() {
            "" => "/",
            prefix => prefix,
        }
    }

    /// What comes after the prefix, if the path is below it.
    fn rest<'a>(&self, path_and_query: &'a str) -> Option<&'a str> {
        let rest = path_and_query.strip_prefix(self.prefix.as_str())?;
        (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest)
    }

    fn target(&self, rest: &str) -> Option<Uri> {
        let slash = if rest.starts_with('/') { "" } else { "/" };
        let path = format!("{}{slash}{rest}", self.base);
        let mut parts = self.upstream.clone().into_parts();
        parts.path_and_query = PathAndQuery::from_maybe_shared(path.into_bytes()).ok();
        Uri::from_parts(parts).ok()
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prior = match self.protocol {
            Protocol::Negotiated => "",
            Protocol::PriorKnowledge => " (HTTP/2)",
        };
        write!(
            f,
            "{} -> {}{}{prior}",
            self.prefix(),
            self.upstream.to_string().trim_end_matches('/'),
            self.base
        )
    }
}

impl Routes {
    pub(crate) fn add(&mut self, route: Route) -> Result<(), String> {
        if self.0.iter().any(|known| known.prefix == route.prefix) {
            return Err(format!("there are two routes for {}", route.prefix()));
        }
        self.0.push(route);
        self.0
            .sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        Ok(())
    }

    pub(crate) fn set_audience(&mut self, prefix: &str, audience: &str) -> Result<(), String> {
        let prefix = prefix.trim_end_matches('/');
        let route = self.0.iter_mut().find(|route| route.prefix == prefix);
        let Some(route) = route else {
            return Err(format!("there is no route {prefix:?} to have an audience"));
        };
        if route.audience.replace(audience.to_owned()).is_some() {
            return Err(format!("there are two audiences for {}", route.prefix()));
        }
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// The route of a request, and its place there.
    pub(crate) fn find(&self, uri: &Uri) -> Result<(&Route, Uri), Stray> {
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        if ambiguous(uri.path()) {
            return Err(Stray::Ambiguous);
        }
        let found = self.0.iter().find_map(|r| Some((r, r.rest(path)?)));
        let (route, rest) = found.ok_or(Stray::NoRoute)?;
        let target = route.target(rest).ok_or(Stray::Ambiguous)?;
        Ok((route, target))
    }
}

/// Whether an upstream can be spoken to, and trusted with a token.
fn check_upstream(prefix: &str, upstream: &Uri) -> Result<(), String> {
    let no_url = || format!("the route {prefix}: write https://HOST or http://localhost:PORT");
    let origin = Origin::of(upstream).map_err(|_| no_url())?;
    if origin.has_userinfo() {
        return Err(format!(
            "the route {prefix} has user information in its URL"
        ));
    }
    let named = origin.domain().is_some() || origin.ip().is_some();
    if !matches!(origin.scheme().as_str(), "http" | "https") || !named || origin.port().is_none() {
        return Err(no_url());
    }
    if !origin.is_https() && !origin.is_loopback() {
        return Err(format!(
            "the route {prefix}: plain HTTP is for this machine only, since anybody on the way \
             could read the token"
        ));
    }
    Ok(())
}

/// Whether a server may take a path for one of another place, above the one
/// that the route leads to.
fn ambiguous(path: &str) -> bool {
    // Most paths have nothing of what it takes.
    if !(path.contains("/.") || path.contains(['%', '\\'])) {
        return false;
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    decoded.split(['/', '\\']).any(|segment| {
        // Servers that know path parameters take `..;x` for `..`.
        let name = segment.split(';').next();
        matches!(name, Some("." | ".."))
    })
}
