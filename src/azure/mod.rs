//! Azure: credentials, the host table, and what Azure's challenges ask for.

mod answer;
mod audiences;
mod challenges;
mod cloud;
mod entra;
mod managed_identity;

pub use self::cloud::Cloud;
pub use self::entra::{ClientSecretCredential, ClientSecretCredentialBuilder};
pub use self::managed_identity::{
    ManagedIdentityCredential, ManagedIdentityCredentialBuilder, ManagedIdentityId,
};

use crate::{AccessToken, Principal, PrincipalType};

/// The principal of a token that was issued to an application: what the token
/// says, completed by what the credential knows.
fn app_principal(token: &AccessToken, app_id: Option<&str>, tenant_id: Option<&str>) -> Principal {
    let mut principal = token.principal().clone().with_type(PrincipalType::App);
    if let (None, Some(id)) = (principal.app_id(), app_id) {
        principal = principal.with_app_id(id);
    }
    if let (None, Some(id)) = (principal.tenant_id(), tenant_id) {
        principal = principal.with_tenant_id(id);
    }
    principal
}
