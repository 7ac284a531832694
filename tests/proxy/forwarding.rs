//! What a request and its answer look like on the other side.

use std::future::ready;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use crate::loopback::Server;
use crate::world::{Running, Upstream, full, http1, http2, read, soon};

#[tokio::test]
async fn a_path_loses_the_longest_prefix_that_it_is_below() {
    let (wide, narrow) = (Upstream::telling().await, Upstream::telling().await);
    let narrow_route = format!("{}/base/", narrow.route("/a/b"));
    let arguments = ["--route", &wide.route("/a"), "--route", &narrow_route];
    let proxy = Running::plain(&arguments).await;
    for (asked, told) in [
        ("/a", "/"),
        ("/a?x=1", "/?x=1"),
        ("/a/", "/"),
        ("/a/bc/d", "/bc/d"),
        ("/a//b", "//b"),
        ("/a/b", "/base/"),
        ("/a/b/c%2Fd?e=%20/../", "/base/c%2Fd?e=%20/../"),
        ("/a/.well-known/x..y", "/.well-known/x..y"),
    ] {
        let (status, _, text) = proxy.get(asked).await;
        assert_eq!((status, &*text), (StatusCode::OK, told), "{asked}");
    }
    for asked in ["/", "/ab", "/b/a", "/A"] {
        let (status, headers, _) = proxy.get(asked).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{asked}");
        let said = &headers["proxy-status"];
        assert_eq!(said, "tower-bearer-proxy; error=destination_not_found");
    }
    assert_eq!((wide.seen().len(), narrow.seen().len()), (6, 2));
}

#[tokio::test]
async fn fields_of_one_connection_go_no_further_in_either_direction() {
    let upstream = Upstream::start(|_| async {
        let answer = Response::builder()
            .header("connection", "x-theirs")
            .header("x-theirs", "1")
            .header("keep-alive", "timeout=5")
            .header("proxy-authenticate", "Basic")
            .header("upgrade", "h2c")
            .header("x-kept", "1");
        answer.body(full("ok")).unwrap()
    })
    .await;
    let proxy = Running::plain(&["--route", &upstream.route("/")]).await;
    let answer = proxy
        .raw(
            "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: X-Ours, close\r\nx-ours: 1\r\n\
             connection: upgrade\r\nupgrade: websocket\r\nkeep-alive: timeout=5\r\n\
             proxy-connection: keep-alive\r\nproxy-authorization: Basic eDp5\r\n\
             te: gzip, trailers;q=1\r\ntransfer-encoding: chunked\r\nx-kept: 1\r\n\r\n0\r\n\r\n",
        )
        .await;
    let seen = upstream.last().headers;
    let mut names: Vec<_> = seen.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    // The transfer coding is one of the proxy's own.
    assert_eq!(names, ["host", "transfer-encoding", "via", "x-kept"]);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for gone in ["x-theirs", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert!(!answer.contains(gone), "{gone} in {answer}");
    }
    assert!(answer.contains("x-kept: 1"), "{answer}");
}

/// RFC 9112 section 6.3: the coding counts, and the length is not passed on.
#[tokio::test]
async fn a_length_beside_a_transfer_coding_cuts_nothing_off_in_either_direction() {
    const CHUNKED: &str = "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
                           a\r\n0123456789\r\n0\r\n\r\n";
    let (tell, told) = oneshot::channel();
    let tell = Mutex::new(Some(tell));
    let server = Server::start(move |_, mut stream| {
        let tell = tell.lock().unwrap().take();
        async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n0\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap() == 0 {
                    break;
                }
            }
            let _ = tell.unwrap().send(String::from_utf8(request).unwrap());
            let answer = format!("HTTP/1.1 200 OK\r\n{CHUNKED}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let proxy = Running::plain(&["--route", &format!("/={}", server.url())]).await;
    let head = "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let answer = proxy.raw(&format!("{head}{CHUNKED}")).await;
    let request = soon(told).await.unwrap();
    for message in [request, answer] {
        assert!(!message.contains("content-length"), "{message}");
        assert!(message.contains("0123456789"), "{message}");
    }
}

#[tokio::test]
async fn t8_an_upstream_learns_nothing_of_where_a_request_comes_from() {
    let upstream = Upstream::telling().await;
    let proxy = Running::plain(&["--route", &upstream.route("/")]).await;
    let request = Request::get(proxy.uri("/x"))
        .header("forwarded", "for=127.0.0.1")
        .header("x-forwarded-for", "127.0.0.1")
        .header("x-forwarded-host", "localhost")
        .header("x-forwarded-proto", "http")
        .header("x-real-ip", "127.0.0.1")
        .header("authorization", "Bearer of-the-program");
    soon(http1().request(request.body(full("")).unwrap()))
        .await
        .unwrap();
    let seen = upstream.last().headers;
    assert_eq!(seen["host"], upstream.host());
    assert_eq!(seen["via"], "1.1 tower-bearer-proxy");
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[tokio::test]
async fn each_side_may_speak_http1_or_http2() {
    let upstream = Upstream::telling().await;
    let proxy = Running::plain(&[
        "--route",
        &upstream.route("/one"),
        "--route",
        &upstream.http2_route("/two"),
    ])
    .await;
    for (client, asked_in) in [(http1(), Version::HTTP_11), (http2(), Version::HTTP_2)] {
        for (path, version) in [("/one", Version::HTTP_11), ("/two", Version::HTTP_2)] {
            let request = Request::get(proxy.uri(path))
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .header("te", "trailers");
            let answer = soon(client.request(request.body(full("")).unwrap())).await;
            let answer = answer.unwrap();
            assert_eq!(answer.version(), asked_in);
            assert_eq!(read(answer).await.0, StatusCode::OK);
            let seen = upstream.last();
            assert_eq!(upstream.last_version(), version);
            assert_eq!(seen.headers["cookie"], "a=1; b=2");
            assert_eq!(seen.headers["te"], "trailers");
            // RFC 9110 section 10.1.4, which HTTP/2 has no connection field for.
            let named = seen.headers.get("connection");
            let expected = (version == Version::HTTP_11).then_some("te");
            assert_eq!(named.map(|name| name.to_str().unwrap()), expected);
            let host = match version {
                Version::HTTP_2 => seen.uri.authority().unwrap().as_str(),
                _ => seen.headers["host"].to_str().unwrap(),
            };
            assert_eq!(host, upstream.host());
        }
    }
}

#[tokio::test]
async fn bodies_pass_piece_by_piece_and_with_trailers() {
    let upstream = Upstream::start(|request| async { Response::new(request.into_body().boxed()) });
    let upstream = upstream.await;
    for (route, http2_only) in [
        (upstream.route("/"), false),
        (upstream.http2_route("/"), true),
    ] {
        let proxy = Running::plain(&["--route", &route]).await;
        let client = Client::builder(TokioExecutor::new())
            .http2_only(http2_only)
            .build_http();
        let (mut sender, body) = Channel::<Bytes, hyper::Error>::new(1);
        let request = Request::put(proxy.uri("/"))
            .header("te", "trailers")
            .header("trailer", "x-sum")
            .body(body)
            .unwrap();
        let answer = tokio::spawn(client.request(request));
        sender.send_data(Bytes::from("one")).await.unwrap();
        let mut answer = soon(answer).await.unwrap().unwrap().into_body();
        // Each comes back before the next is sent, so nobody keeps any.
        for piece in ["one", "two", "three"] {
            if piece != "one" {
                sender.send_data(Bytes::from(piece)).await.unwrap();
            }
            let frame = soon(answer.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece);
        }
        if http2_only {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "11".parse().unwrap());
            sender.send_trailers(trailers).await.unwrap();
            let frame = soon(answer.frame()).await.unwrap().unwrap();
            assert_eq!(frame.trailers_ref().unwrap()["x-sum"], "11");
        }
        drop(sender);
        assert!(
            soon(answer.frame())
                .await
                .is_none_or(|frame: Result<Frame<_>, _>| frame.is_ok())
        );
    }
}

#[tokio::test]
async fn t8_what_may_not_be_a_header_may_not_be_a_trailer_either() {
    let seen = Arc::new(Mutex::new(HeaderMap::new()));
    let keep = Arc::clone(&seen);
    let upstream = Upstream::start(move |request| {
        let keep = Arc::clone(&keep);
        async move {
            let body = request.into_body().collect().await.unwrap();
            *keep.lock().unwrap() = body.trailers().unwrap().clone();
            let theirs = trailers(&["x-sum", "proxy-authenticate"]);
            Response::new(full("ok").with_trailers(ready(Some(Ok(theirs)))).boxed())
        }
    })
    .await;
    let proxy = Running::plain(&["--route", &upstream.http2_route("/")]).await;
    let ours = trailers(&["x-sum", "authorization", "x-forwarded-for"]);
    let body = full("sent").with_trailers(ready(Some(Ok(ours)))).boxed();
    let request = Request::put(proxy.uri("/")).header("te", "trailers");
    let answer = http2().request(request.body(body).unwrap());
    let answer = soon(answer).await.unwrap().into_body();
    let answer = soon(answer.collect()).await.unwrap();
    for passed in [
        seen.lock().unwrap().clone(),
        answer.trailers().unwrap().clone(),
    ] {
        assert_eq!(passed, trailers(&["x-sum"]));
    }
}

fn trailers(names: &[&'static str]) -> HeaderMap {
    let pair = |name: &&'static str| (name.parse().unwrap(), "1".parse().unwrap());
    names.iter().map(pair).collect()
}
