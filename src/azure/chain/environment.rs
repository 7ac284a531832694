//! An application whose id and secret or certificate are in the environment.

use std::fmt;

use crate::azure::entra::Settings;
use crate::azure::{ClientCertificateCredential, ClientSecretCredential};
use crate::environment::Environment;
use crate::{AccessToken, Credential, Error, ErrorKind, TenantId, TokenRequest};

pub(super) const NAME: &str = "EnvironmentCredential";

const IDS: [&str; 2] = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID"];
const SECRET: &str = "AZURE_CLIENT_SECRET";
const CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE_PATH";

/// Signs in the application that the environment names, with its secret or its
/// certificate.
///
/// Cheap to clone. The first of these sets of variables that is complete:
///
/// 1. `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET`: as
///    [`ClientSecretCredential::from_env`];
/// 2. `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_CLIENT_CERTIFICATE_PATH`:
///    as [`ClientCertificateCredential::from_env`].
///
/// A person's name and password (`AZURE_USERNAME`, `AZURE_PASSWORD`) are not
/// taken: Entra has deprecated that way to sign in, and refuses it wherever
/// more than a password is asked for.
///
/// ```no_run
/// use tower_bearer::azure::EnvironmentCredential;
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let credential = EnvironmentCredential::from_env()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EnvironmentCredential(By);

#[derive(Clone)]
enum By {
    Secret(ClientSecretCredential),
    Certificate(ClientCertificateCredential),
}

impl EnvironmentCredential {
    /// The application that the environment names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] with the names of the variables that are
    /// missing, so that a chain goes on to its next credential;
    /// [`ErrorKind::Configuration`] when they are there but cannot be used.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_environment(&Environment::of_process(), &Settings::default())
    }

    pub(in crate::azure) fn from_environment(
        environment: &Environment,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let is_set = |name: &str| environment.raw(name).is_some();
        let by = if IDS.into_iter().all(is_set) && is_set(SECRET) {
            ClientSecretCredential::from_environment(environment, settings.clone()).map(By::Secret)
        } else if IDS.into_iter().all(is_set) && is_set(CERTIFICATE) {
            ClientCertificateCredential::from_environment(environment, settings.clone())
                .map(By::Certificate)
        } else {
            Err(incomplete(environment))
        };
        by.map(Self).map_err(|error| error.with_credential(NAME))
    }
}

fn incomplete(environment: &Environment) -> Error {
    let is_set = |name: &str| environment.raw(name).is_some();
    let mut missing: Vec<_> = IDS.into_iter().filter(|name| !is_set(name)).collect();
    let proof = format!("{SECRET} or {CERTIFICATE}");
    if !is_set(SECRET) && !is_set(CERTIFICATE) {
        missing.push(&proof);
    }
    let error = Error::new(
        ErrorKind::Unavailable,
        format!("not set in the environment: {}", missing.join(", ")),
    );
    if is_set("AZURE_USERNAME") && is_set("AZURE_PASSWORD") {
        return error.with_advice(
            "AZURE_USERNAME and AZURE_PASSWORD are not used, since Entra refuses passwords alone: use an application's secret or certificate",
        );
    }
    error.with_advice(
        "set AZURE_TENANT_ID, AZURE_CLIENT_ID and one of the other two to sign an application in",
    )
}

impl Credential for EnvironmentCredential {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        match &self.0 {
            By::Secret(credential) => credential.token(request).await,
            By::Certificate(credential) => credential.token(request).await,
        }
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        match &self.0 {
            By::Secret(credential) => credential.tenant(asked),
            By::Certificate(credential) => credential.tenant(asked),
        }
    }
}

impl fmt::Debug for EnvironmentCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by: &dyn fmt::Debug = match &self.0 {
            By::Secret(credential) => credential,
            By::Certificate(credential) => credential,
        };
        f.debug_tuple(NAME).field(by).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_before_a_certificate() {
        let credential = EnvironmentCredential::from_environment(
            &Environment::of(&[
                ("AZURE_TENANT_ID", "t"),
                ("AZURE_CLIENT_ID", "c"),
                ("AZURE_CLIENT_SECRET", "canary"),
                ("AZURE_CLIENT_CERTIFICATE_PATH", "/nowhere/client.pem"),
            ]),
            &Settings::default(),
        )
        .unwrap();
        assert!(matches!(credential.0, By::Secret(_)));
    }

    #[test]
    fn variables_that_are_missing_are_listed() {
        let missing = |variables: &[(&str, &str)]| {
            let error = EnvironmentCredential::from_environment(
                &Environment::of(variables),
                &Settings::default(),
            )
            .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(error.credential(), Some(NAME));
            error.message().to_owned()
        };
        assert_eq!(
            missing(&[]),
            "not set in the environment: AZURE_TENANT_ID, AZURE_CLIENT_ID, \
             AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH"
        );
        assert_eq!(
            missing(&[("AZURE_CLIENT_SECRET", "s"), ("AZURE_CLIENT_ID", "c")]),
            "not set in the environment: AZURE_TENANT_ID"
        );
    }
}
