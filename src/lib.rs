#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod audience;
mod authorize;
mod cache;
mod challenge;
mod credential;
#[cfg(feature = "client")]
mod environment;
mod error;
mod integration;
mod layer;
mod runtime;
mod token;
mod transport;
#[cfg(feature = "azure")]
mod uuid;

#[cfg(feature = "azure")]
pub mod azure;
#[cfg(feature = "test-util")]
pub mod testing;

pub use audience::{Audience, FixedAudience, Hosts, Or, Origin, ResolveAudience};
pub use authorize::{ExistingHeader, UnknownHosts};
pub use cache::{KeyStatus, TokenCache, TokenCacheBuilder};
pub use challenge::{Challenge, ClaimsChallenges, Demand, FollowChallenge};
pub use credential::{
    Claims, Credential, CredentialFn, SharedCredential, TenantId, TokenRequest, credential_fn,
};
pub use error::{Attempt, BoxError, Error, ErrorKind};
#[cfg(feature = "reqwest-middleware")]
pub use integration::reqwest_middleware::BearerAuthMiddleware;
pub use layer::{
    BearerAuth, BearerAuthError, BearerAuthLayer, ReplayBody, ReplayCheap, ReplayClone,
    ReplayEmpty, ResponseFuture,
};
pub use runtime::{BoxFuture, Runtime, Timestamp, TokioRuntime};
pub use token::{AccessToken, Principal, PrincipalType};
pub use transport::Transport;
#[cfg(feature = "client")]
pub use transport::TransportBuilder;
