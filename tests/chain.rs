//! `ChainedTokenCredential`: when it goes on, when it stops, what it remembers,
//! and what it tells.
#![cfg(feature = "azure")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use tower_bearer::azure::ChainedTokenCredential;
use tower_bearer::{
    AccessToken, Credential, Error, ErrorKind, TenantId, TokenCache, TokenRequest, credential_fn,
};

const AUDIENCE: &str = "https://vault.azure.net";

/// A credential that says what its test tells it to, and counts.
#[derive(Clone)]
struct Scripted(Arc<Script>);

struct Script {
    name: &'static str,
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    max_concurrency: usize,
}

#[derive(Clone, Copy)]
enum Answer {
    Token,
    Fails(ErrorKind),
    TakesSeconds(u64, ErrorKind),
    Hangs,
}

impl Scripted {
    fn new(name: &'static str, answer: Answer) -> Self {
        Self::bearing(name, answer, 32)
    }

    fn bearing(name: &'static str, answer: Answer, max_concurrency: usize) -> Self {
        Self(Arc::new(Script {
            name,
            answer: Mutex::new(answer),
            asked: AtomicUsize::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            max_concurrency,
        }))
    }

    fn answers(&self, answer: Answer) {
        *self.0.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.0.asked.swap(0, Ordering::SeqCst)
    }
}

impl Credential for Scripted {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        let script = &*self.0;
        script.asked.fetch_add(1, Ordering::SeqCst);
        let now = script.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        script.most_at_once.fetch_max(now, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let answer = *script.answer.lock().unwrap();
        let fails = |kind| {
            Err(Error::new(kind, "it is not to be had")
                .with_credential(script.name)
                .with_advice("do something about it"))
        };
        let outcome = match answer {
            Answer::Token => AccessToken::expiring_in(script.name, Duration::from_secs(3600)),
            Answer::Fails(kind) => fails(kind),
            Answer::TakesSeconds(seconds, kind) => {
                request.runtime().sleep(Duration::from_secs(seconds)).await;
                fails(kind)
            }
            Answer::Hangs => pending().await,
        };
        script.at_once.fetch_sub(1, Ordering::SeqCst);
        outcome
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        (!asked.is(self.0.name)).then(|| asked.clone())
    }

    fn max_concurrency(&self) -> usize {
        self.0.max_concurrency
    }
}

fn chain(links: &[&Scripted]) -> ChainedTokenCredential {
    links
        .iter()
        .fold(ChainedTokenCredential::builder(), |chain, link| {
            chain.then((*link).clone())
        })
        .build()
}

async fn secret(chain: &ChainedTokenCredential) -> Result<String, Error> {
    let token = chain.token(&TokenRequest::new(AUDIENCE)).await?;
    Ok(token.secret().to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_first_that_works_is_taken_and_the_rest_not_asked() {
    let [first, second] = ["first", "second"].map(|name| Scripted::new(name, Answer::Token));
    assert_eq!(secret(&chain(&[&first, &second])).await.unwrap(), "first");
    assert_eq!((first.asked(), second.asked()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn only_what_is_not_available_lets_the_next_one_try() {
    for kind in [
        ErrorKind::Unavailable,
        ErrorKind::Rejected,
        ErrorKind::Configuration,
        ErrorKind::Throttled,
        ErrorKind::Unreachable,
        ErrorKind::Timeout,
        ErrorKind::InvalidResponse,
    ] {
        let first = Scripted::new("first", Answer::Fails(kind));
        let second = Scripted::new("second", Answer::Token);
        let outcome = secret(&chain(&[&first, &second])).await;
        if kind == ErrorKind::Unavailable {
            assert_eq!(outcome.unwrap(), "second");
        } else {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), kind);
            assert_eq!(second.asked(), 0, "{kind:?}");
            assert_eq!(
                error.to_string(),
                "first: it is not to be had: do something about it"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_others_is_told_as_such_with_all_attempts() {
    let none =
        ["one", "two"].map(|name| Scripted::new(name, Answer::Fails(ErrorKind::Unavailable)));
    let refusing = Scripted::new("three", Answer::TakesSeconds(2, ErrorKind::Rejected));
    let never = Scripted::new("four", Answer::Token);
    let error = secret(&chain(&[&none[0], &none[1], &refusing, &never]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.credential(), Some("three"));
    assert_eq!(never.asked(), 0);
    let tried: Vec<_> = error
        .attempts()
        .iter()
        .map(|attempt| {
            (
                attempt.error().credential().unwrap(),
                attempt.error().kind(),
                attempt.took().as_secs(),
            )
        })
        .collect();
    assert_eq!(
        tried,
        [
            ("one", ErrorKind::Unavailable, 0),
            ("two", ErrorKind::Unavailable, 0),
            ("three", ErrorKind::Rejected, 2),
        ]
    );
    assert!(
        error
            .message()
            .starts_with("after 2 credentials that are not available here: "),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_ends_a_search_is_told_as_data_too() {
    let none = Scripted::new("none", Answer::Fails(ErrorKind::Unavailable));
    let refusing = credential_fn(|_| async {
        Err::<AccessToken, _>(
            Error::new(ErrorKind::Throttled, "not now")
                .with_credential("refusing")
                .with_status(StatusCode::TOO_MANY_REQUESTS)
                .with_oauth_error("invalid_client")
                .with_aadsts_codes([7_000_222, 90_055])
                .with_correlation_id("c-1")
                .with_retry_after(Duration::from_secs(7)),
        )
    });
    let chain = ChainedTokenCredential::builder()
        .then(none)
        .then(refusing)
        .build();
    let error = secret(&chain).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert!(error.is_transient());
    assert_eq!(error.credential(), Some("refusing"));
    assert_eq!(error.status(), Some(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(error.oauth_error(), Some("invalid_client"));
    assert_eq!(error.aadsts_codes(), [7_000_222, 90_055]);
    assert_eq!(error.correlation_id(), Some("c-1"));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(error.attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn when_nothing_works_the_count_comes_first_and_then_every_attempt() {
    let first = Scripted::new("first", Answer::TakesSeconds(1, ErrorKind::Unavailable));
    let second = Scripted::new("second", Answer::Fails(ErrorKind::Unavailable));
    let error = secret(&chain(&[&first, &second])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "tried 2 ways to get a token for https://vault.azure.net, and none of them worked\
         \n  1. first (1.0 s): it is not to be had: do something about it\
         \n  2. second (0.0 s): it is not to be had: do something about it"
    );

    let error = secret(&chain(&[&second])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "second: it is not to be had: do something about it"
    );
    let error = secret(&chain(&[])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test(start_paused = true)]
async fn what_worked_is_asked_alone_until_it_refuses_or_is_gone() {
    let first = Scripted::new("first", Answer::Fails(ErrorKind::Unavailable));
    let second = Scripted::new("second", Answer::Token);
    let third = Scripted::new("third", Answer::Token);
    let chain = chain(&[&first, &second, &third]);
    let asked = || (first.asked(), second.asked(), third.asked());

    assert_eq!(secret(&chain).await.unwrap(), "second");
    assert_eq!(asked(), (1, 1, 0));
    first.answers(Answer::Token);
    assert_eq!(secret(&chain).await.unwrap(), "second");
    assert_eq!(asked(), (0, 1, 0));

    // An outage is no reason to become somebody else.
    for kind in [
        ErrorKind::Unreachable,
        ErrorKind::Throttled,
        ErrorKind::Timeout,
        ErrorKind::Configuration,
    ] {
        second.answers(Answer::Fails(kind));
        assert_eq!(secret(&chain).await.unwrap_err().kind(), kind);
        assert_eq!(asked(), (0, 1, 0));
    }
    second.answers(Answer::Token);
    assert_eq!(secret(&chain).await.unwrap(), "second");
    assert_eq!(asked(), (0, 1, 0));

    second.answers(Answer::Fails(ErrorKind::Unavailable));
    assert_eq!(secret(&chain).await.unwrap(), "first");
    assert_eq!(asked(), (1, 1, 0));
    assert_eq!(secret(&chain).await.unwrap(), "first");
    assert_eq!(asked(), (1, 0, 0));

    // A refusal is looked into once, and not answered by somebody else.
    first.answers(Answer::Fails(ErrorKind::Rejected));
    assert_eq!(
        secret(&chain).await.unwrap_err().kind(),
        ErrorKind::Rejected
    );
    assert_eq!(asked(), (1, 0, 0));
    first.answers(Answer::Fails(ErrorKind::Unavailable));
    assert_eq!(secret(&chain).await.unwrap(), "third");
    assert_eq!(asked(), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_has_just_failed_is_not_asked_twice_in_a_search() {
    let first = Scripted::new("first", Answer::Fails(ErrorKind::Unavailable));
    let second = Scripted::new("second", Answer::Token);
    let third = Scripted::new("third", Answer::Fails(ErrorKind::Unavailable));
    let chain = chain(&[&first, &second, &third]);
    secret(&chain).await.unwrap();
    second.answers(Answer::TakesSeconds(3, ErrorKind::Unavailable));
    first.asked();
    second.asked();
    let error = secret(&chain).await.unwrap_err();
    assert_eq!((first.asked(), second.asked(), third.asked()), (1, 1, 1));
    let took: Vec<_> = error
        .attempts()
        .iter()
        .map(|attempt| attempt.took().as_secs())
        .collect();
    assert_eq!(took, [0, 3, 0]);
}

#[tokio::test(start_paused = true)]
async fn i8_a_caller_that_gives_up_ends_the_search() {
    let hanging = Scripted::new("hanging", Answer::Hangs);
    let next = Scripted::new("next", Answer::Token);
    let chain = chain(&[&hanging, &next]);
    let limit = Duration::from_millis(100);
    assert!(tokio::time::timeout(limit, secret(&chain)).await.is_err());
    assert_eq!((hanging.asked(), next.asked()), (1, 0));
    hanging.answers(Answer::Fails(ErrorKind::Unavailable));
    assert_eq!(secret(&chain).await.unwrap(), "next");
}

#[tokio::test(start_paused = true)]
async fn each_credential_is_asked_for_no_more_at_once_than_it_bears() {
    let frail = Scripted::bearing("frail", Answer::Fails(ErrorKind::Unavailable), 1);
    let strong = Scripted::bearing("strong", Answer::Token, 8);
    let chain = chain(&[&frail, &strong]);
    assert_eq!(chain.max_concurrency(), 8);
    let all = (0..20).map(|_| {
        let chain = chain.clone();
        tokio::spawn(async move { secret(&chain).await })
    });
    for one in all.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap().unwrap(), "strong");
    }
    assert_eq!(frail.0.most_at_once.load(Ordering::SeqCst), 1);
    assert!(strong.0.most_at_once.load(Ordering::SeqCst) <= 8);
}

#[tokio::test(start_paused = true)]
async fn the_own_tenant_is_that_of_the_credential_that_works() {
    let first = Scripted::new("first", Answer::Fails(ErrorKind::Unavailable));
    let second = Scripted::new("second", Answer::Token);
    let chain = chain(&[&first, &second]);
    let tenant = TenantId::new("second").unwrap();
    assert_eq!(chain.tenant(&tenant), Some(tenant.clone()));
    secret(&chain).await.unwrap();
    assert_eq!(chain.tenant(&tenant), None);
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_chain_reaches_who_asks_a_cache() {
    let unavailable = |name: &'static str| {
        credential_fn(move |_| async move {
            Err::<AccessToken, _>(
                Error::new(ErrorKind::Unavailable, "not here").with_credential(name),
            )
        })
    };
    let tokens = TokenCache::new(
        ChainedTokenCredential::builder()
            .then(unavailable("a"))
            .then(unavailable("b"))
            .build(),
    );
    let error = tokens.token(AUDIENCE).await.unwrap_err();
    assert_eq!(error.attempts().len(), 2);
    assert_eq!(error.attempts()[1].error().credential(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_led_to_a_search_is_told_even_if_something_else_ends_it() {
    let first = Scripted::new("first", Answer::Fails(ErrorKind::Unavailable));
    let second = Scripted::new("second", Answer::Token);
    let chain = chain(&[&first, &second]);
    secret(&chain).await.unwrap();
    first.answers(Answer::Fails(ErrorKind::Unreachable));
    second.answers(Answer::TakesSeconds(2, ErrorKind::Rejected));
    let error = secret(&chain).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(
        error.to_string(),
        "first: after second, which worked before, has failed: it is not to be had: \
         do something about it\
         \n  1. second (2.0 s): it is not to be had: do something about it\
         \n  2. first (0.0 s): it is not to be had: do something about it"
    );
    assert_eq!(error.attempts()[0].error().kind(), ErrorKind::Rejected);
}

#[tokio::test(start_paused = true)]
async fn the_attempts_of_a_chain_in_a_chain_are_told_apart() {
    let [a, b, c] =
        ["a", "b", "c"].map(|name| Scripted::new(name, Answer::Fails(ErrorKind::Unavailable)));
    let inner = chain(&[&a, &b]);
    let outer = ChainedTokenCredential::builder()
        .then(inner)
        .then(c)
        .build();
    let why = "it is not to be had: do something about it";
    assert_eq!(
        secret(&outer).await.unwrap_err().to_string(),
        format!(
            "tried 2 ways to get a token for {AUDIENCE}, and none of them worked\
             \n  1. credential (0.0 s): tried 2 ways to get a token for {AUDIENCE}, and none of \
             them worked\
             \n       1. a (0.0 s): {why}\
             \n       2. b (0.0 s): {why}\
             \n  2. c (0.0 s): {why}"
        )
    );
}

/// A search that was given up leaves nothing behind: neither a place that is
/// taken nor a credential that counts as the one that works.
#[tokio::test(start_paused = true)]
async fn i8_a_search_that_is_given_up_anywhere_hinders_nobody() {
    let names = ["one", "two", "three"];
    for stuck in 0..names.len() {
        let links =
            names.map(|name| Scripted::bearing(name, Answer::Fails(ErrorKind::Unavailable), 1));
        links[stuck].answers(Answer::Hangs);
        let chain = chain(&[&links[0], &links[1], &links[2]]);
        let limit = Duration::from_millis(100);
        assert!(tokio::time::timeout(limit, secret(&chain)).await.is_err());
        assert_eq!(links[stuck].asked(), 1);
        links[stuck].answers(Answer::Fails(ErrorKind::Unavailable));
        links[2].answers(Answer::Token);
        let found = tokio::time::timeout(limit, secret(&chain)).await;
        assert_eq!(found.unwrap().unwrap(), "three");
    }
}

/// Two keys that search at once: each has what it found, and from then on one
/// credential is asked.
#[tokio::test(start_paused = true)]
async fn searches_at_once_end_with_one_credential_that_is_asked() {
    let first = Scripted::new("first", Answer::Fails(ErrorKind::Unavailable));
    let second = Scripted::new("second", Answer::Token);
    let third = Scripted::new("third", Answer::Token);
    let chain = chain(&[&first, &second, &third]);
    let (one, two) = tokio::join!(secret(&chain), secret(&chain));
    assert_eq!(
        (one.unwrap(), two.unwrap()),
        ("second".into(), "second".into())
    );
    assert_eq!((first.asked(), second.asked(), third.asked()), (2, 2, 0));

    // Both see that it has stopped to work; neither undoes what the other finds.
    second.answers(Answer::Fails(ErrorKind::Rejected));
    first.answers(Answer::Token);
    let (one, two) = tokio::join!(secret(&chain), secret(&chain));
    assert_eq!(
        (one.unwrap(), two.unwrap()),
        ("first".into(), "first".into())
    );
    assert_eq!((first.asked(), second.asked(), third.asked()), (2, 2, 0));
    assert_eq!(secret(&chain).await.unwrap(), "first");
    assert_eq!((first.asked(), second.asked(), third.asked()), (1, 0, 0));
}
