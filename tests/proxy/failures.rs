//! What is said when there is no answer.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::server::conn;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{AccessToken, Error, ErrorKind, TokenCache};

use crate::issuer::issuer;
use crate::loopback::{Server, closed_port, read_request};
use crate::proxy::Identity;
use crate::world::{Running, Upstream, full, http1, http2, settings, soon};

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_502() {
    let address = closed_port();
    let proxy = Running::plain(&["--route", &format!("/=http://{address}")]).await;
    let (status, headers, text) = proxy.get("/").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    let said = &headers["proxy-status"];
    assert_eq!(said, "tower-bearer-proxy; error=destination_unavailable");
    let begin = format!("proxy: {address} cannot be reached: Connection refused");
    assert!(text.starts_with(&begin), "{text}");
}

#[tokio::test]
async fn an_upstream_that_hangs_up_is_a_502() {
    let server = Server::start(|_, stream| async { drop(stream) }).await;
    let proxy = Running::plain(&["--route", &format!("/={}", server.url())]).await;
    let (status, _, text) = proxy.get("/").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY, "{text}");
    assert!(text.contains("gave no answer"), "{text}");
}

#[tokio::test]
async fn an_upstream_that_speaks_another_protocol_unasked_is_a_502() {
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await.unwrap();
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        pending::<()>().await;
    })
    .await;
    let proxy = Running::plain(&["--route", &format!("/={}", server.url())]).await;
    let (status, headers, text) = proxy.get("/").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY, "{text}");
    let said = &headers["proxy-status"];
    assert_eq!(said, "tower-bearer-proxy; error=http_protocol_error");
}

#[tokio::test]
async fn an_answer_whose_upstream_goes_midway_is_not_taken_for_a_whole_one() {
    for half in [
        "content-length: 10\r\n\r\n01234",
        "transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n",
    ] {
        let server = Server::start(move |_, mut stream| async move {
            read_request(&mut stream).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\n{half}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let proxy = Running::plain(&["--route", &format!("/={}", server.url())]).await;
        for client in [http1(), http2()] {
            let request = Request::get(proxy.uri("/")).body(full("")).unwrap();
            let answer = soon(client.request(request)).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert!(soon(answer.into_body().collect()).await.is_err(), "{half}");
        }
    }
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_asked_of_the_upstream_either() {
    let arrived = Arc::new(Notify::new());
    let tell = Arc::clone(&arrived);
    let given_up = Arc::new(Notify::new());
    let tell_end = Arc::clone(&given_up);
    let upstream = Upstream::start(move |_| {
        tell.notify_one();
        let at_end = AtEnd(Arc::clone(&tell_end));
        async move {
            let _at_end = at_end;
            pending().await
        }
    })
    .await;
    for route in [upstream.route("/"), upstream.http2_route("/")] {
        let proxy = Running::plain(&["--route", &route]).await;
        for client in [http1(), http2()] {
            let request = Request::get(proxy.uri("/")).body(full("")).unwrap();
            let answer = tokio::spawn(client.request(request));
            soon(arrived.notified()).await;
            answer.abort();
            drop(client);
            soon(given_up.notified()).await;
        }
    }
}

struct AtEnd(Arc<Notify>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_504() {
    let arrived = Arc::new(Notify::new());
    let tell = Arc::clone(&arrived);
    let upstream = Upstream::start(move |_| {
        tell.notify_one();
        pending()
    })
    .await;
    let timeout = ["--response-timeout", "10"];
    let proxy = Running::plain(&[&["--route", &upstream.route("/")], &timeout[..]].concat()).await;
    let ((status, headers, _), ()) = tokio::join!(proxy.get("/"), async {
        arrived.notified().await;
        tokio::time::pause();
    });
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    let said = &headers["proxy-status"];
    assert_eq!(said, "tower-bearer-proxy; error=http_response_timeout");
}

/// Linux leaves connections unanswered that a full queue has no room for.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_upstream_that_does_not_take_connections_is_a_504() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    // From here on, time passes when there is nothing else to do.
    tokio::time::pause();
    loop {
        let connecting = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_secs(1), connecting).await {
            Ok(stream) => queue.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    let proxy = Running::plain(&["--route", &format!("/=http://{address}")]).await;
    let (status, headers, text) = proxy.get("/").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{text}");
    let said = &headers["proxy-status"];
    assert_eq!(said, "tower-bearer-proxy; error=connection_timeout");
}

#[tokio::test]
async fn an_identity_provider_that_hangs_is_not_laid_at_the_upstreams_door() {
    let upstream = Upstream::telling().await;
    let route = upstream.route("/");
    let audience = ["--audience", "/=api://a", "--response-timeout", "10"];
    let settings = settings(&[&["--route", &route], &audience[..]].concat());
    let (credential, _) = issuer(|_, _| pending::<Result<AccessToken, _>>());
    let identity = Identity::Fresh(TokenCache::new(credential));
    let proxy = Running::start(settings, identity).await;
    // From here on, time passes when there is nothing else to do.
    tokio::time::pause();
    let (status, headers, text) = proxy.get("/").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    let begin = format!("proxy: no token for {}: ", upstream.host());
    assert!(text.starts_with(&begin), "{text}");
    let said = &headers["proxy-status"];
    assert_eq!(said, "tower-bearer-proxy; error=proxy_internal_error");
    assert!(upstream.seen().is_empty());
}

/// As when a router forgets a connection: it stays open, and nothing comes.
#[tokio::test]
async fn an_http2_connection_that_falls_silent_is_given_up_for_another() {
    let silence = Arc::new(Notify::new());
    let silenced = Arc::clone(&silence);
    let server = Server::start(move |number, stream| {
        let silenced = Arc::clone(&silenced);
        async move {
            let service = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(full("here")))));
            let builder = conn::http2::Builder::new(TokioExecutor::new());
            let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                biased;
                () = silenced.notified(), if number == 0 => pending().await,
                _ = serving.as_mut() => {}
            }
        }
    })
    .await;
    let route = format!("/=h2c://{}", server.address);
    let proxy = Running::plain(&["--route", &route]).await;
    assert_eq!(proxy.get("/").await.0, StatusCode::OK);
    silence.notify_one();
    tokio::time::pause();
    assert_eq!(proxy.get("/").await.0, StatusCode::BAD_GATEWAY);
    assert_eq!(proxy.get("/").await.0, StatusCode::OK);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn i9_without_a_token_nothing_is_sent_and_the_reason_is_said() {
    let cases = [
        (
            Error::new(ErrorKind::Rejected, "the secret has expired"),
            StatusCode::BAD_GATEWAY,
            None,
        ),
        (
            Error::new(ErrorKind::Throttled, "too many requests")
                .with_retry_after(Duration::from_secs(17)),
            StatusCode::SERVICE_UNAVAILABLE,
            // A part of a second more, so that a fleet that was told the same
            // does not come back together; what is told is whole seconds.
            Some("18"),
        ),
        (
            Error::new(ErrorKind::Timeout, "no answer came"),
            StatusCode::GATEWAY_TIMEOUT,
            None,
        ),
    ];
    for (error, expected, wait) in cases {
        let reason = error.message().to_owned();
        let upstream = Upstream::telling().await;
        let route = upstream.route("/");
        let settings = settings(&["--route", &route, "--audience", "/=api://a"]);
        let (credential, _) = issuer(move |_, _| {
            let error = error.clone();
            async move { Err::<AccessToken, _>(error) }
        });
        // Its clock stands still, so that the wait does not get shorter.
        let tokens = TokenCache::builder(credential).runtime(ManualRuntime::new());
        let identity = Identity::Fresh(tokens.build());
        let proxy = Running::start(settings, identity).await;
        let (status, headers, text) = proxy.get("/").await;
        assert_eq!(status, expected, "{text}");
        let begin = format!("proxy: no token for {}: ", upstream.host());
        assert!(text.starts_with(&begin) && text.contains(&reason), "{text}");
        let told = headers.get("retry-after");
        assert_eq!(told.map(|wait| wait.to_str().unwrap()), wait);
        assert!(upstream.seen().is_empty());
    }
}
