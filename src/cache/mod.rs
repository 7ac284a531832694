//! Tokens that are shared, refreshed ahead of time and fetched once.

mod acquire;
mod flight;
#[cfg(all(test, any(tower_bearer_loom, tower_bearer_shuttle)))]
mod models;
mod schedule;
mod slot;
mod slots;
mod sync;

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub(crate) use acquire::Acquire;
pub(crate) use slot::{Acquired, Entry, Slot};
use slots::Slots;
use sync::Mutex;

use crate::credential::{Claims, Credential, SharedCredential, TenantId, TokenRequest};
use crate::runtime::{Runtime, Timestamp, TokioRuntime};
use crate::{AccessToken, Audience, Error, ErrorKind, Principal};

/// Added to the time limit of a fetch where somebody watches it, so that the
/// fetch's own error, which says more, comes first.
const GRACE: Duration = Duration::from_secs(5);

/// A shared store of tokens in front of a [`Credential`].
///
/// Cheap to clone; clones share everything. One cache can serve any number of
/// HTTP clients, database pools and SDK clients at the same time.
///
/// - A token is fetched when it is first asked for, **once**, however many
///   callers ask. The fetch runs on a task of its own: callers that give up
///   neither stop nor repeat it.
/// - In the second half of its life one background fetch replaces it, while
///   everybody goes on with the current one at no cost. Nobody waits for an
///   identity provider that is slow or down as long as a token is good.
/// - A token is good only while both the monotonic and the wall clock say so,
///   and is given up 30 seconds before it ends.
/// - A failed fetch is shared by those who waited, kept for as long as the
///   back-off lasts (1 to 30 seconds, 10 to 60 after a refusal, or what
///   `Retry-After` says) and then tried again, for ever.
/// - Keys (audience, tenant, claims) have nothing to do with each other: a
///   slow fetch for one never delays another.
/// - Dropping the last clone, and the last request that waits for a token,
///   ends every task.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::{AccessToken, TokenCache, credential_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_bearer::Error> {
/// let tokens = TokenCache::new(credential_fn(|_| async {
///     AccessToken::expiring_in("fresh", Duration::from_secs(3600))
/// }));
/// let token = tokens.token("https://database.windows.net/").await?;
/// assert_eq!(token.secret(), "fresh");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TokenCache(Arc<Handle>);

/// Held by whoever may still want a token. Dropping the last one closes the
/// channel that every flight watches.
struct Handle {
    source: Arc<Source>,
    slots: Slots,
    _open: watch::Sender<()>,
}

/// What a flight needs. It outlives the handles only as long as one flight
/// takes to hear that they are gone.
pub(crate) struct Source {
    credential: SharedCredential,
    pub(crate) runtime: Arc<dyn Runtime>,
    fetch_timeout: Duration,
    closed: watch::Receiver<()>,
    throttle: Mutex<Option<Throttle>>,
}

#[derive(Clone)]
struct Throttle {
    until: Duration,
    error: Error,
}

/// What a token is kept under. Credential and authority are those of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    audience: Audience,
    tenant: Option<TenantId>,
    claims: Option<Claims>,
}

impl TokenCache {
    /// A cache in front of `credential`, with the defaults of
    /// [`TokenCacheBuilder`].
    pub fn new(credential: impl Credential) -> Self {
        Self::builder(credential).build()
    }

    /// A cache with options.
    pub fn builder(credential: impl Credential) -> TokenCacheBuilder {
        TokenCacheBuilder {
            credential: SharedCredential::new(credential),
            runtime: Arc::new(TokioRuntime::new()),
            fetch_timeout: TokenCacheBuilder::FETCH_TIMEOUT,
            max_keys: TokenCacheBuilder::MAX_KEYS,
        }
    }

    /// A token for `audience` that is good now.
    ///
    /// # Errors
    ///
    /// When there is none and none can be had: the error of the fetch that was
    /// waited for, or of the last one while its back-off lasts.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time; the fetch goes on for the others.
    pub async fn token(&self, audience: impl Into<Audience>) -> Result<AccessToken, Error> {
        self.token_for(&TokenRequest::new(audience)).await
    }

    /// A token as `request` describes it: for an audience, from a tenant, with
    /// claims, and other than the one that was
    /// [refused](TokenRequest::with_refused). The runtime of the request is
    /// not used; the cache has its own.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_bearer::{AccessToken, TokenCache, TokenRequest, credential_fn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_bearer::Error> {
    /// # let count = std::sync::atomic::AtomicUsize::new(0);
    /// # let tokens = TokenCache::new(credential_fn(move |_| {
    /// #     let n = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    /// #     async move { AccessToken::expiring_in(&format!("t{n}"), Duration::from_secs(3600)) }
    /// # }));
    /// let audience = "https://database.windows.net/";
    /// let token = tokens.token(audience).await?;
    /// // The database says that this token has been revoked:
    /// let newer = tokens
    ///     .token_for(&TokenRequest::new(audience).with_refused(token.clone()))
    ///     .await?;
    /// assert_ne!(newer.secret(), token.secret());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token). When a token was refused, also if the
    /// credential only gives the same one again, and
    /// [`ErrorKind::Throttled`] if tokens were refused too often of late.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time; the fetch goes on for the others.
    pub async fn token_for(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        let slot = self.slot(request.audience(), request.tenant(), request.claims())?;
        let refused = request.refused().and_then(|token| slot.entry_of(token));
        let entry = match &refused {
            Some(refused) => {
                Acquire::renewal(self.clone(), slot, Arc::clone(refused), None).await?
            }
            None => Acquire::new(self.clone(), slot, None, None).await?,
        };
        if request
            .refused()
            .is_some_and(|refused| refused.same_secret(&entry.token))
        {
            return Err(Error::new(
                ErrorKind::Rejected,
                "the credential gave the refused token again",
            )
            .with_advice(
                "wait for it to end: a managed identity cannot be made to issue another one before",
            ));
        }
        Ok(entry.token.clone())
    }

    /// For whom tokens for `audience` are issued. Gets a token if there is
    /// none yet.
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token).
    pub async fn principal(&self, audience: impl Into<Audience>) -> Result<Principal, Error> {
        Ok(self.token(audience).await?.principal().clone())
    }

    pub(crate) fn slot(
        &self,
        audience: &Audience,
        tenant: Option<&TenantId>,
        claims: Option<&Claims>,
    ) -> Result<Arc<Slot>, Error> {
        audience.check()?;
        let credential = &self.0.source.credential;
        Ok(self.0.slots.get(&Key {
            audience: audience.clone(),
            tenant: tenant.and_then(|asked| credential.tenant(asked)),
            claims: claims.cloned(),
        }))
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.0.source
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.source.runtime.now()
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").finish_non_exhaustive()
    }
}

impl Source {
    /// A flight that is older sits on a runtime that nobody drives any more.
    fn flight_limit(&self) -> Duration {
        self.fetch_timeout.saturating_add(GRACE)
    }

    /// Until when the authority wants to be left alone.
    fn throttled_until(&self, now: Timestamp) -> Option<Duration> {
        let throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        let until = throttle.as_ref()?.until;
        (now.monotonic < until).then_some(until)
    }

    fn throttled(&self, now: Timestamp) -> Option<Error> {
        let throttle = self
            .throttle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let left = throttle.until.checked_sub(now.monotonic)?;
        (!left.is_zero()).then(|| throttle.error.with_retry_after(left))
    }

    fn throttle(&self, error: &Error, until: Duration) {
        // Declared first, so dropped after the lock: errors hold sources of any
        // type.
        let _previous;
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        if throttle.as_ref().is_none_or(|known| known.until < until) {
            _previous = throttle.replace(Throttle {
                until,
                error: error.clone(),
            });
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

/// Options of a [`TokenCache`].
#[derive(Debug)]
#[must_use]
pub struct TokenCacheBuilder {
    credential: SharedCredential,
    runtime: Arc<dyn Runtime>,
    fetch_timeout: Duration,
    max_keys: usize,
}

impl TokenCacheBuilder {
    const FETCH_TIMEOUT: Duration = Duration::from_secs(120);
    const MAX_KEYS: usize = 10_000;

    /// Where time, randomness and tasks come from. Default: [`TokioRuntime`].
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.runtime = Arc::new(runtime);
        self
    }

    /// How long one fetch may take, all retries of the credential included.
    /// Default: 120 seconds, a backstop behind the credentials' own limits.
    pub fn fetch_timeout(mut self, limit: Duration) -> Self {
        self.fetch_timeout = limit;
        self
    }

    /// About how many keys are kept. When there are more, the one that was not
    /// looked up for longest makes room. Default: 10,000.
    pub fn max_keys(mut self, most: usize) -> Self {
        self.max_keys = most;
        self
    }

    /// Makes the cache. Fetches nothing yet.
    #[must_use]
    pub fn build(self) -> TokenCache {
        let (open, closed) = watch::channel(());
        TokenCache(Arc::new(Handle {
            source: Arc::new(Source {
                credential: self.credential,
                runtime: self.runtime,
                fetch_timeout: self.fetch_timeout,
                closed,
                throttle: Mutex::new(None),
            }),
            slots: Slots::new(self.max_keys),
            _open: open,
        }))
    }
}
