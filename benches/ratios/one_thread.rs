//! One request after the other: a service that is kept, and one that is cloned
//! for each.

use http::Request;
use http::header::AUTHORIZATION;
use tower::{Layer as _, Service};
use tower_bearer::{BearerAuthLayer, azure};
use tower_http::auth::AddAuthorizationLayer;
use tower_http::set_header::SetRequestHeaderLayer;

use crate::request::{
    Body, ByHand, ClonedPerRequest, Inner, SendOnce, header_value, once, request, token, tokens,
};
use crate::rounds::{BATCH, Case, Rounds, nanoseconds, print_table};

const ROUNDS: usize = 600;

struct Row {
    name: &'static str,
    case: Case,
    floor: Case,
    /// What it is compared with.
    beside: (&'static str, Case),
    target: &'static str,
}

pub(crate) fn print() {
    for (map, capacity) in [("full at six", 6), ("with room for a seventh", 8)] {
        let mut rounds = Rounds::new();
        let floor = rounds.case(batch(Inner, capacity));
        let value = header_value();
        let by_hand = ByHand {
            inner: Inner,
            value: value.clone(),
        };
        let by_hand = rounds.case(batch(by_hand, capacity));
        let set = SetRequestHeaderLayer::overriding(AUTHORIZATION, value).layer(Inner);
        let set = rounds.case(batch(set, capacity));
        let add = AddAuthorizationLayer::bearer(&token()).layer(Inner);
        let add = rounds.case(batch(add, capacity));
        let layer = BearerAuthLayer::new(tokens(), azure::Audiences::new());
        let once = layer.clone().replay(SendOnce).layer(Inner);
        let armed = layer.layer(Inner);
        let floor_cloned = rounds.case(batch(ClonedPerRequest(Inner), capacity));
        let once_cloned = rounds.case(batch(ClonedPerRequest(once.clone()), capacity));
        let armed_cloned = rounds.case(batch(ClonedPerRequest(armed.clone()), capacity));
        let once = rounds.case(batch(once, capacity));
        let armed = rounds.case(batch(armed, capacity));
        let row = |name, case, target| Row {
            name,
            case,
            floor,
            beside: ("by hand", by_hand),
            target,
        };
        let cloned = |name, case, kept| Row {
            name,
            case,
            floor: floor_cloned,
            beside: ("kept", kept),
            target: "≤ 1.15",
        };
        let rows = [
            row("inner service alone", floor, ""),
            row("inserted by hand", by_hand, ""),
            row("tower-http SetRequestHeader", set, ""),
            row("tower-http AddAuthorization", add, ""),
            row("BearerAuthLayer, sent once", once, "≤ 1.10"),
            row("BearerAuthLayer, resend armed", armed, "≤ 1.40"),
            cloned("sent once, cloned per call", once_cloned, once),
            cloned("resend armed, cloned per call", armed_cloned, armed),
        ];
        let samples = rounds.run(ROUNDS);
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let added = samples.added(row.case, row.floor);
                let (other, beside) = row.beside;
                let times = added.median / samples.added(beside, floor).median;
                vec![
                    row.name.to_owned(),
                    format!("{:.0}", samples.of(row.case).median),
                    format!("{:.0}", added.median),
                    added.range(0),
                    format!("{times:.2} × {other}"),
                    row.target.to_owned(),
                ]
            })
            .collect();
        print_table(
            &format!("One thread, header map {map}"),
            &[
                "service",
                "ns per call",
                "added ns",
                "middle half",
                "added, as a ratio",
                "target",
            ],
            &rows,
        );
    }
}

/// Measures batches of requests through `service`.
fn batch<S: Service<Request<Body>>>(mut service: S, capacity: usize) -> impl FnMut() -> f64 {
    move || {
        // What the case before has driven out of the processor's caches.
        for _ in 0..16 {
            once(&mut service, request(capacity));
        }
        let requests = (0..BATCH).map(|_| request(capacity)).collect();
        nanoseconds(requests, |request| once(&mut service, request))
    }
}
