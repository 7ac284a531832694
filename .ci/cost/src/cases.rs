//! The services that are compared.

#[path = "../../../benches/support/request.rs"]
pub mod request;

use http::Request;
use request::{Body, ByHand, ClonedPerRequest, Inner, SendOnce, header_value, tokens};
use tower::{Layer as _, Service};
use tower_bearer::{BearerAuthLayer, azure};

/// What is done with each service.
pub trait Measure {
    fn measure<S: Service<Request<Body>>>(&self, service: S);
}

#[allow(dead_code, reason = "one of the programs names them itself")]
pub const CASES: [&str; 7] = [
    "floor",
    "by-hand",
    "once",
    "armed",
    "floor-cloned",
    "once-cloned",
    "armed-cloned",
];

/// Measures the service called `case`. `false` if there is none.
pub fn measure(case: &str, measure: &impl Measure) -> bool {
    let layer = BearerAuthLayer::new(tokens(), azure::Audiences::new());
    let once = layer.clone().replay(SendOnce);
    match case {
        "floor" => measure.measure(Inner),
        "by-hand" => measure.measure(ByHand {
            inner: Inner,
            value: header_value(),
        }),
        "once" => measure.measure(once.layer(Inner)),
        "armed" => measure.measure(layer.layer(Inner)),
        "floor-cloned" => measure.measure(ClonedPerRequest(Inner)),
        "once-cloned" => measure.measure(ClonedPerRequest(once.layer(Inner))),
        "armed-cloned" => measure.measure(ClonedPerRequest(layer.layer(Inner))),
        _ => return false,
    }
    true
}
