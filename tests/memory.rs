//! What the cache and the layer take up in memory. `cargo bench --bench memory`
//! prints the figures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../benches/support/live.rs"]
mod live;

use live::PerAudience;

/// What a key may take beside its token of 1,827 bytes.
const MOST_BYTES: f64 = 512.0;

#[test]
fn a_cached_audience_takes_little_beside_its_token() {
    let memory = PerAudience::of(10_000);
    assert!(memory.beside_the_token() <= MOST_BYTES, "{memory:?}");
}

#[test]
fn the_future_is_at_most_200_bytes_larger_than_the_clients() {
    for (client, alone, authorized) in live::futures() {
        assert!(
            authorized <= alone + 200,
            "{client}: {authorized} bytes, {alone} without the layer"
        );
    }
}
