//! Who can get a token: registered applications and managed identities.

use std::fmt;

use super::state::splitmix;
use crate::uuid::uuid;

/// The tenant that the embedded Azure belongs to, unless its builder was given
/// another.
pub(super) const TENANT_ID: &str = "5d1f6a0e-93c4-4b7e-8a52-c07e3b9d4f16";
pub(super) const CLIENT_ID: &str = "b7c20f4e-1d6a-4c39-9f85-2e64a1d07b38";
pub(super) const CLIENT_SECRET: &str = "the-client-secret-of-the-embedded-Azure";

/// The application that Cloud Shell is at Entra.
const CLOUD_SHELL: &str = "b677c290-cf4b-4a8e-a60e-91ba650a4abe";
const PERSON: &str = "person@embedded.example";
const PERSON_ID: &str = "e2a96d70-5c1b-4f83-9d47-30b8c6f1a295";

/// The identity of a virtual machine, or one that was assigned to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedIdentity {
    client: String,
    object: String,
    resource: String,
}

impl ManagedIdentity {
    pub(super) fn system_assigned() -> Self {
        Self::new("system", "Microsoft.Compute/virtualMachines/embedded")
    }

    pub(super) fn user_assigned(name: &str) -> Self {
        Self::new(
            name,
            &format!("Microsoft.ManagedIdentity/userAssignedIdentities/{name}"),
        )
    }

    /// The ids look random but follow from the name, so that they can stand in
    /// snapshots.
    fn new(name: &str, resource: &str) -> Self {
        Self {
            client: uuid_of(&["client", name]),
            object: uuid_of(&["object", name]),
            resource: format!(
                "/subscriptions/{}/resourcegroups/embedded/providers/{resource}",
                uuid_of(&["subscription"])
            ),
        }
    }

    /// The client (application) id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client
    }

    /// The object (principal) id.
    #[must_use]
    pub fn object_id(&self) -> &str {
        &self.object
    }

    /// The Azure Resource Manager id.
    #[must_use]
    pub fn resource_id(&self) -> &str {
        &self.resource
    }
}

/// Who a token of a host is for.
#[derive(Clone, Copy)]
pub(super) enum Holder<'a> {
    Identity(&'a ManagedIdentity),
    /// Who uses Cloud Shell.
    Person,
}

impl<'a> Holder<'a> {
    pub(super) fn app_id(self) -> &'a str {
        match self {
            Self::Identity(identity) => identity.client_id(),
            Self::Person => CLOUD_SHELL,
        }
    }

    pub(super) fn object_id(self) -> &'a str {
        match self {
            Self::Identity(identity) => identity.object_id(),
            Self::Person => PERSON_ID,
        }
    }

    pub(super) fn resource_id(self) -> Option<&'a str> {
        match self {
            Self::Identity(identity) => Some(identity.resource_id()),
            Self::Person => None,
        }
    }

    pub(super) fn person(self) -> Option<&'a str> {
        match self {
            Self::Identity(_) => None,
            Self::Person => Some(PERSON),
        }
    }
}

pub(super) struct Application {
    pub(super) tenant: String,
    pub(super) client_id: String,
    /// None if it has only certificates.
    pub(super) client_secret: Option<String>,
    /// As DER.
    pub(super) certificates: Vec<Vec<u8>>,
    /// The service accounts whose tokens stand for it.
    pub(super) service_accounts: Vec<String>,
    pub(super) object_id: String,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("tenant", &self.tenant)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

pub(super) struct Directory {
    applications: Vec<Application>,
    system_assigned: Option<ManagedIdentity>,
    user_assigned: Vec<ManagedIdentity>,
}

/// How a request to IMDS names the identity it wants.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    Default,
    /// The machine's own identity, which no other stands in for.
    SystemAssigned,
    ClientId(&'a str),
    ObjectId(&'a str),
    ResourceId(&'a str),
}

impl Directory {
    pub(super) fn new() -> Self {
        Self {
            applications: Vec::new(),
            system_assigned: Some(ManagedIdentity::system_assigned()),
            user_assigned: Vec::new(),
        }
    }

    /// Registers an application, or gives one a new secret.
    pub(super) fn register(&mut self, tenant: &str, client_id: &str, client_secret: &str) {
        self.registered(tenant, client_id).client_secret = Some(client_secret.to_owned());
    }

    /// Registers an application, or gives one further certificates.
    pub(super) fn register_certificates(
        &mut self,
        tenant: &str,
        client_id: &str,
        certificates: Vec<Vec<u8>>,
    ) {
        self.registered(tenant, client_id)
            .certificates
            .extend(certificates);
    }

    /// Registers an application, or lets one more service account be it.
    pub(super) fn register_service_account(
        &mut self,
        tenant: &str,
        client_id: &str,
        subject: &str,
    ) {
        let accounts = &mut self.registered(tenant, client_id).service_accounts;
        if !accounts.iter().any(|known| known == subject) {
            accounts.push(subject.to_owned());
        }
    }

    fn registered(&mut self, tenant: &str, client_id: &str) -> &mut Application {
        let known = self
            .applications
            .iter()
            .position(|known| known.is_in(tenant) && known.has_id(client_id));
        let at = known.unwrap_or_else(|| {
            self.applications.push(Application {
                tenant: tenant.to_owned(),
                client_id: client_id.to_owned(),
                client_secret: None,
                certificates: Vec::new(),
                service_accounts: Vec::new(),
                object_id: uuid_of(&["object", tenant, client_id]),
            });
            self.applications.len() - 1
        });
        &mut self.applications[at]
    }

    pub(super) fn has_tenant(&self, tenant: &str) -> bool {
        self.applications.iter().any(|known| known.is_in(tenant))
    }

    pub(super) fn application(&self, tenant: &str, client_id: &str) -> Option<&Application> {
        self.applications
            .iter()
            .find(|known| known.is_in(tenant) && known.has_id(client_id))
    }

    pub(super) fn assign(&mut self, identity: ManagedIdentity) {
        self.user_assigned.retain(|known| *known != identity);
        self.user_assigned.push(identity);
    }

    pub(super) fn assign_system(&mut self, assigned: bool) {
        self.system_assigned = assigned.then(ManagedIdentity::system_assigned);
    }

    /// The identity that IMDS speaks for; `None` when it has no such one. When
    /// nothing is asked for and there is no system-assigned identity, the only
    /// user-assigned one is taken.
    pub(super) fn identity(&self, wanted: Wanted<'_>) -> Option<&ManagedIdentity> {
        let mut all = self.system_assigned.iter().chain(&self.user_assigned);
        match wanted {
            Wanted::Default => match (&self.system_assigned, &self.user_assigned[..]) {
                (Some(system), _) => Some(system),
                (None, [only]) => Some(only),
                (None, _) => None,
            },
            Wanted::SystemAssigned => self.system_assigned.as_ref(),
            Wanted::ClientId(id) => all.find(|known| known.client.eq_ignore_ascii_case(id)),
            Wanted::ObjectId(id) => all.find(|known| known.object.eq_ignore_ascii_case(id)),
            Wanted::ResourceId(id) => all.find(|known| known.resource.eq_ignore_ascii_case(id)),
        }
    }
}

impl Application {
    fn is_in(&self, tenant: &str) -> bool {
        self.tenant.eq_ignore_ascii_case(tenant)
    }

    fn has_id(&self, client_id: &str) -> bool {
        self.client_id.eq_ignore_ascii_case(client_id)
    }
}

fn uuid_of(parts: &[&str]) -> String {
    // FNV-1a, stirred once more.
    let mut state = parts
        .iter()
        .flat_map(|part| part.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    uuid(splitmix(&mut state), splitmix(&mut state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_system_identity_only_a_single_other_stands_in() {
        let mut directory = Directory::new();
        let [one, two] = ["one", "two"].map(ManagedIdentity::user_assigned);
        directory.assign(one.clone());
        assert_ne!(directory.identity(Wanted::Default), Some(&one));
        directory.assign_system(false);
        assert_eq!(directory.identity(Wanted::Default), Some(&one));
        directory.assign(two.clone());
        assert_eq!(directory.identity(Wanted::Default), None);
        let upper = two.resource_id().to_uppercase();
        assert_eq!(directory.identity(Wanted::ResourceId(&upper)), Some(&two));
    }

    #[test]
    fn registering_again_replaces_the_secret() {
        let mut directory = Directory::new();
        directory.register("t", "a", "old");
        directory.register("T", "A", "new");
        let application = directory.application("t", "a").unwrap();
        assert_eq!(application.client_secret.as_deref(), Some("new"));
        assert!(directory.application("u", "a").is_none());
    }
}
