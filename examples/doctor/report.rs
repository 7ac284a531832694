//! What is printed.

use tower_bearer::ErrorKind;

use crate::links::Finding;

/// Of a terminal that nobody has made wider.
const COLUMNS: usize = 80;

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
                print_below("by:", token.credential());
            }
            print_below("as:", &token.principal().to_string());
        }
        Err(error) => {
            if let Some(by) = error.credential().filter(|by| *by != finding.name) {
                print_below("by:", by);
            }
            print_below("why:", error.message());
            for attempt in error.attempts() {
                print_below("", &format!("- {attempt}"));
            }
            if let Some(advice) = error.advice() {
                print_below("do:", advice);
            }
        }
    }
}

/// Which identity a chain has, which was asked for a token.
pub(crate) fn print_conclusion(chain: &Finding) {
    let name = chain.name;
    match &chain.outcome {
        Ok(token) => println!("{name} takes {}.", token.credential()),
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            println!("{name} finds nothing that works.");
        }
        Err(error) => {
            let last = error.attempts().last().map_or(error, |last| last.error());
            match last.credential().filter(|last| *last != name) {
                Some(last) => {
                    println!("{name} stops at {last}:");
                    println!("    mend what is wrong with it, or take its settings away.");
                }
                None => {
                    println!("{name} cannot be had:");
                    print_below("why:", error.message());
                    print_below("do:", error.advice().unwrap_or_default());
                }
            }
        }
    }
}

/// In lines that fit, each begun below where `text` begins. What somebody may
/// copy is left whole: a word, and a command between backticks.
fn print_below(label: &str, text: &str) {
    const INDENT: usize = 9;
    let mut line = format!("    {label:<5}");
    let mut is_command = false;
    let mut is_first = true;
    for word in text.split_whitespace() {
        let fits = line.chars().count() + 1 + word.chars().count() <= COLUMNS;
        if !is_first && !fits && !is_command {
            println!("{line}");
            line = " ".repeat(INDENT);
            is_first = true;
        }
        if !is_first {
            line.push(' ');
        }
        line.push_str(word);
        is_first = false;
        is_command ^= word.matches('`').count() % 2 == 1;
    }
    println!("{line}");
}
