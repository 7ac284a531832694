//! What Azure's challenges ask for, and whether they may.

use http::Uri;
use http::uri::Scheme;

use super::Audiences;
use super::cloud::LOGIN_HOSTS;
use crate::audience::{Pattern, unusable};
use crate::{
    Audience, Challenge, ClaimsChallenges, Demand, Error, FollowChallenge, Origin, TenantId,
};

/// Follows claims challenges, and the tenant that Key Vault, Managed HSM and
/// Storage name.
///
/// ```text
/// Bearer authorization="https://login.microsoftonline.com/TENANT", resource="https://vault.azure.net"
/// ```
///
/// Whose vault it is cannot be seen from its host, so the vault says which
/// tenant must issue the token. That is believed only if
/// - the request went over https to port 443, without user information in its
///   URL;
/// - the resource that the challenge names is the server's to name: an https URL
///   of which the request's host is a proper subdomain
///   (`myvault.vault.azure.net` for `https://vault.azure.net`), or the very
///   audience that [`Audiences`] has for the host. The latter lets
///   `https://storage.azure.com` pass for `acct.blob.core.windows.net`;
/// - the authority is an https URL of one of Entra ID's hosts, and its path
///   starts with the GUID or a domain name of a tenant.
///
/// Everything else is ignored: the token is renewed as if the server had asked
/// for nothing. From a challenge that is believed, the tenant is taken, and
/// never the authority: tokens are fetched where the credential says. Nor is an
/// audience taken, unless [`trust_resource`](Self::trust_resource) is on.
#[derive(Clone, Debug, Default)]
pub struct Challenges {
    trust_resource: bool,
    trusted_hosts: Vec<Pattern>,
}

impl Challenges {
    /// Follows claims and verified tenants.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a server choose the audience of the next token, in place of the rule
    /// for its host: the resource that its challenge names, if the request's
    /// host is a proper subdomain of the resource's, or was given to
    /// [`trust_host`](Self::trust_host). Off by default.
    #[must_use]
    pub fn trust_resource(mut self) -> Self {
        self.trust_resource = true;
        self
    }

    /// Believes `host` (and no name below it) without a check of the resource
    /// and the authority that it names: for emulators and for vaults behind a
    /// name of one's own, which announce `https://vault.azure.net` on hosts such
    /// as `localhost:8443`. Plain HTTP is accepted from loopback only.
    ///
    /// `host` is a name or an IP address with or without a port; without one it
    /// is 443.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) when `host`
    /// is anything else.
    pub fn trust_host(mut self, host: &str) -> Result<Self, Error> {
        let pattern = Pattern::parse(host, &Scheme::HTTPS)?;
        if pattern.below {
            return Err(unusable(
                host,
                "trust is for one host",
                "name each host that is to be trusted",
            ));
        }
        self.trusted_hosts.push(pattern);
        Ok(self)
    }

    fn trusts(&self, origin: &Origin<'_>) -> bool {
        let Some(host) = origin.host_key() else {
            return false;
        };
        let port = origin.port();
        (origin.is_https() || origin.is_http_loopback())
            && !origin.has_userinfo()
            && self
                .trusted_hosts
                .iter()
                .any(|trusted| trusted.names(&host, port))
    }

    fn verified(&self, origin: &Origin<'_>, challenge: &Challenge) -> Option<Demand> {
        let resource = Resource::of(challenge)?;
        let trusted = self.trusts(origin);
        let named_by_subdomain = trusted || resource.is_parent_of(origin);
        if !named_by_subdomain && !resource.is_audience_of(origin) {
            return None;
        }
        let mut demand = Demand::new();
        if let Some(tenant) = tenant(challenge, trusted) {
            demand = demand.with_tenant(tenant);
        }
        if self.trust_resource && named_by_subdomain && origin.is_https() {
            demand = demand.with_audience(resource.audience());
        }
        (!demand.is_empty()).then_some(demand)
    }
}

impl FollowChallenge for Challenges {
    fn follow(&self, origin: &Origin<'_>, challenges: &[Challenge]) -> Demand {
        let demand = challenges
            .iter()
            .filter(|challenge| challenge.is("Bearer"))
            .find_map(|challenge| self.verified(origin, challenge))
            .unwrap_or_default();
        let claims = ClaimsChallenges::new().follow(origin, challenges);
        match claims.claims() {
            Some(claims) => demand.with_claims(claims.clone()),
            None => demand,
        }
    }
}

/// The resource that a challenge names: `https://`, a host and perhaps a slash.
struct Resource {
    host: String,
    slash: bool,
}

impl Resource {
    /// From the parameters that services use for it. If there are several, they
    /// must agree.
    fn of(challenge: &Challenge) -> Option<Self> {
        let scope = match challenge.param("scope") {
            Some(scope) => Some(scope.strip_suffix("/.default")?),
            None => None,
        };
        let text = agreed([
            challenge.param("resource"),
            challenge.param("resource_id"),
            scope,
        ])?;
        let uri: Uri = text.parse().ok()?;
        let host = https_host(&uri)?;
        if !host.contains('.') || uri.path() != "/" || text.contains(['?', '#']) {
            return None;
        }
        Some(Self {
            host,
            slash: text.ends_with('/'),
        })
    }

    /// Whether the request's host is below the resource's, at a label border.
    fn is_parent_of(&self, origin: &Origin<'_>) -> bool {
        secure_host(origin).is_some_and(|host| {
            host.strip_suffix(self.host.as_str())
                .is_some_and(|name| name.ends_with('.'))
        })
    }

    /// Whether Azure's table has this audience for the request's host.
    fn is_audience_of(&self, origin: &Origin<'_>) -> bool {
        secure_host(origin)
            .and_then(|host| Audiences::by_table(&host))
            .and_then(|audience| {
                let host = audience.as_str().strip_prefix("https://")?;
                Some(host.strip_suffix('/').unwrap_or(host) == self.host)
            })
            .unwrap_or(false)
    }

    /// In one spelling, so that a server cannot make many keys of one audience.
    fn audience(&self) -> Audience {
        let slash = if self.slash { "/" } else { "" };
        Audience::from(format!("https://{}{slash}", self.host))
    }
}

/// The tenant in the URL of the authority that a challenge names.
fn tenant(challenge: &Challenge, any_authority: bool) -> Option<TenantId> {
    let text = agreed([
        challenge.param("authorization"),
        challenge.param("authorization_uri"),
    ])?;
    let uri: Uri = text.parse().ok()?;
    if !any_authority && !LOGIN_HOSTS.contains(&https_host(&uri)?.as_str()) {
        return None;
    }
    let segment = uri.path().strip_prefix('/')?.split('/').next()?;
    let segment = segment.to_ascii_lowercase();
    // `common`, `organizations`, `consumers` and `adfs` are neither.
    (is_guid(&segment) || is_domain(&segment))
        .then(|| TenantId::new(&segment).ok())
        .flatten()
}

fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

fn is_domain(text: &str) -> bool {
    text.contains('.')
        && Pattern::parse(text, &Scheme::HTTPS)
            .is_ok_and(|pattern| !pattern.below && pattern.host == text)
}

/// The one value that those that are there have.
fn agreed<const N: usize>(values: [Option<&str>; N]) -> Option<&str> {
    let mut present = values.into_iter().flatten();
    let first = present.next()?;
    present.all(|other| other == first).then_some(first)
}

/// The domain of a URL with nothing odd about its authority.
fn https_host(uri: &Uri) -> Option<String> {
    secure_host(&Origin::of(uri).ok()?)
}

fn secure_host(origin: &Origin<'_>) -> Option<String> {
    let host = origin.domain_key()?.into_owned();
    origin.require_secure(&host).ok()?;
    Some(host)
}
