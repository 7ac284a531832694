//! The pipeline of `azure_core` with its bearer token policy, and the
//! `ClientSecretCredential` of `azure_identity` behind it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::Bytes;
use azure_core::credentials::{Secret, TokenCredential, TokenRequestOptions};
use azure_core::http::headers::{AUTHORIZATION, Headers, WWW_AUTHENTICATE};
use azure_core::http::policies::auth::{Authorizer, BearerTokenAuthorizationPolicy, OnChallenge};
use azure_core::http::{
    AsyncRawResponse, ClientOptions, Context, HttpClient, Method, Pipeline, PipelineSendOptions,
    Request, Transport, Url,
};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use http::StatusCode;

use super::locked_version;
use crate::BoxError;
use crate::identity::IdentityProvider;
use crate::peer::{Audience, CLIENT_ID, CLIENT_SECRET, Client, Peer, Servers, TENANT};
use crate::resource::ResourceServer;

/// Makes the credential that the policy asks for tokens.
type MakeCredential = fn(&IdentityProvider) -> Result<Arc<dyn TokenCredential>, BoxError>;

/// `azure_core` and `azure_identity`.
#[derive(Clone, Copy, Debug)]
pub struct Azure {
    reauthorizes: bool,
    credential: MakeCredential,
}

impl Azure {
    /// With the policy as it comes: a 401 is given back.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            reauthorizes: false,
            credential: client_secret,
        }
    }

    /// With a handler of challenges that asks for a token again, as Azure's
    /// clients for Key Vault have one: a 401 is then answered with a resend.
    #[must_use]
    pub fn reauthorizing() -> Self {
        Self {
            reauthorizes: true,
            credential: client_secret,
        }
    }

    /// The same with a credential other than `azure_identity`'s.
    #[must_use]
    pub fn with_credential(self, credential: MakeCredential) -> Self {
        Self { credential, ..self }
    }
}

impl Peer for Azure {
    fn name(&self) -> String {
        if self.reauthorizes {
            return "the same with a challenge handler".to_owned();
        }
        format!(
            "azure_core {} + azure_identity {}",
            locked_version("azure_core"),
            locked_version("azure_identity")
        )
    }

    fn client(&self, servers: &Servers) -> Result<Arc<dyn Client>, BoxError> {
        let credential = (self.credential)(&servers.identity)?;
        let pipeline = |audience: Audience| {
            let mut policy =
                BearerTokenAuthorizationPolicy::new(credential.clone(), [audience.scope()]);
            if self.reauthorizes {
                policy = policy.with_on_challenge(Arc::new(Reauthorize(audience)));
            }
            Pipeline::new(
                option_env!("CARGO_PKG_NAME"),
                option_env!("CARGO_PKG_VERSION"),
                through(ResourceTransport(servers.resource.clone())),
                Vec::new(),
                vec![Arc::new(policy)],
                None,
            )
        };
        Ok(Arc::new(Pipelines {
            vault: pipeline(Audience::Vault),
            storage: pipeline(Audience::Storage),
            credential,
        }))
    }
}

fn client_secret(identity: &IdentityProvider) -> Result<Arc<dyn TokenCredential>, BoxError> {
    Ok(ClientSecretCredential::new(
        TENANT,
        CLIENT_ID.to_owned(),
        Secret::new(CLIENT_SECRET),
        Some(ClientSecretCredentialOptions {
            client_options: through(IdentityTransport(identity.clone())),
        }),
    )?)
}

fn through(transport: impl HttpClient + 'static) -> ClientOptions {
    ClientOptions {
        transport: Some(Transport::new(Arc::new(transport))),
        ..ClientOptions::default()
    }
}

#[derive(Debug)]
struct IdentityTransport(IdentityProvider);

#[async_trait]
impl HttpClient for IdentityTransport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let form = Bytes::from(request.body());
        let (status, body) = self.0.answer(&form).await;
        Ok(response(status, Headers::new(), body))
    }
}

#[derive(Debug)]
struct ResourceTransport(ResourceServer);

#[async_trait]
impl HttpClient for ResourceTransport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let authorization = request.headers().get_optional_str(&AUTHORIZATION);
        let status = self.0.answer(authorization).await;
        let mut headers = Headers::new();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, ResourceServer::challenge());
        }
        Ok(response(status, headers, String::new()))
    }
}

fn response(status: StatusCode, headers: Headers, body: String) -> AsyncRawResponse {
    AsyncRawResponse::from_bytes(status.as_u16().into(), headers, body)
}

/// Asks for a token again. The policy has dropped the one that was refused.
#[derive(Debug)]
struct Reauthorize(Audience);

#[async_trait]
impl OnChallenge for Reauthorize {
    async fn on_challenge(
        &self,
        _context: &Context,
        request: &mut Request,
        authorizer: &dyn Authorizer,
        _headers: &Headers,
    ) -> azure_core::Result<()> {
        authorizer
            .authorize(request, &[self.0.scope()], TokenRequestOptions::default())
            .await
    }
}

/// One pipeline a service and one credential for both, as an application has
/// it that uses two of Azure's clients.
struct Pipelines {
    vault: Pipeline,
    storage: Pipeline,
    credential: Arc<dyn TokenCredential>,
}

#[async_trait]
impl Client for Pipelines {
    async fn send(&self, audience: Audience) -> Result<StatusCode, BoxError> {
        let pipeline = match audience {
            Audience::Vault => &self.vault,
            Audience::Storage => &self.storage,
        };
        let mut request = Request::new(Url::parse(audience.url())?, Method::Get);
        let options = PipelineSendOptions {
            skip_checks: true,
            ..PipelineSendOptions::default()
        };
        let response = pipeline
            .send(&Context::new(), &mut request, Some(options))
            .await?;
        Ok(StatusCode::from_u16(response.status().into())?)
    }

    async fn token(&self, audience: Audience) -> Result<(), BoxError> {
        self.credential.get_token(&[audience.scope()], None).await?;
        Ok(())
    }
}

impl fmt::Debug for Pipelines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipelines").finish_non_exhaustive()
    }
}
