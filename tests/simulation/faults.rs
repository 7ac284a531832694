//! What goes wrong, where and for how long, as the seed has it.

use std::time::Duration;

use tower_bearer::{ErrorKind, Timestamp};

use crate::oracle::TokenId;
use crate::places::{Asks, HOSTS, KINDS, Key, RULED};
use crate::provider::Manner;
use crate::random::Random;

/// What the identity provider does to a call.
#[derive(Clone, Copy)]
pub enum ProviderFault {
    Slow(Duration),
    Hang,
    Fail(ErrorKind, Option<Duration>),
    Garbage,
    Panic,
    /// A token of another kind than usual.
    Odd(Manner),
}

/// What a server does to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostFault {
    /// Says 401, whatever the token.
    Refusing,
    /// Says 401 every now and then, whatever the token.
    Alternating,
    Forbidding,
    Resetting,
    Sluggish,
    /// Takes long to say that a token is no good.
    LateRefusals,
}

/// What the provider does for a while.
#[derive(Clone, Copy, Debug)]
pub enum ProviderTrouble {
    Slow,
    VerySlow,
    Hanging,
    ThrottlingFor,
    Throttling,
    Unavailable,
    Unreachable,
    Garbage,
    Rejecting,
    Panicking,
    OddLives,
    Mixed,
}

pub const PROVIDER_TROUBLES: [(ProviderTrouble, &str); 12] = [
    (ProviderTrouble::Slow, "slow fetches"),
    (ProviderTrouble::VerySlow, "very slow fetches"),
    (ProviderTrouble::Hanging, "hanging fetches"),
    (ProviderTrouble::ThrottlingFor, "429 with Retry-After"),
    (ProviderTrouble::Throttling, "429 without Retry-After"),
    (ProviderTrouble::Unavailable, "503 with Retry-After"),
    (ProviderTrouble::Unreachable, "unreachable provider"),
    (ProviderTrouble::Garbage, "garbage from the provider"),
    (ProviderTrouble::Rejecting, "refusals of the provider"),
    (ProviderTrouble::Panicking, "panics of the credential"),
    (ProviderTrouble::OddLives, "odd lifetimes"),
    (ProviderTrouble::Mixed, "mixed failures of the provider"),
];

pub const HOST_FAULTS: [(HostFault, &str); 6] = [
    (HostFault::Refusing, "always 401"),
    (HostFault::Alternating, "200 and 401 in turn"),
    (HostFault::Forbidding, "403"),
    (HostFault::Resetting, "connections reset"),
    (HostFault::Sluggish, "slow servers"),
    (HostFault::LateRefusals, "late 401s"),
];

#[derive(Default)]
pub struct Faults {
    provider: Vec<(Duration, Option<usize>, ProviderTrouble)>,
    hosts: [Option<(Duration, HostFault)>; RULED],
    /// Tokens with a smaller number are refused.
    revoked: [TokenId; RULED],
    /// What tokens must fulfil.
    wanted: [Option<Key>; RULED],
    /// How far the wall clock is ahead, in milliseconds.
    pub wall_ahead: i64,
}

impl Faults {
    pub fn trouble_provider(
        &mut self,
        until: Duration,
        audience: Option<usize>,
        trouble: ProviderTrouble,
    ) {
        self.provider.push((until, audience, trouble));
    }

    pub fn trouble_host(&mut self, until: Duration, host: usize, fault: HostFault) {
        self.hosts[host] = Some((until, fault));
    }

    pub fn revoke(&mut self, host: usize, next: TokenId) {
        self.revoked[host] = next;
    }

    /// `host` asks for another tenant or other claims from now on, if it ever
    /// does.
    pub fn ask(&mut self, host: usize, random: &mut Random) -> Option<Key> {
        let mut key = Key::plain(HOSTS[host].audience?);
        let number = 1 + random.below(KINDS - 1);
        match HOSTS[host].asks {
            Asks::Nothing => return None,
            Asks::Tenants => key.tenant = number,
            Asks::Claims => key.claims = number,
        }
        self.wanted[host] = Some(key);
        Some(key)
    }

    pub fn of_host(&self, host: usize, now: Timestamp) -> Option<HostFault> {
        let (until, fault) = (*self.hosts.get(host)?)?;
        (now.monotonic < until).then_some(fault)
    }

    /// Why `host` does not take `token`, which is of `key`: what it would take.
    pub fn refusal(&self, host: usize, token: TokenId, key: Key) -> Option<Key> {
        match self.wanted[host] {
            Some(wanted) if wanted != key => Some(wanted),
            wanted if token < self.revoked[host] => {
                // Said without a word of what was asked for before.
                Some(wanted.map_or(key, |wanted| Key::plain(wanted.audience)))
            }
            _ => None,
        }
    }

    pub fn of_provider(
        &mut self,
        key: Key,
        now: Timestamp,
        random: &mut Random,
    ) -> Option<ProviderFault> {
        self.provider.retain(|(until, ..)| now.monotonic < *until);
        let (.., trouble) = self
            .provider
            .iter()
            .find(|(_, audience, _)| audience.is_none_or(|audience| audience == key.audience))?;
        let mostly = random.percent(85);
        mostly.then(|| trouble.draw(random))
    }
}

impl ProviderTrouble {
    fn draw(self, random: &mut Random) -> ProviderFault {
        let seconds = Duration::from_secs;
        let wait = seconds(random.pick(&[1, 5, 10, 30, 60, 120, 600]));
        let fail = ProviderFault::Fail;
        match self {
            Self::Slow => ProviderFault::Slow(random.between(seconds(1), seconds(20))),
            Self::VerySlow => ProviderFault::Slow(random.between(seconds(10), seconds(140))),
            Self::Hanging => ProviderFault::Hang,
            Self::ThrottlingFor => fail(ErrorKind::Throttled, Some(wait)),
            Self::Throttling => fail(ErrorKind::Throttled, None),
            Self::Unavailable => fail(ErrorKind::Unreachable, Some(wait.min(seconds(30)))),
            Self::Unreachable => fail(ErrorKind::Unreachable, None),
            Self::Garbage => ProviderFault::Garbage,
            Self::Rejecting => fail(
                random.pick(&[
                    ErrorKind::Rejected,
                    ErrorKind::Configuration,
                    ErrorKind::Unavailable,
                ]),
                None,
            ),
            Self::Panicking => ProviderFault::Panic,
            Self::OddLives => ProviderFault::Odd(Manner {
                life: seconds(random.pick(&[0, 1, 1, 3, 10, 60, 86_400, 315_360_000])),
                absolute: random.percent(40),
                refresh_in: random.percent(40).then(|| random.pick(&[0, 1, 50, 99])),
            }),
            Self::Mixed => PROVIDER_TROUBLES[random.below(PROVIDER_TROUBLES.len() - 1)]
                .0
                .draw(random),
        }
    }
}
