//! A resend that HTTP/2 fails: the client's own error, untouched.
#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/loopback.rs"]
mod loopback;

use std::error::Error as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::TokioExecutor;
use issuer::{Calls, issuer, token};
use loopback::Server;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tower::{Layer as _, ServiceExt as _};
use tower_bearer::{BearerAuth, BearerAuthError, BearerAuthLayer, Hosts, TokenCache};

/// What becomes of the first request with the second token.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// The stream is reset.
    Reset(Reason),
    /// The connection ends, and this stream was not looked at.
    GoAway(Reason),
}

/// Refuses the first token, fails once, then accepts.
#[derive(Clone)]
struct Script {
    failure: Arc<Mutex<Option<Failure>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn new(failure: Failure) -> Self {
        Self {
            failure: Arc::new(Mutex::new(Some(failure))),
            seen: Arc::default(),
        }
    }

    async fn serve(self, stream: TcpStream) {
        let stream = stream.into_std().unwrap();
        let mut raw = TcpStream::from_std(stream.try_clone().unwrap()).unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut unanswered = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let token = request.headers()[AUTHORIZATION].to_str().unwrap();
            let accepted = token == "Bearer token-2";
            self.seen.lock().unwrap().push(token.to_owned());
            let failure = self.failure.lock().unwrap().take_if(|_| accepted);
            match failure {
                Some(Failure::Reset(reason)) => respond.send_reset(reason),
                Some(Failure::GoAway(reason)) => {
                    raw.write_all(&go_away_after_first(reason)).await.unwrap();
                    unanswered.push(respond);
                }
                None => {
                    let mut response = Response::new(());
                    if !accepted {
                        *response.status_mut() = StatusCode::UNAUTHORIZED;
                    }
                    respond.send_response(response, true).unwrap();
                }
            }
        }
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// A frame that says that only the first stream was looked at, which the
/// library for servers would not say of one that it has handed out.
fn go_away_after_first(reason: Reason) -> Vec<u8> {
    const LENGTH: [u8; 3] = [0, 0, 8];
    const GO_AWAY: u8 = 7;
    const NO_FLAGS: u8 = 0;
    let (connection, last_stream) = (0_u32, 1_u32);
    let mut frame = LENGTH.to_vec();
    frame.extend([GO_AWAY, NO_FLAGS]);
    for number in [connection, last_stream, reason.into()] {
        frame.extend(number.to_be_bytes());
    }
    frame
}

type Http2 = BearerAuth<Client<HttpConnector, Full<Bytes>>>;

fn client(server: &Server) -> (Http2, Calls) {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let hosts = Hosts::new()
        .allow_http_loopback(&server.address.to_string(), "api://a")
        .unwrap();
    let http2 = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let layer = BearerAuthLayer::new(TokenCache::new(credential), hosts);
    (layer.layer(http2), calls)
}

async fn send(client: &Http2, server: &Server) -> Result<Response<Incoming>, BearerAuthError> {
    let request = Request::get(server.url()).body(Full::default()).unwrap();
    let answer = client.clone().oneshot(request);
    let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
    answer.expect("this must not hang")
}

/// The error of HTTP/2 that the client's error has for a cause.
fn http2_error(error: &ClientError) -> Option<&h2::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

async fn fails_with(failure: Failure) {
    let script = Script::new(failure);
    let serving = script.clone();
    let server = Server::start(move |_, stream| serving.clone().serve(stream)).await;
    let (client, calls) = client(&server);

    let error = send(&client, &server).await.unwrap_err();
    assert!(error.token_error().is_none(), "{error}");
    let BearerAuthError::Service(error) = error else {
        panic!("not the client's: {error}");
    };
    let error = error.downcast_ref::<ClientError>().unwrap();
    let cause = http2_error(error).unwrap();
    let reason = match failure {
        Failure::Reset(reason) => {
            assert!(cause.is_reset(), "{cause}");
            reason
        }
        Failure::GoAway(reason) => {
            assert!(cause.is_go_away(), "{cause}");
            reason
        }
    };
    assert_eq!(cause.reason(), Some(reason));
    assert!(cause.is_remote());
    assert_eq!((script.seen(), calls.count()), (2, 2));

    let answer = send(&client, &server).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!((script.seen(), calls.count()), (3, 2));
}

#[tokio::test]
async fn r42_a_stream_refused_at_the_resend_is_the_clients_own_error() {
    fails_with(Failure::Reset(Reason::REFUSED_STREAM)).await;
}

#[tokio::test]
async fn r42_a_stream_reset_at_the_resend_is_the_clients_own_error() {
    fails_with(Failure::Reset(Reason::INTERNAL_ERROR)).await;
}

#[tokio::test]
async fn r42_a_connection_shut_down_at_the_resend_is_the_clients_own_error() {
    for reason in [Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM] {
        fails_with(Failure::GoAway(reason)).await;
    }
}
