//! Service Fabric clusters.

use http::header::ACCEPT;
use http::{HeaderName, HeaderValue};

use super::ManagedIdentityId;
use super::app_service::{ENDPOINT, SECRET};
use super::attempt::{Attempt, again_unless_missing};
use super::endpoint::Endpoint;
use super::id::Names;
use super::secret::Secret;
use crate::azure::answer::Issued;
use crate::environment::Environment;
use crate::transport::{Failure, Thumbprint, Transport, sha256};
use crate::{Error, ErrorKind, TokenRequest};

const THUMBPRINT: &str = "IDENTITY_SERVER_THUMBPRINT";
const VERSION_VARIABLE: &str = "IDENTITY_API_VERSION";
const API_VERSION: &str = "2019-07-01-preview";
const HEADER: HeaderName = HeaderName::from_static("secret");
const NAMES: Names = Names {
    client: None,
    object: Some("principalId"),
    resource: None,
};

/// That this client understands claims challenges.
const CAPABILITY: (&str, &str) = ("xms_cc", "CP1");

#[derive(Debug)]
pub(super) struct ServiceFabric {
    endpoint: Endpoint,
    secret: Secret,
    thumbprint: Thumbprint,
    api_version: String,
}

impl ServiceFabric {
    /// The one that the environment names.
    pub(super) fn find(environment: &Environment) -> Result<Option<Self>, Error> {
        let named = [ENDPOINT, SECRET, THUMBPRINT];
        if named.iter().any(|name| environment.raw(name).is_none()) {
            return Ok(None);
        }
        let (Some(endpoint), Some(secret), Some(thumbprint)) = (
            Endpoint::read(environment, ENDPOINT)?,
            Secret::read(environment, SECRET)?,
            environment.text(THUMBPRINT)?,
        ) else {
            return Ok(None);
        };
        if !endpoint.is_https() {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("{ENDPOINT} is no https address, though {THUMBPRINT} names a certificate"),
            )
            .with_advice("leave the variables as Service Fabric has set them"));
        }
        let Some(thumbprint) = Thumbprint::parse(&thumbprint) else {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("{THUMBPRINT} is no SHA-1 thumbprint"),
            )
            .with_advice("it has 40 hexadecimal digits; leave it as Service Fabric has set it"));
        };
        let api_version = environment.text(VERSION_VARIABLE)?;
        Ok(Some(Self {
            endpoint,
            secret,
            thumbprint,
            api_version: api_version.unwrap_or_else(|| API_VERSION.to_owned()),
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
                "Azure Service Fabric",
                "leave the id out, since the application's manifest says which identity it has, or give the object id",
            )),
        }
    }

    pub(super) fn transport(&self) -> Result<Transport, Error> {
        Transport::pinned(self.thumbprint)
    }

    pub(super) async fn token(
        &self,
        attempt: &Attempt<'_>,
        resource: &str,
        id: Option<&ManagedIdentityId>,
        request: &TokenRequest,
    ) -> Result<Issued, Failure> {
        let mut parameters = vec![
            ("api-version", self.api_version.as_str()),
            ("resource", resource),
        ];
        parameters.extend(id.and_then(|id| id.parameter(&NAMES)));
        // Without this the host answers from a cache of its own.
        let refused = request
            .refused()
            .and_then(|token| sha256(token.secret().as_bytes()))
            .map(|digest| hex(digest.as_ref()));
        if let Some(refused) = &refused {
            parameters.push(("token_sha256_to_refresh", refused));
        }
        if refused.is_some() || request.claims().is_some() {
            parameters.push(CAPABILITY);
        }
        let mut sent = self.endpoint.get(&parameters)?;
        let headers = sent.headers_mut();
        headers.insert(HEADER, self.secret.header()?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        attempt
            .ask(sent, &[self.secret.text()], again_unless_missing)
            .await
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
