//! The hosts and audiences of the simulated world, and the keys they lead to.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tower_bearer::{
    Audience, Challenge, Claims, ClaimsChallenges, Demand, FollowChallenge, Hosts, Origin,
    TenantId, TokenRequest,
};

pub const AUDIENCES: [&str; 6] = [
    "api://orders",
    "api://vault",
    "api://graph",
    "api://metadata",
    "api://brief",
    "api://archive",
];

/// Gives the same token again until half of its life is over, as managed
/// identities do.
pub const METADATA: usize = 3;
/// Has short-lived tokens.
pub const BRIEF: usize = 4;
/// Says when tokens end, not how long they live.
pub const ARCHIVE: usize = 5;

pub struct Host {
    pub origin: &'static str,
    pub audience: Option<usize>,
    /// What its challenges may ask for.
    pub asks: Asks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Nothing,
    Tenants,
    Claims,
}

const fn host(origin: &'static str, audience: usize, asks: Asks) -> Host {
    Host {
        origin,
        audience: Some(audience),
        asks,
    }
}

const fn without_a_rule(origin: &'static str) -> Host {
    Host {
        origin,
        audience: None,
        asks: Asks::Nothing,
    }
}

pub const HOSTS: [Host; 10] = [
    host("https://orders.example.com", 0, Asks::Nothing),
    host("https://returns.example.com", 0, Asks::Nothing),
    host("https://vault.example.com", 1, Asks::Tenants),
    host("https://graph.example.com", 2, Asks::Claims),
    host("https://reports.example.com", 2, Asks::Nothing),
    host("https://metadata.example.com", METADATA, Asks::Nothing),
    host("https://brief.example.com", BRIEF, Asks::Nothing),
    host("https://archive.example.com", ARCHIVE, Asks::Nothing),
    without_a_rule("https://elsewhere.example.org"),
    without_a_rule("http://orders.example.com"),
];

/// The hosts with a rule come first.
pub const RULED: usize = 8;

pub fn rules() -> Hosts {
    HOSTS
        .iter()
        .fold(Hosts::new(), |rules, host| match host.audience {
            Some(audience) => rules
                .allow(
                    host.origin.strip_prefix("https://").unwrap(),
                    AUDIENCES[audience],
                )
                .unwrap(),
            None => rules,
        })
}

/// What a token is for. Number 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub audience: usize,
    pub tenant: usize,
    pub claims: usize,
}

/// How many tenants and claims there are, none included.
pub const KINDS: usize = 4;

impl Key {
    pub fn plain(audience: usize) -> Self {
        Self {
            audience,
            tenant: 0,
            claims: 0,
        }
    }

    pub fn of(request: &TokenRequest) -> Self {
        Self::from_parts(request.audience(), request.tenant(), request.claims())
    }

    pub fn from_parts(
        audience: &Audience,
        tenant: Option<&TenantId>,
        claims: Option<&Claims>,
    ) -> Self {
        let number = |text: &dyn Fn(usize) -> bool| (1..KINDS).find(|number| text(*number));
        Self {
            audience: AUDIENCES
                .iter()
                .position(|known| *known == audience.as_str())
                .unwrap(),
            tenant: tenant.map_or(0, |tenant| {
                number(&|n| tenant.as_str() == tenant_id(n)).unwrap()
            }),
            claims: claims.map_or(0, |claims| {
                number(&|n| claims.as_json() == claims_json(n)).unwrap()
            }),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(AUDIENCES[self.audience])?;
        if self.tenant > 0 {
            write!(f, " tenant {}", self.tenant)?;
        }
        if self.claims > 0 {
            write!(f, " claims {}", self.claims)?;
        }
        Ok(())
    }
}

fn tenant_id(number: usize) -> String {
    format!("tenant-{number}.example.com")
}

fn claims_json(number: usize) -> String {
    format!(r#"{{"access_token":{{"nbf":{{"essential":true,"value":"{number}"}}}}}}"#)
}

/// What a host says with a 401.
pub fn challenge(asked: Key) -> String {
    if asked.tenant > 0 {
        format!("Bearer tenant=\"{}\"", tenant_id(asked.tenant))
    } else if asked.claims > 0 {
        format!(
            "Bearer error=\"insufficient_claims\", claims=\"{}\"",
            STANDARD.encode(claims_json(asked.claims))
        )
    } else {
        "Bearer error=\"invalid_token\"".to_owned()
    }
}

/// Follows claims challenges, and those that name a tenant.
pub struct Follow;

impl FollowChallenge for Follow {
    fn follow(&self, origin: &Origin<'_>, challenges: &[Challenge]) -> Demand {
        let demand = ClaimsChallenges::new().follow(origin, challenges);
        let tenant = challenges
            .iter()
            .find_map(|challenge| TenantId::new(challenge.param("tenant")?).ok());
        match tenant {
            Some(tenant) => demand.with_tenant(tenant),
            None => demand,
        }
    }
}
