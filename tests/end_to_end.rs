//! The whole way: layer, cache, credential, transport and the embedded Azure,
//! on real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(feature = "test-util")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tower::limit::ConcurrencyLimitLayer;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};
use tower_bearer::testing::{Azure, Failure, ManualRuntime};
use tower_bearer::{
    AccessToken, BearerAuthLayer, BoxError, Credential, Error, ErrorKind, Runtime as _, TokenCache,
    Transport, azure, credential_fn,
};

const AUDIENCE: &str = "https://vault.azure.net";
const DAY: Duration = Duration::from_secs(86_400);

type Client = BoxCloneSyncService<Request<Full<Bytes>>, Response<Incoming>, BoxError>;

/// An Azure and a cache whose clock is moved by hand.
struct World {
    azure: Azure,
    clock: ManualRuntime,
    tokens: TokenCache,
}

impl World {
    async fn with<C: Credential>(credential: impl FnOnce(&Azure) -> C) -> Self {
        let clock = ManualRuntime::new();
        let azure = Azure::builder()
            .runtime(Arc::new(clock.clone()))
            .start()
            .await
            .unwrap();
        azure.vault().set_secret("db", "s3cret");
        let tokens = TokenCache::builder(credential(&azure))
            .runtime(clock.clone())
            .build();
        Self {
            azure,
            clock,
            tokens,
        }
    }

    async fn with_managed_identity() -> Self {
        Self::with(|azure| {
            azure::ManagedIdentityCredential::builder()
                .endpoint(azure.imds_host())
                .build()
                .unwrap()
        })
        .await
    }

    async fn with_client_secret() -> Self {
        Self::with(|azure| {
            azure::ClientSecretCredential::builder(
                azure.tenant_id(),
                azure.client_id(),
                azure.client_secret(),
            )
            // The real authority, which the client of the embedded Azure
            // knows where to find.
            .transport(Transport::new(azure.http_client()))
            .build()
            .unwrap()
        })
        .await
    }

    /// A token, with the waits between the credential's retries passed over.
    /// Time limits, which are longer, do not pass.
    async fn token_with_retries(&self) -> Result<AccessToken, Error> {
        let tokens = self.tokens.clone();
        let asked = tokio::spawn(async move { tokens.token(AUDIENCE).await });
        while !asked.is_finished() {
            tokio::task::yield_now().await;
            let wait = self.clock.next_wake();
            if let Some(wait) = wait.filter(|wait| *wait < Duration::from_secs(5)) {
                self.clock.advance(wait);
            }
        }
        asked.await.unwrap()
    }

    /// At most 32 connections, however many requests.
    fn client(&self) -> Client {
        let client = ServiceBuilder::new()
            .layer(BearerAuthLayer::azure(self.tokens.clone()))
            .layer(ConcurrencyLimitLayer::new(32))
            .service(self.azure.http_client());
        BoxCloneSyncService::new(client.map_err(Into::into))
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let url = format!("{}/secrets/db?api-version=7.4", self.azure.vault().url());
        Request::get(url).body(Full::default()).unwrap()
    }

    async fn read(&self, client: &Client) -> StatusCode {
        let response = client.clone().oneshot(self.request()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let read = String::from_utf8_lossy(&body).contains("s3cret");
        assert_eq!(read, status == StatusCode::OK);
        status
    }

    async fn read_in_parallel(&self, client: &Client, times: usize) -> Vec<StatusCode> {
        let reads: Vec<_> = (0..times)
            .map(|_| tokio::spawn(client.clone().oneshot(self.request())))
            .collect();
        let mut statuses = Vec::new();
        for read in reads {
            let response = read.await.unwrap().unwrap();
            statuses.push(response.status());
            response.into_body().collect().await.unwrap();
        }
        statuses
    }
}

#[tokio::test]
async fn a_secret_is_read_with_a_managed_identity() {
    let world = World::with_managed_identity().await;
    let client = world.client();
    for _ in 0..3 {
        assert_eq!(world.read(&client).await, StatusCode::OK);
    }
    assert_eq!(world.azure.token_requests(), 1);
    let principal = world.tokens.principal(AUDIENCE).await.unwrap();
    assert_eq!(principal.tenant_id(), Some(world.azure.tenant_id()));
}

#[tokio::test]
async fn a_secret_is_read_with_a_client_secret() {
    let world = World::with_client_secret().await;
    let client = world.client();
    for _ in 0..3 {
        assert_eq!(world.read(&client).await, StatusCode::OK);
    }
    assert_eq!(world.azure.token_requests(), 1);
    let principal = world.tokens.principal(AUDIENCE).await.unwrap();
    assert_eq!(principal.app_id(), Some(world.azure.client_id()));
}

#[tokio::test]
async fn r01_ten_thousand_first_calls_are_one_token_request() {
    let world = World::with_managed_identity().await;
    let hold = world.azure.hold_token_requests();
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let tokens = world.tokens.clone();
            tokio::spawn(async move { tokens.token(AUDIENCE).await })
        })
        .collect();
    world.azure.wait_for_token_requests(1).await;
    hold.release();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(world.azure.token_requests(), 1);
}

#[tokio::test]
async fn r02_ten_thousand_calls_at_the_refresh_point_wait_for_nothing_while_imds_hangs() {
    let world = World::with_managed_identity().await;
    let first = world.tokens.token(AUDIENCE).await.unwrap();
    let _hold = world.azure.hold_token_requests();
    world.clock.advance(DAY.mul_f64(0.75));
    for _ in 0..10_000 {
        // The clock stands still, so nobody can have waited.
        let token = world.tokens.token(AUDIENCE).await.unwrap();
        assert_eq!(token.secret(), first.secret());
    }
    world.azure.wait_for_token_requests(2).await;
    assert_eq!(world.azure.token_requests(), 2);
}

#[tokio::test]
async fn r20_the_caller_that_started_the_fetch_is_dropped_and_the_others_get_their_token() {
    let world = World::with_managed_identity().await;
    let hold = world.azure.hold_token_requests();
    let leader = tokio::spawn({
        let tokens = world.tokens.clone();
        async move { tokens.token(AUDIENCE).await }
    });
    world.azure.wait_for_token_requests(1).await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    let others: Vec<_> = (0..100)
        .map(|_| {
            let tokens = world.tokens.clone();
            tokio::spawn(async move { tokens.token(AUDIENCE).await })
        })
        .collect();
    hold.release();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(world.azure.token_requests(), 1);
}

#[tokio::test]
async fn r35_a_thousand_parallel_401s_for_a_revoked_token_are_one_token_request() {
    for world in [
        World::with_managed_identity().await,
        World::with_client_secret().await,
    ] {
        let client = world.client();
        assert_eq!(world.read(&client).await, StatusCode::OK);
        for storm in 1..=2 {
            world.azure.revoke_tokens();
            let statuses = world.read_in_parallel(&client, 1000).await;
            assert!(statuses.iter().all(|status| *status == StatusCode::OK));
            assert_eq!(world.azure.token_requests(), 1 + storm);
        }
    }
}

#[tokio::test]
async fn r37_a_revoked_token_that_imds_gives_again_is_sent_once() {
    let world = World::with_managed_identity().await;
    world.azure.imds_keeps_revoked_tokens(true);
    let client = world.client();
    assert_eq!(world.read(&client).await, StatusCode::OK);
    world.azure.revoke_tokens();
    for _ in 0..10 {
        assert_eq!(world.read(&client).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(world.azure.vault().requests(), 11);
    assert_eq!(world.azure.token_requests(), 2);
}

#[tokio::test]
async fn r38_a_vault_that_always_says_401_costs_a_bounded_number_of_token_requests() {
    let world = World::with_client_secret().await;
    world.azure.vault().always_unauthorized(true);
    let client = world.client();
    for _ in 0..600 {
        assert_eq!(world.read(&client).await, StatusCode::UNAUTHORIZED);
        world.clock.advance(Duration::from_secs(1));
    }
    assert!(
        world.azure.token_requests() <= 20,
        "{}",
        world.azure.token_requests()
    );
}

#[tokio::test]
async fn i1_an_expired_token_is_replaced_before_it_is_sent() {
    let world = World::with_client_secret().await;
    let client = world.client();
    for _ in 0..3 {
        assert_eq!(world.read(&client).await, StatusCode::OK);
        world.clock.advance(Duration::from_secs(3599));
    }
    assert_eq!(world.azure.vault().unauthorized(), 0);
    assert_eq!(world.azure.token_requests(), 3);
}

#[tokio::test]
async fn r33_after_a_night_asleep_the_first_request_does_not_send_the_dead_token() {
    let world = World::with_client_secret().await;
    let client = world.client();
    assert_eq!(world.read(&client).await, StatusCode::OK);
    world.clock.advance(Duration::from_secs(2));
    world.clock.suspend(Duration::from_secs(8 * 3600));
    assert_eq!(world.read(&client).await, StatusCode::OK);
    assert_eq!(world.azure.vault().unauthorized(), 0);
}

#[tokio::test]
async fn r32_a_wall_clock_set_back_never_lengthens_a_tokens_life() {
    let world = World::with_client_secret().await;
    let first = world.tokens.token(AUDIENCE).await.unwrap();
    world.clock.step_wall_back(Duration::from_secs(7200));
    world.clock.advance(Duration::from_secs(3590));
    let second = world.tokens.token(AUDIENCE).await.unwrap();
    assert_ne!(first.secret(), second.secret());
}

#[tokio::test]
async fn r32_a_token_that_comes_again_ends_when_it_was_first_said_to_end() {
    let hour = Duration::from_secs(3600);
    let clock = ManualRuntime::new();
    let end = clock.now().wall + hour;
    let credential = credential_fn(move |_| async move { AccessToken::expiring_on("same", end) });
    let tokens = TokenCache::builder(credential)
        .runtime(clock.clone())
        .build();
    tokens.token(AUDIENCE).await.unwrap();
    clock.advance(Duration::from_secs(2600));
    clock.step_wall_back(hour);
    // Due by the monotonic clock; the refresh brings the same token.
    tokens.token(AUDIENCE).await.unwrap();
    clock.settle().await;
    clock.advance(Duration::from_secs(1000));
    let error = tokens.token(AUDIENCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
}

#[tokio::test]
async fn r39_claims_that_a_vault_demands_are_in_the_next_token() {
    let world = World::with_client_secret().await;
    let client = world.client();
    assert_eq!(world.read(&client).await, StatusCode::OK);
    let claims = r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#;
    world.azure.vault().require_claims(claims).unwrap();
    for _ in 0..3 {
        assert_eq!(world.read(&client).await, StatusCode::OK);
    }
    assert_eq!(world.azure.vault().unauthorized(), 1);
    assert_eq!(world.azure.token_requests(), 2);
}

#[tokio::test]
async fn r18_answers_that_are_no_token_are_errors_and_nothing_of_them_is_kept() {
    for failure in [
        Failure::html(),
        Failure::empty(),
        Failure::mistyped(),
        Failure::answer(
            StatusCode::OK,
            r#"{"token_type":"Bearer","expires_in":3599}"#,
        ),
        Failure::answer(
            StatusCode::OK,
            r#"{"access_token":"a","token_type":"Bearer"}"#,
        ),
        Failure::answer(
            StatusCode::OK,
            r#"{"access_token":"a b","token_type":"Bearer","expires_in":3599}"#,
        ),
        Failure::answer(
            StatusCode::OK,
            r#"{"access_token":"t\u00f6ken","token_type":"Bearer","expires_in":3599}"#,
        ),
        Failure::answer(
            StatusCode::OK,
            r#"{"access_token":"a","token_type":"Bearer","expires_in":-1}"#,
        ),
        Failure::answer(
            StatusCode::OK,
            r#"{"access_token":"a","token_type":"Bearer","expires_in":1e300}"#,
        ),
    ] {
        let world = World::with_client_secret().await;
        world.azure.fail_token_requests(failure.clone());
        let error = world.token_with_retries().await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::InvalidResponse,
            "{failure:?}: {error}"
        );
        assert_eq!(error.credential(), Some("ClientSecretCredential"));
        world.azure.recover_token_requests();
        world.clock.advance(Duration::from_secs(61));
        assert_eq!(
            world.read(&world.client()).await,
            StatusCode::OK,
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn i10_no_secret_is_in_what_can_be_printed() {
    let world = World::with_client_secret().await;
    let token = world.tokens.token(AUDIENCE).await.unwrap();
    let client = BearerAuthLayer::azure(world.tokens.clone()).layer(world.azure.http_client());
    let shown = format!("{token:?} {:?} {:?} {client:?}", world.tokens, world.azure);
    assert!(!shown.contains(token.secret()));
    assert!(!shown.contains(world.azure.client_secret()));
}
