//! The built-in transport with no crypto provider, and with ring alone.

use std::process::ExitCode;

use tower_bearer::{ErrorKind, Transport};

fn main() -> ExitCode {
    let built = Transport::builder().build();
    println!("ring: {}, built: {built:?}", cfg!(feature = "ring"));
    let as_promised = match &built {
        Ok(_) => cfg!(feature = "ring"),
        Err(error) => {
            !cfg!(feature = "ring")
                && error.kind() == ErrorKind::Configuration
                && error.to_string().contains("aws-lc-rs or ring")
        }
    };
    if as_promised {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
