//! Servers outside of Azure, with the agent of Azure Arc.

mod challenge;

use std::path::PathBuf;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use zeroize::Zeroizing;

use super::ManagedIdentityId;
use super::app_service::ENDPOINT;
use super::attempt::{Attempt, again};
use super::endpoint::Endpoint;
use super::id::Names;
use super::imds::{self, METADATA, TRUE};
use crate::azure::answer::Issued;
use crate::azure::secret_file::{self, Bounds, Unreadable};
use crate::environment::Environment;
use crate::runtime::within;
use crate::transport::{Again, Failure};
use crate::{Error, ErrorKind};

const IMDS_ENDPOINT: &str = "IMDS_ENDPOINT";
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:40342/metadata/identity/oauth2/token";
const API_VERSION: &str = "2020-06-01";
const NAMES: Names = Names {
    client: Some("client_id"),
    object: Some("object_id"),
    resource: Some("msi_res_id"),
};
const KEY_FILE: Bounds = Bounds {
    max_bytes: 4096,
    follow_links: false,
};

#[derive(Debug)]
pub(super) struct AzureArc {
    endpoint: Endpoint,
    /// Where the agent puts its key files.
    keys: PathBuf,
}

impl AzureArc {
    /// The agent that the environment names.
    pub(super) fn find(
        environment: &Environment,
        keys: Option<PathBuf>,
    ) -> Result<Option<Self>, Error> {
        if environment.raw(IMDS_ENDPOINT).is_none() {
            return Ok(None);
        }
        let Some(endpoint) = Endpoint::read(environment, ENDPOINT)? else {
            return Ok(None);
        };
        Self::new(endpoint, environment, keys).map(Some)
    }

    /// The agent that is installed, if there is one and this process is told
    /// of no metadata service.
    pub(super) fn find_installed(environment: &Environment) -> Result<Option<Self>, Error> {
        Self::find_among(&agents(environment), environment)
    }

    fn find_among(agents: &[PathBuf], environment: &Environment) -> Result<Option<Self>, Error> {
        // The variable is about this process, the agent about the machine.
        let is_told = environment.raw(imds::VARIABLE).is_some();
        if is_told || !agents.iter().any(|agent| agent.is_file()) {
            return Ok(None);
        }
        let endpoint = Endpoint::parse(DEFAULT_ENDPOINT, "the endpoint of Azure Arc")?;
        Self::new(endpoint, environment, None).map(Some)
    }

    fn new(
        endpoint: Endpoint,
        environment: &Environment,
        keys: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let keys = keys.or_else(|| key_folder(environment)).ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "Azure Arc keeps its key files in a place that is not known on this system",
            )
            .with_advice("Azure Arc is for Linux and Windows; use another credential here")
        })?;
        Ok(Self { endpoint, keys })
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
        let asked = attempt.send(self.request(resource, id)?).await?;
        if asked.answer.status() != StatusCode::UNAUTHORIZED {
            // A token without the proof that the agent insists on is none of
            // the agent's.
            return match asked.read(&[], again) {
                Ok(_) => Err(unproven(format!(
                    "{} answered without asking for the proof that the agent of Azure Arc insists on",
                    asked.place()
                ))),
                Err(failure) => Err(failure),
            };
        }
        let file = challenge::key_file(asked.answer.headers(), &self.keys)
            .map_err(|problem| unproven(format!("{} {problem}", asked.place())))?;
        let shown = file.display().to_string();
        let reading = secret_file::read_of_folder_owner(file, KEY_FILE);
        let key = within(attempt.runtime(), attempt.left(), Box::pin(reading))
            .await
            .unwrap_or(Err(Unreadable::Failed(std::io::ErrorKind::TimedOut)))
            .map_err(|problem| unreadable(&shown, problem))?;

        let mut request = self.request(resource, id)?;
        request
            .headers_mut()
            .insert(AUTHORIZATION, authorization(&key, &shown)?);
        let key = std::str::from_utf8(&key).unwrap_or_default();
        let issued = attempt.ask(request, &[key, key.trim()], again).await?;
        match id {
            Some(id) if !is_echoed(id, &issued) => Err(other_identity(id).into()),
            _ => Ok(issued),
        }
    }

    fn request(
        &self,
        resource: &str,
        id: Option<&ManagedIdentityId>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut parameters = vec![("api-version", API_VERSION), ("resource", resource)];
        parameters.extend(id.and_then(|id| id.parameter(&NAMES)));
        let mut request = self.endpoint.get(&parameters)?;
        request.headers_mut().insert(METADATA, TRUE);
        Ok(request)
    }
}

fn agents(environment: &Environment) -> Vec<PathBuf> {
    if cfg!(windows) {
        ["ProgramFiles", "ProgramData"]
            .iter()
            .filter_map(|variable| environment.raw(variable))
            .map(|root| {
                PathBuf::from(root)
                    .join("AzureConnectedMachineAgent")
                    .join("himds.exe")
            })
            .collect()
    } else if cfg!(target_os = "linux") {
        vec![PathBuf::from("/opt/azcmagent/bin/himds")]
    } else {
        Vec::new()
    }
}

fn key_folder(environment: &Environment) -> Option<PathBuf> {
    if cfg!(windows) {
        let root = PathBuf::from(environment.raw("ProgramData")?);
        Some(root.join("AzureConnectedMachineAgent").join("Tokens"))
    } else if cfg!(target_os = "linux") {
        Some(PathBuf::from("/var/opt/azcmagent/tokens"))
    } else {
        None
    }
}

/// The content of the key file as it is: the agent has encoded it already.
fn authorization(key: &[u8], file: &str) -> Result<HeaderValue, Failure> {
    const SCHEME: &[u8] = b"Basic ";
    let mut text = Zeroizing::new(Vec::with_capacity(SCHEME.len() + key.len()));
    text.extend_from_slice(SCHEME);
    text.extend_from_slice(key);
    match HeaderValue::from_bytes(&text) {
        Ok(mut value) if !key.is_empty() => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(unproven(format!("{file} holds no key"))),
    }
}

fn unproven(message: String) -> Failure {
    Error::new(ErrorKind::InvalidResponse, message)
        .with_advice(
            "check IDENTITY_ENDPOINT and the agent (azcmagent show); something else may be answering in its place",
        )
        .into()
}

fn unreadable(file: &str, problem: Unreadable) -> Failure {
    let message = format!("the key file {file} {problem}");
    match problem {
        Unreadable::Denied => Error::new(ErrorKind::Unavailable, message)
            .with_advice(if cfg!(windows) {
                "add the user that runs this to the group \"Hybrid agent extension applications\", then log on again"
            } else {
                "add the user that runs this to the group himds, then log on again"
            })
            .into(),
        // The agent may have made a new one in the meantime.
        Unreadable::Missing => Failure::new(
            Error::new(ErrorKind::InvalidResponse, message)
                .with_advice("restart the agent (azcmagent show tells its state)"),
            Again::Once,
        ),
        _ => unproven(message),
    }
}

/// Agents that do not know user-assigned identities pass the id over and answer
/// with a token of the machine's own.
fn is_echoed(id: &ManagedIdentityId, issued: &Issued) -> bool {
    let echo = match id {
        ManagedIdentityId::ClientId(_) => &issued.client_id,
        ManagedIdentityId::ObjectId(_) => &issued.object_id,
        ManagedIdentityId::ResourceId(_) => &issued.resource_id,
    };
    echo.as_deref()
        .is_some_and(|echo| echo.eq_ignore_ascii_case(id.value()))
}

fn other_identity(id: &ManagedIdentityId) -> Error {
    Error::new(
        ErrorKind::Rejected,
        format!("the agent of Azure Arc did not say that its token is for the identity with {id}"),
    )
    .with_advice("update the agent: older ones answer with the token of the machine's own identity")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(any(windows, target_os = "linux"))]
    #[test]
    fn an_agent_is_installed_where_its_program_is() {
        let here = std::env::current_exe().unwrap();
        let folder = here.parent().unwrap().to_owned();
        let nowhere = PathBuf::from("/nonexistent/himds");
        let environment = Environment::of(&[("ProgramData", "C:\\ProgramData")]);
        let is_found = |agents: &[PathBuf], environment: &Environment| {
            AzureArc::find_among(agents, environment).unwrap().is_some()
        };
        assert!(is_found(&[nowhere.clone(), here.clone()], &environment));
        assert!(!is_found(&[nowhere, folder], &environment));
        // A process that is told of a metadata service is to ask that one.
        let told = Environment::of(&[
            ("ProgramData", "C:\\ProgramData"),
            (imds::VARIABLE, "http://127.0.0.1:1"),
        ]);
        assert!(!is_found(&[here], &told));
    }

    #[cfg(any(windows, target_os = "linux"))]
    #[test]
    fn without_variables_the_agent_is_asked_where_it_listens() {
        let environment = Environment::of(&[("ProgramData", "C:\\ProgramData")]);
        let endpoint = Endpoint::parse(DEFAULT_ENDPOINT, "it").unwrap();
        let arc = AzureArc::new(endpoint, &environment, None).unwrap();
        assert_eq!(arc.endpoint().to_string(), "127.0.0.1:40342");
        let keys = arc.keys.to_str().unwrap().to_ascii_lowercase();
        assert!(keys.ends_with("tokens") && keys.contains("azc"), "{keys}");
    }

    #[test]
    fn t6_a_key_that_may_not_be_read_names_the_group() {
        let failure = unreadable("/f.key", Unreadable::Denied);
        assert_eq!(failure.error.kind(), ErrorKind::Unavailable);
        assert_eq!(failure.again, Again::Never);
        let text = failure.error.to_string();
        assert!(
            text.contains("/f.key may not be read by this user"),
            "{text}"
        );
        let group = if cfg!(windows) {
            "Hybrid agent"
        } else {
            "group himds"
        };
        assert!(text.contains(group), "{text}");
        for problem in [
            Unreadable::ForeignOwner,
            Unreadable::NotAFile,
            Unreadable::TooLarge,
            Unreadable::Failed(std::io::ErrorKind::TimedOut),
        ] {
            let failure = unreadable("/f.key", problem);
            assert_eq!(
                failure.error.kind(),
                ErrorKind::InvalidResponse,
                "{problem}"
            );
            assert_eq!(failure.again, Again::Never, "{problem}");
        }
    }
}
