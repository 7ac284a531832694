//! Tokens that are shared, refreshed ahead of time and fetched once.

mod acquire;
mod flight;
#[cfg(all(test, any(tower_bearer_loom, tower_bearer_shuttle)))]
mod models;
mod permits;
mod ready;
mod schedule;
mod slot;
mod slots;
mod source;
mod sync;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub(crate) use acquire::Acquire;
pub use slot::KeyStatus;
pub(crate) use slot::{Acquired, Entry, Hits, Slot};
use slots::Slots;
pub(crate) use source::Source;

use crate::credential::{Claims, Credential, SharedCredential, TenantId, TokenRequest};
use crate::runtime::{Runtime, Timestamp, TokioRuntime};
use crate::{AccessToken, Audience, Error, ErrorKind, Principal};

/// A shared store of tokens in front of a [`Credential`].
///
/// Cheap to clone; clones share everything. One cache can serve any number of
/// HTTP clients, database pools and SDK clients at the same time.
///
/// - A token is fetched when it is first asked for, **once**, however many
///   callers ask. The fetch runs on a task of its own: callers that give up
///   neither stop nor repeat it.
/// - Around the middle of its life one background fetch replaces it, while
///   everybody goes on with the current one at no cost. Nobody waits for an
///   identity provider that is slow or down as long as a token is good.
/// - A token is good only while both the monotonic and the wall clock say so,
///   and is given up 30 seconds before it ends (a tenth of its life before if
///   that is shorter, a thousandth if that is longer).
/// - A failed fetch is shared by those who waited, kept for as long as the
///   back-off lasts (1 to 30 seconds, 10 to 60 after a refusal, or what
///   `Retry-After` says) and then tried again, for ever.
/// - Keys (audience, tenant, claims) have nothing to do with each other: a
///   slow fetch for one never delays a token of another that is at hand. Only
///   [so many](Credential::max_concurrency) fetches are under way at once.
/// - A key can be [kept warm](Self::keep_warm) by timer, a program can
///   [wait](Self::ready) for its first tokens, and the cache
///   [tells](Self::status) what it holds.
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
    has_default_runtime: bool,
    slots: Slots,
    _open: watch::Sender<()>,
}

/// What a token is kept under. Credential and authority are those of the cache.
#[derive(Clone, Debug)]
struct Key {
    audience: Audience,
    tenant: Option<TenantId>,
    claims: Option<Claims>,
}

/// A [`Key`] in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct KeyRef<'a> {
    audience: &'a Audience,
    tenant: Option<&'a TenantId>,
    claims: Option<&'a Claims>,
}

impl Key {
    fn as_ref(&self) -> KeyRef<'_> {
        KeyRef {
            audience: &self.audience,
            tenant: self.tenant.as_ref(),
            claims: self.claims.as_ref(),
        }
    }
}

impl<'a> KeyRef<'a> {
    /// For the credential's own tenant, without claims.
    fn of(audience: &'a Audience) -> Self {
        Self {
            audience,
            tenant: None,
            claims: None,
        }
    }

    fn to_key(self) -> Key {
        Key {
            audience: self.audience.clone(),
            tenant: self.tenant.cloned(),
            claims: self.claims.cloned(),
        }
    }
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
            runtime: None,
            fetch_timeout: TokenCacheBuilder::FETCH_TIMEOUT,
            max_concurrency: None,
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
        let audience = audience.into();
        let now = self.coarse_now();
        let key = KeyRef::of(&audience);
        match self.0.slots.look(key, |slot| slot.at_hand(now)) {
            Some(token) => Ok(token),
            None => self.token_of(self.slot(&audience, None, None)?).await,
        }
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
        let slot = self.slot_of(request)?;
        let Some(refused) = request.refused() else {
            return self.token_of(slot).await;
        };
        let token = match slot.entry_of(refused) {
            Some(entry) => {
                let renewal = Acquire::renewal(self.clone(), slot, entry, None);
                Box::pin(renewal).await?.token.clone()
            }
            None => self.token_of(slot).await?,
        };
        if refused.same_secret(&token) {
            return Err(Error::new(
                ErrorKind::Rejected,
                "the credential gave the refused token again",
            )
            .with_advice(
                "wait for it to end: a managed identity cannot be made to issue another one before",
            ));
        }
        Ok(token)
    }

    /// A new token, even if the one that is kept is good: after a change of
    /// role or group membership that is to have effect at once. Everybody who
    /// asks for one at the same time gets the same, and from then on it is the
    /// one that is kept.
    ///
    /// Some sources cannot be made to issue a new token, such as a managed
    /// identity, and then it is the old one again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_bearer::{AccessToken, TokenCache, credential_fn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_bearer::Error> {
    /// # let tokens = TokenCache::new(credential_fn(|_| async {
    /// #     AccessToken::expiring_in("fresh", Duration::from_secs(3600))
    /// # }));
    /// let token = tokens.refresh("https://vault.azure.net").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token), and [`ErrorKind::Throttled`] if this is asked
    /// for too often: more than eight times in a row or once a minute, or within
    /// 30 seconds of a time when the source gave the same token again.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time; the fetch goes on for the others.
    pub async fn refresh(&self, request: impl Into<TokenRequest>) -> Result<AccessToken, Error> {
        let slot = self.slot_of(&request.into())?;
        let Some(entry) = slot.current(self.source(), self.now()) else {
            return self.token_of(slot).await;
        };
        let another = Acquire::another(self.clone(), slot, Arc::clone(&entry));
        Ok(Box::pin(another).await?.token.clone())
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

    /// Keeps a fresh token for an audience, or whatever [`TokenRequest`]
    /// describes, from now on: it is fetched at once and refreshed by timer,
    /// so that not even the first request after a quiet night waits. A refused
    /// token in the request is of no account.
    ///
    /// The timer runs on the runtime that this is called on. Should that one go
    /// away or stand still, the next fetch for the key takes the timer along to
    /// its own.
    ///
    /// The key stays warm until the last clone of the cache is dropped. It
    /// makes room for others only when there are
    /// [as many keys](TokenCacheBuilder::max_keys) as may be and none is idle.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_bearer::{AccessToken, TokenCache, credential_fn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_bearer::Error> {
    /// # let tokens = TokenCache::new(credential_fn(|_| async {
    /// #     AccessToken::expiring_in("fresh", Duration::from_secs(3600))
    /// # }));
    /// tokens.keep_warm("https://vault.azure.net")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when the audience cannot be one, or
    /// outside of a runtime. A fetch that fails is no error: it is tried again
    /// for ever, at the pace of [its back-off](Self), and [`status`](Self::status)
    /// tells.
    pub fn keep_warm(&self, request: impl Into<TokenRequest>) -> Result<(), Error> {
        let slot = self.slot_of(&request.into())?;
        slot.keep_warm(self.source())
    }

    /// Waits until there is a token for each of `requests` (audiences, or
    /// whatever [`TokenRequest`] describes), for at most `limit`. For the
    /// start of a program, or its readiness probe: what fails is tried again
    /// until the time is up. A refused token in a request is of no account.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_bearer::{AccessToken, TokenCache, credential_fn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_bearer::Error> {
    /// # let tokens = TokenCache::new(credential_fn(|_| async {
    /// #     AccessToken::expiring_in("fresh", Duration::from_secs(3600))
    /// # }));
    /// tokens
    ///     .ready(["https://vault.azure.net", "https://storage.azure.com"], Duration::from_secs(30))
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the time is up, with the audience and what its last fetch failed
    /// of. At once for [`ErrorKind::Configuration`], which time does not heal,
    /// and which it also is outside of a runtime.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time; the fetches go on.
    pub async fn ready<I>(&self, requests: I, limit: Duration) -> Result<(), Error>
    where
        I: IntoIterator<Item: Into<TokenRequest>>,
    {
        let slots = requests
            .into_iter()
            .map(|request| self.slot_of(&request.into()))
            .collect::<Result<Vec<_>, _>>()?;
        ready::ready(self.source(), slots, limit).await
    }

    /// What is held, key by key, in the order of the audiences: for a health
    /// check, a metric, or somebody who wonders. A key that nobody has asked
    /// for in a while has no token that can be used, which is nothing to worry
    /// about unless it is [kept warm](Self::keep_warm).
    ///
    /// Looks at every key, so call it now and then, not for each request.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_bearer::{AccessToken, TokenCache, credential_fn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_bearer::Error> {
    /// # let tokens = TokenCache::new(credential_fn(|_| async {
    /// #     AccessToken::expiring_in("fresh", Duration::from_secs(3600))
    /// # }));
    /// tokens.token("https://vault.azure.net").await?;
    /// for key in tokens.status() {
    ///     println!("{}: {} hits, {} fetches", key.audience(), key.hits(), key.fetches());
    ///     assert!(key.is_usable());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> Vec<KeyStatus> {
        let mut slots = self.0.slots.all();
        slots.sort_by(|a, b| a.key().cmp(&b.key()));
        let (source, now) = (self.source(), self.now());
        slots.iter().map(|slot| slot.status(source, now)).collect()
    }

    async fn token_of(&self, slot: Arc<Slot>) -> Result<AccessToken, Error> {
        if let Some(entry) = slot.current(self.source(), self.coarse_now()) {
            return Ok(entry.token.clone());
        }
        // In a box, since most callers find their token at hand.
        let acquired = Box::pin(Acquire::new(self.clone(), slot, None, None)).await?;
        Ok(acquired.token.clone())
    }

    fn slot_of(&self, request: &TokenRequest) -> Result<Arc<Slot>, Error> {
        self.slot(request.audience(), request.tenant(), request.claims())
    }

    pub(crate) fn slot(
        &self,
        audience: &Audience,
        tenant: Option<&TenantId>,
        claims: Option<&Claims>,
    ) -> Result<Arc<Slot>, Error> {
        let credential = &self.0.source.credential;
        let tenant = tenant.and_then(|asked| credential.tenant(asked));
        let key = KeyRef {
            audience,
            tenant: tenant.as_ref(),
            claims,
        };
        if let Some(slot) = self.0.slots.find(key) {
            return Ok(slot);
        }
        audience.check()?;
        Ok(self.0.slots.get(key))
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.0.source
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.source.runtime.now()
    }

    /// For whoever only looks whether a token is at hand.
    #[inline]
    pub(crate) fn coarse_now(&self) -> Timestamp {
        if self.0.has_default_runtime {
            // Each request asks for the time: where the compiler knows whom, the
            // answer takes half of the instructions.
            TokioRuntime::new().coarse_now()
        } else {
            self.0.source.runtime.coarse_now()
        }
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").finish_non_exhaustive()
    }
}

/// Options of a [`TokenCache`].
#[derive(Debug)]
#[must_use]
pub struct TokenCacheBuilder {
    credential: SharedCredential,
    /// The default unless it is given.
    runtime: Option<Arc<dyn Runtime>>,
    fetch_timeout: Duration,
    max_concurrency: Option<usize>,
    max_keys: usize,
}

impl TokenCacheBuilder {
    const FETCH_TIMEOUT: Duration = Duration::from_secs(120);
    const MAX_KEYS: usize = 10_000;

    /// Where time, randomness and tasks come from. Default: [`TokioRuntime`].
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.runtime = Some(Arc::new(runtime));
        self
    }

    /// How long one fetch may take, all retries of the credential included.
    /// Default: 120 seconds, a backstop behind the credentials' own limits.
    pub fn fetch_timeout(mut self, limit: Duration) -> Self {
        self.fetch_timeout = limit;
        self
    }

    /// How many fetches, each for another key, may be under way at once. The
    /// others wait in the order in which they came. Default: what the
    /// credential [says](Credential::max_concurrency), which is 32 for most
    /// and 5 for the metadata endpoint of an Azure VM. At least one is made.
    pub fn max_concurrency(mut self, most: usize) -> Self {
        self.max_concurrency = Some(most);
        self
    }

    /// About how many keys are kept. When there are more, the one that was not
    /// looked up for longest makes room. Default: 10,000. At least one is kept.
    pub fn max_keys(mut self, most: usize) -> Self {
        self.max_keys = most;
        self
    }

    /// Makes the cache. Fetches nothing yet.
    #[must_use]
    pub fn build(self) -> TokenCache {
        let (open, closed) = watch::channel(());
        TokenCache(Arc::new(Handle {
            has_default_runtime: self.runtime.is_none(),
            source: Arc::new(Source::new(
                self.credential,
                self.runtime
                    .unwrap_or_else(|| Arc::new(TokioRuntime::new())),
                self.fetch_timeout,
                self.max_concurrency,
                closed,
            )),
            slots: Slots::new(self.max_keys),
            _open: open,
        }))
    }
}
