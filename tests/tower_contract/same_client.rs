//! Credentials, and a client that has a single place.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tower::limit::{ConcurrencyLimit, ConcurrencyLimitLayer};
use tower::timeout::Timeout;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};
use tower_bearer::testing::Azure;
use tower_bearer::{
    BearerAuthLayer, Credential, Error, ErrorKind, Hosts, TokenCache, Transport, azure,
};

use super::issuer::{Calls, issuer, token};
use super::probe::{Book, Probe, Server};
use super::{Body, KNOWN, get};

const SEND: Duration = Duration::from_secs(1);
const AUDIENCE: &str = "api://a";

type Limited = ConcurrencyLimit<Probe<Server>>;

/// A client with one place, and a credential that needs that place too.
struct World {
    limited: Limited,
    server: Server,
    place: Arc<Semaphore>,
    tokens: TokenCache,
    calls: Calls,
}

impl World {
    fn new() -> Self {
        let server = Server::taking(SEND);
        let place = Arc::new(Semaphore::new(1));
        let probe = Probe::new(server.clone(), &Book::default());
        let limited = ConcurrencyLimit::with_semaphore(probe, Arc::clone(&place));
        let client = limited.clone();
        let (credential, calls) = issuer(move |number, _| {
            let sent = client.clone().oneshot(get("https://login.example.com/"));
            async move {
                let answer = sent.await;
                answer.map_err(|_| Error::new(ErrorKind::Unreachable, "not sent"))?;
                token(number)
            }
        });
        Self {
            limited,
            server,
            place,
            tokens: TokenCache::new(credential),
            calls,
        }
    }

    fn layer(&self) -> BearerAuthLayer {
        let hosts = Hosts::new().allow("a.example.com", AUDIENCE).unwrap();
        BearerAuthLayer::new(self.tokens.clone(), hosts)
    }
}

/// Twenty callers for one place, before the first token and after it was
/// revoked.
async fn completes(azure: &Azure, credential: impl Credential) {
    azure.vault().set_secret("db", "s3cret");
    let client = ServiceBuilder::new()
        .layer(BearerAuthLayer::azure(TokenCache::new(credential)))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(azure.http_client());
    let url = format!("{}/secrets/db?api-version=7.4", azure.vault().url());
    for fetched in [1, 2] {
        let callers: Vec<_> = (0..20)
            .map(|_| {
                let request = Request::get(&url).body(Body::default()).unwrap();
                tokio::spawn(client.clone().oneshot(request))
            })
            .collect();
        for caller in callers {
            let answer = timeout(Duration::from_secs(60), caller).await;
            let answer = answer.expect("a deadlock").unwrap().unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
        assert_eq!(azure.token_requests(), fetched);
        azure.revoke_tokens();
    }
}

#[tokio::test]
async fn r25_managed_identity_has_a_transport_of_its_own_and_completes_beside_a_limit_of_one() {
    let azure = Azure::start().await.unwrap();
    let credential = azure::ManagedIdentityCredential::builder()
        .endpoint(azure.imds_host())
        .build()
        .unwrap();
    completes(&azure, credential).await;
}

#[tokio::test]
async fn r25_a_client_secret_has_a_transport_of_its_own_and_completes_beside_a_limit_of_one() {
    let azure = Azure::start().await.unwrap();
    let (tenant, client, secret) = (azure.tenant_id(), azure.client_id(), azure.client_secret());
    let credential = azure::ClientSecretCredential::builder(tenant, client, secret)
        .transport(Transport::new(azure.http_client()))
        .build()
        .unwrap();
    completes(&azure, credential).await;
}

#[tokio::test(start_paused = true)]
async fn r25_i8_a_credential_that_waits_for_the_callers_place_ends_with_an_error_at_the_deadline() {
    let world = World::new();
    let client = world.layer().layer(world.limited.clone());
    let started = Instant::now();
    let error = client.oneshot(get(KNOWN)).await.unwrap_err();
    assert_eq!(error.token_error().unwrap().kind(), ErrorKind::Timeout);
    assert_eq!(started.elapsed(), Duration::from_secs(120));
    assert_eq!(world.server.take_seen().len(), 0);
    assert_eq!(world.place.available_permits(), 1);
}

#[tokio::test(start_paused = true)]
async fn r25_i6_when_the_caller_gives_up_first_the_credential_gets_the_place_and_all_is_well() {
    const PATIENCE: Duration = Duration::from_secs(5);
    let by_setting = |world: &World| {
        let layer = world.layer().token_timeout(PATIENCE);
        let client = layer.layer(world.limited.clone());
        Timeout::new(client, Duration::MAX)
    };
    let by_the_caller = |world: &World| {
        let client = world.layer().layer(world.limited.clone());
        Timeout::new(client, PATIENCE)
    };
    let worlds = [World::new(), World::new()];
    let clients = [by_setting(&worlds[0]), by_the_caller(&worlds[1])];
    for (world, client) in worlds.iter().zip(clients) {
        let started = Instant::now();
        assert!(client.clone().oneshot(get(KNOWN)).await.is_err());
        assert_eq!(started.elapsed(), PATIENCE);
        sleep(SEND * 2).await;
        let answer = client.oneshot(get(KNOWN)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(
            (world.calls.count(), world.server.take_seen().len()),
            (1, 2)
        );
        assert_eq!(world.place.available_permits(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn r25_a_renewal_holds_no_place_so_that_even_such_a_credential_completes() {
    let world = World::new();
    world.tokens.token(AUDIENCE).await.unwrap();
    world.server.accept_from(2);
    let client = world.layer().layer(world.limited.clone());
    let started = Instant::now();
    let answer = client.oneshot(get(KNOWN)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(started.elapsed(), SEND * 3, "refused, renewed, resent");
    assert_eq!(world.calls.count(), 2);
    assert_eq!(world.place.available_permits(), 1);
}
