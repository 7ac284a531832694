//! `google-cloud-auth`'s credentials of the metadata service.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use google_cloud_auth::credentials::{AccessTokenCredentials, mds};
use peers::BoxError;

use super::handed::{Handed, Tokens};
use super::loopback::Loopback;
use super::with_version;
use crate::entrant::{Ageing, Entrant};

/// Refreshed in the background when 240 s of it are left.
const AGEING: Ageing = Ageing::of(Duration::from_secs(242), Duration::from_millis(1_500));

pub(super) fn entrant() -> Entrant {
    Entrant::new(with_version("google-cloud-auth"), AGEING, |servers| {
        let metadata = Loopback::start(servers.identity.clone())?;
        let credentials = mds::Builder::default()
            .with_endpoint(format!("http://{}", metadata.address()))
            .build_access_token_credentials()?;
        let held = Credentials {
            credentials,
            _metadata: metadata,
        };
        Ok(Arc::new(Handed::new(held, servers)))
    })
}

struct Credentials {
    credentials: AccessTokenCredentials,
    _metadata: Loopback,
}

#[async_trait]
impl Tokens for Credentials {
    async fn token(&self) -> Result<String, BoxError> {
        Ok(self.credentials.access_token().await?.token)
    }
}
