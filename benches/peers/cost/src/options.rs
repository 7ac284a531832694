//! The command line.

use std::fmt::Write as _;

use crate::{Case, all};

const ROUNDS: usize = 400;

/// What to measure, and for how long.
pub struct Options {
    pub rounds: usize,
    /// The cases asked for, and what they are compared with.
    pub cases: Vec<Case>,
}

impl Options {
    /// # Errors
    ///
    /// How it is to be used, if it is used in another way.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut rounds = ROUNDS;
        let mut only = Vec::new();
        while let Some(argument) = arguments.next() {
            // What Cargo passes to a benchmark that is to measure: without it,
            // there is one round.
            if argument == "--bench" {
                continue;
            }
            match (argument.as_str(), arguments.next()) {
                ("--only", Some(part)) => only.push(part),
                ("--rounds", Some(number)) => {
                    rounds = number.parse().ok().filter(|n| *n > 0).ok_or_else(usage)?;
                }
                _ => return Err(usage()),
            }
        }
        let cases = select(&only);
        if cases.iter().any(Case::is_library) {
            Ok(Self { rounds, cases })
        } else {
            Err(usage())
        }
    }
}

fn select(only: &[String]) -> Vec<Case> {
    let asked_for = |case: &Case| {
        let label = label(case);
        case.is_library() && (only.is_empty() || only.iter().any(|part| label.contains(part)))
    };
    let cases = all();
    let families: Vec<_> = cases
        .iter()
        .filter(|case| asked_for(case) || case.is_by_hand())
        .map(|case| case.family)
        .collect();
    cases
        .into_iter()
        .filter(|case| {
            asked_for(case)
                || case.is_by_hand()
                || (case.is_floor() && families.contains(&case.family))
        })
        .collect()
}

fn label(case: &Case) -> String {
    format!("{} {}", case.package, case.name)
}

fn usage() -> String {
    let mut text =
        String::from("[--only PART_OF_A_NAME]... [--rounds NUMBER]\n\nwhere the names are\n");
    for case in all().iter().filter(|case| case.is_library()) {
        let _ = writeln!(text, "  {}", label(case));
    }
    text
}
