//! The same scenarios run against tower-bearer and against other libraries.
//!
//! - [`peer`]: what a library has to offer to take part.
//! - [`peers`]: the libraries, one file each.
//! - [`identity`] and [`resource`]: the scripted servers that all of them talk
//!   to, in process.
//! - [`load`]: how requests are made and their waits counted.
//! - [`scenario`] and [`scenarios`]: the scenarios, one file each, written once.
//! - [`report`]: the table.

pub mod identity;
pub mod load;
pub mod peer;
pub mod peers;
pub mod report;
pub mod resource;
pub mod scenario;
pub mod scenarios;

/// Any error, as it comes from a library under comparison.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
