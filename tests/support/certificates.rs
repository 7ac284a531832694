//! Certificates that are made when a test runs.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses what it needs of it"
)]

use pkcs8::der::Decode as _;
use pkcs8::pkcs5::pbes2::Parameters;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd};

/// A certificate and its key, as PEM.
pub struct Made {
    pub certificate: String,
    pub key: String,
}

impl Made {
    /// Of an RSA key of 2048 bits, good from 2020 to 2090.
    pub fn new() -> Self {
        Self::valid(2020, 2090)
    }

    pub fn valid(from: i32, until: i32) -> Self {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        Self::of(&key, from, until)
    }

    /// Of a key that Entra does not take.
    pub fn elliptic() -> Self {
        Self::of(&KeyPair::generate().unwrap(), 2020, 2090)
    }

    fn of(key: &KeyPair, from: i32, until: i32) -> Self {
        let mut params = CertificateParams::new(vec!["app.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        Self {
            certificate: params.self_signed(key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub fn pem(&self) -> String {
        format!("{}{}", self.key, self.certificate)
    }

    /// Certificate and key, the key encrypted.
    pub fn encrypted_pem(&self, password: &str) -> String {
        let (_, document) = pkcs8::SecretDocument::from_pem(&self.key).unwrap();
        let info = pkcs8::PrivateKeyInfo::from_der(document.as_bytes()).unwrap();
        let key = info
            .encrypt_with_params(pbkdf2(1_000), password)
            .unwrap()
            .to_pem("ENCRYPTED PRIVATE KEY", pkcs8::LineEnding::LF)
            .unwrap();
        format!("{}{}", self.certificate, *key)
    }
}

pub fn pbkdf2(iterations: u32) -> Parameters<'static> {
    Parameters::pbkdf2_sha256_aes256cbc(iterations, &[7; 16], &[9; 16]).unwrap()
}
