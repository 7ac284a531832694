//! Issues signed access tokens, and checks them as a resource does.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::{BoxError, Error, ErrorKind};

/// Entra dates its tokens back, so that resources with slow clocks take them.
const BACKDATED: u64 = 300;

/// The claim with what the `claims` parameter asked for. Real tokens have no
/// such claim: there, the fulfilled conditions show in other ways.
const REQUESTED_CLAIMS: &str = "requested_claims";

pub(super) struct Issuer {
    key: RsaKeyPair,
    key_id: String,
    random: SystemRandom,
    next_serial: AtomicU64,
    first_good_serial: AtomicU64,
}

/// What a token is to say.
pub(super) struct Grant<'a> {
    pub(super) audience: &'a str,
    pub(super) tenant: &'a str,
    pub(super) app_id: &'a str,
    pub(super) object_id: &'a str,
    /// The ARM id of a managed identity.
    pub(super) resource_id: Option<&'a str>,
    /// The name of the person for whom the application asks.
    pub(super) person: Option<&'a str>,
    /// The content of the `claims` parameter.
    pub(super) claims: Option<&'a Map<String, Value>>,
    pub(super) now: u64,
    pub(super) lifetime: u64,
    pub(super) random: u64,
}

#[derive(Clone)]
pub(super) struct Issued {
    pub(super) token: String,
    pub(super) serial: u64,
    pub(super) asked_at: u64,
    pub(super) not_before: u64,
    pub(super) expires_on: u64,
}

/// What a resource expects of a token.
pub(super) struct Expectation<'a> {
    pub(super) audience: &'a str,
    pub(super) tenant: &'a str,
    pub(super) now: u64,
}

/// Why a token cannot be trusted to say what it says.
pub(super) enum Flaw {
    Malformed,
    UnknownKey,
    BadSignature,
}

/// The claims of a token that was found good.
pub(super) struct Verified(Value);

impl Issuer {
    /// Makes a key of its own; takes some ten milliseconds of processor time.
    pub(super) fn generate() -> Result<Self, Error> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|source| {
            Error::new(
                ErrorKind::Configuration,
                "the embedded Azure could not make its signing key",
            )
            .with_source(source)
        })?;
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_key().as_ref());
        Ok(Self {
            key_id: URL_SAFE_NO_PAD.encode(&digest.as_ref()[..20]),
            key,
            random: SystemRandom::new(),
            next_serial: AtomicU64::new(0),
            first_good_serial: AtomicU64::new(0),
        })
    }

    /// Every token issued so far is refused from now on.
    pub(super) fn revoke_all(&self) {
        let next = self.next_serial.load(Ordering::SeqCst);
        self.first_good_serial.store(next, Ordering::SeqCst);
    }

    pub(super) fn is_revoked(&self, serial: u64) -> bool {
        serial < self.first_good_serial.load(Ordering::SeqCst)
    }

    pub(super) fn issued(&self) -> u64 {
        self.next_serial.load(Ordering::SeqCst)
    }

    pub(super) fn issue(&self, grant: &Grant<'_>) -> Result<Issued, BoxError> {
        let serial = self.next_serial.fetch_add(1, Ordering::SeqCst);
        let not_before = grant.now.saturating_sub(BACKDATED);
        let expires_on = grant.now.saturating_add(grant.lifetime);
        let issuer = issuer_of(grant.tenant);
        let mut claims = json!({
            "aud": grant.audience,
            "iss": issuer,
            "iat": not_before,
            "nbf": not_before,
            "exp": expires_on,
            "appid": grant.app_id,
            "appidacr": if grant.resource_id.is_some() { "2" } else { "1" },
            "idp": issuer,
            "idtyp": if grant.person.is_some() { "user" } else { "app" },
            "oid": grant.object_id,
            "sub": grant.object_id,
            "tid": grant.tenant,
            "uti": unique_id(serial, grant.random),
            "ver": "1.0",
        });
        if let Some(id) = grant.resource_id {
            claims["xms_mirid"] = id.into();
        }
        if let Some(person) = grant.person {
            claims["scp"] = "user_impersonation".into();
            claims["upn"] = person.into();
        }
        if let Some(asked) = grant.claims.and_then(|claims| claims.get("access_token")) {
            let mut asked = asked.clone();
            let capabilities = asked
                .as_object_mut()
                .and_then(|asked| asked.remove("xms_cc"))
                .and_then(|capability| capability.get("values").cloned());
            if let Some(capabilities) = capabilities {
                claims["xms_cc"] = capabilities;
            }
            if asked.as_object().is_some_and(|asked| !asked.is_empty()) {
                claims[REQUESTED_CLAIMS] = asked;
            }
        }
        Ok(Issued {
            token: self.sign(&claims)?,
            serial,
            asked_at: grant.now,
            not_before,
            expires_on,
        })
    }

    /// A token that says `claims`.
    pub(super) fn sign(&self, claims: &Value) -> Result<String, BoxError> {
        let header = json!({
            "typ": "JWT", "alg": "RS256", "x5t": self.key_id, "kid": self.key_id,
        });
        let mut token = format!("{}.{}", encoded(&header), encoded(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(
            &RSA_PKCS1_SHA256,
            &self.random,
            token.as_bytes(),
            &mut signature,
        )?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&signature, &mut token);
        Ok(token)
    }

    /// What `token` says, if this has signed it.
    pub(super) fn open(&self, token: &str) -> Result<Value, Flaw> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Flaw::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Flaw::Malformed)?;
        let header = decoded(header).ok_or(Flaw::Malformed)?;
        if header["alg"] != "RS256" || header["kid"] != *self.key_id {
            return Err(Flaw::UnknownKey);
        }
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| Flaw::Malformed)?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| Flaw::BadSignature)?;
        decoded(claims).ok_or(Flaw::Malformed)
    }

    /// Whether a resource would take `token`; if not, what it would say.
    pub(super) fn verify(
        &self,
        token: &str,
        expected: &Expectation<'_>,
    ) -> Result<Verified, String> {
        let claims = self.open(token).map_err(|flaw| match flaw {
            Flaw::Malformed => "Error validating token: IDX12709",
            Flaw::UnknownKey => {
                "AKV10046: Unable to resolve the key used for signature validation."
            }
            Flaw::BadSignature => "Error validating token: IDX10511",
        })?;

        let audience = claims["aud"].as_str().unwrap_or_default();
        if audience.strip_suffix('/').unwrap_or(audience) != expected.audience {
            return Err(format!(
                "AKV10022: Invalid audience. Expected {}, found: {audience}.",
                expected.audience
            ));
        }
        let (issuer, wanted) = (&claims["iss"], issuer_of(expected.tenant));
        if *issuer != *wanted || claims["tid"] != *expected.tenant {
            let found = issuer.as_str().unwrap_or_default();
            return Err(format!(
                "AKV10032: Invalid issuer. Expected one of {wanted}, found {found}."
            ));
        }
        if claims["nbf"]
            .as_u64()
            .is_none_or(|from| expected.now < from)
        {
            return Err("Error validating token: IDX10222".to_owned());
        }
        if claims["exp"].as_u64().is_none_or(|end| expected.now >= end) {
            return Err("[TokenExpired] Error validating token: IDX10223".to_owned());
        }
        let serial = claims["uti"].as_str().and_then(serial_of);
        if serial.is_none_or(|serial| self.is_revoked(serial)) {
            return Err("Error validating token: the token has been revoked.".to_owned());
        }
        Ok(Verified(claims))
    }

    /// The key set that `discovery/v2.0/keys` publishes (RFC 7517).
    pub(super) fn key_set(&self) -> Value {
        let Some((modulus, exponent)) = rsa_components(self.key.public_key().as_ref()) else {
            return json!({ "keys": [] });
        };
        json!({ "keys": [{
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.key_id,
            "x5t": self.key_id,
            "n": URL_SAFE_NO_PAD.encode(modulus),
            "e": URL_SAFE_NO_PAD.encode(exponent),
        }] })
    }
}

impl Verified {
    pub(super) fn text(&self, claim: &str) -> &str {
        self.0[claim].as_str().unwrap_or_default()
    }

    /// Whether the token was asked for with all of `required`, the content of
    /// `access_token` in a claims request.
    pub(super) fn fulfils(&self, required: &Map<String, Value>) -> bool {
        required
            .iter()
            .filter(|(name, _)| *name != "xms_cc")
            .all(|(name, value)| self.0[REQUESTED_CLAIMS][name] == *value)
    }
}

fn issuer_of(tenant: &str) -> String {
    format!("https://sts.windows.net/{tenant}/")
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 appendix A.1.1) of 2048
/// bits, which is a fixed form.
fn rsa_components(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let integers = der.strip_prefix(&[0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00])?;
    let (modulus, exponent) = integers.split_at_checked(256)?;
    Some((modulus, exponent.strip_prefix(&[0x02, 0x03])?))
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decoded(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// The `uti` claim is 16 opaque bytes. Half of them hold the token's number, so
/// that revocation needs no list of tokens.
fn unique_id(serial: u64, random: u64) -> String {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.to_be_bytes());
    bytes[8..].copy_from_slice(&serial.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn serial_of(unique_id: &str) -> Option<u64> {
    let bytes = URL_SAFE_NO_PAD.decode(unique_id).ok()?;
    Some(u64::from_be_bytes(bytes.get(8..)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "a-tenant";

    fn grant(audience: &str) -> Grant<'_> {
        Grant {
            audience,
            tenant: TENANT,
            app_id: "an-app",
            object_id: "an-object",
            resource_id: None,
            person: None,
            claims: None,
            now: 10_000,
            lifetime: 3_599,
            random: 7,
        }
    }

    fn expectation(now: u64) -> Expectation<'static> {
        Expectation {
            audience: "https://vault.azure.net",
            tenant: TENANT,
            now,
        }
    }

    #[test]
    fn a_token_is_good_for_its_audience_from_issue_to_expiry() {
        let issuer = Issuer::generate().unwrap();
        let token = issuer.issue(&grant("https://vault.azure.net")).unwrap();
        let refusal = |now| issuer.verify(&token.token, &expectation(now)).err();
        assert!(refusal(9_699).is_some_and(|text| text.contains("IDX10222")));
        assert_eq!(refusal(9_700), None);
        assert_eq!(refusal(13_598), None);
        assert!(refusal(13_599).is_some_and(|text| text.contains("TokenExpired")));
    }

    #[test]
    fn tokens_of_others_are_refused() {
        let (issuer, stranger) = (Issuer::generate().unwrap(), Issuer::generate().unwrap());
        let refusal = |token: &str| issuer.verify(token, &expectation(10_000)).err();

        let foreign = stranger.issue(&grant("https://vault.azure.net")).unwrap();
        assert!(refusal(&foreign.token).is_some_and(|text| text.contains("AKV10046")));

        let other = issuer.issue(&grant("https://storage.azure.com")).unwrap();
        assert!(refusal(&other.token).is_some_and(|text| text.contains("AKV10022")));

        let elsewhere = Grant {
            tenant: "another-tenant",
            ..grant("https://vault.azure.net")
        };
        let elsewhere = issuer.issue(&elsewhere).unwrap();
        assert!(refusal(&elsewhere.token).is_some_and(|text| text.contains("AKV10032")));

        let good = issuer.issue(&grant("https://vault.azure.net/")).unwrap();
        assert_eq!(refusal(&good.token), None);
        let (signed, _) = good.token.rsplit_once('.').unwrap();
        let (_, signature) = other.token.rsplit_once('.').unwrap();
        assert!(
            refusal(&format!("{signed}.{signature}")).is_some_and(|text| text.contains("IDX10511"))
        );
        for garbage in ["", "a", "a.b", "a.b.c", "..", "e30.e30.e30"] {
            assert!(refusal(garbage).is_some(), "{garbage}");
        }
    }

    #[test]
    fn revocation_ends_what_was_issued_before_and_nothing_else() {
        let issuer = Issuer::generate().unwrap();
        let before = issuer.issue(&grant("https://vault.azure.net")).unwrap();
        issuer.revoke_all();
        let after = issuer.issue(&grant("https://vault.azure.net")).unwrap();
        assert!(issuer.verify(&before.token, &expectation(10_000)).is_err());
        assert!(issuer.verify(&after.token, &expectation(10_000)).is_ok());
    }

    #[test]
    fn the_published_key_verifies_the_tokens() {
        let issuer = Issuer::generate().unwrap();
        let token = issuer.issue(&grant("https://vault.azure.net")).unwrap();
        let keys = issuer.key_set();
        let part = |name: &str| URL_SAFE_NO_PAD.decode(keys["keys"][0][name].as_str().unwrap());
        let (n, e) = (part("n").unwrap(), part("e").unwrap());
        let (signed, signature) = token.token.rsplit_once('.').unwrap();
        aws_lc_rs::signature::RsaPublicKeyComponents { n: &n, e: &e }
            .verify(
                &RSA_PKCS1_2048_8192_SHA256,
                signed.as_bytes(),
                &URL_SAFE_NO_PAD.decode(signature).unwrap(),
            )
            .unwrap();
    }
}
