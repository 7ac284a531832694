//! What is said when there is no answer.

use std::time::Duration;

use http::StatusCode;
use tower_bearer::{AccessToken, Error, ErrorKind, TokenCache};

use crate::issuer::issuer;
use crate::loopback::closed_port;
use crate::proxy::Identity;
use crate::world::{Running, Upstream, settings, soon};

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
    let server = crate::loopback::Server::start(|_, stream| async { drop(stream) }).await;
    let proxy = Running::plain(&["--route", &format!("/={}", server.url())]).await;
    let (status, _, text) = proxy.get("/").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY, "{text}");
    assert!(text.contains("gave no answer"), "{text}");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_504() {
    let upstream = Upstream::start(|_| std::future::pending()).await;
    let mut settings = settings(&["--route", &upstream.route("/")]);
    settings.limits.response_timeout = Duration::from_millis(50);
    let proxy = Running::start(settings, Identity::Nobody).await;
    let (status, headers, _) = proxy.get("/").await;
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
    loop {
        let connecting = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(100), connecting).await {
            Ok(stream) => queue.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    let mut settings = settings(&["--route", &format!("/=http://{address}")]);
    settings.limits.connect_timeout = Duration::from_millis(50);
    let proxy = Running::start(settings, Identity::Nobody).await;
    let (status, headers, text) = soon(proxy.get("/")).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{text}");
    let said = &headers["proxy-status"];
    assert_eq!(said, "tower-bearer-proxy; error=connection_timeout");
}

#[tokio::test]
async fn i9_without_a_token_nothing_is_sent_and_the_reason_is_said() {
    let wait = Duration::from_secs(17);
    let cases = [
        (
            Error::new(ErrorKind::Rejected, "the secret has expired"),
            StatusCode::BAD_GATEWAY,
        ),
        (
            Error::new(ErrorKind::Throttled, "too many requests").with_retry_after(wait),
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (
            Error::new(ErrorKind::Timeout, "no answer came"),
            StatusCode::GATEWAY_TIMEOUT,
        ),
    ];
    for (error, expected) in cases {
        let reason = error.message().to_owned();
        let upstream = Upstream::telling().await;
        let route = upstream.route("/");
        let settings = settings(&["--route", &route, "--audience", "/=api://a"]);
        let (credential, _) = issuer(move |_, _| {
            let error = error.clone();
            async move { Err::<AccessToken, _>(error) }
        });
        let identity = Identity::Fresh(TokenCache::new(credential));
        let proxy = Running::start(settings, identity).await;
        let (status, headers, text) = proxy.get("/").await;
        assert_eq!(status, expected, "{text}");
        let begin = format!("proxy: no token for {}: ", upstream.host());
        assert!(text.starts_with(&begin) && text.contains(&reason), "{text}");
        let waits = headers.get("retry-after").is_some_and(|wait| wait == "17");
        assert_eq!(
            waits,
            expected == StatusCode::SERVICE_UNAVAILABLE,
            "{headers:?}"
        );
        assert!(upstream.seen().is_empty());
    }
}
