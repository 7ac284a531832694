//! Which identity of a host is meant.

use std::fmt;

use crate::{Error, ErrorKind};

/// Which of the user-assigned identities of a machine or an app is meant. All
/// three name the same identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ManagedIdentityId {
    /// The client (application) id, a GUID.
    ClientId(String),
    /// The object (principal) id, a GUID.
    ObjectId(String),
    /// The id of the Azure resource: `/subscriptions/…/userAssignedIdentities/…`.
    ResourceId(String),
}

/// The names that a host has for the three; `None` for what it does not know.
pub(super) struct Names {
    pub(super) client: Option<&'static str>,
    pub(super) object: Option<&'static str>,
    pub(super) resource: Option<&'static str>,
}

impl ManagedIdentityId {
    pub(super) fn value(&self) -> &str {
        match self {
            Self::ClientId(id) | Self::ObjectId(id) | Self::ResourceId(id) => id,
        }
    }

    /// The parameter that names this identity to a host, if the host has one.
    pub(super) fn parameter(&self, names: &Names) -> Option<(&'static str, &str)> {
        let name = match self {
            Self::ClientId(_) => names.client,
            Self::ObjectId(_) => names.object,
            Self::ResourceId(_) => names.resource,
        };
        name.map(|name| (name, self.value()))
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let id = self.value();
        if !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(());
        }
        // Names of resource groups may have letters of any script.
        let may_be_any_script = matches!(self, Self::ResourceId(_));
        if may_be_any_script && !id.trim().is_empty() && !id.chars().any(char::is_control) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Configuration,
            format!("{self} is not the id of a managed identity"),
        )
        .with_advice(
            "give the id of a user-assigned identity, or none for the system-assigned one",
        ))
    }

    /// That `host` cannot be asked for this identity, and what it can be asked
    /// for.
    pub(super) fn unknown_to(&self, host: &str, advice: &'static str) -> Error {
        Error::new(
            ErrorKind::Configuration,
            format!("{host} has no identities by {}", self.kind()),
        )
        .with_advice(advice)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::ClientId(_) => "client id",
            Self::ObjectId(_) => "object id",
            Self::ResourceId(_) => "resource id",
        }
    }
}

impl fmt::Display for ManagedIdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?}",
            self.kind(),
            crate::error::printable(self.value())
        )
    }
}
