//! TLS: crypto provider, trusted roots, and what a refused certificate means.

use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "azure")]
use rustls::CertificateError;
use rustls::crypto::CryptoProvider;
#[cfg(feature = "azure")]
use rustls::crypto::hash::{self, HashAlgorithm};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

#[cfg(feature = "azure")]
use super::pin::{Pin, Thumbprint};
use crate::environment::Environment;
use crate::{Error, ErrorKind};

/// The client's side of TLS. No process-wide default is read or set.
pub(super) fn configuration(
    provider: Option<Arc<CryptoProvider>>,
    extra_roots: &[Vec<u8>],
    environment: &Environment,
) -> Result<ClientConfig, Error> {
    let builder = builder(provider.or_else(built_in_provider))?;
    let roots = roots(extra_roots, environment)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn builder(
    provider: Option<Arc<CryptoProvider>>,
) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    let Some(provider) = provider else {
        return Err(Error::new(
            ErrorKind::Configuration,
            "there is no crypto provider for TLS",
        )
        .with_advice(
            "enable the feature aws-lc-rs or ring of tower-bearer, or pass one with TransportBuilder::crypto_provider",
        ));
    };
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| {
            Error::new(
                ErrorKind::Configuration,
                "the crypto provider supports no version of TLS that is in use",
            )
            .with_source(cause)
        })
}

/// The client's side of TLS with a server that is known by its certificate.
#[cfg(feature = "azure")]
pub(super) fn pinned(thumbprint: Thumbprint) -> Result<ClientConfig, Error> {
    let builder = builder(built_in_provider())?;
    let algorithms = builder.crypto_provider().signature_verification_algorithms;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pin::new(thumbprint, algorithms)))
        .with_no_client_auth())
}

/// SHA-256, if a crypto provider is built in.
#[cfg(feature = "azure")]
pub(crate) fn sha256(data: &[u8]) -> Option<hash::Output> {
    let suites = &built_in_provider()?.cipher_suites;
    let digest = suites.iter().find_map(|suite| {
        let digest = suite.tls13()?.common.hash_provider;
        (digest.algorithm() == HashAlgorithm::SHA256).then_some(digest)
    })?;
    Some(digest.hash(data))
}

/// Features only add, so both may be on; then aws-lc-rs is taken.
#[cfg_attr(
    any(feature = "ring", feature = "aws-lc-rs"),
    allow(
        clippy::unnecessary_wraps,
        reason = "without both features there is none"
    )
)]
fn built_in_provider() -> Option<Arc<CryptoProvider>> {
    #[cfg(feature = "aws-lc-rs")]
    return Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Some(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    return None;
}

/// `key`, ready to sign with by the provider that is built in; `None` if there
/// is none. Providers take keys by value and do not wipe them, but the libraries
/// behind them take references.
#[cfg_attr(
    any(feature = "ring", feature = "aws-lc-rs"),
    allow(
        clippy::unnecessary_wraps,
        reason = "without both features there is none"
    )
)]
#[cfg(feature = "azure")]
pub(crate) fn built_in_signing_key(
    key: &rustls::pki_types::PrivateKeyDer<'_>,
) -> Option<Result<Arc<dyn rustls::sign::SigningKey>, rustls::Error>> {
    #[cfg(feature = "aws-lc-rs")]
    return Some(rustls::crypto::aws_lc_rs::sign::any_supported_type(key));
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Some(rustls::crypto::ring::sign::any_supported_type(key));
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    {
        let _ = key;
        None
    }
}

fn roots(extra: &[Vec<u8>], environment: &Environment) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for pem in extra {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|cause| bad_root().with_source(cause))?;
        if certificates.is_empty() {
            return Err(bad_root());
        }
        for certificate in certificates {
            store
                .add(certificate)
                .map_err(|cause| bad_root().with_source(cause))?;
        }
    }

    let (found, named_by) = system_roots(environment);
    // What loads the system's certificates takes an empty variable for a path.
    let set_to_nothing = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .into_iter()
        .find(|name| environment.is_set_to_nothing(name));
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 && (named_by.is_some() || store.is_empty()) {
        let error = Error::new(
            ErrorKind::Configuration,
            match (named_by, set_to_nothing) {
                (Some(variable), _) => {
                    format!("{variable} names no root certificate that can be used")
                }
                (None, Some(variable)) => format!("{variable} is set, but to nothing"),
                (None, None) => "this system has no root certificates".to_owned(),
            },
        )
        .with_advice(
            "install the system's CA certificates and unset SSL_CERT_FILE and SSL_CERT_DIR, or set SSL_CERT_FILE to a PEM file with the ones to trust",
        );
        return Err(match found.errors.into_iter().next() {
            Some(cause) => error.with_source(cause),
            None => error,
        });
    }
    Ok(store)
}

fn bad_root() -> Error {
    Error::new(
        ErrorKind::Configuration,
        "a root certificate that was passed to the transport cannot be read",
    )
    .with_advice("pass PEM with one BEGIN CERTIFICATE block for each")
}

/// What OpenSSL's variables name, both taken together; without them, what the
/// system trusts. Also which variables were used.
///
/// The variables are read here since `rustls-native-certs` takes an empty one
/// for a path.
fn system_roots(
    environment: &Environment,
) -> (rustls_native_certs::CertificateResult, Option<&'static str>) {
    let file = environment.raw("SSL_CERT_FILE");
    let directories = environment.raw("SSL_CERT_DIR");
    let named_by = match (&file, &directories) {
        (Some(_), Some(_)) => "SSL_CERT_FILE with SSL_CERT_DIR",
        (Some(_), None) => "SSL_CERT_FILE",
        (None, Some(_)) => "SSL_CERT_DIR",
        (None, None) => return (rustls_native_certs::load_native_certs(), None),
    };
    let mut found =
        rustls_native_certs::load_certs_from_paths(file.as_deref().map(Path::new), None);
    for directory in directories.iter().flat_map(std::env::split_paths) {
        if directory.as_os_str().is_empty() {
            continue;
        }
        let more = rustls_native_certs::load_certs_from_paths(None, Some(&directory));
        found.certs.extend(more.certs);
        found.errors.extend(more.errors);
    }
    (found, Some(named_by))
}

/// Says what to do when `cause` is that the server's certificate was refused.
#[cfg(feature = "azure")]
pub(super) fn certificate_advice(
    cause: &(dyn std::error::Error + 'static),
) -> Option<&'static str> {
    let Some(rustls::Error::InvalidCertificate(problem)) = cause.downcast_ref() else {
        return None;
    };
    Some(match problem {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "check the clock of this machine, then the server's certificate"
        }
        CertificateError::ApplicationVerificationFailure => {
            "its thumbprint is not the one that this host has announced; another server may be answering in its place"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "check the host name; a proxy or another server may be answering in its place"
        }
        _ => {
            "if you trust who signed it, set SSL_CERT_FILE to a PEM file with that authority's certificate, \
             or pass it with TransportBuilder::add_root_certificates"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
    #[test]
    fn t25_without_a_crypto_provider_the_error_names_the_features() {
        let error = configuration(None, &[], &Environment::of(&[])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("aws-lc-rs or ring"), "{error}");
    }

    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    #[test]
    fn roots_that_cannot_be_read_are_a_configuration_error() {
        let nowhere = Environment::of(&[("SSL_CERT_FILE", "/nonexistent/roots.pem")]);
        let error = configuration(None, &[], &nowhere).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("SSL_CERT_FILE"), "{error}");

        for pem in [
            &b""[..],
            b"no pem",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let error = configuration(None, &[pem.to_vec()], &Environment::of(&[])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        }
    }
}
