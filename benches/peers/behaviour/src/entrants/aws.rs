//! The lazy identity cache of `aws-smithy-runtime`, over a resolver of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::{SystemTimeSource, TimeSource as _};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::identity::{
    Identity, IdentityFuture, ResolveCachedIdentity as _, ResolveIdentity, SharedIdentityCache,
    SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::runtime_components::{
    RuntimeComponents, RuntimeComponentsBuilder,
};
use aws_smithy_types::config_bag::ConfigBag;
use peers::BoxError;
use peers::identity::IdentityProvider;

use super::handed::{Handed, Tokens};
use super::issued::Issued;
use super::with_version;
use crate::entrant::{Ageing, Entrant};

/// Taken for expired in at least half of the buffer's time before its end.
const AGEING: Ageing = Ageing::of(Duration::from_secs(100), Duration::ZERO);
/// The default of 10 s would let the token run out while calls are made.
const BUFFER: Duration = Duration::from_mins(5);

pub(super) fn entrant() -> Entrant {
    let name = format!("{} LazyCache", with_version("aws-smithy-runtime"));
    Entrant::new(name, AGEING, |servers| {
        let cached = Cached {
            cache: IdentityCache::lazy().buffer_time(BUFFER).build(),
            resolver: SharedIdentityResolver::new(Resolver(servers.identity.clone())),
            components: RuntimeComponentsBuilder::for_tests()
                .with_time_source(Some(SystemTimeSource::new()))
                .with_sleep_impl(Some(TokioSleep::new()))
                .build()?,
            config: ConfigBag::base(),
        };
        Ok(Arc::new(Handed::new(cached, servers)))
    })
}

struct Cached {
    cache: SharedIdentityCache,
    resolver: SharedIdentityResolver,
    components: RuntimeComponents,
    config: ConfigBag,
}

#[async_trait]
impl Tokens for Cached {
    async fn token(&self) -> Result<String, BoxError> {
        let identity = self
            .cache
            .resolve_cached_identity(self.resolver.clone(), &self.components, &self.config)
            .await?;
        let token = identity
            .data::<String>()
            .ok_or("an identity of another kind")?;
        Ok(token.clone())
    }
}

#[derive(Debug)]
struct Resolver(IdentityProvider);

impl ResolveIdentity for Resolver {
    fn resolve_identity<'a>(
        &'a self,
        _: &'a RuntimeComponents,
        _: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        IdentityFuture::new(async move {
            let issued = Issued::by(&self.0).await?;
            let expiry = SystemTimeSource::new().now() + issued.life();
            Ok(Identity::new(issued.access_token, Some(expiry)))
        })
    }
}
