//! Client assertions: tokens that applications sign with the key of a
//! certificate, checked as Entra does.

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{
    GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE_NO_PAD,
};
use serde_json::Value;
use x509_cert::der::Decode as _;

use crate::azure::LOGIN_HOSTS;

/// Some clients pad, which RFC 7515 does not allow but Entra does.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Entra's number for what is wrong, and its words.
pub(super) type Complaint = (u32, String);

pub(super) struct Expected<'a> {
    pub(super) client_id: &'a str,
    pub(super) tenant: &'a str,
    /// Those of the application, as DER.
    pub(super) certificates: &'a [Vec<u8>],
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// Leeway for clocks that differ, in seconds.
pub(super) const LEEWAY: u64 = 300;

/// Whether somebody else vouches for the application: an OpenID Connect
/// provider, whose name is a URL.
pub(super) fn is_federated(assertion: &str) -> bool {
    let claims = assertion
        .split('.')
        .nth(1)
        .and_then(|claims| LENIENT.decode(claims).ok())
        .and_then(|claims| serde_json::from_slice::<Value>(&claims).ok())
        .unwrap_or_default();
    claims["iss"]
        .as_str()
        .is_some_and(|issuer| issuer.starts_with("https://"))
}

impl Expected<'_> {
    pub(super) fn check(&self, assertion: &str) -> Result<(), Complaint> {
        let malformed = || (50_027, "JWT token is invalid or malformed.".to_owned());
        let (signed, signature) = assertion.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
        let part = |text: &str| -> Option<Value> {
            serde_json::from_slice(&LENIENT.decode(text).ok()?).ok()
        };
        let header = part(header).ok_or_else(malformed)?;
        let claims = part(claims).ok_or_else(malformed)?;
        let signature = LENIENT.decode(signature).map_err(|_| malformed())?;
        let (algorithm, named): (&'static RsaParameters, _) = match header["alg"].as_str() {
            Some("PS256") if !self.is_ad_fs() => (&RSA_PSS_2048_8192_SHA256, "x5t#S256"),
            Some("RS256") => (&RSA_PKCS1_2048_8192_SHA256, "x5t"),
            _ => return Err(malformed()),
        };
        let certificate = self.certificate(&header, named)?;
        let parsed = x509_cert::Certificate::from_der(certificate).map_err(|_| malformed())?;
        let key = parsed
            .tbs_certificate
            .subject_public_key_info
            .subject_public_key;
        UnparsedPublicKey::new(algorithm, key.raw_bytes())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| {
                (
                    700_027,
                    "The certificate used to sign the client assertion does not match: Client assertion contains an invalid signature.".to_owned(),
                )
            })?;
        let until = parsed
            .tbs_certificate
            .validity
            .not_after
            .to_unix_duration()
            .as_secs();
        if until < self.now {
            return Err((
                700_027,
                "Client assertion failed signature validation: the certificate with the given identifier has expired.".to_owned(),
            ));
        }
        self.check_claims(&claims)
    }

    /// AD FS takes the older of the two signatures alone.
    fn is_ad_fs(&self) -> bool {
        self.tenant.eq_ignore_ascii_case("adfs")
    }

    /// The certificate that the header names.
    fn certificate(&self, header: &Value, named: &str) -> Result<&[u8], Complaint> {
        let name = header[named].as_str().unwrap_or_default();
        let digest = |certificate: &[u8]| match named {
            "x5t" => URL_SAFE_NO_PAD.encode(sha1_smol::Sha1::from(certificate).digest().bytes()),
            _ => URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(
                &aws_lc_rs::digest::SHA256,
                certificate,
            )),
        };
        let own = self
            .certificates
            .iter()
            .find(|certificate| digest(certificate) == name.trim_end_matches('='))
            .ok_or_else(|| {
                (
                    700_027,
                    format!(
                        "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: '{name}']"
                    ),
                )
            })?;
        // MSAL.NET sends the first one alone, as a string.
        let chain = &header["x5c"];
        if !chain.is_null() {
            let first = chain[0].as_str().or(chain.as_str()).unwrap_or_default();
            if STANDARD.decode(first).ok().as_ref() != Some(own) {
                return Err((
                    50_027,
                    "JWT token is invalid or malformed: x5c does not begin with the signing certificate.".to_owned(),
                ));
            }
        }
        Ok(own)
    }

    fn check_claims(&self, claims: &Value) -> Result<(), Complaint> {
        if ["iss", "sub"]
            .iter()
            .any(|claim| claims[*claim].as_str() != Some(self.client_id))
        {
            return Err((
                700_021,
                "Client assertion application identifier doesn't match 'client_id' parameter."
                    .to_owned(),
            ));
        }
        let is_endpoint = |audience: &str| {
            let path = if self.is_ad_fs() {
                "/adfs/oauth2/token".to_owned()
            } else {
                format!("/{}/oauth2/v2.0/token", self.tenant)
            };
            audience
                .strip_prefix("https://")
                .and_then(|rest| {
                    let (host, _) = rest.split_once('/')?;
                    let name = host.split(':').next()?;
                    (LOGIN_HOSTS.contains(&name) || name == "localhost")
                        .then(|| &rest[host.len()..])
                })
                .is_some_and(|rest| rest.eq_ignore_ascii_case(&path))
        };
        if !claims["aud"].as_str().is_some_and(is_endpoint) {
            return Err((
                700_023,
                "Client assertion audience claim does not match Realm issuer.".to_owned(),
            ));
        }
        // MSAL sends text in .NET, and fractions of seconds in Python.
        let seconds = |claim: &str| match &claims[claim] {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number
                .as_u64()
                .or_else(|| number.to_string().split('.').next()?.parse().ok()),
            _ => None,
        };
        let is_begun = seconds("nbf").is_none_or(|begin| begin <= self.now + LEEWAY);
        let is_ended = seconds("exp").is_none_or(|end| end + LEEWAY < self.now);
        if !is_begun || is_ended {
            return Err((
                700_024,
                "Client assertion is not within its valid time range.".to_owned(),
            ));
        }
        if claims["jti"].as_str().is_none_or(str::is_empty) {
            return Err((50_027, "JWT token is invalid or malformed.".to_owned()));
        }
        Ok(())
    }
}
