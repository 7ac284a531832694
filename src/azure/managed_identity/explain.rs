//! What an error that ends an acquisition means where it happened, and what to
//! do about it.

use http::StatusCode;

use super::imds::NOT_HERE;
use super::{ManagedIdentityId, ManagedIdentitySource};
use crate::{Error, ErrorKind};

/// What the hosts say, in lower case, when they have no such identity. There is
/// nothing else to tell it by.
const NO_IDENTITY: [&str; 6] = [
    "identity not found",
    "managedidentitynotfound",
    "managed identity found for",
    "proper managed identity",
    "no managed identity",
    "no msi found",
];

pub(super) struct Situation<'a> {
    pub(super) source: ManagedIdentitySource,
    pub(super) id: Option<&'a ManagedIdentityId>,
    /// Whether this is a link of a chain, which goes on to the next one where
    /// there is no identity.
    pub(super) in_chain: bool,
    /// Whether the host has shown already that it can issue tokens.
    pub(super) has_issued: bool,
}

impl Situation<'_> {
    pub(super) fn explain(&self, error: Error) -> Error {
        if names_no_identity(&error) {
            let error = error.with_advice(self.assign());
            return if self.in_chain {
                error.with_kind(ErrorKind::Unavailable)
            } else {
                error
            };
        }
        match (self.source, error.kind(), error.status()) {
            (ManagedIdentitySource::Imds, ErrorKind::InvalidResponse, _)
                if self.in_chain && !self.has_issued =>
            {
                error
                    .with_kind(ErrorKind::Unavailable)
                    .with_advice(NOT_HERE)
            }
            (ManagedIdentitySource::Imds, ErrorKind::Unreachable | ErrorKind::Timeout, None) => {
                error.with_advice(NOT_HERE)
            }
            (source, ErrorKind::Unreachable | ErrorKind::Timeout, None) => {
                self.nobody_answers(source, error)
            }
            // What is tried again for as long as it makes sense is no refusal.
            (ManagedIdentitySource::Imds, ErrorKind::Rejected, Some(StatusCode::GONE)) => {
                error.with_kind(ErrorKind::Unreachable)
            }
            (source, ErrorKind::Rejected, Some(StatusCode::NOT_FOUND))
                if source != ManagedIdentitySource::ServiceFabric =>
            {
                error.with_kind(ErrorKind::Unreachable)
            }
            (
                ManagedIdentitySource::AppService | ManagedIdentitySource::MachineLearning,
                ErrorKind::Rejected,
                Some(StatusCode::BAD_REQUEST),
            ) if self.id.is_none() && error.advice().is_none() => error.with_advice(
                "if it has no system-assigned identity, name one of its user-assigned identities by its client id (AppId)",
            ),
            (
                ManagedIdentitySource::AppService
                | ManagedIdentitySource::MachineLearning
                | ManagedIdentitySource::ServiceFabric,
                ErrorKind::Rejected,
                Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
            ) if error.advice().is_none() => error.with_advice(
                "the host gives each process a secret by its environment: leave it as it is, and start again if it is of an earlier start",
            ),
            _ => error,
        }
    }

    /// Only now is it known that variables are wrong, or that an agent does not
    /// run.
    fn nobody_answers(&self, source: ManagedIdentitySource, error: Error) -> Error {
        match source {
            ManagedIdentitySource::AzureArc => {
                let error = error.with_advice(
                    "start the agent of Azure Arc (azcmagent show tells its state), or use another credential here",
                );
                if self.in_chain && !self.has_issued {
                    error.with_kind(ErrorKind::Unavailable)
                } else {
                    error
                }
            }
            // What is wrong with its certificate has been said.
            ManagedIdentitySource::ServiceFabric => error,
            _ => error.with_advice(format!(
                "the environment says that this is {source}: unset IDENTITY_ENDPOINT and MSI_ENDPOINT if it is not"
            )),
        }
    }

    fn assign(&self) -> String {
        let place = match self.source {
            ManagedIdentitySource::Imds | ManagedIdentitySource::AzureArc => "machine",
            ManagedIdentitySource::AppService => "app",
            ManagedIdentitySource::MachineLearning => "host",
            ManagedIdentitySource::CloudShell => "shell",
            ManagedIdentitySource::ServiceFabric => "application",
        };
        match self.id {
            Some(id) => {
                format!(
                    "no identity with {id} is assigned to this {place}: assign it, or give another id"
                )
            }
            None => format!(
                "no identity is assigned to this {place}: turn on its system-assigned identity, or name one of its user-assigned identities by its client id (AppId)"
            ),
        }
    }
}

fn names_no_identity(error: &Error) -> bool {
    let refused = matches!(
        error.status(),
        Some(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND)
    );
    let text = error.message().to_ascii_lowercase();
    refused && NO_IDENTITY.iter().any(|words| text.contains(words))
}
