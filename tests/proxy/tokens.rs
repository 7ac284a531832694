//! Tokens on requests.

use http::{Request, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tower_bearer::testing::Azure;
use tower_bearer::{AccessToken, TokenCache};

use crate::issuer::{HOUR, issuer};
use crate::loopback::{Server, closed_port, in_own_process, read_request};
use crate::proxy::Identity;
use crate::world::{Running, Upstream, full, http1, http2, read, settings, soon};

#[tokio::test]
async fn each_request_gets_the_token_in_place_of_its_own() {
    let upstream = Upstream::wanting("Bearer token-1").await;
    let route = upstream.route("/");
    let (proxy, calls) =
        Running::with_tokens(&["--route", &route, "--audience", "/=api://a"]).await;
    for client in [http1(), http2()] {
        let request = Request::post(proxy.uri("/"))
            .header("authorization", "Basic b2Y6dGhlIHByb2dyYW0=")
            .header("authorization", "Bearer second");
        let answer = soon(client.request(request.body(full("a body")).unwrap())).await;
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    let sent = upstream.last().headers;
    assert_eq!(sent.get_all("authorization").iter().count(), 1);
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn i5_a_refused_token_is_renewed_once_for_a_request_without_a_body() {
    for http2_upstream in [false, true] {
        let upstream = Upstream::wanting("Bearer token-2").await;
        let route = if http2_upstream {
            upstream.http2_route("/")
        } else {
            upstream.route("/")
        };
        for client in [http1(), http2()] {
            let before = upstream.seen().len();
            let arguments = ["--route", &*route, "--audience", "/=api://a"];
            let (proxy, calls) = Running::with_tokens(&arguments).await;
            let request = Request::get(proxy.uri("/x?y=1")).header("x-kept", "1");
            let answer = client.request(request.body(full("")).unwrap());
            let (status, _, text) = read(soon(answer).await.unwrap()).await;
            assert_eq!((status, &*text), (StatusCode::OK, "welcome"));
            assert_eq!((calls.count(), upstream.seen().len() - before), (2, 2));
            let again = upstream.last();
            assert_eq!(again.uri.path_and_query().unwrap(), "/x?y=1");
            assert_eq!(again.headers["x-kept"], "1");
        }
    }
}

#[tokio::test]
async fn i5_a_request_with_a_body_is_sent_once_and_its_401_given_back() {
    let upstream = Upstream::wanting("Bearer token-2").await;
    let route = upstream.route("/");
    let (proxy, _) = Running::with_tokens(&["--route", &route, "--audience", "/=api://a"]).await;
    let request = Request::post(proxy.uri("/")).body(full("once")).unwrap();
    let (status, headers, text) = read(soon(http1().request(request)).await.unwrap()).await;
    assert_eq!((status, &*text), (StatusCode::UNAUTHORIZED, "not you"));
    assert!(!headers.contains_key("proxy-status"));
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_fixed_token_is_sent_as_it_is() {
    let upstream = Upstream::wanting("Bearer fixed").await;
    let settings = settings(&["--route", &upstream.route("/")]);
    let identity = Identity::Fixed("Bearer fixed".parse().unwrap());
    let proxy = Running::start(settings, identity).await;
    assert_eq!(proxy.get("/").await.0, StatusCode::OK);
}

/// Trust in certificates is taken from the environment, which belongs to the
/// process.
#[test]
fn an_upstream_over_tls_is_reached_with_the_identity_of_the_environment() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let azure = runtime.block_on(Azure::start()).unwrap();
    azure.vault().set_secret("db", "s3cret");
    let environment = azure.environment();
    let variables: Vec<_> = environment
        .iter()
        .map(|(name, v)| (*name, v.as_str()))
        .collect();
    in_own_process("tokens::reads_a_secret_of_the_vault", &variables);
    assert_eq!(azure.token_requests(), 1);
}

#[tokio::test]
#[ignore = "needs the environment that another test gives it"]
async fn reads_a_secret_of_the_vault() {
    let vault = std::env::var("VAULT_URL").unwrap();
    let audience = "/kv=https://vault.azure.net";
    let settings = settings(&["--route", &format!("/kv={vault}"), "--audience", audience]);
    let identity = crate::proxy::identity_of(&settings).unwrap();
    let proxy = Running::start(settings, identity).await;
    let (status, _, text) = proxy.get("/kv/secrets/db?api-version=7.4").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("s3cret"), "{text}");
}

/// What a process writes to standard error is seen from outside.
#[test]
fn i10_no_token_is_in_any_answer_or_on_standard_error() {
    let output = in_own_process("tokens::gets_all_kinds_of_answers", &[("CANARY", CANARY)]);
    for written in [output.stdout, output.stderr] {
        let written = String::from_utf8(written).unwrap();
        assert!(!written.contains(CANARY), "{written}");
    }
}

const CANARY: &str = "canary-1b671a64";

#[tokio::test]
#[ignore = "needs the process that another test gives it"]
async fn gets_all_kinds_of_answers() {
    let welcoming = Upstream::wanting("Bearer canary-1b671a64").await;
    let refusing = Upstream::wanting("Bearer another").await;
    let hanging_up = Server::start(|_, stream| async { drop(stream) }).await;
    let garbled = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await.unwrap();
        let _ = stream.write_all(b"nonsense\r\n\r\n").await;
    })
    .await;
    let routes = [
        welcoming.route("/welcoming"),
        refusing.route("/refusing"),
        format!("/hanging-up={}", hanging_up.url()),
        format!("/garbled={}", garbled.url()),
        format!("/gone=http://{}", closed_port()),
    ];
    let mut arguments = vec!["--max-body", "10"];
    for route in &routes {
        arguments.extend(["--route", route]);
    }
    let audiences = [
        "/welcoming",
        "/refusing",
        "/hanging-up",
        "/garbled",
        "/gone",
    ];
    let audiences = audiences.map(|prefix| format!("{prefix}=api://a"));
    let fixed = [&arguments[..], &["--fixed-token", "CANARY"]].concat();
    let fixed = settings(&fixed);
    let always = crate::proxy::identity_of(&fixed).unwrap();
    for audience in &audiences {
        arguments.extend(["--audience", audience]);
    }
    let (credential, _) = issuer(|_, _| async { AccessToken::expiring_in(CANARY, HOUR) });
    let fresh = Identity::Fresh(TokenCache::new(credential));
    let mut statuses = Vec::new();
    for (settings, identity) in [(fixed, always), (settings(&arguments), fresh)] {
        let proxy = Running::start(settings, identity).await;
        for path in [
            "welcoming",
            "refusing",
            "hanging-up",
            "garbled",
            "gone",
            "nowhere",
            "a/../b",
        ] {
            let (status, headers, text) = proxy.get(&format!("/{path}")).await;
            statuses.push(status.as_u16());
            let answer = format!("{headers:?} {text}");
            assert!(!answer.contains(CANARY), "{answer}");
        }
        let request = Request::post(proxy.uri("/welcoming")).body(full("more than allowed"));
        let answer = soon(http1().request(request.unwrap())).await.unwrap();
        let (status, headers, text) = read(answer).await;
        statuses.push(status.as_u16());
        let answer = format!("{headers:?} {text}");
        assert!(!answer.contains(CANARY), "{answer}");
    }
    let each = [200, 401, 502, 502, 502, 404, 400, 413];
    assert_eq!(statuses, [each, each].concat());
}
