//! Certificates that are made when a test runs.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses what it needs of it"
)]

use p12_keystore::EncryptionAlgorithm;
use pkcs8::der::asn1::AnyRef;
use pkcs8::der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _};
use rcgen::{
    CertificateParams, DnType, Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};

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
        Self::of(&rsa(RsaKeySize::_2048), from, until)
    }

    /// Of an RSA key of another size.
    pub fn sized(size: RsaKeySize) -> Self {
        Self::of(&rsa(size), 2020, 2090)
    }

    /// Another certificate of the same key.
    pub fn renewed(&self, from: i32, until: i32) -> Self {
        Self::of(&KeyPair::from_pem(&self.key).unwrap(), from, until)
    }

    /// Such as `openssl x509 -req` makes: of version 1 of X.509, which has no
    /// extensions. Its signature is of no use, and nobody looks at it.
    pub fn of_version_1(&self) -> Self {
        let (_, document) = pkcs8::Document::from_pem(&self.certificate).unwrap();
        let parts = elements(document.as_bytes());
        let is_new = |part: &AnyRef<'_>| matches!(part.tag(), Tag::ContextSpecific { .. });
        let old: Vec<_> = elements(&parts[0])
            .iter()
            .map(|part| AnyRef::from_der(part).unwrap())
            .filter(|part| !is_new(part))
            .flat_map(|part| part.to_der().unwrap())
            .collect();
        let content = [sequence(&old), parts[1].clone(), parts[2].clone()].concat();
        let certificate = pkcs8::Document::try_from(sequence(&content)).unwrap();
        Self {
            certificate: certificate
                .to_pem("CERTIFICATE", pkcs8::LineEnding::LF)
                .unwrap(),
            key: self.key.clone(),
        }
    }

    /// One with the certificate of its issuer and that one's issuer, the root.
    pub fn with_chain() -> (Self, [String; 2]) {
        let key = || KeyPair::generate().unwrap();
        let (root_key, between_key, own_key) = (key(), key(), rsa(RsaKeySize::_2048));
        let params = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let (root, between) = (params("root"), params("between"));
        let by_root = Issuer::from_params(&root, &root_key);
        let by_between = Issuer::from_params(&between, &between_key);
        let made = Self {
            certificate: params("own")
                .signed_by(&own_key, &by_between)
                .unwrap()
                .pem(),
            key: own_key.serialize_pem(),
        };
        let between = between.signed_by(&between_key, &by_root).unwrap().pem();
        (made, [between, root.self_signed(&root_key).unwrap().pem()])
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

    pub fn pkcs12(&self, password: &str) -> Vec<u8> {
        self.pkcs12_by(password, EncryptionAlgorithm::PbeWithHmacSha256AndAes256)
    }

    pub fn pkcs12_by(&self, password: &str, algorithm: EncryptionAlgorithm) -> Vec<u8> {
        let (_, key) = pkcs8::SecretDocument::from_pem(&self.key).unwrap();
        let (_, certificate) = pkcs8::Document::from_pem(&self.certificate).unwrap();
        let chain = p12_keystore::PrivateKeyChain::new(
            vec![1_u8],
            p12_keystore::PrivateKey::from_der(key.as_bytes()).unwrap(),
            [p12_keystore::Certificate::from_der(certificate.as_bytes()).unwrap()],
        );
        let mut store = p12_keystore::KeyStore::new();
        store.add_entry("app", p12_keystore::KeyStoreEntry::PrivateKeyChain(chain));
        store
            .writer(password)
            .encryption_algorithm(algorithm)
            .write()
            .unwrap()
    }

    pub fn pem(&self) -> String {
        format!("{}{}", self.key, self.certificate)
    }
}

fn rsa(size: RsaKeySize) -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap()
}

/// What a sequence consists of.
fn elements(sequence: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = SliceReader::new(AnyRef::from_der(sequence).unwrap().value()).unwrap();
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(AnyRef::decode(&mut reader).unwrap().to_der().unwrap());
    }
    found
}

fn sequence(content: &[u8]) -> Vec<u8> {
    AnyRef::new(Tag::Sequence, content)
        .unwrap()
        .to_der()
        .unwrap()
}
