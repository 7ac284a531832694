//! Workload identity: a Kubernetes cluster whose service accounts stand for
//! applications.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::Azure;
use super::assertion::{Complaint, LEEWAY};
use super::directory::Application;
use super::folder::Folder;
use super::switches::lock;
use super::tokens::{Flaw, Issuer};
use crate::{Error, ErrorKind};

/// The cluster, as the issuer of its tokens.
const ISSUER: &str = "https://cluster.embedded.invalid/";
const AUDIENCE: &str = "api://AzureADTokenExchange";
/// Seconds that projected tokens live for, unless a pod asks for others.
const LIFETIME: u64 = 3_600;

/// The service account of [`Azure::workload_identity_environment`].
const ACCOUNT: &str = "system:serviceaccount:default:embedded";

/// The volume that tokens are projected into.
pub(super) struct Volume(Folder);

impl Volume {
    pub(super) fn new() -> Result<Self, Error> {
        Folder::make("pod").map(Self)
    }

    fn token_file(&self) -> PathBuf {
        self.0.path().join("azure-identity-token")
    }
}

/// Workload identity.
impl Azure {
    /// Lets a service account of the embedded cluster stand for an application,
    /// which is registered if it is not there: a federated identity credential.
    /// `subject` is as in `system:serviceaccount:namespace:name`.
    pub fn register_service_account(&self, tenant_id: &str, client_id: &str, subject: &str) {
        lock(&self.state().directory).register_service_account(tenant_id, client_id, subject);
    }

    /// A token of a service account as Kubernetes projects it into a pod for
    /// Entra: it lives for an hour.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_bearer::Error> {
    /// let azure = tower_bearer::testing::Azure::start().await?;
    /// let subject = "system:serviceaccount:shop:orders";
    /// azure.register_service_account(azure.tenant_id(), azure.client_id(), subject);
    /// let token = azure.service_account_token(subject)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Aborted`] when it cannot be signed.
    pub fn service_account_token(&self, subject: &str) -> Result<String, Error> {
        let state = self.state();
        let now = state.now();
        state
            .issuer
            .sign(&json!({
                "aud": [AUDIENCE],
                "iss": ISSUER,
                "sub": subject,
                "iat": now,
                "nbf": now,
                "exp": now + LIFETIME,
                "jti": state.random_uuid(),
            }))
            .map_err(|source| {
                Error::new(
                    ErrorKind::Aborted,
                    "the token of a service account could not be signed",
                )
                .with_source(source)
            })
    }

    /// The variables of a pod with workload identity, whose service account
    /// stands for the application that is there from the start. Each call
    /// projects a new token; the file is in the temporary directory and goes
    /// away with the last handle.
    ///
    /// # Errors
    ///
    /// As [`service_account_token`](Self::service_account_token), and
    /// [`ErrorKind::Configuration`] when the file cannot be written.
    pub fn workload_identity_environment(&self) -> Result<Vec<(&'static str, String)>, Error> {
        self.register_service_account(self.tenant_id(), self.client_id(), ACCOUNT);
        let token = self.service_account_token(ACCOUNT)?;
        let file = self.state().volume.token_file();
        std::fs::write(&file, token).map_err(|source| {
            Error::new(
                ErrorKind::Configuration,
                format!("the token could not be written to {}", file.display()),
            )
            .with_source(source)
        })?;
        Ok(vec![
            ("AZURE_AUTHORITY_HOST", self.authority_host()),
            ("AZURE_TENANT_ID", self.tenant_id().to_owned()),
            ("AZURE_CLIENT_ID", self.client_id().to_owned()),
            ("AZURE_FEDERATED_TOKEN_FILE", file.display().to_string()),
        ])
    }
}

/// Whether Entra takes `token` for a proof of `application`.
pub(super) fn check(
    issuer: &Issuer,
    application: &Application,
    token: &str,
    now: u64,
) -> Result<(), Complaint> {
    let claims = issuer.open(token).map_err(|flaw| match flaw {
        Flaw::Malformed => (50_027, "JWT token is invalid or malformed.".to_owned()),
        Flaw::UnknownKey | Flaw::BadSignature => (
            700_027,
            "Client assertion failed signature validation.".to_owned(),
        ),
    })?;
    let text = |claim: &str| claims[claim].as_str().unwrap_or_default();
    let unmatched = |what: &str, presented: &str| {
        format!(
            "No matching federated identity record found for presented assertion {what} '{presented}'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion."
        )
    };
    if text("iss") != ISSUER {
        return Err((700_211, unmatched("issuer", text("iss"))));
    }
    let is_for_entra = match &claims["aud"] {
        Value::Array(audiences) => audiences.iter().any(|audience| audience == AUDIENCE),
        audience => audience == AUDIENCE,
    };
    if !is_for_entra {
        return Err((700_212, unmatched("audience", &claims["aud"].to_string())));
    }
    let subject = text("sub");
    if !application
        .service_accounts
        .iter()
        .any(|known| known == subject)
    {
        return Err((700_213, unmatched("subject", subject)));
    }
    let seconds = |claim: &str| claims[claim].as_u64().unwrap_or_default();
    if seconds("nbf") > now + LEEWAY || seconds("exp") + LEEWAY < now {
        return Err((
            700_024,
            "Client assertion is not within its valid time range.".to_owned(),
        ));
    }
    Ok(())
}
