//! Tells which identities a program can have here, and why it has not the
//! others.
//!
//! ```sh
//! cargo run --example doctor
//! ```
//!
//! Each credential of the default chain is asked for a token by itself, and what
//! came of it is told: whether it works, how long it took, whose token it is, or
//! what went wrong and what to do about it. If the variable
//! `AzureServicesAuthConnectionString` is set, or with `--connection-string`,
//! it explains how that string is read, with its values hidden, and asks the
//! identity that it selects.
//!
//! The exit code is 0 if something works.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod links;
mod report;

use std::ffi::OsString;
use std::process::ExitCode;

use tower_bearer::TokenRequest;
use tower_bearer::azure::{ConnectionString, TokenProvider};

use links::Link;

const USAGE: &str = "\
usage: doctor [options]
  --resource URI               whom the tokens are for (default: Azure Resource Manager)
  --connection-string STRING   explain and try this one; better put one with a secret into
                               the variable AzureServicesAuthConnectionString";
const VARIABLE: &str = "AzureServicesAuthConnectionString";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("doctor: {message}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    // Developer tools run in process groups of their own, which the terminal
    // does not stop with this one: they end when the request is dropped.
    let works = tokio::select! {
        works = examine(&arguments) => works,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("doctor: interrupted");
            false
        }
    };
    if works {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether something works.
async fn examine(arguments: &Arguments) -> bool {
    let request = TokenRequest::new(arguments.resource.as_str());
    println!("resource: {}\n", arguments.resource);
    let given = arguments
        .connection_string
        .clone()
        .map(|string| ("the string", string));
    let string = given.or_else(|| Some((VARIABLE, std::env::var(VARIABLE).ok()?)));
    let mut works = false;
    if let Some((place, string)) = string.filter(|(_, string)| !string.trim().is_empty()) {
        print!("{place} {}", ConnectionString::explain(&string));
        println!();
        // If it cannot be used, that has been told.
        if ConnectionString::parse(&string).is_ok() {
            works = try_string(&string, &request).await;
        }
        if arguments.connection_string.is_some() {
            return works;
        }
        println!("without {place}:\n");
    }
    for link in Link::all() {
        let finding = link.ask(&request).await;
        report::print(&finding);
        works |= finding.works();
    }
    println!();
    for chain in Link::chains() {
        report::print_conclusion(&chain.ask(&request).await);
    }
    works
}

/// Asks the identity that a connection string selects.
async fn try_string(string: &str, request: &TokenRequest) -> bool {
    let credential =
        TokenProvider::from_connection_string(string).map(|provider| provider.credential().clone());
    let link = Link::new("TokenProvider", credential);
    let finding = link.ask(request).await;
    report::print(&finding);
    println!();
    finding.works()
}

struct Arguments {
    resource: String,
    connection_string: Option<String>,
}

impl Arguments {
    /// `None` if only help is wanted. No error repeats an argument: it may be
    /// a connection string.
    fn parse(mut given: impl Iterator<Item = OsString>) -> Result<Option<Self>, String> {
        let mut arguments = Self {
            resource: "https://management.azure.com/".to_owned(),
            connection_string: None,
        };
        let mut at = 0;
        while let Some(name) = given.next() {
            at += 1;
            let mut value = |option: &str| {
                at += 1;
                let value = given.next().and_then(|value| value.into_string().ok());
                value
                    .filter(|value| !value.starts_with("--"))
                    .ok_or_else(|| format!("{option} wants a value"))
            };
            match name.to_str().unwrap_or_default() {
                "--help" | "-h" => return Ok(None),
                "--resource" => arguments.resource = value("--resource")?,
                "--connection-string" => {
                    arguments.connection_string = Some(value("--connection-string")?);
                }
                _ => return Err(format!("argument {at} is none of the options")),
            }
        }
        Ok(Some(arguments))
    }
}
