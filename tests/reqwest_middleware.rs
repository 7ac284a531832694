//! The layer's behaviour, for reqwest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(all(feature = "reqwest-middleware", feature = "test-util"))]

#[path = "support/issuer.rs"]
mod issuer;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use issuer::{issuer, token};
use reqwest::StatusCode;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower_bearer::{
    BearerAuthLayer, BearerAuthMiddleware, Error, ErrorKind, ExistingHeader, Hosts, TokenCache,
    UnknownHosts,
};

/// A server that accepts one token, and its own end.
struct Server {
    address: String,
    accepted: Arc<Mutex<String>>,
    seen: Arc<Mutex<Vec<(String, String)>>>,
    redirect: Arc<Mutex<Option<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn accepting(token: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepted = Arc::new(Mutex::new(format!("Bearer {token}")));
        let seen = Arc::default();
        let redirect = Arc::default();
        let mut tasks = JoinSet::new();
        let (expected, log) = (Arc::clone(&accepted), Arc::clone(&seen));
        let location: Arc<Mutex<Option<String>>> = Arc::clone(&redirect);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (expected, log) = (Arc::clone(&expected), Arc::clone(&log));
                let location = Arc::clone(&location);
                let service = service_fn(move |request| {
                    let (expected, log) = (Arc::clone(&expected), Arc::clone(&log));
                    let location = location.lock().unwrap().clone();
                    answer(request, expected, log, location)
                });
                connections.spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    drop(connection.await);
                });
            }
        });
        Self {
            address,
            accepted,
            seen,
            redirect,
            _tasks: tasks,
        }
    }

    fn accept(&self, token: &str) {
        *self.accepted.lock().unwrap() = format!("Bearer {token}");
    }

    fn redirect_to(&self, url: &str) {
        *self.redirect.lock().unwrap() = Some(url.to_owned());
    }

    fn seen(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().clone()
    }

    fn url(&self) -> String {
        format!("http://{}/x", self.address)
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    accepted: Arc<Mutex<String>>,
    seen: Arc<Mutex<Vec<(String, String)>>>,
    location: Option<String>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let token = request
        .headers()
        .get("authorization")
        .map_or("", |value| value.to_str().unwrap())
        .to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let good = *accepted.lock().unwrap() == token;
    seen.lock().unwrap().push((token, body));
    if let Some(location) = location {
        return Ok(hyper::Response::builder()
            .status(302)
            .header("location", location)
            .body(Full::default())
            .unwrap());
    }
    let status = if good { 200 } else { 401 };
    let hostile = seen
        .lock()
        .unwrap()
        .last()
        .is_some_and(|(token, _)| token.is_empty());
    // What a hostile server would like the next token to be.
    let challenge = "Bearer error=\"insufficient_claims\", claims=\"eyJhY2Nlc3NfdG9rZW4iOnt9fQ==\"";
    Ok(hyper::Response::builder()
        .status(status)
        .header(
            "www-authenticate",
            if hostile { challenge } else { "Bearer" },
        )
        .body(Full::from("the body"))
        .unwrap())
}

fn client(layer: BearerAuthLayer) -> ClientWithMiddleware {
    following(layer, reqwest::redirect::Policy::none())
}

fn following(layer: BearerAuthLayer, redirects: reqwest::redirect::Policy) -> ClientWithMiddleware {
    let reqwest = reqwest::Client::builder()
        .no_proxy()
        .redirect(redirects)
        .build()
        .unwrap();
    ClientBuilder::new(reqwest)
        .with(BearerAuthMiddleware::new(layer))
        .build()
}

fn layer_for(server: &Server) -> (BearerAuthLayer, issuer::Calls) {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let hosts = Hosts::new()
        .allow_http_loopback(&server.address, "api://test")
        .unwrap();
    let layer = BearerAuthLayer::new(TokenCache::new(credential), hosts);
    (layer, calls)
}

#[tokio::test]
async fn requests_get_the_cached_token() {
    let server = Server::accepting("token-1").await;
    let (layer, calls) = layer_for(&server);
    let client = client(layer);
    for _ in 0..3 {
        let response = client.get(server.url()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.text().await.unwrap(), "the body");
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn r35_a_refused_token_is_renewed_and_the_whole_request_resent() {
    let server = Server::accepting("token-1").await;
    let (layer, calls) = layer_for(&server);
    let client = client(layer);
    client.get(server.url()).send().await.unwrap();
    server.accept("token-2");
    let response = client.post(server.url()).body("kept").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let seen = server.seen();
    assert_eq!(seen[1], ("Bearer token-1".into(), "kept".into()));
    assert_eq!(seen[2], ("Bearer token-2".into(), "kept".into()));
    assert_eq!((seen.len(), calls.count()), (3, 2));
}

#[tokio::test]
async fn r40_a_streamed_body_is_sent_once() {
    let server = Server::accepting("token-2").await;
    let (layer, calls) = layer_for(&server);
    let client = client(layer);
    for expected in [StatusCode::UNAUTHORIZED, StatusCode::OK] {
        let stream = reqwest::Body::wrap(Full::new(Bytes::from_static(b"once")));
        let response = client.post(server.url()).body(stream).send().await.unwrap();
        assert_eq!(response.status(), expected);
        assert_eq!(response.text().await.unwrap(), "the body");
        // What was refused is replaced for the next request.
        while calls.count() < 2 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!((server.seen().len(), calls.count()), (2, 2));
}

#[tokio::test]
async fn i5_a_server_that_always_says_401_gets_each_request_at_most_twice() {
    let server = Server::accepting("another").await;
    let (layer, calls) = layer_for(&server);
    let client = client(layer);
    for _ in 0..10 {
        let response = client.get(server.url()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!((server.seen().len(), calls.count()), (11, 2));
}

#[tokio::test]
async fn t4_t5_what_another_origin_answers_after_a_redirect_changes_nothing() {
    let server = Server::accepting("token-1").await;
    let elsewhere = Server::accepting("nothing").await;
    server.redirect_to(&elsewhere.url());
    let (layer, calls) = layer_for(&server);
    let client = following(layer, reqwest::redirect::Policy::default());
    for _ in 0..2 {
        let response = client.get(server.url()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.url().as_str(), elsewhere.url());
    }
    // No token went along, and none was renewed or asked for with claims.
    let bare = (String::new(), String::new());
    assert_eq!(elsewhere.seen(), [bare.clone(), bare]);
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn t4_the_redirect_policy_stays_with_the_origin() {
    let server = Server::accepting("token-1").await;
    let elsewhere = Server::accepting("nothing").await;
    let (layer, calls) = layer_for(&server);
    let client = following(layer, BearerAuthMiddleware::redirect_policy());
    server.redirect_to(&elsewhere.url());
    let response = client.get(server.url()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(response.headers()["location"], elsewhere.url().as_str());
    assert_eq!(elsewhere.seen(), []);

    // Round and round, at home.
    server.redirect_to("/");
    let error = client.get(server.url()).send().await.unwrap_err();
    assert!(error.is_redirect(), "{error}");
    let first = ("Bearer token-1".to_owned(), String::new());
    assert_eq!(server.seen(), vec![first; 1 + 11]);
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn t4_reqwests_own_policy_is_not_enough() {
    let server = Server::accepting("token-1").await;
    let elsewhere = Server::accepting("nothing").await;
    server.redirect_to(&elsewhere.url());
    elsewhere.redirect_to(&elsewhere.url());
    let (layer, _) = layer_for(&server);
    let client = following(layer, reqwest::redirect::Policy::limited(2));
    assert!(client.get(server.url()).send().await.is_err());
    let seen = elsewhere.seen();
    let tokens: Vec<_> = seen.iter().map(|(token, _)| token.as_str()).collect();
    // The reason for what the middleware's documentation says. When this goes
    // red, reqwest no longer hands out what it took off a hop before.
    assert_eq!(tokens, ["", "Bearer token-1"]);
}

#[tokio::test]
async fn i9_hosts_without_a_rule_are_refused_or_passed_on_bare() {
    let server = Server::accepting("token-1").await;
    let unknown = Server::accepting("").await;
    let (layer, calls) = layer_for(&server);
    let error = client(layer.clone())
        .get(unknown.url())
        .send()
        .await
        .unwrap_err();
    let reqwest_middleware::Error::Middleware(error) = error else {
        panic!("not the middleware's: {error}");
    };
    let error = error.downcast_ref::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::UnknownHost);

    let passing_on = client(layer.unknown_hosts(UnknownHosts::PassOn));
    passing_on.get(unknown.url()).send().await.unwrap();
    assert_eq!(unknown.seen(), [(String::new(), String::new())]);
    assert_eq!(calls.count(), 0);
}

#[tokio::test]
async fn an_existing_header_is_kept_or_replaced() {
    let server = Server::accepting("token-1").await;
    let (layer, _) = layer_for(&server);
    let replacing = client(layer.clone().existing_header(ExistingHeader::Replace));
    for client in [client(layer), replacing] {
        let request = client
            .get(server.url())
            .header("authorization", "Basic Zm9v");
        request.send().await.unwrap();
    }
    let tokens: Vec<_> = server.seen().into_iter().map(|(token, _)| token).collect();
    assert_eq!(tokens, ["Basic Zm9v", "Bearer token-1"]);
}

#[tokio::test]
async fn a_failed_fetch_is_the_middlewares_error() {
    let server = Server::accepting("token-1").await;
    let (credential, _) =
        issuer(|_, _| async move { Err(Error::new(ErrorKind::Rejected, "invalid_client")) });
    let hosts = Hosts::new()
        .allow_http_loopback(&server.address, "api://test")
        .unwrap();
    let client = client(BearerAuthLayer::new(TokenCache::new(credential), hosts));
    let error = client.get(server.url()).send().await.unwrap_err();
    assert!(error.to_string().contains("invalid_client"), "{error}");
    assert!(server.seen().is_empty());
}
