//! Prints for each case and each kind of header map what one request allocates.

#[path = "../cases.rs"]
mod cases;

use cases::request::{Body, once, request};
use http::Request;
use tower::Service;

const REQUESTS: u64 = 1000;

struct Count {
    case: &'static str,
}

impl cases::Measure for Count {
    fn measure<S: Service<Request<Body>>>(&self, mut service: S) {
        for capacity in [6, 8] {
            for _ in 0..16 {
                once(&mut service, request(capacity));
            }
            let requests: Vec<_> = (0..REQUESTS).map(|_| request(capacity)).collect();
            let counted = allocation_counter::measure(|| {
                for request in requests {
                    once(&mut service, request);
                }
            });
            // Rounded up: a thousandth of an allocation is one too many.
            println!(
                "{} {capacity} {} {}",
                self.case,
                counted.count_total.div_ceil(REQUESTS),
                counted.bytes_total.div_ceil(REQUESTS)
            );
        }
    }
}

fn main() {
    for case in cases::CASES {
        assert!(cases::measure(case, &Count { case }));
    }
}
