//! Any number of hosts with few audiences, as vaults have: what finding the
//! token adds.

use http::{Request, Uri};
use tower::Layer as _;
use tower_bearer::{BearerAuthLayer, azure};

use crate::random::Random;
use crate::request::{Body, ByHand, Inner, header_value, once, request, tokens};
use crate::rounds::{BATCH, Rounds, nanoseconds, print_table};

const ROUNDS: usize = 400;

fn uri(number: usize) -> Uri {
    format!("https://vault-{number}.vault.azure.net/secrets/x")
        .parse()
        .unwrap()
}

/// Requests whose header map has room, so that its growth hides nothing.
fn requests(mut host: impl FnMut() -> usize) -> Vec<Request<Body>> {
    let request = |host| {
        let mut request = request(8);
        *request.uri_mut() = uri(host);
        request
    };
    (0..BATCH).map(|_| request(host())).collect()
}

pub(crate) fn print() {
    let mut rounds = Rounds::new();
    let floor = rounds.case(|| nanoseconds(requests(|| 0), |request| once(&mut Inner, request)));
    let mut by_hand = ByHand {
        inner: Inner,
        value: header_value(),
    };
    let by_hand =
        rounds.case(move || nanoseconds(requests(|| 0), |request| once(&mut by_hand, request)));
    let cases = crate::sizes().iter().map(|&size| {
        let layer = BearerAuthLayer::new(tokens(), azure::Audiences::new());
        let mut random_order = layer.layer(Inner);
        for host in 0..size {
            let mut request = request(8);
            *request.uri_mut() = uri(host);
            once(&mut random_order, request);
        }
        let mut same_again = random_order.clone();
        let same = rounds.case(move || {
            for request in requests(|| size - 1).drain(..16) {
                once(&mut same_again, request);
            }
            let requests = requests(|| size - 1);
            nanoseconds(requests, |request| once(&mut same_again, request))
        });
        let mut random = Random::with_seed(size as u64);
        let random = rounds.case(move || {
            let requests = requests(|| random.below(size));
            nanoseconds(requests, |request| once(&mut random_order, request))
        });
        (size, same, random)
    });
    let cases: Vec<_> = cases.collect();
    let samples = rounds.run(ROUNDS);
    let added = |case| samples.added(case, floor).median;
    let (_, one_host, _) = cases[0];
    let row = |&(size, same, random): &(usize, _, _)| {
        vec![
            size.to_string(),
            format!("{:.0}", added(same)),
            format!("{:.2}", added(same) / added(one_host)),
            format!("{:.0}", added(random)),
            format!("{:.0}", samples.added(random, same).median),
            samples.added(random, same).range(0),
        ]
    };
    print_table(
        &format!(
            "Hosts of one audience, resend armed (by hand: {:.0} ns added; targets: ≤ 1.1 × of one host when it comes again, look-up ≤ 100 ns)",
            added(by_hand)
        ),
        &[
            "hosts",
            "same host again: added ns",
            "× of one host",
            "random order: added ns",
            "look-up ns",
            "middle half",
        ],
        &cases.iter().map(row).collect::<Vec<_>>(),
    );
}
