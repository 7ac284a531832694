//! The end.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::proxy::{Ended, Identity};
use crate::world::{Body, Running, Upstream, full, http1, http2, read, settings, soon};

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

#[tokio::test]
async fn what_does_not_finish_is_cut_off_in_the_end() {
    let arrived = Arc::new(Semaphore::new(0));
    let tell = Arc::clone(&arrived);
    let upstream = Upstream::start(move |_| {
        tell.add_permits(1);
        std::future::pending()
    })
    .await;
    let mut settings = settings(&["--route", &upstream.route("/")]);
    settings.limits.grace = Duration::from_millis(50);
    let mut proxy = Running::start(settings, Identity::Nobody).await;
    let request = Request::get(proxy.uri("/")).body(full("")).unwrap();
    let answer = tokio::spawn(http1().request(request));
    soon(arrived.acquire()).await.unwrap().forget();
    // One that waits for a request is no reason to wait.
    let idle = TcpStream::connect(proxy.address).await.unwrap();
    proxy.stop();
    assert_eq!(proxy.ended().await, Ended::CutOff(1));
    assert!(soon(answer).await.unwrap().is_err());
    drop(idle);
}
