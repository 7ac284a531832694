//! Entra's token endpoint, version 2.

mod assertion;
mod certificate;
mod claims;
mod client_certificate;
mod client_secret;
pub(super) mod form;
mod settings;
pub(super) mod tenants;
mod workload_identity;

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;

pub use self::certificate::ClientCertificate;
pub use self::client_certificate::{
    ClientCertificateCredential, ClientCertificateCredentialBuilder,
};
pub use self::client_secret::{ClientSecretCredential, ClientSecretCredentialBuilder};
pub use self::workload_identity::{WorkloadIdentityCredential, WorkloadIdentityCredentialBuilder};

pub(super) use self::settings::Settings;
use self::tenants::{Tenants, is_ad_fs};
use super::answer::{Issued, Reader};
use super::app_principal;
use super::cloud::Authority;
use crate::transport::{Again, Failure, Retries, RetryBudget, Schedule, Transport, place};
use crate::{AccessToken, Error, ErrorKind, Runtime, TokenRequest};

/// An application that signs in at a token endpoint, by whatever proof.
#[derive(Debug)]
struct Application {
    client_id: String,
    tenants: Tenants,
    authority: Authority,
    transport: Transport,
    schedule: Schedule,
    retry_budget: RetryBudget,
    attempt_timeout: Duration,
    continuous_access_evaluation: bool,
}

impl Application {
    /// Where the application signs in for `request`.
    fn endpoint(&self, request: &TokenRequest) -> Result<Uri, Error> {
        let tenant = self.tenants.select(request.tenant())?;
        self.authority.token_endpoint(tenant)
    }

    /// A token of the application itself (RFC 6749 section 4.4), with `proof`
    /// among the fields. `secrets` are kept out of errors.
    async fn sign_in(
        &self,
        request: &TokenRequest,
        proof: &[(&str, &str)],
        secrets: &[&str],
    ) -> Result<AccessToken, Error> {
        request.audience().check()?;
        let endpoint = self.endpoint(request)?;
        let tenant = self.tenants.select(request.tenant())?;
        let form = self.form(request, proof)?;

        let runtime = request.runtime();
        let mut retries = Retries::new(request, self.schedule, &self.retry_budget);
        let issued = loop {
            let limit = retries.limit(self.attempt_timeout);
            match self
                .attempt(&endpoint, &form, secrets, runtime, limit)
                .await
            {
                Ok(issued) => break issued,
                Err(failure) => retries.wait(failure).await?,
            }
        };
        let issuer = issued.token.principal().tenant_id();
        self.tenants.issued_by(tenant, issuer);
        let known = (!is_ad_fs(tenant)).then(|| tenant.as_str());
        let principal = app_principal(&issued.token, Some(&self.client_id), known);
        Ok(issued.token.with_principal(principal))
    }

    fn form(&self, request: &TokenRequest, proof: &[(&str, &str)]) -> Result<Bytes, Error> {
        let scope = scope(request.audience().as_str());
        let mut fields = vec![
            ("grant_type", "client_credentials"),
            ("client_id", self.client_id.as_str()),
            ("scope", scope.as_str()),
        ];
        fields.extend_from_slice(proof);
        let claims = if request.claims().is_some() || self.continuous_access_evaluation {
            Some(claims::with_capability(request.claims())?)
        } else {
            None
        };
        if let Some(claims) = &claims {
            fields.push(("claims", claims));
        }
        Ok(form::encode(&fields))
    }

    async fn attempt(
        &self,
        endpoint: &Uri,
        form: &Bytes,
        secrets: &[&str],
        runtime: &dyn Runtime,
        limit: Duration,
    ) -> Result<Issued, Failure> {
        let mut request = Request::new(Full::new(form.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.clone();
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));

        let asked = runtime.now();
        let answer = self.transport.send(request, runtime, limit).await?;
        let reader = Reader {
            place: &place(endpoint),
            asked,
            received: runtime.now().wall,
            secrets,
            token_type_optional: false,
        };
        reader.read(&answer).map_err(|error| {
            let again = again(&error);
            Failure::new(error, again)
        })
    }
}

/// A refusal is final, and so is a server's wish to be left alone: those who
/// wait learn of it at once, and the cache keeps to it.
pub(super) fn again(error: &Error) -> Again {
    match error.kind() {
        ErrorKind::Throttled if error.retry_after().is_none() => Again::Later,
        ErrorKind::Unreachable | ErrorKind::Timeout => Again::Later,
        ErrorKind::InvalidResponse => Again::Once,
        _ => Again::Never,
    }
}

/// `https://management.azure.com/` becomes
/// `https://management.azure.com//.default`: its slash is part of the audience.
pub(super) fn scope(audience: &str) -> String {
    const ALL: &str = "/.default";
    if audience.ends_with(ALL) {
        audience.to_owned()
    } else {
        format!("{audience}{ALL}")
    }
}
