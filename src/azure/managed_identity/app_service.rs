//! App Service, Functions, Container Apps and what else speaks the protocol of
//! version 2019-08-01.

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderName;

use super::ManagedIdentityId;
use super::attempt::{Attempt, again};
use super::endpoint::Endpoint;
use super::id::Names;
use super::imds::{METADATA, TRUE};
use super::msi_endpoint::MsiEndpoint;
use super::secret::Secret;
use crate::azure::answer::Issued;
use crate::environment::Environment;
use crate::transport::Failure;
use crate::{Error, ErrorKind};

pub(super) const ENDPOINT: &str = "IDENTITY_ENDPOINT";
pub(super) const SECRET: &str = "IDENTITY_HEADER";
const API_VERSION: &str = "2019-08-01";
const HEADER: HeaderName = HeaderName::from_static("x-identity-header");
const NAMES: Names = Names {
    client: Some("client_id"),
    object: Some("principal_id"),
    resource: Some("mi_res_id"),
};

#[derive(Debug)]
pub(super) struct AppService {
    endpoint: Endpoint,
    secret: Secret,
    /// Functions on Linux Consumption set the variables of both protocols, and
    /// some of them refuse the newer one.
    older: Option<MsiEndpoint>,
    older_serves: AtomicBool,
}

impl AppService {
    /// The one that the environment names.
    pub(super) fn find(
        environment: &Environment,
        id: Option<&ManagedIdentityId>,
    ) -> Result<Option<Self>, Error> {
        if environment.raw(ENDPOINT).is_none() {
            return Ok(None);
        }
        let Some(secret) = Secret::read(environment, SECRET)? else {
            return Ok(None);
        };
        let Some(endpoint) = Endpoint::read(environment, ENDPOINT)? else {
            return Ok(None);
        };
        let older_knows = id.is_none_or(|id| MsiEndpoint::check(id).is_ok());
        Ok(Some(Self {
            endpoint,
            secret,
            older: if older_knows {
                MsiEndpoint::find(environment)?
            } else {
                None
            },
            older_serves: AtomicBool::new(false),
        }))
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) async fn token(
        &self,
        attempt: &Attempt<'_>,
        resource: &str,
        id: Option<&ManagedIdentityId>,
    ) -> Result<Issued, Failure> {
        let Some(older) = &self.older else {
            return self.newest(attempt, resource, id).await;
        };
        if self.older_serves.load(Ordering::Relaxed) {
            // What it refuses now may be since the host has learned the newer
            // protocol.
            let refusal = match older.token(attempt, resource, id).await {
                Err(failure) if failure.error.kind() == ErrorKind::Rejected => failure,
                other => return other,
            };
            let other = self.newest(attempt, resource, id).await;
            return match other {
                Ok(issued) => {
                    self.older_serves.store(false, Ordering::Relaxed);
                    Ok(issued)
                }
                Err(_) => Err(refusal),
            };
        }
        let refusal = match self.newest(attempt, resource, id).await {
            Err(failure) if refuses_version(&failure.error) => failure,
            other => return other,
        };
        match older.token(attempt, resource, id).await {
            Ok(issued) => {
                self.older_serves.store(true, Ordering::Relaxed);
                Ok(issued)
            }
            Err(failure) if refuses_version(&failure.error) => Err(refusal),
            Err(failure) => Err(failure),
        }
    }

    async fn newest(
        &self,
        attempt: &Attempt<'_>,
        resource: &str,
        id: Option<&ManagedIdentityId>,
    ) -> Result<Issued, Failure> {
        let mut parameters = vec![("api-version", API_VERSION), ("resource", resource)];
        parameters.extend(id.and_then(|id| id.parameter(&NAMES)));
        let mut request = self.endpoint.get(&parameters)?;
        let headers = request.headers_mut();
        headers.insert(HEADER, self.secret.header()?);
        // Azure Automation insists on it.
        headers.insert(METADATA, TRUE);
        attempt.ask(request, &[self.secret.text()], again).await
    }
}

fn refuses_version(error: &Error) -> bool {
    let by_code = error.oauth_error().is_some_and(|code| {
        ["UnsupportedApiVersion", "InvalidApiVersion"]
            .iter()
            .any(|known| code.eq_ignore_ascii_case(known))
    });
    let by_text = || {
        let text = error.message().to_ascii_lowercase();
        text.contains("support") && (text.contains("api version") || text.contains("api-version"))
    };
    error.kind() == ErrorKind::Rejected && (by_code || by_text())
}
