//! The Instance Metadata Service of virtual machines.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::ManagedIdentityId;
use super::attempt::{self, Attempt};
use super::endpoint::Endpoint;
use super::id::Names;
use crate::azure::answer::Issued;
use crate::environment::Environment;
use crate::transport::{Again, Failure};
use crate::{Error, ErrorKind};

/// Names the host by scheme, address and port.
pub(super) const VARIABLE: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
const LINK_LOCAL: &str = "http://169.254.169.254";
const PATH: &str = "/metadata/identity/oauth2/token";
const API_VERSION: &str = "2018-02-01";
const NAMES: Names = Names {
    client: Some("client_id"),
    object: Some("object_id"),
    resource: Some("msi_res_id"),
};

/// What tells a metadata service that a request is no stranger's. A service
/// that is found by guessing is never sent anything secret.
pub(super) const METADATA: HeaderName = HeaderName::from_static("metadata");
pub(super) const TRUE: HeaderValue = HeaderValue::from_static("true");

/// How long an update of the service takes, which it announces by 410.
const UPDATE: Duration = Duration::from_secs(70);

#[derive(Debug)]
pub(super) struct Imds {
    endpoint: Endpoint,
    is_recognised: AtomicBool,
}

impl Imds {
    /// The one that is given, else the one in the environment, else Azure's.
    pub(super) fn new(given: Option<&str>, environment: &Environment) -> Result<Self, Error> {
        let endpoint = if let Some(given) = given {
            Endpoint::at_host(given, "the metadata endpoint", PATH)?
        } else if let Some(named) = environment.text(VARIABLE)? {
            Endpoint::at_host(&named, VARIABLE, PATH)?
        } else {
            Endpoint::at_host(LINK_LOCAL, "the metadata endpoint", PATH)?
        };
        Ok(Self {
            endpoint,
            is_recognised: AtomicBool::new(false),
        })
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
        let mut parameters = vec![("api-version", API_VERSION), ("resource", resource)];
        parameters.extend(id.and_then(|id| id.parameter(&NAMES)));
        let mut request = self.endpoint.get(&parameters)?;
        request.headers_mut().insert(METADATA, TRUE);
        let received = attempt.send(request).await?;
        self.recognise(received.answer.body());
        received.read(&[], again)
    }

    /// Whether anything answers that can be a metadata service of Azure: to a
    /// request without the header that it insists on, it says in JSON what is
    /// wrong. While it starts or has too much to do it may say so in another
    /// form. Other clouds have metadata services at the same address, and some
    /// networks something else; inside Docker Desktop it says 403 and that the
    /// host is unreachable.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if there is none, else why it could not be
    /// looked for.
    pub(super) async fn look(&self, attempt: &Attempt<'_>) -> Result<(), Error> {
        let error = match attempt.send(self.endpoint.bare()).await {
            Ok(received) => {
                let answer = received.answer;
                if !says_unreachable(answer.status(), answer.body()) {
                    self.recognise(answer.body());
                    if self.is_recognised() || may_be_busy(answer.status()) {
                        return Ok(());
                    }
                }
                Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "{} answered {}, but not as the metadata service of Azure does",
                        self.endpoint,
                        answer.status()
                    ),
                )
                .with_status(answer.status())
            }
            Err(failure) if !failure.error.is_transient() => return Err(failure.error),
            Err(failure) => failure.error.with_kind(ErrorKind::Unavailable),
        };
        Err(error.with_advice(NOT_HERE))
    }

    /// Whether any answer so far was one that a metadata service of Azure gives.
    pub(super) fn is_recognised(&self) -> bool {
        self.is_recognised.load(Ordering::Acquire)
    }

    fn recognise(&self, body: &[u8]) {
        if is_in_the_form_of_azure(body) {
            self.is_recognised.store(true, Ordering::Release);
        }
    }
}

pub(super) const NOT_HERE: &str = "this does not look like an Azure virtual machine with a managed identity; use another credential here";
pub(super) const WAS_HERE: &str = "the metadata service has answered before: wait for it, or find what keeps this process from it (network, firewall)";

fn says_unreachable(status: StatusCode, body: &[u8]) -> bool {
    const WORD: &[u8] = b"unreachable";
    status == StatusCode::FORBIDDEN
        && body
            .windows(WORD.len())
            .any(|part| part.eq_ignore_ascii_case(WORD))
}

/// A token or an error as an object of JSON, whatever is wrong with it.
fn is_in_the_form_of_azure(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Fields {
        access_token: Option<IgnoredAny>,
        error: Option<IgnoredAny>,
    }
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    is_object
        && serde_json::from_slice::<Fields>(body)
            .is_ok_and(|fields| fields.access_token.is_some() || fields.error.is_some())
}

/// 400 is what it says to a request without its header. 502 and 504 are a
/// gateway's.
fn may_be_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::GONE
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::SERVICE_UNAVAILABLE
    )
}

fn again(error: &Error) -> Again {
    match error.status() {
        Some(StatusCode::GONE) => Again::Until(UPDATE),
        _ => attempt::again(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_beats_the_variable_beats_the_default() {
        let environment = Environment::of(&[(VARIABLE, "http://127.0.0.1:2")]);
        let shown = |given, environment: &Environment| {
            Imds::new(given, environment).unwrap().endpoint.to_string()
        };
        assert_eq!(
            shown(Some("http://127.0.0.1:1"), &environment),
            "127.0.0.1:1"
        );
        assert_eq!(shown(None, &environment), "127.0.0.1:2");
        assert_eq!(shown(None, &Environment::of(&[])), "169.254.169.254");
        let far = Environment::of(&[(VARIABLE, "http://8.8.8.8")]);
        let error = Imds::new(None, &far).unwrap_err();
        assert!(error.to_string().contains(VARIABLE), "{error}");
    }
}
