//! Whose tokens requests get, and for whom they are.

use http::HeaderValue;
use tower_bearer::{
    Audience, BearerAuthLayer, BoxError, ExistingHeader, Hosts, ReplayEmpty, ResolveAudience as _,
    SharedCredential, TokenCache, azure,
};

use super::routes::{Route, Routes};
use super::{Identity, Settings, TokenSource};

/// What the settings say, with what the environment holds.
pub(crate) fn from_settings(settings: &Settings) -> Result<Identity, BoxError> {
    match &settings.token {
        TokenSource::Nothing => Ok(Identity::Nobody),
        TokenSource::Fixed(variable) => {
            let token = std::env::var(variable).map_err(|_| {
                // Not its name, for it may be the token instead.
                "the variable that --fixed-token names is not set"
            })?;
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| format!("what {variable} holds is no token"))?;
            value.set_sensitive(true);
            Ok(Identity::Fixed(value))
        }
        TokenSource::Environment => {
            // What is wrong with the routes should show before it is tried.
            audiences(&settings.routes)?;
            Ok(Identity::Fresh(TokenCache::new(credential_from_env()?)))
        }
    }
}

/// The layer for these routes. Their tokens are fetched from now on.
pub(crate) fn layer(
    tokens: &TokenCache,
    settings: &Settings,
) -> Result<BearerAuthLayer<ReplayEmpty>, BoxError> {
    let Settings { routes, limits, .. } = settings;
    let (hosts, audiences) = audiences(routes)?;
    let mut challenges = azure::Challenges::new();
    for route in routes.iter().filter(|route| route.audience.is_some()) {
        challenges = challenges.trust_host(route.host())?;
    }
    for audience in audiences {
        tokens.keep_warm(audience)?;
    }
    Ok(
        BearerAuthLayer::new(tokens.clone(), hosts.or(azure::Audiences::new()))
            .challenges(challenges)
            .existing_header(ExistingHeader::Replace)
            .replay(ReplayEmpty::new())
            // Well before the upstream is said not to have answered, which it
            // was not asked to without a token.
            .token_timeout(limits.response_timeout / 2),
    )
}

/// The rules for the upstreams, and the audience of each.
fn audiences(routes: &Routes) -> Result<(Hosts, Vec<Audience>), BoxError> {
    let mut hosts = Hosts::new();
    for route in routes.iter() {
        hosts = allow(hosts, route)?;
    }
    let known = hosts.clone().or(azure::Audiences::new());
    let mut audiences = Vec::new();
    for route in routes.iter() {
        let audience = known.resolve(&route.origin()?)?.ok_or_else(|| {
            format!(
                "no rule says which token {} may have: --audience {}=URI",
                route.host(),
                route.prefix()
            )
        })?;
        if !audiences.contains(&audience) {
            audiences.push(audience);
        }
    }
    Ok((hosts, audiences))
}

fn allow(hosts: Hosts, route: &Route) -> Result<Hosts, BoxError> {
    let Some(audience) = route.audience.as_deref() else {
        return Ok(hosts);
    };
    // Several routes may lead to one host.
    if hosts.resolve(&route.origin()?).ok().flatten() == Some(Audience::from(audience)) {
        return Ok(hosts);
    }
    let host = route.host();
    Ok(if route.is_https() {
        hosts.allow(host, audience)?
    } else {
        hosts.allow_http_loopback(host, audience)?
    })
}

fn credential_from_env() -> Result<SharedCredential, BoxError> {
    let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    if set("AZURE_CLIENT_SECRET") || (set("AZURE_TENANT_ID") && set("AZURE_CLIENT_ID")) {
        return Ok(SharedCredential::new(
            azure::ClientSecretCredential::from_env()?,
        ));
    }
    let mut identity = azure::ManagedIdentityCredential::builder();
    if let Ok(client_id) = std::env::var("AZURE_CLIENT_ID") {
        if !client_id.is_empty() {
            identity = identity.user_assigned(azure::ManagedIdentityId::ClientId(client_id));
        }
    }
    Ok(SharedCredential::new(identity.build()?))
}
