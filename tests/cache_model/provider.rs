//! An identity provider that is asked, and answers when it is told to.

use std::future::pending;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use tower_bearer::{AccessToken, Credential, Error, Timestamp, TokenRequest, credential_fn};

use crate::model::{Answer, Life};

struct Fetch {
    key: usize,
    asked_at: Timestamp,
    answer: oneshot::Sender<Answer>,
}

pub(crate) struct Provider {
    fetches: Arc<Mutex<Vec<Fetch>>>,
}

impl Provider {
    pub(crate) fn new() -> Self {
        Self {
            fetches: Arc::default(),
        }
    }

    /// Knows a fetch's key by what is asked for, and by nothing else.
    pub(crate) fn credential(&self, keys: &[TokenRequest]) -> impl Credential + use<> {
        let fetches = Arc::clone(&self.fetches);
        let named = |request: &TokenRequest| {
            (
                request.audience().clone(),
                request.tenant().cloned(),
                request.claims().cloned(),
            )
        };
        let keys: Vec<_> = keys.iter().map(named).collect();
        credential_fn(move |request| {
            let key = keys.iter().position(|key| *key == named(&request)).unwrap();
            let (answer, answered) = oneshot::channel();
            fetches.lock().unwrap().push(Fetch {
                key,
                asked_at: request.runtime().now(),
                answer,
            });
            async move {
                match answered.await {
                    Ok(answer) => said(answer),
                    Err(_) => pending().await,
                }
            }
        })
    }

    /// When each fetch for `key` was asked for that still waits.
    pub(crate) fn asked_at(&self, key: usize) -> Vec<Timestamp> {
        let mut fetches = self.fetches.lock().unwrap();
        fetches.retain(|fetch| !fetch.answer.is_closed());
        fetches
            .iter()
            .filter(|fetch| fetch.key == key)
            .map(|fetch| fetch.asked_at)
            .collect()
    }

    pub(crate) fn answer(&self, key: usize, answer: Answer) {
        let mut fetches = self.fetches.lock().unwrap();
        let index = fetches.iter().position(|fetch| fetch.key == key).unwrap();
        let fetch = fetches.remove(index);
        fetch.answer.send(answer).expect("somebody waits for it");
    }
}

fn said(answer: Answer) -> Result<AccessToken, Error> {
    match answer {
        Answer::Token {
            text,
            life,
            refresh_in,
        } => {
            let token = match life {
                Life::In(life) => AccessToken::expiring_in(&text, life)?,
                Life::On(end) => AccessToken::expiring_on(&text, end)?,
            };
            Ok(match refresh_in {
                Some(hint) => token.with_refresh_in(hint),
                None => token,
            })
        }
        Answer::Failure { kind, retry_after } => {
            let error = Error::new(kind, "as the test says");
            Err(match retry_after {
                Some(wait) => error.with_retry_after(wait),
                None => error,
            })
        }
    }
}
