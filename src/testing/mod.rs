//! An embedded Azure on loopback and a clock that is moved by hand, for tests
//! of programs that use Azure.
//!
//! [`Azure`] is the instance metadata service, Microsoft Entra and Key Vault's
//! secrets in one, inside the test. It issues signed tokens and checks them at
//! the vault: signature, issuer, audience, expiry and revocation. It is as
//! strict as the services themselves about what a client must send, and
//! answers in their words. It listens on 127.0.0.1 and nowhere else.
//!
//! ```
//! use http::Request;
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt};
//! use tower_bearer::testing::Azure;
//! use tower_bearer::{BearerAuthLayer, TokenCache, azure};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_bearer::BoxError> {
//! let azure = Azure::start().await?;
//! azure.vault().set_secret("db", "s3cret");
//!
//! let identity = azure::ManagedIdentityCredential::builder()
//!     .endpoint(azure.imds_host())
//!     .build()?;
//! // Azure's real host names lead to the embedded one, through this client.
//! let client = BearerAuthLayer::azure(TokenCache::new(identity)).layer(azure.http_client());
//!
//! let get = || {
//!     Request::get("https://myvault.vault.azure.net/secrets/db?api-version=7.4")
//!         .body(Full::default())
//! };
//! assert_eq!(client.clone().oneshot(get()?).await?.status(), 200);
//! azure.revoke_tokens();
//! assert_eq!(client.clone().oneshot(get()?).await?.status(), 200);
//! assert_eq!(azure.vault().unauthorized(), 1);
//! assert_eq!(azure.token_requests(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # Clients
//!
//! | client | how it gets here |
//! | --- | --- |
//! | in this process | [`Azure::http_client`], or [`Azure::connector`] under a hyper client of any body type: real URLs work, all others are refused |
//! | any other | [`Azure::environment`]: the variables of Azure's SDKs, and the CA certificate |
//!
//! One TLS listener is both Entra and Key Vault. Which of them answers goes by
//! host; on `localhost`, which they share, paths below `/secrets` are the
//! default vault's and all others Entra's. The second listener is IMDS, over
//! plain HTTP as in Azure, and beside it, each at a path of its own, the
//! endpoints of App Service, Container Apps, Azure Machine Learning, Cloud Shell
//! and Azure Arc. The third is Service Fabric's, with a certificate of its own.
//!
//! # Hosts
//!
//! | host | its variables |
//! | --- | --- |
//! | virtual machine | [`environment`](Azure::environment) |
//! | App Service, Functions | [`app_service_environment`](Azure::app_service_environment), [`app_service_2017_environment`](Azure::app_service_2017_environment) |
//! | Container Apps | [`container_apps_environment`](Azure::container_apps_environment) |
//! | Azure Machine Learning | [`machine_learning_environment`](Azure::machine_learning_environment) |
//! | Cloud Shell | [`cloud_shell_environment`](Azure::cloud_shell_environment) |
//! | Azure Arc | [`arc_environment`](Azure::arc_environment); [`arc_identity`](Azure::arc_identity) knows its key files |
//! | Service Fabric | [`service_fabric_environment`](Azure::service_fabric_environment) |
//! | a pod with workload identity | [`workload_identity_environment`](Azure::workload_identity_environment) |
//!
//! # What can go wrong, on demand
//!
//! - Tokens: [`revoke_tokens`](Azure::revoke_tokens),
//!   [`set_token_lifetime`](Azure::set_token_lifetime), a clock of one's own
//!   by [`AzureBuilder::runtime`].
//! - Token requests: [`hold_token_requests`](Azure::hold_token_requests) until
//!   a guard is dropped, so that no test needs to sleep;
//!   [`delay_token_requests`](Azure::delay_token_requests);
//!   [`fail_token_requests`](Azure::fail_token_requests) with any [`Failure`];
//!   [`rewrite_token_answers`](Azure::rewrite_token_answers).
//! - The vault: the same, and
//!   [`always_unauthorized`](Vault::always_unauthorized),
//!   [`deny`](Vault::deny), [`require_claims`](Vault::require_claims).
//!
//! A failure on demand comes before every check of the request. Everything is
//! counted: [`token_requests`](Azure::token_requests),
//! [`imds_probes`](Azure::imds_probes), [`Vault::requests`] and the rest; and
//! [`Azure::requests`] tells what was asked, without anything secret.
//!
//! # Where it differs from Azure
//!
//! - Only the client credentials grant: by a secret, by a
//!   [certificate](Azure::register_certificate), or by the token of a
//!   [service account](Azure::register_service_account) of a cluster that is
//!   embedded, too. Only secrets and the certificates of
//!   [`Vault::set_certificate`] in the vault, no soft delete.
//! - AD FS is the tenant `adfs` and refuses in the words of Entra.
//! - The vault grants no leeway on expiry, and knows of a revocation at once.
//! - [Revoked tokens](Azure::imds_keeps_revoked_tokens) of managed identities
//!   are replaced, unless asked otherwise.
//! - Any absolute URI or UUID can be asked a token for.
//! - A token that was asked for with claims carries them in a claim of its own,
//!   `requested_claims`, by which the vault knows.
//!
//! # Time
//!
//! [`ManualRuntime`] is a [`Runtime`](crate::Runtime) whose clock moves by
//! hand. Given to a token cache and to the embedded Azure, it plays a day of
//! refreshes in milliseconds:
//!
//! ```
//! use std::sync::Arc;
//! use tower_bearer::testing::{Azure, ManualRuntime};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_bearer::BoxError> {
//! let runtime = ManualRuntime::with_seed(42);
//! let azure = Azure::builder().runtime(Arc::new(runtime.clone())).start().await?;
//! # drop(azure);
//! # Ok(())
//! # }
//! ```

mod app_service;
mod assertion;
mod azure;
mod azure_arc;
mod builder;
mod certificates;
mod client;
mod cloud_shell;
mod directory;
mod entra;
mod failure;
mod federation;
mod folder;
mod hosts;
mod imds;
mod manual_runtime;
mod record;
mod secrets;
mod server;
mod service_fabric;
mod state;
mod switches;
mod tls;
mod token_endpoint;
mod tokens;
mod vault;
mod wire;

pub use azure::Azure;
pub use builder::AzureBuilder;
pub use client::{Connection, Connector, HttpClient};
pub use directory::ManagedIdentity;
pub use failure::Failure;
pub use manual_runtime::ManualRuntime;
pub use record::{Endpoint, RecordedRequest};
pub use switches::Hold;
pub use vault::Vault;
