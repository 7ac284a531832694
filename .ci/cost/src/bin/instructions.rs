//! `instructions CASE CAPACITY REQUESTS` sends so many requests, whose header
//! maps have room for so many headers, through the service of that name, for
//! callgrind to count the instructions of `measured`.

#[path = "../cases.rs"]
mod cases;

use cases::request::{Body, once, request};
use http::Request;
use tower::Service;

const BATCH: usize = 256;

struct Send {
    capacity: usize,
    count: usize,
}

#[inline(never)]
fn measured<S: Service<Request<Body>>>(service: &mut S, request: Request<Body>) {
    once(service, request);
}

impl cases::Measure for Send {
    fn measure<S: Service<Request<Body>>>(&self, mut service: S) {
        // What is done once, and not for each request, comes before.
        for _ in 0..16 {
            once(&mut service, request(self.capacity));
        }
        // Made in batches, as where many requests are under way: what freeing
        // them costs depends on what lies beside them.
        for _ in 0..self.count / BATCH {
            let requests: Vec<_> = (0..BATCH).map(|_| request(self.capacity)).collect();
            for request in requests {
                measured(&mut service, request);
            }
        }
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [case, capacity, count] = &arguments[..] else {
        panic!("instructions CASE CAPACITY REQUESTS");
    };
    let send = Send {
        capacity: capacity.parse().unwrap(),
        count: count.parse().unwrap(),
    };
    assert!(cases::measure(case, &send), "no case {case}");
}
