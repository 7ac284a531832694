//! The identity cache of AWS's clients.

use std::sync::Arc;
use std::time::SystemTime;

use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::{SharedTimeSource, SystemTimeSource};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::identity::http::Token;
use aws_smithy_runtime_api::client::identity::{
    Identity, IdentityFuture, ResolveCachedIdentity as _, ResolveIdentity, SharedIdentityCache,
    SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::runtime_components::{
    RuntimeComponents, RuntimeComponentsBuilder,
};
use aws_smithy_types::config_bag::ConfigBag;
use http::header::HeaderMap;

use crate::cases::subject;
use crate::request::token;
use crate::wrapper::{Authorize, Wrapper, insert_bearer};
use crate::{Case, TOKEN_LIFETIME};

pub(super) fn cases() -> [Case; 1] {
    [Case::library(
        "aws-smithy-runtime",
        "IdentityCache::lazy()",
        || {
            let components = RuntimeComponentsBuilder::for_tests()
                .with_time_source(Some(SharedTimeSource::new(SystemTimeSource::new())))
                .with_sleep_impl(Some(SharedAsyncSleep::new(TokioSleep::new())))
                .build()
                .unwrap();
            subject(Wrapper(Cached {
                cache: IdentityCache::lazy().build(),
                resolver: SharedIdentityResolver::new(Resolver),
                components,
                config: Arc::new(ConfigBag::base()),
            }))
        },
    )]
}

#[derive(Clone)]
struct Cached {
    cache: SharedIdentityCache,
    resolver: SharedIdentityResolver,
    components: RuntimeComponents,
    config: Arc<ConfigBag>,
}

impl Authorize for Cached {
    async fn authorize(&mut self, headers: &mut HeaderMap) {
        let identity = self
            .cache
            .resolve_cached_identity(self.resolver.clone(), &self.components, &self.config)
            .await
            .unwrap();
        insert_bearer(headers, identity.data::<Token>().unwrap().token());
    }
}

#[derive(Debug)]
struct Resolver;

impl ResolveIdentity for Resolver {
    #[expect(clippy::disallowed_methods, reason = "AWS's cache reads this clock")]
    fn resolve_identity<'a>(
        &'a self,
        _: &'a RuntimeComponents,
        _: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        let ends = Some(SystemTime::now() + TOKEN_LIFETIME);
        IdentityFuture::ready(Ok(Identity::new(Token::new(token(), ends), ends)))
    }
}
