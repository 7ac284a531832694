//! Servers that are known by their certificate, whoever has signed it.

use std::fmt;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use subtle::ConstantTimeEq as _;

/// The SHA-1 of a certificate, by which Windows and Azure name certificates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Thumbprint([u8; 20]);

impl Thumbprint {
    /// Reads 40 hexadecimal digits, with blanks and colons anywhere.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut digits = text
            .chars()
            .filter(|c| *c != ':' && !c.is_whitespace())
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
        let mut thumbprint = [0; 20];
        for byte in &mut thumbprint {
            *byte = digits.next()?? << 4 | digits.next()??;
        }
        digits.next().is_none().then_some(Self(thumbprint))
    }

    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(sha1_smol::Sha1::from(certificate).digest().bytes())
    }

    fn is(self, other: Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl AsRef<[u8]> for Thumbprint {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// Takes one certificate and no other. Who has signed it, for which name and
/// until when says nothing more; that the server has its key is proven by the
/// handshake.
#[derive(Debug)]
pub(super) struct Pin {
    thumbprint: Thumbprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pin {
    pub(super) fn new(thumbprint: Thumbprint, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self {
            thumbprint,
            algorithms,
        }
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if Thumbprint::of(end_entity).is(self.thumbprint) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t10_a_thumbprint_is_forty_digits_however_they_are_set() {
        let expected = Thumbprint::parse("a94a8fe5ccb19ba61c4c0873d391e987982fbbd3").unwrap();
        for text in [
            "A94A8FE5CCB19BA61C4C0873D391E987982FBBD3",
            "a9:4a:8f:e5:cc:b1:9b:a6:1c:4c:08:73:d3:91:e9:87:98:2f:bb:d3",
            " A94A8FE5 CCB19BA6 1C4C0873 D391E987 982FBBD3\n",
        ] {
            assert_eq!(Thumbprint::parse(text), Some(expected), "{text}");
        }
        assert_eq!(
            Thumbprint::of(&CertificateDer::from(&b"test"[..])),
            expected
        );
        for text in [
            "",
            "a94a8fe5ccb19ba61c4c0873d391e987982fbbd",
            "a94a8fe5ccb19ba61c4c0873d391e987982fbbd33",
            "a94a8fe5ccb19ba61c4c0873d391e987982fbbdg",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ] {
            assert_eq!(Thumbprint::parse(text), None, "{text}");
        }
    }
}
