//! Client assertions: tokens that an application signs itself (RFC 7523).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::SignatureScheme;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Certificate, refuse};
use crate::azure::blocking::{blocking, stopped};
use crate::transport::sha256;
use crate::uuid::uuid;
use crate::{Error, Runtime};

/// Far longer than the retries of an acquisition take.
const LIFETIME: Duration = Duration::from_secs(600);

/// How an assertion is signed, and how it names its certificate.
#[derive(Clone, Copy)]
pub(in crate::azure::entra) enum Algorithm {
    /// RSASSA-PSS with SHA-256, and the certificate's SHA-256: for Entra.
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, and the certificate's SHA-1: for AD FS,
    /// which knows no other.
    Rs256,
}

impl Algorithm {
    fn scheme(self) -> SignatureScheme {
        match self {
            Self::Ps256 => SignatureScheme::RSA_PSS_SHA256,
            Self::Rs256 => SignatureScheme::RSA_PKCS1_SHA256,
        }
    }

    fn header(self, certificate: &Certificate) -> Result<Value, Error> {
        Ok(match self {
            Self::Ps256 => {
                let digest = sha256(&certificate.chain[0]).ok_or_else(|| {
                    refuse("needs SHA-256, which the crypto provider does not have")
                })?;
                json!({
                    "alg": "PS256",
                    "typ": "JWT",
                    "x5t#S256": URL_SAFE_NO_PAD.encode(digest),
                })
            }
            Self::Rs256 => json!({
                "alg": "RS256",
                "typ": "JWT",
                "x5t": URL_SAFE_NO_PAD.encode(certificate.thumbprint),
            }),
        })
    }
}

/// What an assertion says.
pub(in crate::azure::entra) struct Assertion<'a> {
    pub(in crate::azure::entra) client_id: &'a str,
    /// The token endpoint that it is for.
    pub(in crate::azure::entra) audience: &'a str,
    /// Whether Entra is sent the chain, for applications that trust a subject
    /// name and an issuer instead of a certificate.
    pub(in crate::azure::entra) with_chain: bool,
    pub(in crate::azure::entra) algorithm: Algorithm,
}

impl Assertion<'_> {
    /// The assertion, signed with the key of `certificate`.
    pub(in crate::azure::entra) async fn sign(
        &self,
        certificate: &Arc<Certificate>,
        runtime: &dyn Runtime,
    ) -> Result<Zeroizing<String>, Error> {
        let now = runtime.now().wall;
        certificate.check(now)?;
        let mut header = self.algorithm.header(certificate)?;
        if self.with_chain {
            let chain: Vec<_> = certificate
                .chain
                .iter()
                .map(|one| STANDARD.encode(one))
                .collect();
            header["x5c"] = json!(chain);
        }
        let seconds = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs()
        };
        let claims = json!({
            "aud": self.audience,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": uuid(runtime.random(), runtime.random()),
            "nbf": seconds(now),
            "iat": seconds(now),
            "exp": seconds(now) + LIFETIME.as_secs(),
        });
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let (certificate, scheme) = (Arc::clone(certificate), self.algorithm.scheme());
        // Milliseconds, for a large key: too long for those that share the
        // thread.
        blocking(move || {
            let signature = certificate.sign(scheme, signed.as_bytes())?;
            Ok(Zeroizing::new(format!(
                "{signed}.{}",
                URL_SAFE_NO_PAD.encode(signature)
            )))
        })
        .await
        .unwrap_or_else(|| Err(stopped("the assertion was signed")))
    }
}
