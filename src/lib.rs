//! Bearer tokens for tower HTTP clients.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod audience;
mod credential;
#[cfg(feature = "client")]
mod environment;
mod error;
mod runtime;
mod token;

pub use audience::{Audience, Or, Origin, ResolveAudience};
pub use credential::{
    Claims, Credential, CredentialFn, SharedCredential, TenantId, TokenRequest, credential_fn,
};
pub use error::{BoxError, Error, ErrorKind};
pub use runtime::{BoxFuture, Runtime, Timestamp, TokioRuntime};
pub use token::{AccessToken, Principal, PrincipalType};

#[cfg(feature = "azure")]
pub mod azure;
mod challenge;
#[cfg(feature = "test-util")]
pub mod testing;
mod transport;

pub use transport::Transport;
#[cfg(feature = "client")]
pub use transport::TransportBuilder;
