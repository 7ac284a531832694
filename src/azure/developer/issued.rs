//! The token that a tool's answer amounts to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::answer::{Answer, End};
use super::kind::{Ask, Kind};
use super::local_time::LocalZone;
use super::tenant::TenantChoice;
use crate::azure::answer::expiry;
use crate::azure::answer::scalar::Scalar;
use crate::azure::blocking::blocking;
use crate::runtime::Timestamp;
use crate::token::Lifetime;
use crate::{AccessToken, Error, Principal, PrincipalType, TenantId};

/// The first token in `output`, which a tool wrote after `started`.
pub(super) async fn read(
    kind: &Kind,
    ask: &Ask<'_>,
    output: &[u8],
    started: Timestamp,
    zone: &LocalZone,
    tenants: &TenantChoice,
) -> Result<AccessToken, Error> {
    let answer = Answer::find(output).map_err(|problem| kind.unusable(&problem))?;
    let secret = answer.secret().map_err(|problem| kind.unusable(problem))?;
    let end = match answer.end() {
        End::At(seconds) => Some(seconds),
        End::Local(civil) => {
            let zone = zone.clone();
            blocking(move || zone.first(civil))
                .await
                .flatten()
                .map(|seconds| seconds as f64)
        }
        End::Unknown => None,
    };
    let token = token(kind, secret, end, started)?;
    Ok(with_identity(token, ask, answer.tenant(), tenants))
}

/// A token that ends so many seconds after 1970, or when it says itself.
pub(super) fn token(
    kind: &Kind,
    secret: &str,
    end: Option<f64>,
    started: Timestamp,
) -> Result<AccessToken, Error> {
    let Some(end) = end.or_else(|| expires(secret)) else {
        return Err(kind.unusable("a token that does not say when it ends"));
    };
    let lifetime = expiry::lifetime(&Scalar::Absent, &Scalar::Number(end), started)
        .map_err(|problem| kind.unusable(&format!("a token {problem}")))?;
    let token = match lifetime {
        Lifetime::In(life) => AccessToken::expiring_in(secret, life),
        Lifetime::On(end) => AccessToken::expiring_on(secret, end),
    };
    token
        .map(|token| token.requested_at(started))
        .map_err(|error| error.in_context(kind.title))
}

/// The `exp` of a token that is a JWT: RFC 7519 section 4.1.4.
fn expires(token: &str) -> Option<f64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let claims = token.split('.').nth(1)?;
    let json = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&json).ok()?;
    Some(claims.exp)
}

/// `token` with its principal; `tenant` is what the tool says of it.
pub(super) fn with_identity(
    token: AccessToken,
    ask: &Ask<'_>,
    tenant: Option<&str>,
    tenants: &TenantChoice,
) -> AccessToken {
    let issuer = token.principal().tenant_id().or(tenant);
    tenants.issued_by(ask.tenant.as_ref(), issuer);
    let principal = principal(
        token.principal(),
        issuer.or(ask.tenant.as_ref().map(TenantId::as_str)),
    );
    token.with_principal(principal)
}

/// Tools are signed in to by people, unless the token says that it is for an
/// application. The application that a person's token names is the tool.
fn principal(claimed: &Principal, tenant: Option<&str>) -> Principal {
    let mut principal = if claimed.principal_type() == Some(PrincipalType::App) {
        claimed.clone()
    } else {
        let mut person = Principal::new().with_type(PrincipalType::User);
        if let Some(name) = claimed.user_principal_name() {
            person = person.with_user_principal_name(name);
        }
        if let Some(id) = claimed.object_id() {
            person = person.with_object_id(id);
        }
        person
    };
    if let Some(tenant) = tenant {
        principal = principal.with_tenant_id(crate::error::printable(tenant));
    }
    principal
}
