//! Bearer tokens for tower HTTP clients.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod audience;
mod challenge;
mod credential;
mod error;
mod runtime;
mod token;

pub use audience::{Audience, FixedAudience, Hosts, Or, Origin, ResolveAudience};
pub use challenge::{Challenge, ClaimsChallenges, Demand, FollowChallenge};
pub use credential::{
    Claims, Credential, CredentialFn, SharedCredential, TenantId, TokenRequest, credential_fn,
};
pub use error::{BoxError, Error, ErrorKind};
pub use runtime::{BoxFuture, Runtime, Timestamp, TokioRuntime};
pub use token::{AccessToken, Principal, PrincipalType};

#[cfg(feature = "azure")]
pub mod azure;
#[cfg(feature = "test-util")]
pub mod testing;
mod transport;
