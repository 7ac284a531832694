//! The end.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::proxy::Ended;
use crate::world::{Body, HTTP2_BEGUN, Running, Upstream, full, http1, http2, read, soon};

/// Asks for what is held back, and stops the proxy when that is under way.
async fn stopped_while_at_work(client: Client<HttpConnector, Body>) {
    let (arrived, held) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (tell, wait) = (Arc::clone(&arrived), Arc::clone(&held));
    let upstream = Upstream::start(move |_| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            tell.add_permits(1);
            let _ = wait.acquire().await;
            Response::new(full("done"))
        }
    })
    .await;
    let mut proxy = Running::plain(&["--route", &upstream.route("/")]).await;
    let request = Request::get(proxy.uri("/")).body(full("")).unwrap();
    let answer = tokio::spawn(client.request(request));
    soon(arrived.acquire()).await.unwrap().forget();
    proxy.stop();
    soon(async {
        while TcpStream::connect(proxy.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    held.add_permits(1);
    let (status, _, text) = read(soon(answer).await.unwrap().unwrap()).await;
    assert_eq!((status, &*text), (StatusCode::OK, "done"));
    // The client keeps its connection open for another request.
    assert_eq!(proxy.ended().await, Ended::Finished);
    drop(client);
}

#[tokio::test]
async fn what_is_under_way_is_finished_over_http1() {
    stopped_while_at_work(http1()).await;
}

#[tokio::test]
async fn what_is_under_way_is_finished_over_http2() {
    stopped_while_at_work(http2()).await;
}

/// Stops a proxy, once or twice, with a request under way that never ends, and
/// tells how long that took.
async fn cut_off(again: bool) -> Duration {
    let arrived = Arc::new(Semaphore::new(0));
    let tell = Arc::clone(&arrived);
    let upstream = Upstream::start(move |_| {
        tell.add_permits(1);
        std::future::pending()
    })
    .await;
    let mut proxy = Running::plain(&["--route", &upstream.route("/")]).await;
    let request = Request::get(proxy.uri("/")).body(full("")).unwrap();
    let answer = tokio::spawn(http1().request(request));
    soon(arrived.acquire()).await.unwrap().forget();
    // One that waits for a request is no reason to wait.
    let idle = TcpStream::connect(proxy.address).await.unwrap();
    tokio::time::pause();
    let begun = Instant::now();
    proxy.stop();
    if again {
        proxy.stop_at_once();
    }
    assert_eq!(proxy.ended().await, Ended::CutOff(1));
    assert!(soon(answer).await.unwrap().is_err());
    drop(idle);
    begun.elapsed()
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off_in_the_end() {
    let took = cut_off(false).await;
    assert_eq!(took.as_secs(), 10);
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off_at_once_if_that_is_asked_for_again() {
    let took = cut_off(true).await;
    assert_eq!(took.as_secs(), 0);
}

#[tokio::test]
async fn what_has_not_begun_is_no_work_to_be_cut_off() {
    let upstream = Upstream::telling().await;
    let half_a_head = "GET / HTTP/1.1\r\nhost: loc";
    for sent in [half_a_head, HTTP2_BEGUN] {
        let mut proxy = Running::plain(&["--route", &upstream.route("/")]).await;
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        // Who came first has been let in when the second is.
        assert_eq!(proxy.get("/").await.0, StatusCode::OK);
        tokio::time::pause();
        proxy.stop();
        assert_eq!(proxy.ended().await, Ended::Finished, "{sent}");
        tokio::time::resume();
    }
}
