//! `WWW-Authenticate`: what a server that answered 401 asks for.
use crate::{Audience, Claims, Origin, TenantId};
use http::HeaderMap;
/// x
#[derive(Debug)]
pub struct Challenge;
impl Challenge {
    /// x
    pub fn parse(_: &HeaderMap) -> Vec<Self> {
        vec![]
    }
}
/// x
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    claims: Option<Claims>,
    tenant: Option<TenantId>,
    audience: Option<Audience>,
}
impl Demand {
    /// x
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }
    /// x
    pub fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }
    /// x
    pub fn audience(&self) -> Option<&Audience> {
        self.audience.as_ref()
    }
    /// x
    pub fn with_claims(mut self, claims: Claims) -> Self {
        self.claims = Some(claims);
        self
    }
    /// x
    pub fn with_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }
    /// x
    pub fn with_audience(mut self, audience: Audience) -> Self {
        self.audience = Some(audience);
        self
    }
    /// x
    pub fn is_empty(&self) -> bool {
        self.claims.is_none() && self.tenant.is_none() && self.audience.is_none()
    }
}
/// x
pub trait FollowChallenge: Send + Sync + 'static {
    /// x
    fn follow(&self, origin: &Origin<'_>, challenges: &[Challenge]) -> Demand;
}
/// x
#[derive(Debug, Clone, Copy, Default)]
pub struct ClaimsChallenges;
impl ClaimsChallenges {
    /// x
    pub fn new() -> Self {
        Self
    }
}
impl FollowChallenge for ClaimsChallenges {
    fn follow(&self, _: &Origin<'_>, _: &[Challenge]) -> Demand {
        Demand::default()
    }
}
