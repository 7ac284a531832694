//! An application with a certificate that Key Vault keeps.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::answer::retry_after;
use super::blocking::{blocking, stopped};
use super::entra::{Settings, again};
use super::{Challenges, ClientCertificate, ClientCertificateCredential};
use crate::environment::Environment;
use crate::error::printable;
use crate::transport::{Answer, Failure, Retries, RetryBudget, Transport, place};
use crate::{
    AccessToken, Challenge, Credential, Demand, Error, ErrorKind, FollowChallenge as _, Origin,
    SharedCredential, TenantId, TokenRequest,
};

const NAME: &str = "KeyVaultCertificateCredential";
const API_VERSION: &str = "7.4";

/// How long a certificate is used before the vault is asked whether there is a
/// new one.
const KEEP: Duration = Duration::from_secs(3600);

/// How long the old one is used before the vault is asked again after it gave
/// none.
const PAUSE: Duration = Duration::from_secs(300);

/// Signs an application in with a certificate that Key Vault keeps as a secret.
#[derive(Clone)]
pub(super) struct KeyVaultCertificateCredential(Arc<Inner>);

struct Inner {
    secret: Uri,
    client_id: String,
    tenant: Option<TenantId>,
    /// Who may read the vault.
    reader: SharedCredential,
    transport: Transport,
    retry_budget: RetryBudget,
    settings: Settings,
    environment: Environment,
    known: Mutex<Known>,
    /// Who reads the certificate; the others wait for what comes of it.
    reading: tokio::sync::Mutex<()>,
}

/// What has come of reading the certificate.
#[derive(Default)]
struct Known {
    kept: Option<Kept>,
    reads: u64,
    last: Option<Result<Kept, Error>>,
}

#[derive(Clone)]
struct Kept {
    credential: ClientCertificateCredential,
    content: Arc<Zeroizing<Vec<u8>>>,
    /// When to ask the vault again, on the monotonic clock.
    due_at: Duration,
}

/// What the vault gives: the secret behind a certificate.
struct Secret {
    content: Zeroizing<Vec<u8>>,
    /// The tenant of the vault, as far as it is known.
    tenant: Option<TenantId>,
}

#[derive(Deserialize)]
struct Body {
    value: String,
    #[serde(rename = "contentType")]
    content_type: Option<String>,
}

impl KeyVaultCertificateCredential {
    /// The application `client_id`, with the certificate behind `identifier`
    /// (`https://VAULT/secrets/NAME`, perhaps with a version), which `reader`
    /// may read. Without `tenant` it is that of the vault.
    pub(super) fn new(
        identifier: &str,
        client_id: &str,
        tenant: Option<TenantId>,
        reader: SharedCredential,
        settings: Settings,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let secret = secret_uri(identifier)?;
        let transport = match &settings.transport {
            Some(transport) => transport.clone(),
            None => Transport::builder().build()?,
        };
        Ok(Self(Arc::new(Inner {
            secret,
            client_id: client_id.to_owned(),
            tenant,
            reader,
            transport,
            retry_budget: RetryBudget::default(),
            settings,
            environment: environment.clone(),
            known: Mutex::default(),
            reading: tokio::sync::Mutex::new(()),
        })))
    }
}

/// The URL of a secret, after the rules of AppAuthentication.
fn secret_uri(identifier: &str) -> Result<Uri, Error> {
    let refuse = |why: &str| {
        Error::new(
            ErrorKind::Configuration,
            format!("the secret identifier of the certificate {why}"),
        )
        .with_advice("give it as https://myvault.vault.azure.net/secrets/NAME")
        .with_credential(NAME)
    };
    let uri: Uri = identifier.trim().parse().map_err(|_| refuse("is no URL"))?;
    let origin = Origin::of(&uri).map_err(|_| refuse("is no URL"))?;
    if !origin.is_https() {
        return Err(refuse("does not begin with https://"));
    }
    // `Uri` forgets what follows a `#`.
    if origin.has_userinfo() || uri.query().is_some() || identifier.contains('#') {
        return Err(refuse("is more than host and path"));
    }
    let is_secret = uri
        .path()
        .get(..9)
        .is_some_and(|start| start.eq_ignore_ascii_case("/secrets/"));
    if !is_secret || uri.path()[9..].trim_matches('/').is_empty() {
        return Err(refuse("is not below /secrets/"));
    }
    let with_version = format!(
        "{}?api-version={API_VERSION}",
        identifier.trim().trim_end_matches('/')
    );
    with_version.parse().map_err(|_| refuse("is no URL"))
}

impl Inner {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        let kept = match self.kept() {
            None => self.read(request).await?,
            Some(old) => self.renewed(request, old).await?,
        };
        let refusal = match kept.credential.token(request).await {
            Err(error) if error.kind() == ErrorKind::Rejected => error,
            other => return other,
        };
        // It may have been renewed within the hour.
        match self.read(request).await {
            Ok(newest) if *newest.content != *kept.content => {
                newest.credential.token(request).await
            }
            _ => Err(refusal),
        }
    }

    /// What the vault has in place of `old`, if it is time to ask; `old` itself
    /// if there is nothing better, for as long as it is good.
    async fn renewed(&self, request: &TokenRequest, old: Kept) -> Result<Kept, Error> {
        let now = request.runtime().now();
        let is_good = old.credential.is_in_time(now.wall);
        if is_good && now.monotonic < old.due_at {
            return Ok(old);
        }
        if !is_good {
            return self.read(request).await.map_err(|error| {
                error.in_context("the certificate that was in use is not valid any more")
            });
        }
        // One attempt will do: nobody needs it yet.
        let asked = self.read(&request.clone().ahead_of_need()).await;
        match asked.ok().filter(|new| new.credential.is_in_time(now.wall)) {
            Some(new) => Ok(new),
            // The vault may be down while the certificate is as good as ever.
            None => Ok(self.keep(Kept {
                due_at: request.runtime().now().monotonic + PAUSE,
                ..old
            })),
        }
    }

    fn keep(&self, kept: Kept) -> Kept {
        self.known().kept = Some(kept.clone());
        kept
    }

    fn kept(&self) -> Option<Kept> {
        self.known().kept.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the certificate and keeps it, once for all who ask at the same
    /// time: with an error, too, for one after the other would wait for it.
    async fn read(&self, request: &TokenRequest) -> Result<Kept, Error> {
        let before = self.known().reads;
        let _turn = self.reading.lock().await;
        if let Some(outcome) = self.read_since(before) {
            return outcome;
        }
        let read = self.read_now(request).await;
        let mut known = self.known();
        known.reads += 1;
        known.last = Some(read.clone());
        if let Ok(kept) = &read {
            known.kept = Some(kept.clone());
        }
        read
    }

    /// What came of the last of more than `before` reads.
    fn read_since(&self, before: u64) -> Option<Result<Kept, Error>> {
        let known = self.known();
        known.last.clone().filter(|_| known.reads != before)
    }

    async fn read_now(&self, request: &TokenRequest) -> Result<Kept, Error> {
        let secret = self.secret(request).await?;
        let tenant = self
            .tenant
            .as_ref()
            .or(secret.tenant.as_ref())
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Configuration,
                    "the tenant of the application is not known",
                )
                .with_advice("give TenantId in the connection string")
            })?;
        let certificate = ClientCertificate::from_bytes(secret.content.to_vec());
        let builder =
            ClientCertificateCredential::builder(tenant.as_str(), &self.client_id, certificate)
                .with_settings(self.settings.clone())
                .send_certificate_chain(true);
        let environment = self.environment.clone();
        // To open what is encrypted takes its time on purpose.
        let credential = blocking(move || builder.build_in(&environment))
            .await
            .ok_or_else(|| stopped("the certificate was opened"))?
            .map_err(|error| error.in_context(&format!("from {}", place(&self.secret))))?;
        Ok(Kept {
            credential,
            content: Arc::new(secret.content),
            due_at: request.runtime().now().monotonic + KEEP,
        })
    }

    async fn secret(&self, request: &TokenRequest) -> Result<Secret, Error> {
        let challenged = self.get(request, None).await?;
        let demand = self.demand(&challenged)?;
        let audience = demand.audience().cloned().ok_or_else(|| self.no_vault())?;
        let mut wanted = request.for_audience(audience);
        // A vault takes tokens of its own tenant alone, which need not be the
        // one that a developer is signed in to.
        if let Some(tenant) = demand
            .tenant()
            .and_then(|tenant| self.reader.tenant(tenant))
        {
            wanted = wanted.with_tenant(tenant);
        }
        let token = self.reader.token(&wanted).await.map_err(|error| {
            error.in_context(&format!(
                "nobody could be found to read {}",
                place(&self.secret)
            ))
        })?;
        let answer = self.get(request, Some(&token)).await?;
        let content = self.content(&answer, request.runtime().now().wall)?;
        // As AppAuthentication has it, where the vault does not say.
        let of_reader = || TenantId::new(token.principal().tenant_id()?).ok();
        Ok(Secret {
            content,
            tenant: demand.tenant().cloned().or_else(of_reader),
        })
    }

    async fn get(
        &self,
        request: &TokenRequest,
        token: Option<&AccessToken>,
    ) -> Result<Answer, Error> {
        let mut retries = Retries::new(request, self.settings.schedule(), &self.retry_budget);
        loop {
            let limit = retries.limit(self.settings.attempt_timeout);
            match self.attempt(request, token, limit).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => retries.wait(failure).await?,
            }
        }
    }

    async fn attempt(
        &self,
        request: &TokenRequest,
        token: Option<&AccessToken>,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let mut get = Request::new(Full::new(Bytes::new()));
        *get.uri_mut() = self.secret.clone();
        let headers = get.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.header_value().clone());
        }
        let answer = self.transport.send(get, request.runtime(), limit).await?;
        let status = answer.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let error = self.refusal(&answer, request.runtime().now().wall);
            let again = again(&error);
            return Err(Failure::new(error, again));
        }
        Ok(answer)
    }

    /// What the vault asks for, if it is its to ask for.
    fn demand(&self, challenged: &Answer) -> Result<Demand, Error> {
        let origin = Origin::of(&self.secret)?;
        let challenges = Challenge::parse(challenged.headers());
        let demand = Challenges::new()
            .trust_resource()
            .follow(&origin, &challenges);
        if demand.audience().is_none() {
            return Err(self.no_vault());
        }
        Ok(demand)
    }

    fn no_vault(&self) -> Error {
        Error::new(
            ErrorKind::InvalidResponse,
            format!(
                "{} does not ask for a token as a vault does",
                place(&self.secret)
            ),
        )
        .with_advice("check the secret identifier: it must name a key vault of Azure")
    }

    /// What an answer says that is neither challenge nor secret.
    fn refusal(&self, answer: &Answer, now: SystemTime) -> Error {
        let status = answer.status();
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => ErrorKind::Throttled,
            _ if status.is_server_error() => ErrorKind::Unreachable,
            _ => ErrorKind::Rejected,
        };
        let place = place(&self.secret);
        let error = Error::new(
            kind,
            format!("{place} answered {status} when it was asked for the certificate"),
        )
        .with_status(status)
        .with_advice(match status {
            StatusCode::NOT_FOUND => "there is no such secret: check the name in the identifier",
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                "let the identity that reads the vault get secrets (Key Vault Secrets User)"
            }
            _ => "try again later",
        });
        match retry_after(answer.headers(), now) {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }

    fn content(&self, answer: &Answer, now: SystemTime) -> Result<Zeroizing<Vec<u8>>, Error> {
        let place = place(&self.secret);
        if !answer.status().is_success() {
            return Err(self.refusal(answer, now));
        }
        let no_certificate = |what: &str| {
            Error::new(
                ErrorKind::Configuration,
                format!("the secret in {place} {what}"),
            )
            .with_advice("name the secret of a certificate that Key Vault has made or imported")
        };
        let body: Body =
            serde_json::from_slice(answer.body()).map_err(|_| no_certificate("cannot be read"))?;
        let value = Zeroizing::new(body.value);
        match body.content_type.as_deref() {
            Some("application/x-pkcs12") => STANDARD
                .decode(value.trim())
                .map(Zeroizing::new)
                .map_err(|_| no_certificate("is no base64")),
            Some("application/x-pem-file") => Ok(Zeroizing::new(value.as_bytes().to_vec())),
            other => Err(no_certificate(&format!(
                "is no certificate, but of the type {:?}",
                printable(other.unwrap_or_default())
            ))),
        }
    }
}

impl Credential for KeyVaultCertificateCredential {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        request.audience().check()?;
        self.0
            .token(request)
            .await
            .map(|token| token.with_credential(NAME))
            .map_err(|error| error.with_credential(NAME))
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        match self.0.kept() {
            Some(kept) => kept.credential.tenant(asked),
            None => Some(asked.clone()),
        }
    }
}

impl fmt::Debug for KeyVaultCertificateCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(NAME)
            .field("secret", &self.0.secret.to_string())
            .field("client_id", &self.0.client_id)
            .field("tenant", &self.0.tenant)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_urls_of_secrets_are_taken() {
        for (good, read) in [
            (
                "https://v.vault.azure.net/secrets/app",
                "https://v.vault.azure.net/secrets/app?api-version=7.4",
            ),
            (
                " https://v.vault.azure.net/Secrets/app/0123/ ",
                "https://v.vault.azure.net/Secrets/app/0123?api-version=7.4",
            ),
        ] {
            assert_eq!(secret_uri(good).unwrap().to_string(), read);
        }
        for bad in [
            "",
            "v.vault.azure.net/secrets/app",
            "http://v.vault.azure.net/secrets/app",
            "https://v.vault.azure.net/keys/app",
            "https://v.vault.azure.net/secrets/",
            "https://v.vault.azure.net/",
            "https://me@v.vault.azure.net/secrets/app",
            "https://v.vault.azure.net/secrets/app?x=y",
            "https://v.vault.azure.net/secrets/app#part",
            "https://v.vault.azure.net/secrets//",
            "https://v.vault.azure.net/certificates/app",
        ] {
            let error = secret_uri(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{bad}");
        }
    }
}
