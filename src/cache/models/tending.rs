//! Keys that are kept warm, in random orders of the steps of their tasks, of
//! callers and of whoever disturbs them.

use std::time::Duration;

use std::sync::Mutex;

use shuttle::future::spawn;
use tokio::sync::oneshot;

use super::bench::{Bench, VAULT, explore, token};
use super::lock;
use crate::{AccessToken, TokenRequest};

/// Refreshed sooner than anybody would look who does not know of it.
const SHORT: Duration = Duration::from_secs(20);

#[test]
fn r27_i7_the_last_handle_takes_those_along_who_keep_keys_warm() {
    explore("a warm key's last handle is dropped", 0, async |runtime| {
        let Bench {
            tokens,
            runtime,
            calls,
        } = Bench::new(runtime, token);
        let keeping = [(); 2].map(|()| {
            let tokens = tokens.clone();
            spawn(async move { tokens.keep_warm(VAULT) })
        });
        let callers = [{
            let tokens = tokens.clone();
            spawn(async move { tokens.token(VAULT).await })
        }];
        drop(tokens);
        runtime.cancel(&callers);
        for kept in keeping {
            kept.await.unwrap().unwrap();
        }
        for caller in callers {
            drop(caller.await);
        }
        runtime.idle().await;
        assert_eq!(calls.under_way(), 0);
        assert!(calls.all() <= 1);
    });
}

#[test]
fn i6_who_keeps_a_key_warm_learns_of_the_token_that_another_has_fetched() {
    explore(
        "a warm key's token is replaced by a short one",
        0,
        async |runtime| {
            let (sender, third) = oneshot::channel();
            let sender = Mutex::new(Some(sender));
            let bench = Bench::new(runtime, move |number| match number {
                2 => AccessToken::expiring_in("token-2", SHORT),
                _ => {
                    if number == 3 {
                        drop(lock(&sender).take());
                    }
                    token(number)
                }
            });
            bench.runtime.keep_time();
            bench.tokens.keep_warm(VAULT).unwrap();
            let first = bench.tokens.token(VAULT).await.unwrap();
            let refusals = [(); 2]
                .map(|()| bench.caller(TokenRequest::new(VAULT).with_refused(first.clone())));
            bench.runtime.cancel(&refusals[..1]);
            for refusal in refusals {
                if let Ok(outcome) = refusal.await {
                    assert_ne!(outcome.unwrap().secret(), "token-1");
                }
            }
            // Nobody asks any more, and yet it is refreshed.
            let _closed: Result<(), _> = third.await;
            assert_eq!(bench.calls.most(), 1, "one fetch at a time");
            drop(bench.tokens);
            bench.runtime.idle().await;
        },
    );
}
