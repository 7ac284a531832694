//! `ConnectionString`: what is read, what is refused and warned of, and that
//! nobody is told a value.
#![cfg(feature = "azure")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod built;
mod explained;
#[path = "../support/loopback.rs"]
#[cfg(target_os = "linux")]
mod loopback;
#[path = "../support/memory.rs"]
#[cfg(target_os = "linux")]
mod memory;
mod read;
mod refused;
mod warned_of;
#[cfg(target_os = "linux")]
mod wiped;

use tower_bearer::azure::ConnectionString;
use tower_bearer::{Error, ErrorKind};

const APP: &str = "f0b1f84a-ec74-4cef-8034-adbad168ce33";
const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

fn parse(text: &str) -> ConnectionString {
    ConnectionString::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// As it is written again.
fn again(text: &str) -> String {
    parse(text).to_string_with_secrets().to_string()
}

fn refusal(text: &str) -> Error {
    let error = ConnectionString::parse(text).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Configuration, "{text:?}");
    assert!(error.advice().is_some(), "{error}");
    error
}
