//! The protocol of version 2017-09-01: Azure Machine Learning, and App Service
//! where it is old.

use http::HeaderName;

use super::ManagedIdentityId;
use super::attempt::{Attempt, again};
use super::endpoint::Endpoint;
use super::id::Names;
use super::secret::Secret;
use crate::Error;
use crate::azure::answer::Issued;
use crate::environment::Environment;
use crate::transport::Failure;

const ENDPOINT: &str = "MSI_ENDPOINT";
const SECRET: &str = "MSI_SECRET";
/// Which identity Azure Machine Learning means when none is named.
const DEFAULT_CLIENT_ID: &str = "DEFAULT_IDENTITY_CLIENT_ID";
const API_VERSION: &str = "2017-09-01";
const HEADER: HeaderName = HeaderName::from_static("secret");
const NAMES: Names = Names {
    client: Some("clientid"),
    object: None,
    resource: None,
};

#[derive(Debug)]
pub(super) struct MsiEndpoint {
    endpoint: Endpoint,
    secret: Secret,
    default_client_id: Option<String>,
}

impl MsiEndpoint {
    /// The one that the environment names.
    pub(super) fn find(environment: &Environment) -> Result<Option<Self>, Error> {
        if environment.raw(ENDPOINT).is_none() {
            return Ok(None);
        }
        let Some(secret) = Secret::read(environment, SECRET)? else {
            return Ok(None);
        };
        let Some(endpoint) = Endpoint::read(environment, ENDPOINT)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            endpoint,
            secret,
            default_client_id: environment.text(DEFAULT_CLIENT_ID)?,
        }))
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it can be asked for this identity.
    pub(super) fn check(id: &ManagedIdentityId) -> Result<(), Error> {
        match id.parameter(&NAMES) {
            Some(_) => Ok(()),
            None => Err(id.unknown_to(
                "this host",
                "give the client id of the identity: the protocol of MSI_ENDPOINT knows no other",
            )),
        }
    }

    pub(super) async fn token(
        &self,
        attempt: &Attempt<'_>,
        resource: &str,
        id: Option<&ManagedIdentityId>,
    ) -> Result<Issued, Failure> {
        let mut parameters = vec![("api-version", API_VERSION), ("resource", resource)];
        match (id, &self.default_client_id) {
            (Some(id), _) => parameters.extend(id.parameter(&NAMES)),
            (None, Some(default)) => parameters.push(("clientid", default)),
            (None, None) => {}
        }
        let mut request = self.endpoint.get(&parameters)?;
        request.headers_mut().insert(HEADER, self.secret.header()?);
        attempt.ask(request, &[self.secret.text()], again).await
    }
}
