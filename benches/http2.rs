//! What a token costs on HTTP/2, where it is, in bytes and time: one connection
//! on loopback for each case, one request after another.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark, not the library"
)]

#[path = "support/http2_field.rs"]
mod http2_field;
#[path = "support/rounds.rs"]
mod rounds;

use http2_field::{Connection, Field, TOKEN_LENGTH, request};
use rounds::{Rounds, print_table};
use tokio::time::Instant;

const ROUNDS: usize = 200;
const REQUESTS: u32 = 100;

fn main() {
    let runtime = &tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut rounds = Rounds::new();
    let cases = [
        Field::Nowhere,
        Field::Sensitive,
        Field::Plain,
        Field::Indexed,
    ]
    .map(|field| {
        let mut connection = runtime.block_on(Connection::open()).unwrap();
        let mut send = move |requests| runtime.block_on(batch(&mut connection, field, requests));
        let first = send(1).sent;
        let each = send(REQUESTS).sent / u64::from(REQUESTS);
        (
            field,
            first,
            each,
            rounds.case(move || send(REQUESTS).micros),
        )
    });
    let (.., floor) = cases[0];
    let samples = rounds.run(ROUNDS);
    let rows = cases.map(|(field, first, each, case)| {
        let beyond = samples.added(case, floor);
        vec![
            format!("{field:?}"),
            first.to_string(),
            each.to_string(),
            format!("{:.1}", samples.of(case).median),
            format!("{:.1}", beyond.median),
            beyond.range(1),
        ]
    });
    print_table(
        &format!("A token of {TOKEN_LENGTH} characters on HTTP/2"),
        &[
            "token",
            "bytes: first request",
            "each further one",
            "µs",
            "beyond no token",
            "middle half",
        ],
        &rows,
    );
}

struct Batch {
    sent: u64,
    /// For one request, there and back.
    micros: f64,
}

async fn batch(connection: &mut Connection, field: Field, requests: u32) -> Batch {
    let header = field.header();
    let (sent, start) = (connection.sent(), Instant::now());
    for _ in 0..requests {
        let mut request = request().unwrap();
        if let Some((name, value)) = &header {
            request.headers_mut().insert(name, value.clone());
        }
        connection.send(request).await.unwrap();
    }
    Batch {
        sent: connection.sent() - sent,
        micros: start.elapsed().as_secs_f64() * 1e6 / f64::from(requests),
    }
}
