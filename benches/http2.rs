//! What a token costs on HTTP/2, where it is, in bytes and time: one connection
//! on loopback, one request after another, all cases in turn.
#![allow(clippy::print_stdout, reason = "it talks to people")]
#![allow(missing_docs, reason = "nobody links a benchmark")]

#[path = "support/http2_field.rs"]
mod http2_field;

use http2_field::{Connection, Field, request};
use tokio::time::Instant;
use tower_bearer::BoxError;

const ROUNDS: usize = 200;
const REQUESTS: u32 = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let mut cases = Vec::new();
    for field in [
        Field::Nowhere,
        Field::Sensitive,
        Field::Plain,
        Field::Indexed,
    ] {
        let mut connection = Connection::open().await?;
        let first = batch(&mut connection, field, 1).await?;
        let rest = batch(&mut connection, field, REQUESTS).await?;
        cases.push((field, connection, first, rest.sent / u64::from(REQUESTS)));
    }
    let mut times = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for ((field, connection, ..), times) in cases.iter_mut().zip(&mut times) {
            times.push(batch(connection, *field, REQUESTS).await?.micros);
        }
    }
    println!("| token | bytes: first request | each further one | µs | beyond no token |");
    println!("| --- | --: | --: | --: | --: |");
    for ((field, _, first, each), times_of) in cases.iter().zip(&times) {
        let beyond = times_of
            .iter()
            .zip(&times[0])
            .map(|(time, floor)| time - floor);
        println!(
            "| {field:?} | {} | {each} | {:.1} | {:.1} |",
            first.sent,
            median(times_of.iter().copied()),
            median(beyond),
        );
    }
    Ok(())
}

struct Batch {
    sent: u64,
    /// For one request, there and back.
    micros: f64,
}

async fn batch(
    connection: &mut Connection,
    field: Field,
    requests: u32,
) -> Result<Batch, BoxError> {
    let header = field.header();
    let (sent, start) = (connection.sent(), Instant::now());
    for _ in 0..requests {
        let mut request = request()?;
        if let Some((name, value)) = &header {
            request.headers_mut().insert(name, value.clone());
        }
        connection.send(request).await?;
    }
    Ok(Batch {
        sent: connection.sent() - sent,
        micros: start.elapsed().as_secs_f64() * 1e6 / f64::from(requests),
    })
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
