//! Bodies at a 401: what is read, what is kept and what that costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt as _, Full};
use issuer::{Calls, issuer, token};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_bearer::{BearerAuthLayer, FixedAudience, ReplayBody, TokenCache};

const HUGE: usize = 64 << 20;

fn layer() -> (BearerAuthLayer, Calls) {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let audience = FixedAudience::new("api://a");
    (
        BearerAuthLayer::new(TokenCache::new(credential), audience),
        calls,
    )
}

fn put<B>(body: B) -> Request<B> {
    let request = Request::put("https://a.example.com/");
    request.body(body).unwrap()
}

/// A body that counts how often it is read.
struct Watched {
    left: Option<Bytes>,
    reads: Arc<AtomicUsize>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(self.left.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test(start_paused = true)]
async fn r40_a_streamed_body_is_sent_once_and_the_401_to_it_is_not_even_looked_into() {
    let (layer, calls) = layer();
    let reads = Arc::new(AtomicUsize::new(0));
    let watched = Arc::clone(&reads);
    let client = layer.layer(service_fn(move |request: Request<Channel<Bytes>>| {
        let reads = Arc::clone(&watched);
        async move {
            let sent = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(sent, "in two parts");
            let left = Some(Bytes::from("why not"));
            let answer = Response::builder().status(StatusCode::UNAUTHORIZED);
            Ok::<_, Infallible>(answer.body(Watched { left, reads }).unwrap())
        }
    }));
    let (mut sender, body) = Channel::<Bytes>::new(1);
    let answer = tokio::spawn(client.oneshot(put(body)));
    for part in ["in two ", "parts"] {
        sender.send_data(Bytes::from(part)).await.unwrap();
    }
    drop(sender);
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    // One for it, and one for the next request.
    assert_eq!((reads.load(Ordering::SeqCst), calls.count()), (0, 2));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "why not");
}

/// Keeps bodies of up to so many bytes.
#[derive(Clone)]
struct UpTo(u64);

impl ReplayBody<Full<Bytes>> for UpTo {
    fn replay(&self, body: &Full<Bytes>) -> Option<Full<Bytes>> {
        (body.size_hint().exact()? <= self.0).then(|| body.clone())
    }
}

/// How many times a body of this length is sent, and the final status.
async fn sends<P>(layer: BearerAuthLayer<P>, length: usize) -> (usize, StatusCode)
where
    P: ReplayBody<Full<Bytes>> + Clone,
{
    let sent = AtomicUsize::new(0);
    let client = layer.layer(service_fn(|request: Request<Full<Bytes>>| {
        assert_eq!(request.body().size_hint().exact(), Some(length as u64));
        let status = match sent.fetch_add(1, Ordering::SeqCst) {
            0 => StatusCode::UNAUTHORIZED,
            _ => StatusCode::OK,
        };
        async move {
            let answer = Response::builder().status(status).body(());
            Ok::<_, Infallible>(answer.unwrap())
        }
    }));
    let body = Full::new(Bytes::from(vec![7; length]));
    let status = client.oneshot(put(body)).await.unwrap().status();
    (sent.load(Ordering::SeqCst), status)
}

#[tokio::test(start_paused = true)]
async fn r41_a_policy_can_set_a_limit_to_what_is_kept() {
    let limited = || layer().0.replay(UpTo(1000));
    assert_eq!(sends(limited(), 1000).await, (2, StatusCode::OK));
    assert_eq!(sends(limited(), 1001).await, (1, StatusCode::UNAUTHORIZED));
}

#[test]
fn r41_resending_64_mib_takes_no_memory_beyond_them() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut result = None;
    let counted = allocation_counter::measure(|| {
        result = Some(runtime.block_on(sends(layer().0, HUGE)));
    });
    assert_eq!(result, Some((2, StatusCode::OK)));
    let beyond = counted.bytes_max - HUGE as u64;
    assert!(beyond < 64 << 10, "{beyond} bytes");
}
