//! How many instructions one request costs, for
//! `.ci/cost.sh`, which runs it under callgrind.
//!
//! `instructions CASE CAPACITY REQUESTS` sends so many requests, whose header
//! maps have room for so many headers, through the service of that name.
//! `measured` is what callgrind is told to count.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark, not the library"
)]

#[path = "support/request.rs"]
mod request;

use http::Request;
use http::header::AUTHORIZATION;
use request::{
    Body, ByHand, ClonedPerRequest, Inner, SendOnce, header_value, once, request, tokens,
};
use tower::{Layer as _, Service};
use tower_bearer::{BearerAuthLayer, azure};

#[inline(never)]
fn measured<S: Service<Request<Body>>>(service: &mut S, request: Request<Body>) {
    once(service, request);
}

fn send<S: Service<Request<Body>>>(mut service: S, capacity: usize, count: usize) {
    // What is done once, and not for each request, comes before.
    for _ in 0..16 {
        once(&mut service, request(capacity));
    }
    let requests: Vec<_> = (0..count).map(|_| request(capacity)).collect();
    for request in requests {
        measured(&mut service, request);
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    // Without arguments this is `cargo bench`, which has nothing to ask.
    let [_, case, capacity, count] = &arguments[..] else {
        return;
    };
    let (capacity, count) = (capacity.parse().unwrap(), count.parse().unwrap());
    let by_hand = ByHand {
        inner: Inner,
        value: header_value(),
    };
    assert_eq!(by_hand.value.len(), 1507, "{AUTHORIZATION}");
    let layer = BearerAuthLayer::new(tokens(), azure::Audiences::new());
    let once = layer.clone().replay(SendOnce);
    match case.as_str() {
        "floor" => send(Inner, capacity, count),
        "by-hand" => send(by_hand, capacity, count),
        "once" => send(once.layer(Inner), capacity, count),
        "armed" => send(layer.layer(Inner), capacity, count),
        "floor-cloned" => send(ClonedPerRequest(Inner), capacity, count),
        "once-cloned" => send(ClonedPerRequest(once.layer(Inner)), capacity, count),
        "armed-cloned" => send(ClonedPerRequest(layer.layer(Inner)), capacity, count),
        other => panic!("no case {other}"),
    }
}
