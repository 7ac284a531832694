//! Certificates that applications sign in with.

mod chain;
mod container;
mod jws;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use zeroize::Zeroizing;

pub(super) use self::jws::{Algorithm, Assertion};

use crate::azure::blocking::blocking;
use crate::azure::secret_file::{self, Bounds};
use crate::transport::{Thumbprint, built_in_signing_key};
use crate::{Error, ErrorKind};

const FILE: Bounds = Bounds {
    max_bytes: 256 * 1024,
    follow_links: true,
};

/// Signatures of RSA keys of 2048 bits are as long as this. Entra takes no
/// shorter ones.
const LEAST_SIGNATURE_BYTES: usize = 256;

/// A certificate with its private key, for
/// [`ClientCertificateCredential`](super::ClientCertificateCredential).
///
/// ```no_run
/// use tower_bearer::azure::{ClientCertificate, ClientCertificateCredential};
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// # let password = String::new();
/// let certificate = ClientCertificate::from_file("/run/secrets/client.pem")
///     .with_password(password);
/// let credential =
///     ClientCertificateCredential::new("contoso.onmicrosoft.com", "app-id", certificate)?;
/// # Ok(())
/// # }
/// ```
///
/// # What it may be
///
/// - PEM: one private key (PKCS#8, PKCS#1, or PKCS#8 that is encrypted by PBES2)
///   and one or more certificates, in any order. The certificate of the key is
///   found among them, the newest if there are several; the others are its
///   chain.
/// - PKCS#12 (`.pfx`), with the feature `pkcs12`. The library that reads it does
///   not wipe its buffers as everything else here does, so prefer PEM where
///   memory may be read by others.
///
/// Which of them it is shows by its content. Entra takes RSA keys of 2048 bits
/// or more.
#[derive(Clone)]
pub struct ClientCertificate {
    source: Source,
    password: Option<Zeroizing<String>>,
}

#[derive(Clone)]
enum Source {
    Bytes(Arc<Zeroizing<Vec<u8>>>),
    File(PathBuf),
}

impl ClientCertificate {
    /// A certificate from the content of a PEM or PKCS#12 file.
    #[must_use]
    pub fn from_bytes(content: impl Into<Vec<u8>>) -> Self {
        Self {
            source: Source::Bytes(Arc::new(Zeroizing::new(content.into()))),
            password: None,
        }
    }

    /// A certificate from a PEM or PKCS#12 file of at most 256 KiB.
    ///
    /// The file is read when the credential is made, and again for each token
    /// request: when it has changed, the new certificate is used. If that one
    /// cannot be used, or not yet, the old one is, for as long as Entra takes it;
    /// [`reload_error`](super::ClientCertificateCredential::reload_error) says
    /// so.
    ///
    /// Keep the file readable by the user of the program alone.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::File(path.into()),
            password: None,
        }
    }

    /// The password that the private key, or the PKCS#12 file, is encrypted
    /// with.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Zeroizing::new(password.into()));
        self
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ClientCertificate");
        match &self.source {
            Source::Bytes(bytes) => debug.field("bytes", &bytes.len()),
            Source::File(path) => debug.field("path", path),
        };
        debug.finish_non_exhaustive()
    }
}

/// A certificate that is ready to sign with, and where a newer one would be.
pub(super) struct Holder {
    file: Option<PathBuf>,
    password: Option<Zeroizing<String>>,
    newest: Mutex<Newest>,
}

struct Newest {
    content: Arc<Zeroizing<Vec<u8>>>,
    certificate: Arc<Certificate>,
    /// Why what is in the file now is not used.
    problem: Option<Error>,
}

impl Holder {
    /// Reads `certificate`, on the thread that calls it.
    pub(super) fn new(certificate: ClientCertificate) -> Result<Self, Error> {
        let (content, file) = match certificate.source {
            Source::Bytes(content) => (content, None),
            Source::File(path) => {
                let content = secret_file::read_now(&path, FILE)
                    .map_err(|problem| unreadable(&path, problem))?;
                (Arc::new(content), Some(path))
            }
        };
        let password = certificate.password;
        let parsed = Certificate::parse(&content, password.as_deref().map(String::as_str))
            .map_err(|error| in_file(file.as_deref(), error))?;
        Ok(Self {
            file,
            password,
            newest: Mutex::new(Newest {
                content,
                certificate: Arc::new(parsed),
                problem: None,
            }),
        })
    }

    /// The newest certificate that can be used `now`, and why it is not the one
    /// that lies in the file, if it is not.
    pub(super) async fn newest(&self, now: SystemTime) -> (Arc<Certificate>, Option<Error>) {
        let Some(path) = self.file.clone() else {
            return (Arc::clone(&self.lock().certificate), None);
        };
        let (known, password) = (Arc::clone(&self.lock().content), self.password.clone());
        // To open what is encrypted takes its time on purpose.
        let found = {
            let path = path.clone();
            blocking(move || read_newer(&path, password.as_deref().map(String::as_str), &known))
                .await
        };
        let mut newest = self.lock();
        match found {
            Some(Ok(Some((content, certificate)))) => {
                // One that has ended, or is for later, must not take the place
                // of one that is good.
                let problem = certificate.check(now).err();
                match problem.filter(|_| newest.certificate.check(now).is_ok()) {
                    Some(problem) => newest.problem = Some(in_file(Some(&path), problem)),
                    None => {
                        *newest = Newest {
                            content,
                            certificate,
                            problem: None,
                        };
                    }
                }
            }
            Some(Ok(None)) => newest.problem = None,
            Some(Err(problem)) => newest.problem = Some(problem),
            // The runtime is being shut down, and nobody waits for a token.
            None => {}
        }
        (Arc::clone(&newest.certificate), newest.problem.clone())
    }

    /// Why the certificate in the file was not used when it was last looked at.
    pub(super) fn problem(&self) -> Option<Error> {
        self.lock().problem.clone()
    }

    /// Whether the one that was used last may be used at `now`.
    pub(super) fn is_in_time(&self, now: SystemTime) -> bool {
        self.lock().certificate.check(now).is_ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The certificate at `path`, unless it is the `known` one.
#[allow(
    clippy::type_complexity,
    reason = "content and certificate, if there are"
)]
fn read_newer(
    path: &Path,
    password: Option<&str>,
    known: &[u8],
) -> Result<Option<(Arc<Zeroizing<Vec<u8>>>, Arc<Certificate>)>, Error> {
    let content = secret_file::read_now(path, FILE).map_err(|problem| unreadable(path, problem))?;
    if *content == *known {
        return Ok(None);
    }
    let certificate =
        Certificate::parse(&content, password).map_err(|error| in_file(Some(path), error))?;
    Ok(Some((Arc::new(content), Arc::new(certificate))))
}

fn in_file(path: Option<&Path>, error: Error) -> Error {
    match path {
        Some(path) => error.in_context(&format!("the file {}", path.display())),
        None => error,
    }
}

fn unreadable(path: &Path, problem: secret_file::Unreadable) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!("the certificate file {} {problem}", path.display()),
    )
    .with_advice("give the path of a PEM or PFX file with certificate and private key")
}

/// A certificate and its key.
pub(super) struct Certificate {
    key: Arc<dyn SigningKey>,
    /// The own one first.
    chain: Vec<CertificateDer<'static>>,
    thumbprint: Thumbprint,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Certificate {
    fn parse(content: &[u8], password: Option<&str>) -> Result<Self, Error> {
        let (key, certificates) = container::open(content, password)?;
        Self::new(&key, certificates)
    }

    fn new(
        key: &PrivateKeyDer<'_>,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<Self, Error> {
        let key = built_in_signing_key(key)
            .ok_or_else(|| {
                refuse("needs a crypto provider to sign with")
                    .with_advice("enable the feature aws-lc-rs or ring of tower-bearer")
            })?
            .map_err(|_| refuse("has a private key that cannot be read").with_advice(RSA_KEY))?;
        let signature = key
            .choose_scheme(&[SignatureScheme::RSA_PSS_SHA256])
            .ok_or_else(|| refuse("has a private key that is no RSA key").with_advice(RSA_KEY))?
            .sign(b"")
            .map_err(|_| refuse("has a private key that cannot sign").with_advice(RSA_KEY))?;
        if signature.len() < LEAST_SIGNATURE_BYTES {
            return Err(refuse("has a key of less than 2048 bits").with_advice(RSA_KEY));
        }
        let (own, chain) = key
            .public_key()
            .and_then(|public_key| chain::in_order(&public_key, certificates))
            .ok_or_else(|| {
                refuse("has no certificate of its private key")
                    .with_advice("put the certificate that was made for the key into the file")
            })?;
        Ok(Self {
            thumbprint: Thumbprint::of(&chain[0]),
            key,
            chain,
            not_before: own.validity.not_before.to_system_time(),
            not_after: own.validity.not_after.to_system_time(),
        })
    }

    pub(super) fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// The signature of `data`.
    fn sign(&self, scheme: SignatureScheme, data: &[u8]) -> Result<Vec<u8>, Error> {
        self.key
            .choose_scheme(&[scheme])
            .and_then(|signer| signer.sign(data).ok())
            .ok_or_else(|| refuse("has a key that cannot sign"))
    }

    /// Whether it may be used at `now`.
    pub(super) fn check(&self, now: SystemTime) -> Result<(), Error> {
        let days = |later: SystemTime, earlier: SystemTime| {
            later.duration_since(earlier).unwrap_or_default().as_secs() / 86_400
        };
        if now > self.not_after {
            return Err(refuse(&format!(
                "{:?} has expired on {}, {} days ago",
                self.thumbprint,
                httpdate::fmt_http_date(self.not_after),
                days(now, self.not_after)
            ))
            .with_advice("renew it, and upload the new one to the app registration"));
        }
        if now < self.not_before {
            return Err(refuse(&format!(
                "{:?} is not valid before {}",
                self.thumbprint,
                httpdate::fmt_http_date(self.not_before)
            ))
            .with_advice("check the clock of this machine"));
        }
        Ok(())
    }
}

const RSA_KEY: &str = "Entra takes RSA keys of 2048 bits or more";

fn refuse(problem: &str) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!("the client certificate {problem}"),
    )
}
