//! What an error that ends an acquisition means where it happened, and what to
//! do about it.

use http::StatusCode;

use super::imds::{NOT_HERE, WAS_HERE};
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
    /// Whether it has answered as such a host does, with a token or without.
    pub(super) is_recognised: bool,
}

impl Situation<'_> {
    pub(super) fn explain(&self, error: Error) -> Error {
        if self.names_no_identity(&error) {
            return unavailable_if(self.in_chain, error.with_advice(self.assign()));
        }
        let error = self.more_than_a_refusal(error);
        match self.source {
            ManagedIdentitySource::Imds => self.explain_imds(error),
            ManagedIdentitySource::AzureArc => self.explain_arc(error),
            source => self.explain_named(source, error),
        }
    }

    /// What is tried again for as long as it makes sense is no refusal.
    fn more_than_a_refusal(&self, error: Error) -> Error {
        let is_retried = match error.status() {
            Some(StatusCode::GONE) => self.source == ManagedIdentitySource::Imds,
            Some(StatusCode::NOT_FOUND) => self.source != ManagedIdentitySource::ServiceFabric,
            _ => false,
        };
        if is_retried && error.kind() == ErrorKind::Rejected {
            error.with_kind(ErrorKind::Unreachable)
        } else {
            error
        }
    }

    /// At an address that is the same everywhere there may be something else:
    /// the metadata service of another cloud, a sign-in page, a gateway.
    fn explain_imds(&self, error: Error) -> Error {
        let is_known = self.has_issued || self.is_recognised;
        match (error.kind(), error.status()) {
            (ErrorKind::Unreachable | ErrorKind::Timeout, None) => {
                error.with_advice(if is_known { WAS_HERE } else { NOT_HERE })
            }
            (ErrorKind::InvalidResponse, _) if !is_known && self.in_chain => error
                .with_kind(ErrorKind::Unavailable)
                .with_advice(NOT_HERE),
            (ErrorKind::Rejected, _) if !is_known => {
                unavailable_if(self.in_chain, error.with_advice(NOT_HERE))
            }
            // A machine that was given no identity may not have this endpoint.
            (_, Some(StatusCode::NOT_FOUND)) if !self.has_issued => {
                unavailable_if(self.in_chain, error.with_advice(NOT_HERE))
            }
            (ErrorKind::Unreachable, _) if error.oauth_error() == Some("unknown") => {
                error.with_advice("if it lasts, check that the machine has a managed identity")
            }
            (ErrorKind::Rejected, _) if error.oauth_error() == Some("unknown_source") => {
                error.with_advice("check that the endpoint is that of a metadata service")
            }
            _ => error,
        }
    }

    fn explain_arc(&self, error: Error) -> Error {
        let is_new_in_chain = self.in_chain && !self.has_issued;
        match (error.kind(), error.status()) {
            (ErrorKind::Unreachable | ErrorKind::Timeout, None) => unavailable_if(
                is_new_in_chain,
                error.with_advice(
                    "start the agent of Azure Arc (azcmagent show tells its state), or use another credential here",
                ),
            ),
            // There is an agent, but not for this user. Who asked for nothing
            // else has a setting to change.
            (ErrorKind::Unavailable, _) if !is_new_in_chain => {
                error.with_kind(ErrorKind::Configuration)
            }
            (ErrorKind::Rejected, Some(StatusCode::UNAUTHORIZED)) => error.with_advice(
                "the agent refuses the key that it has had this process read: restart it (azcmagent show tells its state)",
            ),
            _ => error,
        }
    }

    /// Only when it is asked is it known that the variables are wrong.
    fn explain_named(&self, source: ManagedIdentitySource, error: Error) -> Error {
        match (source, error.kind(), error.status()) {
            // What is wrong with its certificate has been said.
            (
                ManagedIdentitySource::ServiceFabric,
                ErrorKind::Unreachable | ErrorKind::Timeout,
                None,
            ) => error,
            (_, ErrorKind::Unreachable | ErrorKind::Timeout, None) if !self.has_issued => {
                error.with_advice(format!(
                    "the environment says that this is {source}: unset IDENTITY_ENDPOINT and MSI_ENDPOINT if it is not"
                ))
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

    fn names_no_identity(&self, error: &Error) -> bool {
        let status = error.status();
        if self.source == ManagedIdentitySource::Imds
            && error.oauth_error() == Some("unauthorized_client")
        {
            // Microsoft documents it as that of a machine without an identity.
            return error.kind() == ErrorKind::Rejected;
        }
        let refused = matches!(
            status,
            Some(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND)
        );
        let text = error.message().to_ascii_lowercase();
        refused && NO_IDENTITY.iter().any(|words| text.contains(words))
    }
}

fn unavailable_if(condition: bool, error: Error) -> Error {
    if condition {
        error.with_kind(ErrorKind::Unavailable)
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_arc(in_chain: bool, has_issued: bool) -> ErrorKind {
        let situation = Situation {
            source: ManagedIdentitySource::AzureArc,
            id: None,
            in_chain,
            has_issued,
            is_recognised: true,
        };
        let denied = Error::new(ErrorKind::Unavailable, "the key may not be read");
        situation.explain(denied).kind()
    }

    #[test]
    fn an_agent_for_other_users_is_passed_over_only_by_a_chain_that_it_never_served() {
        assert_eq!(of_arc(true, false), ErrorKind::Unavailable);
        assert_eq!(of_arc(true, true), ErrorKind::Configuration);
        assert_eq!(of_arc(false, false), ErrorKind::Configuration);
    }
}
