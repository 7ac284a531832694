//! `ClientSecretCredential`: what it sends, to whom, how often, and what it
//! says when it cannot.
#![cfg(all(feature = "azure", any(feature = "aws-lc-rs", feature = "ring")))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "support/loopback.rs"]
mod loopback;
#[cfg(target_os = "linux")]
#[path = "support/memory.rs"]
mod memory;
#[path = "support/scripted.rs"]
mod scripted;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use loopback::{Server, closed_port, in_own_process, read_request, write_json};
use scripted::{HandClock, Reply, Script, TOKEN, reply, token};
use tower_bearer::azure::{ClientSecretCredential, ClientSecretCredentialBuilder, Cloud};
use tower_bearer::{
    Claims, Credential as _, Error, ErrorKind, PrincipalType, TenantId, TokenRequest, Transport,
};

const SECRET: &str = "s3cret~canary+/=&%";

fn builder() -> ClientSecretCredentialBuilder {
    ClientSecretCredential::builder("contoso.com", "app-id", SECRET)
}

fn vault() -> TokenRequest {
    TokenRequest::new("https://vault.azure.net")
}

async fn error_after(replies: impl IntoIterator<Item = Reply>) -> (Error, Script) {
    let script = Script::new(replies);
    let credential = builder().transport(script.transport()).build().unwrap();
    (credential.token(&vault()).await.unwrap_err(), script)
}

#[tokio::test(start_paused = true)]
async fn the_request_is_as_entra_wants_it() {
    let script = Script::new([token()]);
    let credential = builder().transport(script.transport()).build().unwrap();
    let token = credential.token(&vault()).await.unwrap();

    let seen = &script.seen()[0];
    assert_eq!(seen.method, "POST");
    assert_eq!(
        seen.uri,
        "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token"
    );
    assert_eq!(
        seen.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(
        seen.body,
        "grant_type=client_credentials&client_id=app-id\
         &scope=https%3A%2F%2Fvault.azure.net%2F.default\
         &client_secret=s3cret~canary%2B%2F%3D%26%25"
    );
    assert_eq!(token.credential(), "ClientSecretCredential");
    let principal = token.principal();
    assert_eq!(principal.principal_type(), Some(PrincipalType::App));
    assert_eq!(principal.app_id(), Some("app-id"));
    assert_eq!(principal.tenant_id(), Some("contoso.com"));
}

#[tokio::test(start_paused = true)]
async fn the_audience_keeps_its_slash() {
    for (audience, scope) in [
        (
            "https://vault.azure.net",
            "https://vault.azure.net/.default",
        ),
        (
            "https://database.windows.net/",
            "https://database.windows.net//.default",
        ),
        ("api://orders/.default", "api://orders/.default"),
        ("https://a.example//.default", "https://a.example//.default"),
        ("api://a+b&c=d%20", "api://a+b&c=d%20/.default"),
    ] {
        let script = Script::new([token()]);
        let credential = builder().transport(script.transport()).build().unwrap();
        credential
            .token(&TokenRequest::new(audience))
            .await
            .unwrap();
        assert_eq!(script.seen()[0].field("scope").as_deref(), Some(scope));
    }
    for audience in ["", "a b", "a\nb", "ä"] {
        let script = Script::new([token()]);
        let credential = builder().transport(script.transport()).build().unwrap();
        let error = credential
            .token(&TokenRequest::new(audience))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{audience:?}");
        assert_eq!(script.requests(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_capability_is_sent_when_claims_are_asked_for_or_always() {
    let claims = |script: &Script| {
        let claims = script.seen()[0].field("claims")?;
        Some(serde_json::from_str::<serde_json::Value>(&claims).unwrap())
    };
    let script = Script::new([token()]);
    let credential = builder().transport(script.transport()).build().unwrap();
    credential.token(&vault()).await.unwrap();
    assert_eq!(claims(&script), None);

    let script = Script::new([token()]);
    let credential = builder().transport(script.transport()).build().unwrap();
    let asked = Claims::from_json(r#"{"access_token":{"nbf":{"value":"1"}}}"#).unwrap();
    credential.token(&vault().with_claims(asked)).await.unwrap();
    assert_eq!(
        claims(&script),
        Some(serde_json::json!({"access_token": {
            "nbf": {"value": "1"},
            "xms_cc": {"values": ["CP1"]},
        }}))
    );

    let script = Script::new([token()]);
    let credential = builder()
        .continuous_access_evaluation(true)
        .transport(script.transport())
        .build()
        .unwrap();
    credential.token(&vault()).await.unwrap();
    assert_eq!(
        claims(&script),
        Some(serde_json::json!({"access_token": {"xms_cc": {"values": ["CP1"]}}}))
    );
}

#[tokio::test(start_paused = true)]
async fn another_tenant_is_asked_only_if_that_is_allowed() {
    let script = Script::new([token()]);
    let credential = builder().transport(script.transport()).build().unwrap();
    let other = vault().with_tenant(TenantId::new("other.com").unwrap());
    let error = credential.token(&other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(
        error.to_string().contains("additionally_allowed_tenants"),
        "{error}"
    );
    assert_eq!(script.requests(), 0);

    let same = vault().with_tenant(TenantId::new("CONTOSO.com").unwrap());
    credential.token(&same).await.unwrap();
    assert!(script.seen()[0].uri.path().starts_with("/contoso.com/"));

    for allowed in ["other.com", "*"] {
        let script = Script::new([token()]);
        let credential = builder()
            .additionally_allowed_tenants([allowed])
            .transport(script.transport())
            .build()
            .unwrap();
        let token = credential.token(&other).await.unwrap();
        assert!(script.seen()[0].uri.path().starts_with("/other.com/"));
        assert_eq!(token.principal().tenant_id(), Some("other.com"));
    }
}

#[tokio::test(start_paused = true)]
async fn every_cloud_has_its_own_authority() {
    for (cloud, host) in [
        (Cloud::Public, "login.microsoftonline.com"),
        (Cloud::UsGovernment, "login.microsoftonline.us"),
        (Cloud::China, "login.partner.microsoftonline.cn"),
        (Cloud::Bleu, "login.sovcloud-identity.fr"),
    ] {
        let script = Script::new([token()]);
        let credential = builder()
            .cloud(cloud)
            .transport(script.transport())
            .build()
            .unwrap();
        credential.token(&vault()).await.unwrap();
        assert_eq!(script.seen()[0].uri.host(), Some(host));
    }
}

#[test]
fn settings_that_cannot_be_used_are_refused_with_advice() {
    let build = |tenant: &str, client: &str, secret: &str| {
        ClientSecretCredential::builder(tenant, client, secret)
            .transport(Script::new([token()]).transport())
    };
    for builder in [
        build("", "app", "s"),
        build("contoso.com/..", "app", "s"),
        build("common", "app", "s"),
        build("organizations", "app", "s"),
        build("contoso.com", "", "s"),
        build("contoso.com", "  ", "s"),
        build("contoso.com", "a b", "s"),
        build("contoso.com", "app", ""),
        build("contoso.com", "app", "canary\n"),
        build("contoso.com", "app", " canary"),
        build("contoso.com", "app", "s").authority_host("http://login.example"),
        build("contoso.com", "app", "s").authority_host("http://127.0.0.1"),
        build("contoso.com", "app", "s").authority_host("https://login.example/contoso.com"),
        build("contoso.com", "app", "s").authority_host("https://a:canary@login.example"),
        build("contoso.com", "app", "s").authority_host(""),
        build("contoso.com", "app", "s")
            .authority_host("a.example")
            .cloud(Cloud::China),
        build("contoso.com", "app", "s").additionally_allowed_tenants(["a/b"]),
    ] {
        let shown = format!("{builder:?}");
        let error = builder.build().expect_err(&shown);
        assert_eq!(error.kind(), ErrorKind::Configuration, "{shown}");
        assert!(error.advice().is_some(), "{error}");
        assert_eq!(error.credential(), Some("ClientSecretCredential"));
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{error:?}"
        );
    }
}

#[test]
fn i10_debug_shows_no_secret() {
    let builder = builder().transport(Script::new([token()]).transport());
    let mut shown = format!("{builder:?}");
    shown.push_str(&format!("{:#?}", builder.build().unwrap()));
    assert!(shown.contains("contoso.com") && shown.contains("app-id"));
    assert!(
        !shown.contains("s3cret") && !shown.contains("canary"),
        "{shown}"
    );
}

#[tokio::test(start_paused = true)]
async fn r10_transient_failures_are_tried_three_times_with_growing_waits() {
    for failure in [
        reply(500, ""),
        reply(502, ""),
        reply(503, ""),
        reply(504, ""),
        reply(408, ""),
        reply(429, ""),
        Reply::Fail(io::ErrorKind::ConnectionRefused),
    ] {
        let (error, script) = error_after([failure]).await;
        assert!(error.is_transient());
        let moments = script.moments();
        assert_eq!(moments.len(), 3);
        assert!((0.8..1.21).contains(&moments[1]), "{moments:?}");
        assert!(
            (1.6..2.41).contains(&(moments[2] - moments[1])),
            "{moments:?}"
        );
    }
    for refusal in [400, 401, 403, 404, 405] {
        let (_, script) = error_after([reply(refusal, r#"{"error":"invalid_client"}"#)]).await;
        assert_eq!(script.requests(), 1, "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn r15_a_lost_connection_is_replaced_at_once_but_only_once() {
    for lost in [
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::BrokenPipe,
    ] {
        let script = Script::new([Reply::Fail(lost), token()]);
        let credential = builder().transport(script.transport()).build().unwrap();
        credential.token(&vault()).await.unwrap();
        assert_eq!(script.moments(), [0.0, 0.0]);

        let (error, script) = error_after([Reply::Fail(lost)]).await;
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        let moments = script.moments();
        assert_eq!(moments.len(), 3);
        assert!(
            moments[1] < f64::EPSILON && moments[2] >= 1.6,
            "{moments:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn r09_a_429_with_retry_after_is_returned_at_once() {
    for seconds in [1, 60] {
        let answer = reply(429, "").header("retry-after", &seconds.to_string());
        let (error, script) = error_after([answer]).await;
        assert_eq!(error.kind(), ErrorKind::Throttled);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)));
        assert_eq!(script.moments(), [0.0]);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for_if_there_is_time() {
    let script = Script::new([reply(503, "").header("retry-after", "20"), token()]);
    let credential = builder().transport(script.transport()).build().unwrap();
    credential.token(&vault()).await.unwrap();
    let moments = script.moments();
    assert!((20.0..20.1).contains(&moments[1]), "{moments:?}");

    let (error, script) = error_after([reply(503, "").header("retry-after", "61")]).await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(61)));
    assert_eq!(script.moments(), [0.0]);
}

#[tokio::test(start_paused = true)]
async fn r13_a_server_that_never_answers_costs_a_bounded_time() {
    let started = tokio::time::Instant::now();
    let (error, script) = error_after([Reply::Hang]).await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(script.requests(), 3);
    let took = started.elapsed();
    assert!((45..=49).contains(&took.as_secs()), "{took:?}");

    let script = Script::new([Reply::Hang]);
    let credential = builder()
        .timeout(Duration::from_secs(10))
        .transport(script.transport())
        .build()
        .unwrap();
    let started = tokio::time::Instant::now();
    let error = credential.token(&vault()).await.unwrap_err();
    assert!(
        error.to_string().contains("gave no answer within 10.0s"),
        "{error}"
    );
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn t8_a_redirect_is_an_error_and_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let (error, script) =
            error_after([reply(status, "").header("location", "https://evil.example/canary?x")])
                .await;
        assert_eq!(error.kind(), ErrorKind::InvalidResponse);
        assert!(
            error
                .to_string()
                .contains("to evil.example, which is not followed"),
            "{error}"
        );
        assert!(!error.to_string().contains("canary"));
        assert_eq!(script.requests(), 1);
    }
}

/// A service that is not `Sync`, counts readiness, and panics if it is called
/// on another instance than the one that was polled.
#[derive(Clone, Default)]
struct Strict {
    ready: std::cell::Cell<bool>,
}

impl tower::Service<http::Request<http_body_util::Full<bytes::Bytes>>> for Strict {
    type Response = http::Response<String>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        // Ready the second time.
        if self.ready.replace(true) {
            return std::task::Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    }

    fn call(&mut self, _: http::Request<http_body_util::Full<bytes::Bytes>>) -> Self::Future {
        assert!(self.ready.replace(false), "called without being ready");
        std::future::ready(Ok(http::Response::new(TOKEN.to_owned())))
    }
}

#[tokio::test]
async fn a_service_of_ones_own_is_called_on_the_instance_that_is_ready() {
    let credential = builder()
        .transport(Transport::new(Strict::default()))
        .build()
        .unwrap();
    for _ in 0..2 {
        assert_eq!(credential.token(&vault()).await.unwrap().secret(), "t0k3n");
    }
}

fn over_http(server: &str) -> ClientSecretCredential {
    builder()
        .authority_host(server)
        .allow_http_loopback()
        .build()
        .unwrap()
}

#[tokio::test]
async fn r15_a_reset_in_the_middle_of_an_answer_and_a_stale_connection_cost_no_error() {
    use tokio::io::AsyncWriteExt as _;
    let server = Server::start(|number, mut stream| async move {
        read_request(&mut stream).await.unwrap();
        if number == 0 {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"access")
                .await
                .unwrap();
            return;
        }
        write_json(&mut stream, "200 OK", TOKEN).await;
        // Closed only when the next request is already on its way.
        read_request(&mut stream).await;
    })
    .await;
    let credential = over_http(&server.url());
    let request = vault().with_runtime(Arc::new(HandClock::new()));
    // The clock stands still: whoever waited would wait for ever.
    for connections in [2, 3] {
        credential.token(&request).await.unwrap();
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_named() {
    let address = closed_port();
    let credential = builder()
        .authority_host(format!("http://{address}"))
        .allow_http_loopback()
        // No time for a wait, and a clock that cannot cut the one try short.
        .timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    let request = vault().with_runtime(Arc::new(HandClock::new()));
    let error = credential.token(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let text = error.to_string();
    assert!(
        text.starts_with(&format!(
            "ClientSecretCredential: {address} could not be reached: Connection refused"
        )),
        "{text}"
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn the_environment_gives_a_credential_or_the_names_that_are_missing() {
    in_own_process(
        "child_reads_the_environment",
        &[
            ("AZURE_TENANT_ID", "contoso.com"),
            ("AZURE_CLIENT_ID", "app"),
            ("AZURE_CLIENT_SECRET", "canary"),
            ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/"),
        ],
    );
    in_own_process(
        "child_misses_the_environment",
        &[("AZURE_TENANT_ID", "contoso.com")],
    );
}

#[test]
#[ignore = "run in a process of its own, by the test above"]
fn child_reads_the_environment() {
    let shown = format!("{:?}", ClientSecretCredential::from_env().unwrap());
    assert!(
        shown.contains("login.microsoftonline.us") && !shown.contains("canary"),
        "{shown}"
    );
}

#[test]
#[ignore = "run in a process of its own, by the test above"]
fn child_misses_the_environment() {
    let error = ClientSecretCredential::from_env().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error
            .message()
            .ends_with(": AZURE_CLIENT_ID, AZURE_CLIENT_SECRET"),
        "{error}"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t20_no_copy_of_the_secret_is_left_in_memory() {
    // What is received here must not be found there.
    let server = Server::start(|_, mut stream| async move {
        let (_, body) = read_request(&mut stream).await.unwrap();
        assert!(body.contains("%2Bcanary"), "{body}");
        write_json(&mut stream, "200 OK", TOKEN).await;
    })
    .await;
    let url = server.url();
    tokio::task::spawn_blocking(move || {
        in_own_process("child_leaves_no_secret_in_memory", &[("AUTHORITY", &url)]);
    })
    .await
    .unwrap();
    assert_eq!(server.connections(), 1);
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "run in a process of its own, by the test above"]
async fn child_leaves_no_secret_in_memory() {
    // Kept in another form, so that the search does not find itself.
    const MASK: u8 = 0x15;
    let hidden = |parts: [&str; 2]| -> Vec<u8> {
        let bytes = parts.iter().flat_map(|part| part.bytes());
        bytes.map(|byte| byte ^ MASK).collect()
    };
    let hidden = [
        hidden(["s3cret+", "canary~1"]),
        hidden(["s3cret%2B", "canary~1"]),
    ];
    let plain: String = hidden[0]
        .iter()
        .map(|byte| char::from(byte ^ MASK))
        .collect();
    let credential = ClientSecretCredential::builder("contoso.com", "app", plain)
        .authority_host(std::env::var("AUTHORITY").unwrap())
        .allow_http_loopback()
        .build()
        .unwrap();
    let mut search = memory::Search::new();
    let mut copies = || {
        hidden
            .iter()
            .map(|secret| search.copies(secret, MASK))
            .sum::<usize>()
    };
    assert!(copies() > 0, "the search finds nothing at all");
    credential.token(&vault()).await.unwrap();
    drop(credential);
    tokio::task::yield_now().await;
    assert_eq!(copies(), 0);
}
