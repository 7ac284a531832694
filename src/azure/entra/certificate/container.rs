//! What certificates and keys come in.

use pkcs8::SecretDocument;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::refuse;
use crate::Error;

const PEM: &[u8] = b"-----BEGIN ";
const ENCRYPTED: [&str; 2] = [
    "-----BEGIN ENCRYPTED PRIVATE KEY-----",
    "-----END ENCRYPTED PRIVATE KEY-----",
];

type Opened = (PrivateKeyDer<'static>, Vec<CertificateDer<'static>>);

/// The key and all certificates in `content`.
pub(super) fn open(content: &[u8], password: Option<&str>) -> Result<Opened, Error> {
    if content.windows(PEM.len()).any(|part| part == PEM) {
        return open_pem(content, password);
    }
    // DER begins with a sequence.
    if content.first() == Some(&0x30) {
        return open_pkcs12(content, password.unwrap_or_default());
    }
    Err(refuse("is neither PEM nor PKCS#12")
        .with_advice("give a file with certificate and private key"))
}

fn open_pem(content: &[u8], password: Option<&str>) -> Result<Opened, Error> {
    if contains(content, "Proc-Type: 4,ENCRYPTED") {
        return Err(refuse("has a key with an encryption of old")
            .with_advice("convert it: openssl pkcs8 -topk8 -in OLD -out NEW"));
    }
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(content)
        .collect::<Result<_, _>>()
        .map_err(|_| broken())?;
    if certificates.is_empty() {
        return Err(refuse("has no certificate")
            .with_advice("put the certificate into the file, beside its private key"));
    }
    let mut keys: Vec<_> = PrivateKeyDer::pem_slice_iter(content)
        .collect::<Result<_, _>>()
        .map_err(|_| broken())?;
    keys.extend(decrypt(content, password)?);
    let mut keys = keys.into_iter();
    match (keys.next(), keys.next()) {
        (Some(only), None) => Ok((only, certificates)),
        (Some(_), Some(_)) => Err(refuse("has more than one private key")
            .with_advice("leave the key of the certificate alone in the file")),
        (None, _) => Err(refuse("has no private key")
            .with_advice("put the private key into the file, beside its certificate")),
    }
}

fn broken() -> Error {
    refuse("is broken PEM").with_advice("see whether the file is whole")
}

fn contains(content: &[u8], text: &str) -> bool {
    content
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

/// The keys that are encrypted, each in the clear.
fn decrypt(content: &[u8], password: Option<&str>) -> Result<Vec<PrivateKeyDer<'static>>, Error> {
    let text = String::from_utf8_lossy(content);
    let [begin, end] = ENCRYPTED;
    let mut keys = Vec::new();
    let mut rest = &*text;
    while let Some(at) = rest.find(begin) {
        let length = rest[at..].find(end).ok_or_else(broken)? + end.len();
        let pem = &rest[at..at + length];
        rest = &rest[at + length..];
        let (_, document) = SecretDocument::from_pem(pem).map_err(|_| broken())?;
        let encrypted: pkcs8::EncryptedPrivateKeyInfo<'_> =
            document.decode_msg().map_err(|_| {
                refuse("has a key with an encryption that is not known").with_advice(
                    "convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW",
                )
            })?;
        let Some(password) = password else {
            return Err(
                refuse("has an encrypted key, and no password is given").with_advice(
                    "give the password (AZURE_CLIENT_CERTIFICATE_PASSWORD in the environment)",
                ),
            );
        };
        let key = encrypted.decrypt(password).map_err(|_| {
            refuse("has a key that the password does not open")
                .with_advice("check the password; only PBES2 encryption is known")
        })?;
        keys.push(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into());
    }
    Ok(keys)
}

#[cfg(feature = "pkcs12")]
fn open_pkcs12(content: &[u8], password: &str) -> Result<Opened, Error> {
    use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};

    let store =
        KeyStore::from_pkcs12(content, password, Pkcs12ImportPolicy::Relaxed).map_err(|_| {
            refuse("is PKCS#12 that cannot be opened").with_advice("check the password")
        })?;
    let mut chains = store.entries().filter_map(|(_, entry)| match entry {
        KeyStoreEntry::PrivateKeyChain(chain) => Some(chain),
        _ => None,
    });
    let (Some(chain), None) = (chains.next(), chains.next()) else {
        return Err(refuse("has no private key, or more than one")
            .with_advice("export the certificate with its private key, and nothing else"));
    };
    let certificates = chain
        .certs()
        .iter()
        .map(|one| CertificateDer::from(one.as_der().to_vec()))
        .collect();
    let key = PrivatePkcs8KeyDer::from(chain.key().as_der().to_vec());
    Ok((key.into(), certificates))
}

#[cfg(not(feature = "pkcs12"))]
fn open_pkcs12(_: &[u8], _: &str) -> Result<Opened, Error> {
    Err(refuse("is PKCS#12, which this program was built without")
        .with_advice("enable the feature pkcs12 of tower-bearer, or convert it to PEM: openssl pkcs12 -in OLD -out NEW -nodes"))
}
