//! Where a host issues tokens, and which places are refused.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Uri};
use http_body_util::Full;
use percent_encoding::utf8_percent_encode;

use crate::audience::Origin;
use crate::azure::entra::form::RESERVED;
use crate::environment::Environment;
use crate::{Error, ErrorKind};

/// The address of an endpoint that issues tokens.
#[derive(Clone)]
pub(super) struct Endpoint(Uri);

impl Endpoint {
    /// An address as `named_by` has it, which is a variable of a host.
    pub(super) fn parse(text: &str, named_by: &str) -> Result<Self, Error> {
        let refuse = |why: &str, advice: &'static str| {
            Error::new(ErrorKind::Configuration, format!("{named_by} {why}")).with_advice(advice)
        };
        let no_url = || {
            refuse(
                "is not a URL",
                "give it as http://, address and port, or unset it",
            )
        };
        let uri: Uri = text.trim().parse().map_err(|_| no_url())?;
        let origin = Origin::of(&uri).map_err(|_| no_url())?;
        let in_the_clear = *origin.scheme() == Scheme::HTTP;
        if !in_the_clear && !origin.is_https() {
            return Err(no_url());
        }
        if in_the_clear && !origin.is_loopback() && !origin.ip().is_some_and(is_near) {
            return Err(refuse(
                "is plain http to somewhere else than this machine or its own network",
                "give a loopback, link-local or private address",
            ));
        }
        if origin.has_userinfo() {
            return Err(refuse("holds user information", "take user:password@ out"));
        }
        Ok(Self(uri))
    }

    /// The one that `variable` names, if it is set.
    pub(super) fn read(
        environment: &Environment,
        variable: &'static str,
    ) -> Result<Option<Self>, Error> {
        environment
            .text(variable)?
            .map(|text| Self::parse(&text, variable))
            .transpose()
    }

    /// `path` at an address that may be no more than scheme, host and port.
    pub(super) fn at_host(text: &str, named_by: &str, path: &'static str) -> Result<Self, Error> {
        let Self(uri) = Self::parse(text, named_by)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("{named_by} is more than scheme, address and port"),
            )
            .with_advice("give it as http://169.254.169.254"));
        }
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static(path));
        Uri::from_parts(parts).map(Self).map_err(too_long)
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// What the transport for metadata services speaks.
    pub(super) fn require_plain_http(&self) -> Result<(), Error> {
        if !self.is_https() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Configuration,
            "the built-in transport to metadata services speaks plain http only",
        )
        .with_advice("give an http:// endpoint, or pass a transport that speaks https"))
    }

    /// A request without parameters.
    pub(super) fn bare(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = self.0.clone();
        request
    }

    /// A request with `parameters` in its query. Everything in them is encoded.
    pub(super) fn get(&self, parameters: &[(&str, &str)]) -> Result<Request<Full<Bytes>>, Error> {
        let mut target = self.0.path().to_owned();
        let mut separator = '?';
        if let Some(query) = self.0.query() {
            target.push('?');
            target.push_str(query);
            separator = '&';
        }
        for (name, value) in parameters {
            target.push(separator);
            target.push_str(name);
            target.push('=');
            target.extend(utf8_percent_encode(value, RESERVED));
            separator = '&';
        }
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = target.parse().ok();
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = Uri::from_parts(parts).map_err(too_long)?;
        Ok(request)
    }
}

fn too_long(cause: http::uri::InvalidUriParts) -> Error {
    Error::new(
        ErrorKind::Configuration,
        "audience and identity are too long for a request",
    )
    .with_source(cause)
}

/// Host and port, as errors name them.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::transport::place(&self.0))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Loopback, link-local or private, as RFC 1918, RFC 3927 and RFC 4193 have it.
fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t9_plain_http_stays_near() {
        for near in [
            "http://169.254.169.254",
            "http://127.0.0.1:50342/",
            "http://localhost:1/msi/token/",
            "http://[::1]:1",
            "http://[fd00::1]",
            "http://[fe80::1]",
            "http://[::ffff:10.0.0.1]",
            "http://10.1.2.3",
            "http://172.31.0.1",
            "http://192.168.0.1",
            "https://metadata.example/token?x=y",
        ] {
            assert!(Endpoint::parse(near, "it").is_ok(), "{near}");
        }
        for far in [
            "http://metadata.example",
            "http://8.8.8.8",
            "http://172.32.0.1",
            "http://169.255.0.1",
            "http://0.0.0.0",
            "http://0x7f000001",
            "http://2130706433",
            "http://127.1",
            "http://localhost.example",
            "http://a.localhost",
            "http://[2001:db8::1]",
            "http://[::ffff:8.8.8.8]",
            "http://127.0.0.1@evil.example",
            "http://user:canary@127.0.0.1",
            "ftp://127.0.0.1",
            "//127.0.0.1",
            "/msi/token?canary",
            "169.254.169.254",
            "",
        ] {
            let error = Endpoint::parse(far, "it").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{far}");
            assert!(!format!("{error:?}").contains("canary"));
        }
    }

    #[test]
    fn a_host_is_no_more_than_a_host() {
        let at = |text| Endpoint::at_host(text, "it", "/p").map(|it| it.bare().uri().to_string());
        assert_eq!(at("http://127.0.0.1:1/").unwrap(), "http://127.0.0.1:1/p");
        for more in [
            "http://127.0.0.1/metadata/identity",
            "http://127.0.0.1?canary",
        ] {
            let error = at(more).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{more}");
            assert!(!format!("{error:?}").contains("canary"));
        }
    }

    #[test]
    fn parameters_are_encoded_and_follow_what_is_there() {
        for (endpoint, expected) in [
            (
                "http://localhost:1/msi",
                "http://localhost:1/msi?r=a%26b%2F",
            ),
            (
                "http://localhost:1/msi?k=v",
                "http://localhost:1/msi?k=v&r=a%26b%2F",
            ),
            ("http://localhost:1", "http://localhost:1/?r=a%26b%2F"),
        ] {
            let endpoint = Endpoint::parse(endpoint, "it").unwrap();
            let request = endpoint.get(&[("r", "a&b/")]).unwrap();
            assert_eq!(request.uri(), expected);
        }
        let endpoint = Endpoint::parse("http://localhost:1", "it").unwrap();
        let error = endpoint.get(&[("r", &"x".repeat(70_000))]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}
