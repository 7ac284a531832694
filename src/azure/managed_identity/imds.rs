//! The Instance Metadata Service of virtual machines.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use percent_encoding::utf8_percent_encode;

use super::ManagedIdentityId;
use super::endpoint::Endpoint;
use super::probe::{Finding, Findings};
use crate::azure::answer::{Issued, Reader};
use crate::azure::app_principal;
use crate::azure::entra::form::RESERVED;
use crate::transport::{Again, Failure, Retries, RetryBudget, Schedule, Transport, place};
use crate::{AccessToken, Error, ErrorKind, Runtime, TokenRequest};

const PATH: &str = "/metadata/identity/oauth2/token";
const API_VERSION: &str = "2018-02-01";
const METADATA: HeaderName = HeaderName::from_static("metadata");
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an update of the service takes, which it announces by 410.
const UPDATE: Duration = Duration::from_secs(70);

#[derive(Debug)]
pub(super) struct Imds {
    endpoint: Endpoint,
    id: Option<ManagedIdentityId>,
    transport: Transport,
    schedule: Schedule,
    retry_budget: RetryBudget,
    attempt_timeout: Duration,
    probe: Option<Probe>,
}

#[derive(Debug)]
struct Probe {
    uri: Uri,
    findings: Findings,
    /// Once the service has issued a token, its errors are no longer a sign
    /// that there is none.
    has_issued: AtomicBool,
}

impl Imds {
    pub(super) fn new(
        endpoint: Endpoint,
        id: Option<ManagedIdentityId>,
        transport: Transport,
        timeout: Duration,
        attempt_timeout: Duration,
        probe: bool,
    ) -> Result<Self, Error> {
        let probe = if probe {
            Some(Probe {
                uri: endpoint.with_path(PATH)?,
                findings: Findings::default(),
                has_issued: AtomicBool::new(false),
            })
        } else {
            None
        };
        Ok(Self {
            endpoint,
            id,
            transport,
            schedule: Schedule {
                tries: 6,
                base: Duration::from_secs(1),
                longest: Duration::from_secs(16),
                budget: timeout,
            },
            retry_budget: RetryBudget::default(),
            attempt_timeout,
            probe,
        })
    }

    pub(super) fn id(&self) -> Option<&ManagedIdentityId> {
        self.id.as_ref()
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        request.audience().check()?;
        let uri = self.token_uri(request.audience().as_str())?;
        let runtime = request.runtime();
        if let Some(probe) = &self.probe {
            self.look(probe, runtime).await?;
        }
        let mut retries = Retries::new(request, self.schedule, &self.retry_budget);
        let issued = loop {
            let limit = retries.limit(self.attempt_timeout);
            match self.attempt(&uri, runtime, limit).await {
                Ok(issued) => break issued,
                Err(failure) => retries
                    .wait(failure)
                    .await
                    .map_err(|error| self.explain(error))?,
            }
        };
        if let Some(probe) = &self.probe {
            probe.has_issued.store(true, Ordering::Release);
        }
        let client_id = issued.client_id.as_deref().or(match &self.id {
            Some(ManagedIdentityId::ClientId(id)) => Some(id.as_str()),
            _ => None,
        });
        let principal = app_principal(&issued.token, client_id, None);
        Ok(issued.token.with_principal(principal))
    }

    fn token_uri(&self, audience: &str) -> Result<Uri, Error> {
        let resource = audience.strip_suffix("/.default").unwrap_or(audience);
        let mut path = format!(
            "{PATH}?api-version={API_VERSION}&resource={}",
            utf8_percent_encode(resource, RESERVED)
        );
        if let Some(id) = &self.id {
            let name = match id {
                ManagedIdentityId::ClientId(_) => "client_id",
                ManagedIdentityId::ObjectId(_) => "object_id",
                ManagedIdentityId::ResourceId(_) => "msi_res_id",
            };
            path.push('&');
            path.push_str(name);
            path.push('=');
            path.extend(utf8_percent_encode(id.value(), RESERVED));
        }
        self.endpoint.with_path(&path)
    }

    async fn attempt(
        &self,
        uri: &Uri,
        runtime: &dyn Runtime,
        limit: Duration,
    ) -> Result<Issued, Failure> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = uri.clone();
        request
            .headers_mut()
            .insert(METADATA, HeaderValue::from_static("true"));

        let asked = runtime.now();
        let answer = self.transport.send(request, runtime, limit).await?;
        let reader = Reader {
            place: &place(uri),
            asked,
            received: runtime.now().wall,
            secrets: &[],
            token_type_optional: true,
        };
        reader.read(&answer).map_err(|error| {
            let again = again(&error);
            Failure::new(error, again)
        })
    }

    /// Looks whether there is a metadata service: any answer to a request
    /// without the header that it insists on will do. What answers in its place
    /// inside Docker Desktop says 403 and that the host is unreachable.
    async fn look(&self, probe: &Probe, runtime: &dyn Runtime) -> Result<(), Error> {
        match probe.findings.at(runtime.now().monotonic) {
            Finding::Found => return Ok(()),
            Finding::NotFound(error) => return Err(error),
            Finding::NotLookedFor => {}
        }
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = probe.uri.clone();
        let looked = self.transport.send(request, runtime, PROBE_TIMEOUT).await;
        let error = match looked {
            Ok(answer) if !says_unreachable(answer.status(), answer.body()) => {
                probe.findings.found();
                return Ok(());
            }
            Ok(answer) => Error::new(
                ErrorKind::Unavailable,
                format!("{} answered that it is unreachable", self.endpoint),
            )
            .with_status(answer.status()),
            Err(failure) if !failure.error.is_transient() => return Err(failure.error),
            Err(failure) => failure.error.with_kind(ErrorKind::Unavailable),
        };
        let error = error.with_advice(NOT_HERE);
        probe
            .findings
            .not_found(runtime.now().monotonic, error.clone());
        Err(error)
    }

    /// Says of an error that ends an acquisition what it means on a virtual
    /// machine.
    fn explain(&self, error: Error) -> Error {
        let in_doubt = self
            .probe
            .as_ref()
            .is_some_and(|probe| !probe.has_issued.load(Ordering::Acquire));
        let no_identity = error.status() == Some(StatusCode::BAD_REQUEST)
            && error
                .message()
                .to_ascii_lowercase()
                .contains("identity not found");
        if no_identity {
            let error = error.with_advice(match &self.id {
                Some(id) => format!(
                    "no identity with {id} is assigned to this machine: assign it, or give another id"
                ),
                None => "no identity is assigned to this machine: turn on its system-assigned identity, or name one of its user-assigned identities".to_owned(),
            });
            return if self.probe.is_some() {
                error.with_kind(ErrorKind::Unavailable)
            } else {
                error
            };
        }
        match (error.kind(), error.status()) {
            (ErrorKind::InvalidResponse, _) if in_doubt => error
                .with_kind(ErrorKind::Unavailable)
                .with_advice(NOT_HERE),
            (ErrorKind::Unreachable | ErrorKind::Timeout, None) => error.with_advice(NOT_HERE),
            // These are tried again for as long as it makes sense, so they
            // are no refusal.
            (ErrorKind::Rejected, Some(StatusCode::NOT_FOUND | StatusCode::GONE)) => {
                error.with_kind(ErrorKind::Unreachable)
            }
            _ => error,
        }
    }
}

const NOT_HERE: &str = "this does not look like an Azure virtual machine with a managed identity; use another credential here";

fn says_unreachable(status: StatusCode, body: &[u8]) -> bool {
    const WORD: &[u8] = b"unreachable";
    status == StatusCode::FORBIDDEN
        && body
            .windows(WORD.len())
            .any(|part| part.eq_ignore_ascii_case(WORD))
}

fn again(error: &Error) -> Again {
    match error.status() {
        Some(StatusCode::GONE) => Again::Until(UPDATE),
        Some(StatusCode::NOT_FOUND) => Again::Later,
        _ => match error.kind() {
            ErrorKind::Throttled | ErrorKind::Unreachable | ErrorKind::Timeout => Again::Later,
            ErrorKind::InvalidResponse => Again::Once,
            _ => Again::Never,
        },
    }
}
