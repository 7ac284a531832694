//! Several credentials, of which the first that can be used here is taken.

mod chained;
mod default;
pub(super) mod developer;
mod environment;
mod selection;
mod settings;

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

pub use self::chained::{ChainedTokenCredential, ChainedTokenCredentialBuilder};
pub use self::default::{DefaultAzureCredential, DefaultAzureCredentialBuilder};
pub use self::environment::EnvironmentCredential;
pub(super) use self::settings::identity_settings;

use crate::error::printable;
use crate::{
    AccessToken, Attempt, Credential, Error, ErrorKind, SharedCredential, TenantId, TokenRequest,
};

/// Nothing has worked so far, or what did has stopped to.
const NONE: usize = usize::MAX;

/// Credentials in the order in which they are tried, and which of them worked.
#[derive(Debug)]
pub(in crate::azure) struct Chain {
    links: Vec<Link>,
    chosen: AtomicUsize,
}

/// One credential of a [`Chain`], or why there is none in its place.
#[derive(Debug)]
pub(in crate::azure) struct Link {
    credential: Result<Limited, Error>,
    is_developer_tool: bool,
}

/// A credential that is asked for only as many tokens at once as it bears.
#[derive(Debug)]
struct Limited {
    credential: SharedCredential,
    permits: Semaphore,
}

impl Link {
    /// `credential` under its `name`, which is that of an error that kept it
    /// from being made.
    pub(in crate::azure) fn new(
        name: &'static str,
        credential: Result<SharedCredential, Error>,
    ) -> Self {
        Self {
            credential: credential
                .map(Limited::new)
                .map_err(|error| match error.credential() {
                    Some(_) => error,
                    None => error.with_credential(name),
                }),
            is_developer_tool: false,
        }
    }

    /// A developer's tool: one that hangs or talks nonsense is as good as not
    /// there, and only its refusal to give a token counts as one.
    pub(in crate::azure) fn developer_tool(
        name: &'static str,
        credential: Result<SharedCredential, Error>,
    ) -> Self {
        Self {
            is_developer_tool: true,
            ..Self::new(name, credential)
        }
    }

    fn max_concurrency(&self) -> Option<usize> {
        let limited = self.credential.as_ref().ok()?;
        Some(limited.credential.max_concurrency())
    }

    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        match &self.credential {
            Ok(limited) => limited.token(request).await,
            Err(error) => Err(error.clone()),
        }
    }

    /// Whether the next link is asked after this one failed with `error`.
    fn lets_go_on(&self, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::Unavailable => true,
            ErrorKind::Rejected => false,
            _ => self.is_developer_tool,
        }
    }
}

impl Limited {
    fn new(credential: SharedCredential) -> Self {
        let most = credential
            .max_concurrency()
            .clamp(1, Semaphore::MAX_PERMITS);
        Self {
            credential,
            permits: Semaphore::new(most),
        }
    }

    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        // The semaphore is never closed, so there always is a permit some time.
        let _permit = self.permits.acquire().await.ok();
        self.credential.token(request).await
    }
}

impl Chain {
    pub(in crate::azure) fn new(links: Vec<Link>) -> Self {
        Self {
            links,
            chosen: AtomicUsize::new(NONE),
        }
    }

    pub(in crate::azure) fn len(&self) -> usize {
        self.links.len()
    }

    /// Tries the links in order. What the link at `chosen` said just now is
    /// `known`, and it is not asked again.
    async fn search(
        &self,
        request: &TokenRequest,
        chosen: usize,
        mut known: Option<Attempt>,
    ) -> Result<AccessToken, Error> {
        let mut attempts = Vec::with_capacity(self.links.len());
        for (at, link) in self.links.iter().enumerate() {
            let attempt = match known.take() {
                Some(attempt) if at == chosen => attempt,
                other => {
                    known = other;
                    match timed(link, request).await {
                        Ok(token) => {
                            self.chosen.store(at, Ordering::Release);
                            return Ok(token);
                        }
                        Err(attempt) => attempt,
                    }
                }
            };
            let error = attempt.error().clone();
            attempts.push(attempt);
            if !link.lets_go_on(&error) {
                return Err(match known {
                    Some(known) => cut_short(known, attempts, &error),
                    None => stopped(attempts, &error),
                });
            }
        }
        Err(exhausted(request, attempts))
    }
}

impl Credential for Chain {
    /// A token of what worked last, else of the first that works.
    ///
    /// # Errors
    ///
    /// The only link's own error. Of several links what ended the search, or
    /// [`ErrorKind::Unavailable`] if all were tried; in each case with all
    /// [attempts](Error::attempts).
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        request.audience().check()?;
        let mut known = None;
        let chosen = self.chosen.load(Ordering::Acquire);
        if let Some(link) = self.links.get(chosen) {
            match timed(link, request).await {
                Ok(token) => return Ok(token),
                Err(attempt) if !looks_again_after(attempt.error()) => {
                    return Err(attempt.error().clone());
                }
                Err(attempt) => {
                    let _ = self.chosen.compare_exchange(
                        chosen,
                        NONE,
                        Ordering::AcqRel,
                        Ordering::Relaxed,
                    );
                    known = Some(attempt);
                }
            }
        }
        self.search(request, chosen, known).await
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        let chosen = match &self.links[..] {
            [only] => Some(only),
            links => links.get(self.chosen.load(Ordering::Acquire)),
        };
        match chosen.map(|link| &link.credential) {
            Some(Ok(limited)) => limited.credential.tenant(asked),
            _ => Some(asked.clone()),
        }
    }

    /// What the hardiest link bears; the others are spared by their own limits.
    fn max_concurrency(&self) -> usize {
        self.links
            .iter()
            .filter_map(Link::max_concurrency)
            .max()
            .unwrap_or(1)
    }
}

async fn timed(link: &Link, request: &TokenRequest) -> Result<AccessToken, Attempt> {
    let runtime = request.runtime();
    let started = runtime.now().monotonic;
    link.token(request).await.map_err(|error| {
        let took = runtime.now().monotonic.saturating_sub(started);
        Attempt::new(error, took)
    })
}

/// Whether what worked before may have to be given up for something else. A
/// setting or an outage is no reason to become somebody else.
fn looks_again_after(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Rejected)
}

/// What ended the search before its end, with all that was tried.
fn stopped(attempts: Vec<Attempt>, by: &Error) -> Error {
    let context = match attempts.len() {
        1 => return by.clone(),
        2 => "after one credential that is not available here".to_owned(),
        count => format!(
            "after {} credentials that are not available here",
            count - 1
        ),
    };
    by.in_context(&context).with_attempts(attempts)
}

/// What ended the search before it came to the link that had worked until
/// then: that one's failure is why there was a search, so it is told as well.
fn cut_short(known: Attempt, mut attempts: Vec<Attempt>, by: &Error) -> Error {
    let worked = known.error().credential().unwrap_or("the credential");
    let error = by.in_context(&format!("after {worked}, which worked before, has failed"));
    attempts.insert(0, known);
    error.with_attempts(attempts)
}

fn exhausted(request: &TokenRequest, attempts: Vec<Attempt>) -> Error {
    match &attempts[..] {
        [] => {
            return Error::new(ErrorKind::Configuration, "the chain has no credentials")
                .with_advice("put at least one into it");
        }
        [only] => return only.error().clone(),
        _ => {}
    }
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "tried {} ways to get a token for {}, and none of them worked",
            attempts.len(),
            printable(request.audience().as_str()),
        ),
    )
    .with_attempts(attempts)
}
