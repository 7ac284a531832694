//! How much, how many and how long.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{HTTP2_BEGUN, Running, Upstream, full, read, soon};

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_or_while_it_is_sent() {
    let upstream = Upstream::start(|request| async {
        let length = request.into_body().collect().await;
        Response::new(full(
            length.map_or(0, |body| body.to_bytes().len()).to_string(),
        ))
    })
    .await;
    let proxy = Running::plain(&["--route", &upstream.route("/"), "--max-body", "1000"]).await;
    let told = async |length: usize| {
        let head = "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close";
        let body = "x".repeat(length);
        let request = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
        proxy.raw(&request).await
    };
    assert!(told(1000).await.ends_with("1000"));
    assert!(told(1001).await.starts_with("HTTP/1.1 413"));
    assert_eq!(upstream.seen().len(), 1);

    let (mut sender, body) = Channel::<Bytes>::new(1);
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(Request::post(proxy.uri("/")).body(body).unwrap());
    let answer = tokio::spawn(answer);
    for length in [1000, 1] {
        let _ = sender.send_data(Bytes::from(vec![0; length])).await;
    }
    let (status, _, text) = read(soon(answer).await.unwrap().unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(text.contains("1000 bytes"), "{text}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let upstream = Upstream::telling().await;
    let proxy = Running::plain(&["--route", &upstream.route("/"), "--max-header", "8192"]).await;
    let head = |length| {
        let filler = "x".repeat(length);
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: {filler}\r\n\r\n")
    };
    assert!(proxy.raw(&head(7000)).await.starts_with("HTTP/1.1 200"));
    assert!(proxy.raw(&head(9000)).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn connections_on_which_nothing_comes_are_closed() {
    let upstream = Upstream::telling().await;
    let timeout = ["--header-timeout", "10"];
    let proxy = Running::plain(&[&["--route", &upstream.route("/")], &timeout[..]].concat()).await;
    let mut streams = Vec::new();
    for sent in [
        "",
        "GET / HTTP/1.1\r\nhost: loc",
        &HTTP2_BEGUN[..10],
        HTTP2_BEGUN,
    ] {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    // Who came first has been let in when the last is.
    assert_eq!(proxy.get("/").await.0, StatusCode::OK);
    tokio::time::pause();
    for mut stream in streams {
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let upstream = Upstream::telling().await;
    let proxy = Running::plain(&["--route", &upstream.route("/"), "--connections", "1"]).await;
    let ask = async |stream: &mut TcpStream| {
        let request = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
    };
    let answered = async |stream: &mut TcpStream| {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n/") {
            assert_ne!(soon(stream.read_buf(&mut answer)).await.unwrap(), 0);
        }
    };
    let mut first = TcpStream::connect(proxy.address).await.unwrap();
    ask(&mut first).await;
    answered(&mut first).await;
    let mut second = TcpStream::connect(proxy.address).await.unwrap();
    ask(&mut second).await;
    // Long enough for the second to be served, if it could be.
    for _ in 0..50 {
        ask(&mut first).await;
        answered(&mut first).await;
    }
    assert_eq!(upstream.seen().len(), 51);
    drop(first);
    answered(&mut second).await;
    assert_eq!(upstream.seen().len(), 52);
}
