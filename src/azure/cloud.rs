//! Azure's clouds, and the authorities that issue their tokens.

use std::fmt;

use http::Uri;
use http::uri::Scheme;

use super::entra::tenants::is_ad_fs;
use crate::audience::Origin;
use crate::{Error, ErrorKind, TenantId};

/// The hosts of Entra ID, in all clouds: those of the network and their aliases.
pub(crate) const LOGIN_HOSTS: [&str; 12] = [
    "login.microsoftonline.com",
    "login.windows.net",
    "login.microsoft.com",
    "sts.windows.net",
    "login-us.microsoftonline.com",
    "login.microsoftonline.us",
    "login.usgovcloudapi.net",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
    "login.sovcloud-identity.fr",
    "login.sovcloud-identity.de",
    "login.sovcloud-identity.sg",
];

/// One of Azure's clouds. Each has an authority of its own, which knows only
/// the tenants and services of that cloud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cloud {
    /// The public cloud.
    #[default]
    Public,
    /// Azure Government (United States).
    UsGovernment,
    /// Azure operated by 21Vianet (China).
    China,
    /// Bleu (France).
    Bleu,
    /// Delos (Germany).
    Delos,
    /// `GovSG` (Singapore).
    GovSg,
}

impl Cloud {
    /// The host name of the authority that issues this cloud's tokens.
    ///
    /// ```
    /// use tower_bearer::azure::Cloud;
    ///
    /// assert_eq!(Cloud::UsGovernment.authority_host(), "login.microsoftonline.us");
    /// ```
    #[must_use]
    pub fn authority_host(self) -> &'static str {
        match self {
            Self::Public => "login.microsoftonline.com",
            Self::UsGovernment => "login.microsoftonline.us",
            Self::China => "login.partner.microsoftonline.cn",
            Self::Bleu => "login.sovcloud-identity.fr",
            Self::Delos => "login.sovcloud-identity.de",
            Self::GovSg => "login.sovcloud-identity.sg",
        }
    }
}

/// Where credentials are sent to: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority(Uri);

impl Authority {
    /// Reads what users write: with or without `https://`, with or without a
    /// slash at the end. `named_by` is what they wrote it into.
    pub(crate) fn parse(text: &str, named_by: &str, http_to_loopback: bool) -> Result<Self, Error> {
        let refuse = |why: &str, advice: &'static str| {
            Error::new(ErrorKind::Configuration, format!("{named_by} {why}")).with_advice(advice)
        };
        let text = text.trim();
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let no_host = || refuse("is not a host name", "give it as login.microsoftonline.com");
        let uri: Uri = with_scheme.parse().map_err(|_| no_host())?;
        let origin = Origin::of(&uri).map_err(|_| no_host())?;
        let allowed_in_the_clear =
            http_to_loopback && *origin.scheme() == Scheme::HTTP && origin.is_loopback();
        if !(origin.is_https() || allowed_in_the_clear) {
            return Err(refuse(
                "does not begin with https://, so secrets could be read on the way",
                "use https; plain http can be allowed for an emulator on loopback",
            ));
        }
        if origin.has_userinfo() {
            return Err(refuse("holds user information", "take user:password@ out"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refuse(
                "is more than a host",
                "give scheme, host and port alone; the tenant is a setting of its own",
            ));
        }
        Ok(Self(uri))
    }

    /// Whether this is one of Entra's own hosts.
    pub(crate) fn is_entra(&self) -> bool {
        self.0.host().is_some_and(|host| {
            LOGIN_HOSTS
                .iter()
                .any(|known| host.eq_ignore_ascii_case(known))
        })
    }

    /// The token endpoint of `tenant`, version 2, or that of AD FS.
    pub(crate) fn token_endpoint(&self, tenant: &TenantId) -> Result<Uri, Error> {
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = if is_ad_fs(tenant) {
            "/adfs/oauth2/token".parse().ok()
        } else {
            format!("/{tenant}/oauth2/v2.0/token").parse().ok()
        };
        Uri::from_parts(parts).map_err(|cause| {
            Error::new(
                ErrorKind::Configuration,
                "the authority has no token endpoint",
            )
            .with_source(cause)
        })
    }
}

impl From<Cloud> for Authority {
    fn from(cloud: Cloud) -> Self {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(http::uri::Authority::from_static(cloud.authority_host()));
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        Self(Uri::from_parts(parts).unwrap_or_default())
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::transport::place(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Result<String, Error> {
        let tenant = TenantId::new("contoso.com").unwrap();
        let authority = Authority::parse(text, "AZURE_AUTHORITY_HOST", true)?;
        Ok(authority.token_endpoint(&tenant)?.to_string())
    }

    #[test]
    fn every_usual_spelling_gives_the_same_endpoint() {
        for text in [
            "login.microsoftonline.us",
            "login.microsoftonline.us/",
            "https://login.microsoftonline.us",
            " https://login.microsoftonline.us/ ",
        ] {
            assert_eq!(
                endpoint(text).unwrap(),
                "https://login.microsoftonline.us/contoso.com/oauth2/v2.0/token"
            );
        }
        assert!(endpoint("http://127.0.0.1:8080").is_ok());
    }

    #[test]
    fn t9_an_authority_that_could_leak_a_secret_is_refused() {
        for text in [
            "http://login.microsoftonline.com",
            "ftp://login.microsoftonline.com",
            "https://user:canary@login.microsoftonline.com",
            "https://login.microsoftonline.com/canary",
            "login.microsoftonline.com?canary",
            "https://",
            "a b",
        ] {
            let error = endpoint(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{text}");
            assert!(error.to_string().contains("AZURE_AUTHORITY_HOST"));
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
        assert!(Authority::parse("http://127.0.0.1", "it", false).is_err());
    }

    #[test]
    fn every_cloud_has_an_authority() {
        for cloud in [
            Cloud::Public,
            Cloud::UsGovernment,
            Cloud::China,
            Cloud::Bleu,
            Cloud::Delos,
            Cloud::GovSg,
        ] {
            assert_eq!(Authority::from(cloud).to_string(), cloud.authority_host());
            assert_eq!(
                Authority::from(cloud),
                Authority::parse(cloud.authority_host(), "", false).unwrap()
            );
        }
    }
}
