//! The certificate authority that is made at start, and both sides' TLS
//! settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::wire::{civil_date, epoch_seconds};
use crate::runtime::{Runtime as _, TokioRuntime};
use crate::{BoxError, Error, ErrorKind};

pub(super) struct Tls {
    pub(super) ca_pem: String,
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

impl Tls {
    /// A new authority and a certificate of it for `names`.
    pub(super) fn generate(names: Vec<String>) -> Result<Self, Error> {
        Self::try_generate(names).map_err(no_certificate)
    }

    fn try_generate(names: Vec<String>) -> Result<Self, BoxError> {
        let mut authority = within_two_years(CertificateParams::default())?;
        authority.distinguished_name = rcgen::DistinguishedName::new();
        authority
            .distinguished_name
            .push(DnType::CommonName, "Embedded Azure for tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut leaf = within_two_years(CertificateParams::new(names)?)?;
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        leaf.distinguished_name
            .push(DnType::CommonName, "localhost");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python since 3.13 and others refuse a leaf without it.
        leaf.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &authority)?;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        let client = client_config(provider, authority.der().clone())?;
        Ok(Self {
            ca_pem: authority.pem(),
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }
}

/// A certificate that nobody has signed but its own key, as Service Fabric has
/// it.
pub(super) struct SelfSigned {
    pub(super) server: Arc<ServerConfig>,
    /// SHA-1, in hexadecimal digits.
    pub(super) thumbprint: String,
}

impl SelfSigned {
    pub(super) fn generate() -> Result<Self, Error> {
        Self::try_generate().map_err(no_certificate)
    }

    fn try_generate() -> Result<Self, BoxError> {
        let params = within_two_years(CertificateParams::new(["localhost".to_owned()])?)?;
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let digest = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
            certificate.der(),
        );
        let thumbprint = hex(digest.as_ref());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(Self {
            server: Arc::new(server),
            thumbprint,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |four: u8| char::from(b"0123456789ABCDEF"[usize::from(four)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)])
        .collect()
}

fn no_certificate(source: BoxError) -> Error {
    Error::new(
        ErrorKind::Configuration,
        "the embedded Azure could not make its certificate",
    )
    .with_source(source)
}

fn client_config(
    provider: Arc<CryptoProvider>,
    authority: rustls::pki_types::CertificateDer<'static>,
) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Some verifiers refuse a leaf that is good for more than 825 days. The real
/// clock counts here, since TLS clients look at no other.
fn within_two_years(mut params: CertificateParams) -> Result<CertificateParams, BoxError> {
    let today = epoch_seconds(TokioRuntime::new().now().wall) / 86_400;
    let year = i32::try_from(civil_date(today).0)?;
    params.not_before = date_time_ymd(year - 1, 12, 1);
    params.not_after = date_time_ymd(year + 1, 12, 31);
    Ok(params)
}

/// The authority's certificate on disk, for programs that take no other; gone
/// when this is dropped.
pub(super) struct CertificateFile(PathBuf);

impl CertificateFile {
    pub(super) fn write(pem: &str) -> Result<Self, Error> {
        // Two clocks moved by hand may have the same seed, two files may not
        // have the same name.
        let random = TokioRuntime::new().random();
        let path = std::env::temp_dir().join(format!("embedded-azure-{random:016x}.pem"));
        let written = std::fs::OpenOptions::new()
            .write(true)
            // Never through a link that somebody else has laid there.
            .create_new(true)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, pem.as_bytes()));
        match written {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "the CA certificate could not be written to {}",
                    path.display()
                ),
            )
            .with_advice("point TMPDIR at a directory that can be written to")
            .with_source(source)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for CertificateFile {
    fn drop(&mut self) {
        // Nobody is left to tell if it is gone already.
        let _ = std::fs::remove_file(&self.0);
    }
}
