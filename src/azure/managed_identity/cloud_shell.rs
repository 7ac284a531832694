//! Azure Cloud Shell.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use http_body_util::Full;

use super::ManagedIdentityId;
use super::attempt::{Attempt, again};
use super::endpoint::Endpoint;
use super::imds::{METADATA, TRUE};
use crate::Error;
use crate::azure::answer::Issued;
use crate::azure::entra::form;
use crate::environment::Environment;
use crate::transport::Failure;

const ENDPOINT: &str = "MSI_ENDPOINT";

#[derive(Debug)]
pub(super) struct CloudShell {
    endpoint: Endpoint,
}

impl CloudShell {
    /// The one that the environment names.
    pub(super) fn find(environment: &Environment) -> Result<Option<Self>, Error> {
        let endpoint = Endpoint::read(environment, ENDPOINT)?;
        Ok(endpoint.map(|endpoint| Self { endpoint }))
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it can be asked for this identity.
    pub(super) fn check(id: &ManagedIdentityId) -> Error {
        id.unknown_to(
            "Azure Cloud Shell",
            "leave the id out: tokens there are those of the person that uses the shell",
        )
    }

    pub(super) async fn token(
        &self,
        attempt: &Attempt<'_>,
        resource: &str,
    ) -> Result<Issued, Failure> {
        let mut request = self.endpoint.bare();
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(METADATA, TRUE);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        let form: Bytes = form::encode(&[("resource", resource)]);
        *request.body_mut() = Full::new(form);
        attempt.ask(request, &[], again).await
    }
}
