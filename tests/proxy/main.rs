//! The example `proxy`, on real sockets.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../support/issuer.rs"]
mod issuer;
#[path = "../support/loopback.rs"]
mod loopback;
#[path = "../../examples/proxy/main.rs"]
#[allow(dead_code, reason = "its `main` is for the command line")]
mod proxy;

mod command_line;
mod failures;
mod forwarding;
mod limits;
mod refusals;
mod shutdown;
mod tokens;
mod world;
