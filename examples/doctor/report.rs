//! What is printed.

use tower_bearer::ErrorKind;

use crate::links::Finding;

/// A row, and below it why and what to do.
pub(crate) fn print(finding: &Finding) {
    let took = finding.took.as_secs_f64();
    let result = match &finding.outcome {
        Ok(_) => "works",
        Err(error) => match error.kind() {
            ErrorKind::Unavailable => "not available",
            ErrorKind::Rejected => "refused",
            ErrorKind::Configuration => "wrong setting",
            ErrorKind::Throttled => "throttled",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::Timeout => "no answer",
            ErrorKind::InvalidResponse => "unusable answer",
            _ => "failed",
        },
    };
    println!("{:<28} {result:<16} {took:>5.1} s", finding.name);
    match &finding.outcome {
        Ok(token) => {
            // A chain tells which of its credentials it was.
            if token.credential() != finding.name {
                println!("    by:  {}", token.credential());
            }
            println!("    as:  {}", token.principal());
        }
        Err(error) => {
            println!("    why: {}", error.message());
            for attempt in error.attempts() {
                println!("         - {attempt}");
            }
            if let Some(advice) = error.advice() {
                println!("    do:  {advice}");
            }
        }
    }
}

/// Which of them a chain takes.
pub(crate) fn print_conclusion(findings: &[Finding]) {
    println!();
    if std::env::var_os("AZURE_TOKEN_CREDENTIALS").is_some_and(|value| !value.is_empty()) {
        println!(
            "AZURE_TOKEN_CREDENTIALS is set: DefaultAzureCredential has no others than it says."
        );
        return;
    }
    match findings
        .iter()
        .find(|finding| !finding.lets_a_chain_go_on())
    {
        Some(finding) if finding.works() => {
            println!("DefaultAzureCredential takes {}.", finding.name);
        }
        Some(finding) => println!(
            "DefaultAzureCredential stops at {}: mend what is wrong with it, or take its \
             settings away.",
            finding.name
        ),
        None => println!("DefaultAzureCredential finds nothing that works."),
    }
}
