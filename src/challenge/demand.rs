//! What a server wants the next token to be.

use crate::{Audience, Claims, TenantId};

/// What a challenge asks of the next token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    claims: Option<Claims>,
    tenant: Option<TenantId>,
    audience: Option<Audience>,
}

impl Demand {
    /// Asks for nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a token that fulfils `claims`.
    #[must_use]
    pub fn with_claims(mut self, claims: Claims) -> Self {
        self.claims = Some(claims);
        self
    }

    /// Asks for a token that `tenant` issues.
    #[must_use]
    pub fn with_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Asks for a token for `audience`, in place of the one that the host's
    /// rule names.
    #[must_use]
    pub fn with_audience(mut self, audience: Audience) -> Self {
        self.audience = Some(audience);
        self
    }

    /// What the token must fulfil.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }

    /// Which tenant must issue it.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// Whom it must be for.
    #[must_use]
    pub fn audience(&self) -> Option<&Audience> {
        self.audience.as_ref()
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.claims.is_none() && self.tenant.is_none() && self.audience.is_none()
    }
}
