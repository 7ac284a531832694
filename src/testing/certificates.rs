//! Certificates of applications.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::Azure;
use super::switches::lock;
use crate::{Error, ErrorKind};

impl Azure {
    /// Registers an application in a tenant with the certificates in `pem`, as
    /// further ones if it is there already: those that it signs its client
    /// assertions with.
    ///
    /// ```no_run
    /// # async fn run(pem: &str) -> Result<(), tower_bearer::Error> {
    /// let azure = tower_bearer::testing::Azure::start().await?;
    /// azure.register_certificate(azure.tenant_id(), azure.client_id(), pem)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when there is no certificate in `pem`.
    pub fn register_certificate(
        &self,
        tenant_id: &str,
        client_id: &str,
        pem: &str,
    ) -> Result<(), Error> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .filter_map(Result::ok)
            .map(|certificate| certificate.to_vec())
            .collect();
        if certificates.is_empty() {
            return Err(Error::new(
                ErrorKind::Configuration,
                "there is no certificate to register",
            )
            .with_advice("give a certificate as PEM"));
        }
        lock(&self.state().directory).register_certificates(tenant_id, client_id, certificates);
        Ok(())
    }
}
