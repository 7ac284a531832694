//! Clients that are no tower services.

#[cfg(feature = "reqwest-middleware")]
pub(crate) mod reqwest_middleware;
