//! Reads a secret from Key Vault through a hyper client that puts tokens on its
//! requests.
//!
//! ```sh
//! cargo run --example key_vault
//! ```
//!
//! needs nothing: an Azure of its own is started on loopback. With
//!
//! ```sh
//! cargo run --example key_vault -- --vault https://myvault.vault.azure.net --secret db
//! ```
//!
//! it reads from a real vault, or any emulator, with the credential that the
//! environment gives: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
//! `AZURE_CLIENT_SECRET`, else a managed identity, user-assigned if
//! `AZURE_CLIENT_ID` alone is set. For a host that the table of Azure's hosts
//! does not know, `--audience` says whom the token is for.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _};
use tower_bearer::{
    AccessToken, Audience, BearerAuthLayer, BoxError, Credential, Error, Hosts, Origin,
    ResolveAudience, SharedCredential, TenantId, TokenCache, TokenRequest, azure, testing,
};

const USAGE: &str =
    "usage: key_vault [--vault URL --secret NAME [--audience URI] [--api-version V]]";

type Body = http_body_util::combinators::BoxBody<Bytes, BoxError>;
type HttpClient = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, BoxError>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => read_from(arguments).await,
        Ok(None) => show_all().await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("key_vault: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// The whole story, on an Azure that runs inside this program.
async fn show_all() -> Result<(), BoxError> {
    let azure = testing::Azure::start().await?;
    azure.vault().set_secret("greeting", "hello from Key Vault");

    let credential = azure::ManagedIdentityCredential::builder()
        .endpoint(azure.imds_host())
        .build()?;
    let tokens = TokenCache::new(credential);
    let client = BearerAuthLayer::azure(tokens.clone()).layer(azure.http_client());
    let vault = Vault::new(
        client,
        &azure.vault().url(),
        &azure::Audiences::new(),
        "7.4",
    )?;

    report_credential(&tokens.token(vault.audience.clone()).await?);
    println!(
        "secret:         greeting = {:?}",
        vault.read("greeting").await?
    );
    let before = azure.token_requests();
    vault.read("greeting").await?;
    println!(
        "second read:    {} token requests",
        azure.token_requests() - before
    );
    let (sends, refusals) = (azure.vault().requests(), azure.vault().unauthorized());
    azure.revoke_tokens();
    vault.read("greeting").await?;
    println!(
        "token revoked:  renewed; the server refused {} request and got {} resend",
        azure.vault().unauthorized() - refusals,
        azure.vault().requests() - sends - 1,
    );
    println!("token requests: {} in all", azure.token_requests());
    Ok(())
}

/// The same as far as it goes with a vault that is not ours.
async fn read_from(arguments: Arguments) -> Result<(), BoxError> {
    let requests = Arc::new(AtomicU64::new(0));
    let credential = Counted {
        credential: credential_from_env()?,
        requests: Arc::clone(&requests),
    };
    let tokens = TokenCache::new(credential);
    let uri = vault_uri(&arguments.vault)?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let mut hosts = Hosts::new();
    let mut challenges = azure::Challenges::new();
    if let Some(audience) = arguments.audience {
        hosts = if uri.scheme_str() == Some("http") {
            hosts.allow_http_loopback(authority, audience)?
        } else {
            hosts.allow(authority, audience)?
        };
        challenges = challenges.trust_host(authority)?;
    }
    let audiences = Arc::new(hosts.or(azure::Audiences::new()));
    let layer = BearerAuthLayer::new(tokens.clone(), Arc::clone(&audiences)).challenges(challenges);
    let vault = Vault::new(
        layer.layer(http_client()?),
        &arguments.vault,
        &audiences,
        &arguments.api_version,
    )?;

    report_credential(&tokens.token(vault.audience.clone()).await?);
    let value = vault.read(&arguments.secret).await?;
    println!("secret:         {} = {value:?}", arguments.secret);
    let before = requests.load(Ordering::Relaxed);
    vault.read(&arguments.secret).await?;
    let requests = requests.load(Ordering::Relaxed);
    println!("second read:    {} token requests", requests - before);
    println!("token revoked:  not tried, the vault is not ours");
    println!("token requests: {requests} in all");
    Ok(())
}

fn report_credential(token: &AccessToken) {
    println!("credential:     {}", token.credential());
    println!("principal:      {}", token.principal());
}

/// A vault, by a client that puts tokens on its requests.
struct Vault {
    client: HttpClient,
    url: String,
    api_version: String,
    audience: Audience,
}

impl Vault {
    fn new<S, B>(
        client: S,
        url: &str,
        audiences: &impl ResolveAudience,
        api_version: &str,
    ) -> Result<Self, BoxError>
    where
        S: tower::Service<Request<Full<Bytes>>, Response = Response<B>>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<BoxError>,
    {
        let uri = vault_uri(url)?;
        let audience = audiences.resolve(&Origin::of(&uri)?)?.ok_or_else(|| {
            format!(
                "no rule says which token {} may have: name its audience with --audience",
                uri.host().unwrap_or_default()
            )
        })?;
        let client = client
            .map_response(|response: Response<B>| {
                response.map(|body| body.map_err(Into::into).boxed())
            })
            .map_err(Into::into);
        Ok(Self {
            client: BoxCloneSyncService::new(client),
            url: url.trim_end_matches('/').to_owned(),
            api_version: api_version.to_owned(),
            audience,
        })
    }

    async fn read(&self, name: &str) -> Result<String, BoxError> {
        let uri = format!(
            "{}/secrets/{name}?api-version={}",
            self.url, self.api_version
        );
        let request = Request::get(uri).body(Full::default())?;
        let response = match self.client.clone().oneshot(request).await {
            Ok(response) => response,
            Err(error) => {
                let error = with_causes(&*error);
                return Err(format!("no answer from {}: {error}", self.url).into());
            }
        };
        let status = response.status();
        let body = Limited::new(response.into_body(), 1 << 20)
            .collect()
            .await?;
        let json: serde_json::Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        if !status.is_success() {
            let error = &json["error"];
            return Err(format!(
                "the vault answered {status}: {} {}",
                error["code"].as_str().unwrap_or("no error code"),
                error["message"].as_str().unwrap_or_default(),
            )
            .into());
        }
        match json["value"].as_str() {
            Some(value) => Ok(value.to_owned()),
            None => Err("the vault's answer holds no secret value".into()),
        }
    }
}

fn vault_uri(url: &str) -> Result<Uri, BoxError> {
    let uri = url.parse::<Uri>().ok();
    uri.filter(|uri| uri.scheme().is_some() && uri.host().is_some())
        .ok_or_else(|| {
            format!("{url:?} is no URL of a vault, such as https://myvault.vault.azure.net").into()
        })
}

/// A hyper client that trusts what the platform trusts, or what
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
fn http_client() -> Result<
    Client<
        hyper_rustls::HttpsConnector<hyper_util::client::legacy::connect::HttpConnector>,
        Full<Bytes>,
    >,
    BoxError,
> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
        .https_or_http()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

fn credential_from_env() -> Result<SharedCredential, BoxError> {
    let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    if set("AZURE_CLIENT_SECRET") || (set("AZURE_TENANT_ID") && set("AZURE_CLIENT_ID")) {
        return Ok(SharedCredential::new(
            azure::ClientSecretCredential::from_env()?,
        ));
    }
    // A machine without managed identity should say so at once.
    let mut identity = azure::ManagedIdentityCredential::builder().probe(true);
    if let Ok(client_id) = std::env::var("AZURE_CLIENT_ID") {
        if !client_id.is_empty() {
            identity = identity.user_assigned(azure::ManagedIdentityId::ClientId(client_id));
        }
    }
    Ok(SharedCredential::new(identity.build()?))
}

/// Counts how often a token is asked for.
struct Counted {
    credential: SharedCredential,
    requests: Arc<AtomicU64>,
}

impl Credential for Counted {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.credential.token(request).await
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        self.credential.tenant(asked)
    }
}

struct Arguments {
    vault: String,
    secret: String,
    audience: Option<String>,
    api_version: String,
}

impl Arguments {
    /// `None` if there are none.
    fn parse(given: impl Iterator<Item = String>) -> Result<Option<Self>, BoxError> {
        let mut given = given.peekable();
        if given.peek().is_none() {
            return Ok(None);
        }
        let (mut vault, mut secret, mut audience, mut api_version) = (None, None, None, None);
        while let Some(name) = given.next() {
            let option = match name.as_str() {
                "--help" | "-h" => {
                    println!("{USAGE}");
                    std::process::exit(0);
                }
                "--vault" => &mut vault,
                "--secret" => &mut secret,
                "--audience" => &mut audience,
                "--api-version" => &mut api_version,
                _ => return Err(format!("{name:?} is no option; {USAGE}").into()),
            };
            match given.next() {
                Some(value) if !value.is_empty() => *option = Some(value),
                _ => return Err(format!("{name} needs a value; {USAGE}").into()),
            }
        }
        let (Some(vault), Some(secret)) = (vault, secret) else {
            return Err(format!("--vault and --secret are both needed; {USAGE}").into());
        };
        let sound = secret
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !sound || secret.len() > 127 {
            return Err(
                format!("{secret:?} is no secret's name: letters, digits and hyphens").into(),
            );
        }
        Ok(Some(Self {
            vault,
            secret,
            audience,
            api_version: api_version.unwrap_or_else(|| String::from("7.4")),
        }))
    }
}

/// The error and what caused it, in one line.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
