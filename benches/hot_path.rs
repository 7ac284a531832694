//! What one request costs while its token is at hand.
//!
//! `cargo bench --bench hot_path` prints the allocations per request, then the
//! time, for the inner service alone, for a header inserted by hand, for
//! tower-http's layers with a fixed header and for `BearerAuthLayer`. The
//! request is a GET with six headers, once in a map that is full at six (so
//! that the seventh header makes it grow) and once in one with room. It is made
//! outside of what is measured.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark, not the library"
)]

#[path = "support/request.rs"]
mod request;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::Request;
use http::header::AUTHORIZATION;
use request::{
    Body, ByHand, ClonedPerRequest, Inner, SendOnce, header_value, once, request, token, tokens,
};
use tower::{Layer as _, Service};
use tower_bearer::{BearerAuthLayer, azure};
use tower_http::auth::AddAuthorizationLayer;
use tower_http::set_header::SetRequestHeaderLayer;

fn allocations<S: Service<Request<Body>>>(service: &mut S, capacity: usize) -> (u64, u64) {
    const REQUESTS: u64 = 1000;
    for _ in 0..16 {
        once(service, request(capacity));
    }
    let requests: Vec<_> = (0..REQUESTS).map(|_| request(capacity)).collect();
    let counted = allocation_counter::measure(|| {
        for request in requests {
            once(service, request);
        }
    });
    (
        counted.count_total / REQUESTS,
        counted.bytes_total / REQUESTS,
    )
}

fn measure<S: Service<Request<Body>>>(criterion: &mut Criterion, name: &str, mut service: S) {
    for (map, capacity) in [("full map", 6), ("roomy map", 8)] {
        let (count, bytes) = allocations(&mut service, capacity);
        println!("{name}, {map}: {count} allocations, {bytes} bytes per request");
    }
    for (map, capacity) in [("full map", 6), ("roomy map", 8)] {
        criterion.bench_function(&format!("{name}, {map}"), |bencher| {
            bencher.iter_batched(
                || request(capacity),
                |request| once(&mut service, request),
                BatchSize::SmallInput,
            );
        });
    }
}

fn hot_path(criterion: &mut Criterion) {
    let value = header_value();

    measure(criterion, "inner service alone", Inner);
    let by_hand = ByHand {
        inner: Inner,
        value: value.clone(),
    };
    measure(criterion, "inserted by hand", by_hand);
    let fixed = SetRequestHeaderLayer::overriding(AUTHORIZATION, value);
    measure(criterion, "tower-http SetRequestHeader", fixed.layer(Inner));
    let fixed = AddAuthorizationLayer::bearer(&token());
    measure(criterion, "tower-http AddAuthorization", fixed.layer(Inner));
    let layer = BearerAuthLayer::new(tokens(), azure::Audiences::new());
    let once = layer.clone().replay(SendOnce).layer(Inner);
    let cloned = ClonedPerRequest(once.clone());
    measure(criterion, "BearerAuthLayer, sent once", once);
    let name = "BearerAuthLayer, sent once, cloned per request";
    measure(criterion, name, cloned);
    measure(
        criterion,
        "BearerAuthLayer, resend armed",
        layer.layer(Inner),
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = hot_path
}
criterion_main!(benches);
