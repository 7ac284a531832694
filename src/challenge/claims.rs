//! Claims challenges: what a service asks for when it evaluates access
//! continuously and the token does not show what it wants to know (CAE).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{Challenge, Demand, FollowChallenge};
use crate::{Claims, Origin};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Follows claims challenges, and nothing else: a `Bearer` challenge with
/// `error="insufficient_claims"` and `claims` in base64.
///
/// Claims say what a token must fulfil, not whom it is for or who issues it, so
/// any server that gets tokens may ask for them. What is no JSON object of at
/// most 16 KiB is ignored.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ClaimsChallenges;

impl ClaimsChallenges {
    /// Follows claims challenges.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl FollowChallenge for ClaimsChallenges {
    fn follow(&self, _origin: &Origin<'_>, challenges: &[Challenge]) -> Demand {
        let claims = challenges
            .iter()
            .filter(|challenge| challenge.is("Bearer"))
            .filter(|challenge| challenge.param("error") == Some("insufficient_claims"))
            .find_map(|challenge| decode(challenge.param("claims")?));
        match claims {
            Some(claims) => Demand::new().with_claims(claims),
            None => Demand::new(),
        }
    }
}

/// Services differ in the alphabet, and in whether they pad.
fn decode(text: &str) -> Option<Claims> {
    let standard: Vec<u8> = text
        .bytes()
        .map(|b| match b {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    let json = String::from_utf8(BASE64.decode(standard).ok()?).ok()?;
    Claims::from_json(&json).ok()
}
