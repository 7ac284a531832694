//! What certificates and keys come in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::{EncryptedPrivateKeyInfo, pkcs5};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use zeroize::Zeroizing;

use super::refuse;
use crate::Error;

const PEM: &str = "-----BEGIN ";

/// Keys are not wiped by their type.
type Key = Zeroizing<PrivateKeyDer<'static>>;
type Opened = (Key, Vec<CertificateDer<'static>>);

/// The key and all certificates in `content`.
pub(super) fn open(content: &[u8], password: Option<&str>) -> Result<Opened, Error> {
    if contains(content, PEM) {
        return open_pem(content, password);
    }
    // DER begins with a sequence.
    if content.first() == Some(&0x30) {
        return open_pkcs12(content, password.unwrap_or_default());
    }
    // As PowerShell writes what its `>` is given.
    if content.starts_with(&[0xff, 0xfe]) || content.starts_with(&[0xfe, 0xff]) {
        return Err(refuse("is text in UTF-16").with_advice("save it as ASCII or UTF-8"));
    }
    Err(refuse("is neither PEM nor PKCS#12")
        .with_advice("give a file with certificate and private key"))
}

/// By way of buffers that are wiped, as those of PEM parsers are not.
fn open_pem(content: &[u8], password: Option<&str>) -> Result<Opened, Error> {
    if contains(content, "Proc-Type: 4,ENCRYPTED") {
        return Err(refuse("has a key with an encryption of old")
            .with_advice(
                "convert the key, and put the certificate beside it again: openssl pkcs8 -topk8 -in OLD -out NEW",
            ));
    }
    let text = text_of(content);
    let (mut keys, mut certificates) = (Vec::new(), Vec::new());
    for section in text.split(PEM).skip(1) {
        let (label, section) = section.split_once("-----").ok_or_else(broken)?;
        let (body, _) = section
            .split_once(&format!("-----END {label}-----"))
            .ok_or_else(broken)?;
        let der = || decode(body);
        let key: PrivateKeyDer<'static> = match label {
            "CERTIFICATE" => {
                certificates.push(CertificateDer::from(der()?.to_vec()));
                continue;
            }
            "PRIVATE KEY" => PrivatePkcs8KeyDer::from(der()?.to_vec()).into(),
            "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der()?.to_vec()).into(),
            "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der()?.to_vec()).into(),
            "ENCRYPTED PRIVATE KEY" => decrypt(&der()?, password)?.into(),
            _ => continue,
        };
        keys.push(Zeroizing::new(key));
    }
    only_key(keys, certificates)
}

/// What is not UTF-8 is in comments between the sections. A string that grows
/// leaves its old bytes behind, so it may not grow.
fn text_of(content: &[u8]) -> Zeroizing<String> {
    let longest = content.len() * char::REPLACEMENT_CHARACTER.len_utf8();
    let mut text = Zeroizing::new(String::with_capacity(longest));
    for chunk in content.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

fn only_key(keys: Vec<Key>, certificates: Vec<CertificateDer<'static>>) -> Result<Opened, Error> {
    if certificates.is_empty() {
        return Err(refuse("has no certificate")
            .with_advice("put the certificate into the file, beside its private key"));
    }
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

fn decode(body: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
    base64.extend(body.chars().filter(|c| !c.is_ascii_whitespace()));
    // A vector that grows leaves its old bytes behind.
    let mut der = Zeroizing::new(Vec::with_capacity(base64.len()));
    STANDARD
        .decode_vec(base64.as_bytes(), &mut der)
        .map_err(|_| broken())?;
    Ok(der)
}

fn decrypt(der: &[u8], password: Option<&str>) -> Result<PrivatePkcs8KeyDer<'static>, Error> {
    let encrypted = EncryptedPrivateKeyInfo::try_from(der).map_err(|_| unknown_encryption())?;
    let Some(password) = password else {
        return Err(
            refuse("has an encrypted key, and no password is given").with_advice(
                "give the password (AZURE_CLIENT_CERTIFICATE_PASSWORD in the environment)",
            ),
        );
    };
    if !is_bearable(&encrypted) {
        return Err(
            refuse("has a key whose encryption takes too long to open").with_advice(ENCRYPT_ANEW)
        );
    }
    let key = encrypted.decrypt(password).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(
            pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs5::Error::AlgorithmParametersInvalid { .. }
            | pkcs5::Error::NoPbes1CryptSupport,
        ) => unknown_encryption(),
        _ => refuse("has a key that the password does not open").with_advice("check the password"),
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()))
}

const ENCRYPT_ANEW: &str =
    "encrypt the key anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW";

fn unknown_encryption() -> Error {
    refuse("has a key with an encryption that is not known").with_advice(ENCRYPT_ANEW)
}

/// Whether the key can be derived within some seconds and 256 MiB. Who wrote the
/// file says how often it has to be stirred.
fn is_bearable(encrypted: &EncryptedPrivateKeyInfo<'_>) -> bool {
    const ITERATIONS: u32 = 10_000_000;
    const BYTES: u64 = 256 << 20;

    let Some(scheme) = encrypted.encryption_algorithm.pbes2() else {
        return true;
    };
    if let Some(pbkdf2) = scheme.kdf.pbkdf2() {
        return pbkdf2.iteration_count <= ITERATIONS;
    }
    scheme.kdf.scrypt().is_none_or(|scrypt| {
        let bytes = scrypt
            .cost_parameter
            .saturating_mul(128)
            .saturating_mul(u64::from(scrypt.block_size));
        bytes <= BYTES && scrypt.parallelization <= 16
    })
}

#[cfg(feature = "pkcs12")]
fn open_pkcs12(content: &[u8], password: &str) -> Result<Opened, Error> {
    use p12_keystore::Pkcs12Archive;

    // Not by way of its key store, which passes over keys that name no
    // certificate, and certificates that no key names.
    let archive =
        Pkcs12Archive::from_pkcs12(content, password).map_err(|error| unopened(&error))?;
    let keys = archive
        .keys
        .iter()
        .map(|bag| PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()))
        .map(|key| Zeroizing::new(key.into()))
        .collect();
    let certificates = archive
        .certs
        .iter()
        .map(|bag| CertificateDer::from(bag.cert.as_der().to_vec()))
        .collect();
    only_key(keys, certificates)
}

#[cfg(feature = "pkcs12")]
fn unopened(error: &p12_keystore::error::Error) -> Error {
    use p12_keystore::error::Error as Cause;

    match error {
        Cause::MacError(_) => {
            refuse("is PKCS#12 that the password does not open").with_advice("check the password")
        }
        Cause::UnsupportedEncryptionScheme
        | Cause::UnsupportedMacAlgorithm
        | Cause::InvalidParameters => {
            refuse("is PKCS#12 with an encryption that is not known, or takes too long to open")
                .with_advice(
                    "convert it to PEM: openssl pkcs12 -in OLD -out NEW -nodes (-legacy for old encryption)",
                )
        }
        // Without a MAC, a wrong password makes any of these.
        Cause::UnpadError | Cause::Pkcs5Error(_) | Cause::InvalidPrivateKey => refuse(
            "is PKCS#12 whose content cannot be decrypted",
        )
        .with_advice(
            "check the password; if it is right, convert the file to PEM: openssl pkcs12 -in OLD -out NEW -nodes",
        ),
        _ => refuse("is neither PEM nor PKCS#12 that is whole")
            .with_advice("give a file with certificate and private key"),
    }
}

#[cfg(not(feature = "pkcs12"))]
fn open_pkcs12(_: &[u8], _: &str) -> Result<Opened, Error> {
    Err(refuse("is PKCS#12, which this program was built without")
        .with_advice("enable the feature pkcs12 of tower-bearer, or convert it to PEM: openssl pkcs12 -in OLD -out NEW -nodes"))
}
