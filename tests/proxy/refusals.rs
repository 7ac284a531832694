//! What is not for the proxy's identity to do.

use std::future::pending;

use http::Request;

use crate::world::{Running, Upstream, full, http1, soon};

#[tokio::test]
async fn t1_pages_in_a_browser_are_refused() {
    let upstream = Upstream::telling().await;
    let proxy = Running::plain(&["--route", &upstream.route("/")]).await;
    for (name, value) in [
        ("origin", "http://localhost:3000"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "none"),
    ] {
        let request = Request::get(proxy.uri("/")).header(name, value);
        let answer = soon(http1().request(request.body(full("")).unwrap())).await;
        assert_eq!(answer.unwrap().status(), 403, "{name}: {value}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn t1_names_that_anybody_can_let_lead_here_are_refused() {
    let upstream = Upstream::telling().await;
    let route = upstream.route("/");
    let proxy = Running::plain(&["--route", &route, "--host", "Build.Internal"]).await;
    let status = async |line: &str, hosts: &[&str]| {
        let hosts: Vec<_> = hosts
            .iter()
            .map(|host| format!("host: {host}\r\n"))
            .collect();
        let head = format!("{line} HTTP/1.1\r\nconnection: close\r\n{}", hosts.concat());
        let answer = proxy.raw(&(head + "\r\n")).await;
        answer[9..12].parse::<u16>().unwrap()
    };
    for host in [
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1:1",
        "[::1]:8080",
        "127.8.9.1",
        "[::ffff:127.0.0.1]",
        "build.internal:8080",
    ] {
        assert_eq!(status("GET /", &[host]).await, 200, "{host}");
    }
    assert_eq!(status("GET http://localhost/", &["localhost"]).await, 200);
    let let_through = upstream.seen().len();
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil@localhost",
        "a.build.internal",
        "localhost.",
        "",
        // Not the name of a loopback address, but it leads to one.
        "0.0.0.0:8080",
        "[::]:8080",
        "[::ffff:0.0.0.0]",
        "10.0.0.1",
    ] {
        assert_eq!(status("GET /", &[host]).await, 421, "{host}");
    }
    assert_eq!(
        status("GET http://evil.example/", &["localhost"]).await,
        421
    );
    assert_eq!(
        status("GET http://localhost/", &["evil.example"]).await,
        421
    );
    assert_eq!(status("GET /", &["localhost", "localhost"]).await, 400);
    assert_eq!(status("GET /", &[]).await, 400);
    assert_eq!(upstream.seen().len(), let_through);
}

#[tokio::test]
async fn t1_one_that_listens_on_more_than_loopback_answers_to_all_addresses_but_none() {
    let upstream = Upstream::telling().await;
    let route = upstream.route("/");
    let remote = ["--listen", "0.0.0.0:8080", "--allow-remote"];
    let proxy = Running::plain(&[&["--route", &route], &remote[..]].concat()).await;
    for (host, status) in [
        ("10.0.0.1:8080", "200"),
        ("[2001:db8::1]", "200"),
        ("127.0.0.1", "200"),
        ("0.0.0.0:8080", "421"),
        ("[::]:8080", "421"),
        ("[::ffff:0.0.0.0]", "421"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        assert_eq!(proxy.raw(&request).await[9..12], *status, "{host}");
    }
}

#[tokio::test]
async fn paths_that_could_lead_above_the_route_are_refused() {
    let upstream = Upstream::telling().await;
    let route = format!("{}/base", upstream.route("/a"));
    let proxy = Running::plain(&["--route", &route]).await;
    for path in [
        "/a/../x",
        "/a/./x",
        "/a/..",
        "/a/%2e%2E/x",
        "/a/.%2e",
        "/a/b%2f..%2fc",
        "/a/%5C..%5Cx",
        "/a/..%5c",
        "/a/..;/x",
        "/a/%2e%2e;x",
        "/a/..%3bx/y",
    ] {
        let (status, ..) = proxy.get(path).await;
        assert_eq!(status, 400, "{path}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn i10_methods_that_would_give_the_token_back_are_refused() {
    let upstream = Upstream::telling().await;
    let proxy = Running::plain(&["--route", &upstream.route("/")]).await;
    for line in ["TRACE /", "CONNECT localhost:443"] {
        let request = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = proxy.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_route_that_leads_back_ends_at_the_second_round() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let settings = crate::world::settings(&["--route", &format!("/=http://{address}")]);
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let identity = crate::proxy::Identity::Nobody;
    let proxy = crate::proxy::run(settings, identity, listener, pending(), pending());
    let request = Request::get(format!("http://{address}/"));
    let client = http1();
    let answer = client.request(request.body(full("")).unwrap());
    tokio::select! {
        _ = proxy => panic!("it runs until it is told to stop"),
        answer = soon(answer) => assert_eq!(answer.unwrap().status(), 508),
    }
}
