#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
//! A credential that follows a script and counts how often it is asked.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tower_bearer::{AccessToken, Credential, Error, TokenRequest, credential_fn};

pub const HOUR: Duration = Duration::from_secs(3600);

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
