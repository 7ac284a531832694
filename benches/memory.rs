//! What stays in memory: for each audience of a cache, and for each request
//! under way. Counted, so it is the same in each run.
//!
//! `cargo bench --bench memory`
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark, not the library"
)]

#[path = "support/live.rs"]
mod live;
#[path = "support/rounds.rs"]
mod rounds;

use live::PerAudience;

fn main() {
    let rows = [1, 100, 10_000].map(|audiences| {
        let memory = PerAudience::of(audiences);
        vec![
            audiences.to_string(),
            format!("{:.0}", memory.bytes),
            format!("{:.1}", memory.allocations),
            format!("{:.0}", memory.token),
            format!("{:.0}", memory.header_value),
            format!("{:.0}", memory.beside_the_token()),
        ]
    });
    rounds::print_table(
        "Memory of a cached audience, its name of 32 characters included (target: ≤ 512 beside the token)",
        &[
            "audiences",
            "bytes each",
            "allocations each",
            "the token",
            "of which the header value",
            "bytes beside the token",
        ],
        &rows,
    );
    let rows: Vec<_> = live::futures()
        .into_iter()
        .map(|(client, alone, authorized)| {
            vec![
                client.to_owned(),
                alone.to_string(),
                authorized.to_string(),
                (authorized - alone).to_string(),
            ]
        })
        .collect();
    rounds::print_table(
        "Size of the future, body Full<Bytes> (target: ≤ 200 more)",
        &["client", "alone", "with the layer", "more"],
        &rows,
    );
}
