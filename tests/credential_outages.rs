//! Cache, credential and transport together, while what they need is away.
#![cfg(all(feature = "azure", feature = "test-util"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/scripted.rs"]
mod scripted;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use issuer::{DUE, HOUR, SECOND, VAULT, settle, token_at_once};
use scripted::TOKEN;
use tokio::time::{Instant, advance, sleep, timeout};
use tower::service_fn;
use tower_bearer::azure::{ClientSecretCredential, ManagedIdentityCredential};
use tower_bearer::testing::{Azure, Failure, ManualRuntime};
use tower_bearer::{
    AccessToken, BoxError, Credential, Error, ErrorKind, Runtime as _, TokenCache, TokenRequest,
    Transport,
};

const TICK: Duration = Duration::from_millis(100);

fn client_secret(secret: &str, transport: Transport) -> Result<ClientSecretCredential, Error> {
    ClientSecretCredential::builder("contoso.com", "app", secret)
        .transport(transport)
        .build()
}

fn answer(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}

/// What the system's resolver says of a name that it cannot look up.
fn resolver_is_down() -> io::Error {
    io::Error::other("failed to lookup address information: Temporary failure in name resolution")
}

#[tokio::test(start_paused = true)]
async fn r07_a_resolver_that_fails_for_hours_is_forgotten_within_thirty_seconds() {
    let begins = Instant::now() + SECOND;
    let healthy_again = begins + 3 * HOUR;
    let mut connector = HttpConnector::new_with_resolver(service_fn(|_: Name| async {
        Err::<std::iter::Empty<SocketAddr>, _>(resolver_is_down())
    }));
    connector.enforce_http(false);
    let over_network: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build(connector);
    let transport = service_fn(move |request| {
        let over_network = over_network.clone();
        async move {
            if (begins..healthy_again).contains(&Instant::now()) {
                let response = over_network.request(request).await?;
                return Ok::<_, BoxError>(response.map(Either::Left));
            }
            Ok(answer(StatusCode::OK, TOKEN).map(Either::Right))
        }
    });
    let tokens = TokenCache::new(client_secret("s3cret", Transport::new(transport)).unwrap());
    tokens.token(VAULT).await.unwrap();
    sleep(2 * SECOND).await;
    while begins.elapsed() < 3500 * SECOND {
        assert!(token_at_once(&tokens, VAULT).is_some());
        sleep(SECOND).await;
    }
    sleep(100 * SECOND).await;
    loop {
        let asked = tokens.token(VAULT).await;
        // A retry may already have met the recovery.
        if Instant::now() >= healthy_again {
            break;
        }
        let error = asked.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.is_transient());
        assert!(error.to_string().contains("name resolution"), "{error}");
        sleep(SECOND).await;
    }
    while tokens.token(VAULT).await.is_err() {
        sleep(TICK).await;
    }
    assert!(healthy_again.elapsed() <= 30 * SECOND);
}

/// Callers that wait get a few attempts at once. While a token is good nobody
/// waits, and the pauses between fetches are retries enough.
#[tokio::test(start_paused = true)]
async fn r05_r10_a_refresh_ahead_of_need_is_attempted_once_a_fetch() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let transport = Transport::new(service_fn(move |_: Request<Full<Bytes>>| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            sleep(20 * Duration::from_millis(1)).await;
            Ok::<_, BoxError>(match number {
                2 => answer(StatusCode::OK, TOKEN),
                _ => answer(StatusCode::INTERNAL_SERVER_ERROR, ""),
            })
        }
    }));
    let needed = Arc::new(AtomicUsize::new(0));
    let credential = client_secret("s3cret", transport).unwrap();
    let tokens = TokenCache::new(Counted(credential, Arc::clone(&needed)));
    tokens.token(VAULT).await.unwrap();
    assert_eq!(
        (
            attempts.load(Ordering::SeqCst),
            needed.load(Ordering::SeqCst)
        ),
        (3, 1)
    );
    advance(DUE).await;
    for _ in 0..1600 {
        assert!(token_at_once(&tokens, VAULT).is_some());
        sleep(TICK / 10).await;
    }
    let refreshes = needed.load(Ordering::SeqCst) - 1;
    assert_eq!(attempts.load(Ordering::SeqCst) - 3, refreshes);
    assert!((2..=8).contains(&refreshes), "{refreshes} in 16 s");
}

#[tokio::test(start_paused = true)]
async fn r05_r10_connections_that_are_lost_ahead_of_need_are_made_anew_once_a_fetch() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let transport = Transport::new(service_fn(move |_: Request<Full<Bytes>>| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if number > 0 {
                return Err::<_, BoxError>(io::Error::from(io::ErrorKind::ConnectionReset).into());
            }
            Ok(answer(StatusCode::OK, TOKEN))
        }
    }));
    let tokens = TokenCache::new(client_secret("s3cret", transport).unwrap());
    tokens.token(VAULT).await.unwrap();
    advance(DUE).await;
    assert!(token_at_once(&tokens, VAULT).is_some());
    sleep(SECOND / 2).await;
    assert_eq!(tokens.status()[0].fetches(), 2);
    assert_eq!(attempts.load(Ordering::SeqCst), 1 + 2);
}

/// A flight that departs while the token is good, but may be needed before it
/// lands.
#[tokio::test(start_paused = true)]
async fn r05_who_comes_to_need_a_refresh_that_fails_is_retried_for() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let transport = Transport::new(service_fn(move |_: Request<Full<Bytes>>| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if number == 1 {
                sleep(5 * SECOND).await;
                return Ok::<_, BoxError>(answer(StatusCode::SERVICE_UNAVAILABLE, ""));
            }
            Ok(answer(StatusCode::OK, TOKEN))
        }
    }));
    let tokens = TokenCache::new(client_secret("s3cret", transport).unwrap());
    tokens.token(VAULT).await.unwrap();
    // 30 s before its end it is not used any more; that is in three seconds.
    advance(3567 * SECOND).await;
    assert!(token_at_once(&tokens, VAULT).is_some());
    settle().await;
    sleep(4 * SECOND).await;
    tokens.token(VAULT).await.unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
}

/// Counts how often a token is needed.
struct Counted<C>(C, Arc<AtomicUsize>);

impl<C: Credential> Credential for Counted<C> {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.token(request).await
    }
}

/// `failing` of a hundred requests fail; what the identity provider gets for
/// how many fetches, and in how many seconds.
async fn storm(failing: usize) -> (usize, usize, usize) {
    const KEYS: usize = 100;
    const SECONDS: usize = 300;
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let transport = Transport::new(service_fn(move |_: Request<Full<Bytes>>| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            sleep(Duration::from_millis(50)).await;
            // Spread evenly, whatever the share.
            if number * 37 % 100 >= failing {
                return Ok::<_, BoxError>(answer(StatusCode::OK, TOKEN));
            }
            let status = [429, 500, 502, 503, 504][number % 5];
            Ok(answer(StatusCode::from_u16(status).unwrap(), ""))
        }
    }));
    let needed = Arc::new(AtomicUsize::new(0));
    let credential = client_secret("s3cret", transport).unwrap();
    let tokens = TokenCache::new(Counted(credential, Arc::clone(&needed)));
    let callers: Vec<_> = (0..3 * KEYS)
        .map(|caller| {
            let tokens = tokens.clone();
            tokio::spawn(async move {
                let audience = format!("api://{}", caller % KEYS);
                for _ in 0..SECONDS {
                    drop(timeout(SECOND, tokens.token(&*audience)).await);
                    sleep(SECOND).await;
                }
            })
        })
        .collect();
    let started = Instant::now();
    for caller in callers {
        caller.await.unwrap();
    }
    let took = usize::try_from(started.elapsed().as_secs()).unwrap();
    (
        attempts.load(Ordering::SeqCst),
        needed.load(Ordering::SeqCst),
        took,
    )
}

#[tokio::test(start_paused = true)]
async fn r10_whatever_share_of_requests_fails_retries_are_a_tenth_and_one_a_second() {
    for failing in [0, 10, 50, 90, 100] {
        let (attempts, needed, seconds) = storm(failing).await;
        // A calm time's ten seconds may be saved up.
        let most = needed + needed.div_ceil(10) + seconds + 1 + 10;
        assert!(
            attempts <= most,
            "{failing} %: {attempts} attempts for {needed} fetches in {seconds} s"
        );
    }
}

/// An Azure, and a cache in front of a managed identity whose clock is moved by
/// hand.
async fn virtual_machine(probe: bool) -> (Azure, ManualRuntime, TokenCache) {
    let clock = ManualRuntime::new();
    let azure = Azure::builder()
        .runtime(Arc::new(clock.clone()))
        .start()
        .await
        .unwrap();
    let credential = ManagedIdentityCredential::builder()
        .endpoint(azure.imds_host())
        .probe(probe)
        .build()
        .unwrap();
    let tokens = TokenCache::builder(credential)
        .runtime(clock.clone())
        .build();
    (azure, clock, tokens)
}

/// Passes over the wait that ends next.
async fn pass_next_wait(clock: &ManualRuntime) {
    clock.settle().await;
    clock.advance(clock.next_wake().unwrap());
    clock.settle().await;
}

#[tokio::test]
async fn r29_a_metadata_service_that_is_silent_for_ten_seconds_at_boot_costs_no_error() {
    let (azure, clock, tokens) = virtual_machine(false).await;
    let booting = azure.hold_token_requests();
    let asked = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.token(VAULT).await }
    });
    let mut requests = 1;
    azure.wait_for_token_requests(requests).await;
    while clock.now().monotonic < 10 * SECOND {
        // The attempt's limit, and then the wait before the next one.
        pass_next_wait(&clock).await;
        pass_next_wait(&clock).await;
        requests += 1;
        azure.wait_for_token_requests(requests).await;
    }
    booting.release();
    asked.await.unwrap().unwrap();
}

#[tokio::test]
async fn r29_a_metadata_service_that_was_not_found_at_boot_is_found_later() {
    let (azure, clock, tokens) = virtual_machine(true).await;
    azure.fail_imds_probes(Failure::hang());
    let asked = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.token(VAULT).await }
    });
    while azure.imds_probes() < 1 {
        tokio::task::yield_now().await;
    }
    pass_next_wait(&clock).await;
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    clock.advance(9 * SECOND);
    azure.recover_imds_probes();
    let booted = clock.now().monotonic;
    while tokens.token(VAULT).await.is_err() {
        clock.advance(SECOND);
    }
    let waited = clock.now().monotonic.saturating_sub(booted);
    assert!(waited <= 60 * SECOND, "{waited:?}");
    assert_eq!(azure.imds_probes(), 2);
}

#[tokio::test]
async fn i6_an_identity_that_is_assigned_later_is_found_without_a_restart() {
    for probe in [false, true] {
        let (azure, clock, tokens) = virtual_machine(probe).await;
        azure.assign_system_identity(false);
        let error = tokens.token(VAULT).await.unwrap_err();
        assert!(
            error.to_string().contains("no identity is assigned"),
            "{error}"
        );
        // An assignment takes minutes to be known everywhere.
        for _ in 0..300 {
            clock.advance(SECOND);
            assert!(tokens.token(VAULT).await.is_err());
        }
        // Who asks all the time does not have the service asked all the time.
        assert!(azure.token_requests() < 60, "{}", azure.token_requests());

        azure.assign_system_identity(true);
        let assigned = clock.now().monotonic;
        while tokens.token(VAULT).await.is_err() {
            clock.advance(SECOND);
        }
        let waited = clock.now().monotonic.saturating_sub(assigned);
        assert!(waited <= 60 * SECOND, "{waited:?}");
    }
}

/// A credential of a user's own, whose secret is replaced from outside.
struct SecretFile {
    path: PathBuf,
    transport: Transport,
}

impl Credential for SecretFile {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        let secret = std::fs::read_to_string(&self.path).unwrap();
        let credential = client_secret(secret.trim_end(), self.transport.clone())?;
        credential.token(request).await
    }
}

#[tokio::test(start_paused = true)]
async fn r30_a_secret_that_is_replaced_is_used_at_the_next_fetch_and_a_bad_one_harms_nobody() {
    let good = Arc::new(Mutex::new("first"));
    let expected = Arc::clone(&good);
    let issued = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&issued);
    let transport = service_fn(move |request: Request<Full<Bytes>>| {
        let (expected, counted) = (*expected.lock().unwrap(), Arc::clone(&counted));
        async move {
            let form = request.into_body().collect().await?.to_bytes();
            let form = String::from_utf8_lossy(&form).into_owned();
            if !form.ends_with(&format!("client_secret={expected}")) {
                let refusal = Full::<Bytes>::from(r#"{"error":"invalid_client"}"#);
                let response = Response::builder().status(401).body(refusal);
                return response.map_err(BoxError::from);
            }
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            Ok(Response::new(Full::from(format!(
                r#"{{"token_type":"Bearer","expires_in":3600,"access_token":"{expected}-{number}"}}"#
            ))))
        }
    });
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("r30_secret");
    let put = |secret: &str| std::fs::write(&path, secret).unwrap();
    put("first\n");
    let tokens = TokenCache::new(SecretFile {
        path: path.clone(),
        transport: Transport::new(transport),
    });
    assert_eq!(tokens.token(VAULT).await.unwrap().secret(), "first-1");

    // Replaced: the next refresh uses the new one.
    *good.lock().unwrap() = "second";
    put("second\n");
    advance(DUE).await;
    assert_eq!(token_at_once(&tokens, VAULT).unwrap().secret(), "first-1");
    settle().await;
    assert_eq!(token_at_once(&tokens, VAULT).unwrap().secret(), "second-2");

    // Replaced by a bad one: the token is kept until its end.
    put("half wri");
    advance(DUE).await;
    for _ in 2600..3560 {
        assert_eq!(token_at_once(&tokens, VAULT).unwrap().secret(), "second-2");
        settle().await;
        advance(SECOND).await;
    }
    advance(10 * SECOND).await;
    assert!(tokens.token(VAULT).await.is_err());
    put("second\n");
    let mended = Instant::now();
    while tokens.token(VAULT).await.is_err() {
        advance(TICK).await;
    }
    assert!(mended.elapsed() <= 60 * SECOND);
}
