//! `azure_core`'s bearer token policy with a challenge handler, over a credential
//! of its own and over `azure_identity`'s, and the latter by itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error, ErrorKind};
use azure_core::time::OffsetDateTime;
use peers::identity::IdentityProvider;
use peers::load::Call;
use peers::peer::{Audience, Peer as _};
use peers::peers::Azure;

use super::issued::Issued;
use super::with_version;
use crate::entrant::{Ageing, Entrant};

/// Both refresh in the last five minutes.
const AGEING: Ageing = Ageing::of(Duration::from_secs(200), Duration::ZERO);

pub(super) fn entrants() -> [Entrant; 3] {
    let policy = with_version("azure_core");
    let identity = with_version("azure_identity");
    [
        Entrant {
            resends: true,
            ..Entrant::new(format!("{policy} bearer policy"), AGEING, |servers| {
                Azure::reauthorizing()
                    .with_credential(|identity| Ok(Arc::new(Uncached(identity.clone()))))
                    .client(servers)
            })
        },
        Entrant {
            resends: true,
            ..Entrant::new(format!("{policy} + {identity}"), AGEING, |servers| {
                Azure::reauthorizing().client(servers)
            })
        },
        Entrant {
            call: Call::Token(Audience::Vault),
            ..Entrant::new(format!("{identity} credential"), AGEING, |servers| {
                Azure::plain().client(servers)
            })
        },
    ]
}

/// Asks for a token whenever it is asked, so that what the policy does by itself
/// can be seen.
#[derive(Debug)]
struct Uncached(IdentityProvider);

#[async_trait]
impl TokenCredential for Uncached {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let issued = Issued::by(&self.0)
            .await
            .map_err(|error| Error::new(ErrorKind::Credential, error))?;
        let expires_on = OffsetDateTime::now_utc() + issued.life();
        Ok(AccessToken::new(issued.access_token, expires_on))
    }
}
