#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
//! A credential that follows a script and counts how often it is asked, and
//! what else tests of the cache have in common.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tower_bearer::{
    AccessToken, Credential, Error, ErrorKind, TokenCache, TokenRequest, credential_fn,
};

pub const VAULT: &str = "https://vault.azure.net";
pub const GRAPH: &str = "https://graph.microsoft.com";

pub const SECOND: Duration = Duration::from_secs(1);
pub const HOUR: Duration = Duration::from_secs(3600);

/// Past every refresh point of a token of one hour, before its end.
pub const DUE: Duration = Duration::from_secs(2600);

#[derive(Clone, Default)]
pub struct Calls(Arc<AtomicUsize>);

impl Calls {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Calls `script` with the number of the call, from 1.
pub fn issuer<F, Fut>(script: F) -> (impl Credential, Calls)
where
    F: Fn(usize, TokenRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<AccessToken, Error>> + Send,
{
    let calls = Calls::default();
    let counted = calls.clone();
    let credential = credential_fn(move |request| {
        let number = counted.0.fetch_add(1, Ordering::SeqCst) + 1;
        script(number, request)
    });
    (credential, calls)
}

/// The `number`th token, good for an hour.
pub fn token(number: usize) -> Result<AccessToken, Error> {
    AccessToken::expiring_in(&format!("token-{number}"), HOUR)
}

pub fn unreachable_provider() -> Error {
    Error::new(ErrorKind::Unreachable, "the identity provider is down")
}

/// What a caller gets that cannot wait; `None` if it would have to.
pub fn at_once<F: Future>(future: F) -> Option<F::Output> {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    match polled {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// The token of a caller that cannot wait.
pub fn token_at_once(tokens: &TokenCache, audience: &str) -> Option<AccessToken> {
    at_once(tokens.token(audience)).and_then(Result::ok)
}

/// `number` callers at the same time.
pub fn callers(
    number: usize,
    tokens: &TokenCache,
) -> Vec<tokio::task::JoinHandle<Result<AccessToken, Error>>> {
    (0..number)
        .map(|_| {
            let tokens = tokens.clone();
            tokio::spawn(async move { tokens.token(VAULT).await })
        })
        .collect()
}

/// Lets tasks run that have nothing to wait for.
pub async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Runs `future` for so many turns of the scheduler and drops it; whether it
/// had come to its end.
pub async fn dropped_after(turns: usize, future: impl Future) -> bool {
    let turns = async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        _ = future => true,
        () = turns => false,
    }
}
