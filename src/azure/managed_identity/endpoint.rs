//! Where a metadata service is, and which places are refused.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;

use crate::audience::Origin;
use crate::environment::Environment;
use crate::{Error, ErrorKind};

const VARIABLE: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
const LINK_LOCAL: &str = "http://169.254.169.254";

/// Scheme, address and port of a metadata service.
#[derive(Clone, Debug)]
pub(super) struct Endpoint(Uri);

impl Endpoint {
    /// The one that is given, else the one in the environment, else Azure's.
    pub(super) fn select(given: Option<&str>, environment: &Environment) -> Result<Self, Error> {
        if let Some(given) = given {
            return Self::parse(given, "the metadata endpoint");
        }
        match environment.text(VARIABLE)? {
            Some(host) => Self::parse(&host, VARIABLE),
            None => Self::parse(LINK_LOCAL, "the metadata endpoint"),
        }
    }

    fn parse(text: &str, named_by: &str) -> Result<Self, Error> {
        let refuse = |why: &str, advice: &'static str| {
            Error::new(ErrorKind::Configuration, format!("{named_by} {why}")).with_advice(advice)
        };
        let no_url = || refuse("is not a URL", "give it as http://169.254.169.254");
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
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refuse(
                "is more than scheme, address and port",
                "give it as http://169.254.169.254",
            ));
        }
        Ok(Self(uri))
    }

    /// What the transport for metadata services speaks.
    pub(super) fn require_plain_http(&self) -> Result<(), Error> {
        if self.0.scheme() == Some(&Scheme::HTTP) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Configuration,
            "the built-in transport to metadata services speaks plain http only",
        )
        .with_advice("give an http:// endpoint, or pass a transport that speaks https"))
    }

    pub(super) fn with_path(&self, path_and_query: &str) -> Result<Uri, Error> {
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = path_and_query.parse().ok();
        Uri::from_parts(parts).map_err(|cause| {
            Error::new(
                ErrorKind::Configuration,
                "audience and identity are too long for a request",
            )
            .with_source(cause)
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::transport::place(&self.0))
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
            "http://localhost:1",
            "http://[::1]:1",
            "http://[fd00::1]",
            "http://[fe80::1]",
            "http://[::ffff:10.0.0.1]",
            "http://10.1.2.3",
            "http://172.31.0.1",
            "http://192.168.0.1",
            "https://metadata.example",
        ] {
            assert!(Endpoint::parse(near, "it").is_ok(), "{near}");
        }
        for far in [
            "http://metadata.example",
            "http://8.8.8.8",
            "http://172.32.0.1",
            "http://169.255.0.1",
            "http://0x7f000001",
            "http://2130706433",
            "http://127.1",
            "http://[2001:db8::1]",
            "http://[::ffff:8.8.8.8]",
            "http://127.0.0.1@evil.example",
            "http://user:canary@127.0.0.1",
            "http://127.0.0.1/metadata/identity",
            "http://127.0.0.1?canary",
            "ftp://127.0.0.1",
            "169.254.169.254",
            "",
        ] {
            let error = Endpoint::parse(far, "it").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{far}");
            assert!(!format!("{error:?}").contains("canary"));
        }
    }

    #[test]
    fn an_option_beats_the_variable_beats_the_default() {
        let environment = Environment::of(&[(VARIABLE, "http://127.0.0.1:2")]);
        let shown = |given, environment: &Environment| {
            Endpoint::select(given, environment).unwrap().to_string()
        };
        assert_eq!(
            shown(Some("http://127.0.0.1:1"), &environment),
            "127.0.0.1:1"
        );
        assert_eq!(shown(None, &environment), "127.0.0.1:2");
        assert_eq!(shown(None, &Environment::of(&[])), "169.254.169.254");
        let far = Environment::of(&[(VARIABLE, "http://8.8.8.8")]);
        let error = Endpoint::select(None, &far).unwrap_err();
        assert!(error.to_string().contains(VARIABLE), "{error}");
    }
}
