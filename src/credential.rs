//! How a token is had: the trait that every credential implements, and what it
//! is asked.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::audience::Audience;
use crate::runtime::{BoxFuture, Runtime, TokioRuntime};
use crate::{AccessToken, Error, ErrorKind};

/// Gets tokens from somewhere.
///
/// A credential neither caches nor shares: a
/// [`TokenCache`](crate::TokenCache) stands before it, which asks for one
/// token at a time per key, on a task of its own.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::{AccessToken, Credential, Error, TokenRequest};
///
/// struct MyBroker;
///
/// impl Credential for MyBroker {
///     async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
///         let secret = format!("token-for-{}", request.audience().as_str().len());
///         AccessToken::expiring_in(&secret, Duration::from_secs(600))
///     }
/// }
/// ```
pub trait Credential: Send + Sync + 'static {
    /// Gets a new token.
    ///
    /// # Errors
    ///
    /// Whatever kept the token from being had. The [kind](ErrorKind) of the
    /// error says how soon the cache tries again, and a
    /// [`retry_after`](Error::retry_after) is kept to.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when the cache's time limit runs out, or its last
    /// handle is gone.
    fn token(
        &self,
        request: &TokenRequest,
    ) -> impl Future<Output = Result<AccessToken, Error>> + Send;

    /// Which tenant to ask when a token of tenant `asked` is wanted; `None` for
    /// the credential's own, so that its tokens are not kept twice.
    ///
    /// The default takes `asked` for another tenant. A credential that knows
    /// its own, or has only one, should say so.
    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        Some(asked.clone())
    }

    /// How many tokens, for different keys, may be asked for at the same time.
    /// The others wait for their turn.
    ///
    /// The default is 32, which keeps a start with thousands of keys from
    /// opening as many connections. What serves one machine, such as a metadata
    /// endpoint or a command-line tool, bears less.
    fn max_concurrency(&self) -> usize {
        32
    }
}

/// A credential of any type, cheap to clone.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::{AccessToken, SharedCredential, credential_fn};
///
/// let credential: SharedCredential = SharedCredential::new(credential_fn(|_request| async {
///     AccessToken::expiring_in("abc", Duration::from_secs(60))
/// }));
/// ```
#[derive(Clone)]
pub struct SharedCredential(Arc<dyn ErasedCredential>);

trait ErasedCredential: Send + Sync {
    fn token<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken, Error>>;

    fn tenant(&self, asked: &TenantId) -> Option<TenantId>;

    fn max_concurrency(&self) -> usize;
}

impl<C: Credential> ErasedCredential for C {
    fn token<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken, Error>> {
        Box::pin(Credential::token(self, request))
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        Credential::tenant(self, asked)
    }

    fn max_concurrency(&self) -> usize {
        Credential::max_concurrency(self)
    }
}

impl SharedCredential {
    /// Shares `credential`.
    pub fn new(credential: impl Credential) -> Self {
        Self(Arc::new(credential))
    }
}

impl Credential for SharedCredential {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        self.0.token(request).await
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        self.0.tenant(asked)
    }

    fn max_concurrency(&self) -> usize {
        self.0.max_concurrency()
    }
}

impl fmt::Debug for SharedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCredential").finish_non_exhaustive()
    }
}

/// A credential made from an async function.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::{AccessToken, TokenCache, credential_fn};
///
/// let tokens = TokenCache::new(credential_fn(|request| async move {
///     println!("asked for {}", request.audience());
///     AccessToken::expiring_in("abc", Duration::from_secs(60))
/// }));
/// ```
pub fn credential_fn<F, Fut>(function: F) -> CredentialFn<F>
where
    F: Fn(TokenRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<AccessToken, Error>> + Send,
{
    CredentialFn(function)
}

/// What [`credential_fn`] returns.
#[derive(Clone)]
pub struct CredentialFn<F>(F);

impl<F, Fut> Credential for CredentialFn<F>
where
    F: Fn(TokenRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<AccessToken, Error>> + Send,
{
    fn token(
        &self,
        request: &TokenRequest,
    ) -> impl Future<Output = Result<AccessToken, Error>> + Send {
        (self.0)(request.clone())
    }
}

impl<F> fmt::Debug for CredentialFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialFn").finish_non_exhaustive()
    }
}

/// What a credential is asked for.
///
/// ```
/// use tower_bearer::{Audience, TenantId, TokenRequest};
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let request = TokenRequest::new("https://vault.azure.net")
///     .with_tenant(TenantId::new("contoso.onmicrosoft.com")?);
/// assert_eq!(request.audience(), &Audience::from("https://vault.azure.net"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TokenRequest {
    audience: Audience,
    tenant: Option<TenantId>,
    claims: Option<Claims>,
    refused: Option<AccessToken>,
    ahead_of_need: bool,
    runtime: Arc<dyn Runtime>,
}

impl TokenRequest {
    /// Asks for a token for `audience`.
    #[must_use]
    pub fn new(audience: impl Into<Audience>) -> Self {
        Self {
            audience: audience.into(),
            tenant: None,
            claims: None,
            refused: None,
            ahead_of_need: false,
            runtime: Arc::new(TokioRuntime::new()),
        }
    }

    /// Asks for a token of another tenant than the credential's own.
    #[must_use]
    pub fn with_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Asks for a token that fulfils `claims`.
    #[must_use]
    pub fn with_claims(mut self, claims: Claims) -> Self {
        self.claims = Some(claims);
        self
    }

    /// Says that a server refused `token`, so that it is of no use to get it
    /// again.
    #[must_use]
    pub fn with_refused(mut self, token: AccessToken) -> Self {
        self.refused = Some(token);
        self
    }

    /// Says that nobody waits for the token: there is one that is good.
    pub(crate) fn ahead_of_need(mut self) -> Self {
        self.ahead_of_need = true;
        self
    }

    // Only the identity transport's retries ask.
    #[cfg_attr(not(feature = "azure"), expect(dead_code))]
    pub(crate) fn is_ahead_of_need(&self) -> bool {
        self.ahead_of_need
    }

    /// A request for `audience` with the same runtime, and nothing else of
    /// this one.
    #[cfg(feature = "azure")]
    pub(crate) fn for_audience(&self, audience: Audience) -> Self {
        Self::new(audience).with_runtime(Arc::clone(&self.runtime))
    }

    /// Takes time and randomness from `runtime`.
    #[must_use]
    pub fn with_runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }

    /// Whom the token is for.
    #[must_use]
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// The tenant that must issue it, if not the credential's own.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// What it must fulfil.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }

    /// The token that a server refused, if that is why a new one is asked for.
    #[must_use]
    pub fn refused(&self) -> Option<&AccessToken> {
        self.refused.as_ref()
    }

    /// Where to take time and randomness from.
    #[must_use]
    pub fn runtime(&self) -> &dyn Runtime {
        &*self.runtime
    }
}

impl<A: Into<Audience>> From<A> for TokenRequest {
    fn from(audience: A) -> Self {
        Self::new(audience)
    }
}

impl From<&TokenRequest> for TokenRequest {
    fn from(request: &TokenRequest) -> Self {
        request.clone()
    }
}

/// A directory: a GUID or a domain name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// A tenant by its GUID or one of its domain names.
    ///
    /// # Errors
    ///
    /// When it is empty or has characters other than letters, digits, `.` and
    /// `-`: it becomes part of a URL.
    pub fn new(id: &str) -> Result<Self, Error> {
        let sound = !id.is_empty()
            && id.len() <= 253
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
            && id.bytes().any(|b| b.is_ascii_alphanumeric());
        if !sound {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("{:?} is no tenant id", crate::error::printable(id)),
            )
            .with_advice("give the directory's GUID or one of its domain names"));
        }
        Ok(Self(Arc::from(id)))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `other` is the same id, upper and lower case being equal.
    #[must_use]
    pub fn is(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Claims that a token must fulfil: a JSON object, as the `claims` parameter of
/// OpenID Connect Core section 5.5 has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claims(Arc<str>);

impl Claims {
    /// Longer claims are refused: they come from servers and go into requests.
    const MAX_BYTES: usize = 16 * 1024;

    /// Claims from their JSON text.
    ///
    /// # Errors
    ///
    /// When it is no JSON object, or longer than 16 KiB.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let object = (json.len() <= Self::MAX_BYTES)
            .then(|| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json).ok())
            .flatten();
        match object {
            Some(_) => Ok(Self(Arc::from(json))),
            None => Err(Error::new(
                ErrorKind::Configuration,
                "the claims are not a JSON object of at most 16 KiB",
            )),
        }
    }

    /// The JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_ids_cannot_change_the_url_they_go_into() {
        for good in [
            "contoso.com",
            "72f988bf-86f1-41af-91ab-2d7cd011db47",
            "common",
        ] {
            assert!(TenantId::new(good).is_ok(), "{good}");
        }
        for bad in [
            "", "a/b", "a?b", "..", "a b", "a%2fb", "ä", "a@b", "a\\b", ".",
        ] {
            assert!(TenantId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn claims_are_a_json_object() {
        assert!(Claims::from_json(r#"{"access_token":{}}"#).is_ok());
        for bad in ["", "[]", "null", "{", "\"a\""] {
            assert!(Claims::from_json(bad).is_err(), "{bad:?}");
        }
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(Claims::MAX_BYTES));
        assert!(Claims::from_json(&long).is_err());
    }
}
