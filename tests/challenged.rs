//! What the layer does when a 401 says what the next token must be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(feature = "azure")]

#[path = "support/issuer.rs"]
mod issuer;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use issuer::{HOUR, issuer};
use tokio::time::{Instant, advance, sleep};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_bearer::{
    AccessToken, Audience, BearerAuthLayer, Challenge, Credential, Demand, Error, ErrorKind,
    FixedAudience, FollowChallenge, Origin, TenantId, TokenCache, TokenRequest,
};

const VAULT: &str = "https://myvault.vault.azure.net/secrets/x";
const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

type Client = BoxCloneSyncService<Request<Full<Bytes>>, Response<()>, tower_bearer::BoxError>;
type Log = Arc<Mutex<Vec<String>>>;

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

/// Issues tokens that tell what they were asked with: `TENANT.CLAIMS.NUMBER`.
fn tell_tale() -> (TokenCache, issuer::Calls) {
    let (credential, calls) = issuer(|number, request: TokenRequest| async move {
        let tenant = request.tenant().map_or("home", TenantId::as_str);
        let claims = request.claims().map_or(0, |claims| claims.as_json().len());
        AccessToken::expiring_in(&format!("{tenant}.{claims}.{number}"), HOUR)
    });
    (TokenCache::new(credential), calls)
}

/// A server that answers 401 with what `refuse` says, or 200.
fn client<F>(tokens: TokenCache, refuse: F) -> (Client, Log)
where
    F: Fn(&str, usize) -> Option<String> + Clone + Send + Sync + 'static,
{
    let log = Log::default();
    let seen = Arc::clone(&log);
    let server = service_fn(move |request: Request<Full<Bytes>>| {
        let token = request.headers()[AUTHORIZATION].to_str().unwrap();
        let token = token.strip_prefix("Bearer ").unwrap().to_owned();
        let mut seen = seen.lock().unwrap();
        seen.push(token.clone());
        let mut response = Response::new(());
        if let Some(challenge) = refuse(&token, seen.len()) {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            let challenge = challenge.parse().unwrap();
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let client = BearerAuthLayer::azure(tokens)
        .layer(server)
        .map_err(Into::into);
    (BoxCloneSyncService::new(client), log)
}

fn claims_challenge(json: &str) -> String {
    format!(
        r#"Bearer realm="", error="insufficient_claims", claims="{}""#,
        STANDARD.encode(json)
    )
}

fn vault_challenge(tenant: &str) -> String {
    format!(
        r#"Bearer authorization="https://login.microsoftonline.com/{tenant}", resource="https://vault.azure.net""#
    )
}

#[tokio::test(start_paused = true)]
async fn r39_claims_are_passed_on_once_and_then_kept_for_the_origin() {
    let (tokens, calls) = tell_tale();
    let claims = r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#;
    let expected = format!("home.{}.", claims.len());
    let with_claims = expected.clone();
    let (client, log) = client(tokens, move |token, _| {
        (!token.starts_with(&with_claims)).then(|| claims_challenge(claims))
    });
    for _ in 0..5 {
        let response = client.clone().oneshot(get(VAULT)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 6, "one resend in all");
    assert!(log[1..].iter().all(|token| token.starts_with(&expected)));
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn r39_a_service_that_has_been_in_use_learns_too() {
    let (tokens, _) = tell_tale();
    let log = Log::default();
    let seen = Arc::clone(&log);
    let mut client =
        BearerAuthLayer::azure(tokens).layer(service_fn(move |request: Request<Full<Bytes>>| {
            let token = request.headers()[AUTHORIZATION]
                .to_str()
                .unwrap()
                .to_owned();
            let good = !token.contains(".0.");
            seen.lock().unwrap().push(token);
            let mut response = Response::new(());
            if !good {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                let challenge = claims_challenge("{}").parse().unwrap();
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            std::future::ready(Ok::<_, Infallible>(response))
        }));
    for _ in 0..3 {
        let client = client.ready().await.unwrap();
        client.call(get(VAULT)).await.unwrap();
    }
    assert_eq!(log.lock().unwrap().len(), 4, "one resend in all");
}

/// Follows whatever a server names.
struct Credulous;

impl FollowChallenge for Credulous {
    fn follow(&self, _: &Origin<'_>, challenges: &[Challenge]) -> Demand {
        let resource = challenges
            .iter()
            .find_map(|challenge| challenge.param("resource"));
        resource.map_or_else(Demand::new, |resource| {
            Demand::new().with_audience(Audience::from(resource))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn t5_what_one_layer_has_learned_is_not_believed_by_one_that_would_not_have_followed() {
    let (credential, _) = issuer(|_, request: TokenRequest| async move {
        AccessToken::expiring_in(&request.audience().as_str().replace(':', ""), HOUR)
    });
    let strict = BearerAuthLayer::new(TokenCache::new(credential), FixedAudience::new("api:mine"));
    let credulous = strict.clone().challenges(Credulous);
    let log = Log::default();
    let seen = Arc::clone(&log);
    let server = service_fn(move |request: Request<Full<Bytes>>| {
        let token = request.headers()[AUTHORIZATION]
            .to_str()
            .unwrap()
            .to_owned();
        let mut response = Response::new(());
        if token.ends_with("mine") {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            let challenge = "Bearer resource=\"api:other\"".parse().unwrap();
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        seen.lock().unwrap().push(token);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    for layer in [credulous, strict] {
        let client = layer.layer(server.clone());
        client.oneshot(get("https://h.example.com/")).await.unwrap();
    }
    let log = log.lock().unwrap();
    assert_eq!(
        log[..3],
        ["Bearer apimine", "Bearer apiother", "Bearer apimine"]
    );
}

#[tokio::test(start_paused = true)]
async fn r39_claims_of_one_origin_do_not_change_the_tokens_of_another() {
    let (tokens, _) = tell_tale();
    let (client, log) = client(tokens, |token, _| {
        token
            .starts_with("home.0.1")
            .then(|| claims_challenge("{}"))
    });
    client.clone().oneshot(get(VAULT)).await.unwrap();
    log.lock().unwrap().clear();
    let other = "https://other.vault.azure.net/secrets/x";
    client.clone().oneshot(get(other)).await.unwrap();
    assert_eq!(log.lock().unwrap()[0], "home.0.1");
}

/// One service for both hosts, which have the same audience.
#[tokio::test(start_paused = true)]
async fn r39_a_service_that_knows_the_claims_of_one_origin_keeps_them_from_another() {
    let other = "https://other.vault.azure.net/secrets/x";
    for first in [VAULT, other] {
        let (tokens, calls) = tell_tale();
        let log = Arc::new(Mutex::new(Vec::new()));
        let server = {
            let log = Arc::clone(&log);
            move |request: Request<Full<Bytes>>| {
                let token = request.headers()[AUTHORIZATION].to_str().unwrap();
                let with_claims = !token.starts_with("Bearer home.0.");
                let asks = *request.uri() == VAULT;
                log.lock().unwrap().push((asks, with_claims));
                let mut response = Response::new(());
                if asks && !with_claims {
                    *response.status_mut() = StatusCode::UNAUTHORIZED;
                    let challenge = claims_challenge("{}").parse().unwrap();
                    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                }
                std::future::ready(Ok::<_, Infallible>(response))
            }
        };
        let mut service = BearerAuthLayer::azure(tokens).layer(service_fn(server));
        for (uri, times) in [
            (first, 40),
            (VAULT, 1),
            (other, 40),
            (VAULT, 40),
            (other, 40),
        ] {
            for _ in 0..times {
                let response = service.ready().await.unwrap().call(get(uri)).await;
                assert_eq!(response.unwrap().status(), StatusCode::OK);
            }
        }
        let log = log.lock().unwrap();
        let refused = log.iter().filter(|sent| **sent == (true, false)).count();
        assert_eq!(refused, 1);
        assert!(log.iter().all(|(asks, with_claims)| *asks || !with_claims));
        assert_eq!(calls.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn r39_malformed_claims_are_a_plain_401() {
    let (tokens, calls) = tell_tale();
    let (client, log) = client(tokens, |_, sends| {
        (sends == 1)
            .then(|| String::from(r#"Bearer error="insufficient_claims", claims="not base64!""#))
    });
    let response = client.oneshot(get(VAULT)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(*log.lock().unwrap(), ["home.0.1", "home.0.2"]);
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn t26_a_server_that_asks_for_new_claims_each_time_costs_a_bounded_number_of_fetches() {
    let (tokens, calls) = tell_tale();
    let (client, _) = client(tokens, |_, sends| {
        Some(claims_challenge(&format!(r#"{{"n":{sends}}}"#)))
    });
    for _ in 0..600 {
        for _ in 0..10 {
            let response = client.clone().oneshot(get(VAULT)).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        }
        advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    // One new claim in 30 s, each with one more try, and the renewals of the
    // token without claims.
    assert!(calls.count() <= 60, "{}", calls.count());
}

#[tokio::test(start_paused = true)]
async fn a_vaults_tenant_is_followed_and_remembered() {
    let (tokens, calls) = tell_tale();
    let (client, log) = client(tokens, |token, _| {
        (!token.starts_with(TENANT)).then(|| vault_challenge(TENANT))
    });
    for _ in 0..3 {
        let response = client.clone().oneshot(get(VAULT)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 4);
    assert!(log[1..].iter().all(|token| token.starts_with(TENANT)));
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn t5_what_did_not_help_is_not_remembered() {
    let (tokens, _) = tell_tale();
    let (client, log) = client(tokens, |_, sends| {
        (sends <= 2).then(|| vault_challenge(TENANT))
    });
    let response = client.clone().oneshot(get(VAULT)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let response = client.oneshot(get(VAULT)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let log = log.lock().unwrap();
    assert!(log[1].starts_with(TENANT));
    assert!(log[2].starts_with("home."));
}

#[tokio::test(start_paused = true)]
async fn t5_a_challenge_that_the_host_may_not_make_changes_nothing() {
    for challenge in [
        r#"Bearer authorization="https://login.evil.test/72f988bf-86f1-41af-91ab-2d7cd011db47", resource="https://vault.azure.net""#,
        r#"Bearer authorization="https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47", resource="https://management.azure.com""#,
        r#"Bearer authorization="https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47", resource="https://ault.azure.net""#,
    ] {
        let (tokens, _) = tell_tale();
        let (client, log) = client(tokens, move |_, sends| {
            (sends == 1).then(|| String::from(challenge))
        });
        client.oneshot(get(VAULT)).await.unwrap();
        assert_eq!(
            *log.lock().unwrap(),
            ["home.0.1", "home.0.2"],
            "{challenge}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_parallel_challenges_are_one_fetch() {
    let (tokens, calls) = tell_tale();
    let (client, _) = client(tokens, |token, _| {
        (!token.starts_with(TENANT)).then(|| vault_challenge(TENANT))
    });
    client
        .clone()
        .oneshot(get("https://x.vault.azure.net/"))
        .await
        .unwrap();
    let callers: Vec<_> = (0..1000)
        .map(|_| tokio::spawn(client.clone().oneshot(get(VAULT))))
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_tenants_token_that_was_revoked_before_it_was_remembered_is_renewed() {
    let (tokens, _) = tell_tale();
    // Another layer on the same cache has got the tenant's token already.
    let request =
        TokenRequest::new("https://vault.azure.net").with_tenant(TenantId::new(TENANT).unwrap());
    let revoked = tokens.token_for(&request).await.unwrap();
    let revoked = revoked.secret().to_owned();
    let (client, _) = client(tokens, move |token, _| {
        (!token.starts_with(TENANT) || token == revoked).then(|| vault_challenge(TENANT))
    });
    let first = client.clone().oneshot(get(VAULT)).await.unwrap();
    assert_eq!(first.status(), StatusCode::UNAUTHORIZED);
    tokio::task::yield_now().await;
    let second = client.oneshot(get(VAULT)).await.unwrap();
    assert_eq!(second.status(), StatusCode::OK);
}

/// Knows that `TENANT` is its own.
struct AtHome;

impl Credential for AtHome {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        assert_eq!(request.tenant(), None);
        let number = if request.refused().is_some() { 2 } else { 1 };
        AccessToken::expiring_in(&format!("home.0.{number}"), HOUR)
    }

    fn tenant(&self, asked: &TenantId) -> Option<TenantId> {
        (!asked.is(TENANT)).then(|| asked.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn r35_a_challenge_that_names_the_credentials_own_tenant_renews_the_one_token_of_all() {
    let (client, log) = client(TokenCache::new(AtHome), |token, _| {
        (token == "home.0.1").then(|| vault_challenge(TENANT))
    });
    for uri in [VAULT, "https://other.vault.azure.net/secrets/x"] {
        let response = client.clone().oneshot(get(uri)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(*log.lock().unwrap(), ["home.0.1", "home.0.2", "home.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn r35_a_tenant_that_the_credential_may_not_ask_leaves_a_plain_renewal() {
    let (credential, _) = issuer(|number, request: TokenRequest| async move {
        match request.tenant() {
            Some(_) => Err(Error::new(ErrorKind::Configuration, "another tenant")),
            None => AccessToken::expiring_in(&format!("home.0.{number}"), HOUR),
        }
    });
    let (client, log) = client(TokenCache::new(credential), |token, _| {
        (token == "home.0.1").then(|| vault_challenge(TENANT))
    });
    for _ in 0..2 {
        let response = client.clone().oneshot(get(VAULT)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(*log.lock().unwrap(), ["home.0.1", "home.0.3", "home.0.3"]);
}

#[tokio::test(start_paused = true)]
async fn i8_a_challenge_does_not_keep_a_401_back_for_longer() {
    let (credential, _) = issuer(|number, _| async move {
        if number > 1 {
            std::future::pending::<()>().await;
        }
        AccessToken::expiring_in("home.0.1", HOUR)
    });
    let (client, _) = client(TokenCache::new(credential), |_, _| {
        Some(vault_challenge(TENANT))
    });
    let started = Instant::now();
    let response = client.oneshot(get(VAULT)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(started.elapsed(), Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn i8_a_challenge_that_cannot_be_met_leaves_the_plain_renewal_what_is_left_of_the_time() {
    let (credential, _) = issuer(|number, request: TokenRequest| async move {
        if request.tenant().is_some() {
            sleep(Duration::from_secs(10)).await;
            return Err(Error::new(ErrorKind::Configuration, "another tenant"));
        }
        if number > 1 {
            std::future::pending::<()>().await;
        }
        AccessToken::expiring_in("home.0.1", HOUR)
    });
    let (client, _) = client(TokenCache::new(credential), |_, _| {
        Some(vault_challenge(TENANT))
    });
    let started = Instant::now();
    let response = client.oneshot(get(VAULT)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(started.elapsed(), Duration::from_secs(15));
}
