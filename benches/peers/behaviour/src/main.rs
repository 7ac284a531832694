//! Plays the behaviour scenarios against tower-bearer and other libraries, and
//! prints one Markdown table for each.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/behaviour/Cargo.toml
//! ```
//!
//! With `--check`, plays them against tower-bearer alone. With ids, plays only
//! those scenarios (`-- --check cold storm`). With `--peer`, plays only against
//! libraries with that in their names (`-- --peer azure`). It fails when a count
//! of tower-bearer's is not as it ought to be; never because of a time.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod entrant;
mod entrants;
mod report;
mod scenarios;

use std::process::ExitCode;

use peers::BoxError;

use crate::entrant::Entrant;
use crate::report::Table;
use crate::scenarios::Scenario;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<ExitCode, BoxError> {
    #[cfg(feature = "others")]
    if let [_, first, address] = &*std::env::args().collect::<Vec<_>>()
        && first == entrants::kube::PLUGIN
    {
        println!("{}", entrants::kube::plugin(address)?);
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = Wanted::from(std::env::args().skip(1))?;
    let entrants = wanted.entrants();
    let mut missed = Vec::new();
    for scenario in wanted.scenarios()? {
        let mut table = Table::new(&scenario.title());
        for entrant in entrants.iter().filter(|entrant| scenario.suits(entrant)) {
            eprintln!("{} against {}", scenario.id(), entrant.name);
            let rows = scenario.play(entrant).await?;
            for (note, figures) in &rows {
                table.add(&entrant.name, note, figures);
            }
            if !entrant.ours {
                continue;
            }
            for (note, figures) in rows {
                for figure in figures.into_iter().filter(peers::scenario::Figure::fails) {
                    missed.push(format!(
                        "{} {note}: {}: {} in place of {}",
                        scenario.id(),
                        figure.what,
                        figure.text(),
                        figure.ideal
                    ));
                }
            }
        }
        println!("{}", table.finish());
    }
    for miss in &missed {
        eprintln!("tower-bearer misses {miss}");
    }
    Ok(if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the command line asks for.
#[derive(Default)]
struct Wanted {
    ours_alone: bool,
    peer: Option<String>,
    scenarios: Vec<String>,
}

impl Wanted {
    fn from(mut arguments: impl Iterator<Item = String>) -> Result<Self, BoxError> {
        let mut wanted = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--check" => wanted.ours_alone = true,
                "--peer" => wanted.peer = Some(arguments.next().ok_or("--peer needs a name")?),
                _ => wanted.scenarios.push(argument),
            }
        }
        Ok(wanted)
    }

    fn entrants(&self) -> Vec<Entrant> {
        entrants::all()
            .into_iter()
            .filter(|entrant| !self.ours_alone || entrant.ours)
            .filter(|entrant| {
                let peer = self.peer.as_ref();
                peer.is_none_or(|part| entrant.name.contains(part.as_str()))
            })
            .collect()
    }

    fn scenarios(&self) -> Result<Vec<Box<dyn Scenario>>, BoxError> {
        let all = scenarios::all();
        let known: Vec<_> = all.iter().map(|scenario| scenario.id()).collect();
        if let Some(unknown) = self
            .scenarios
            .iter()
            .find(|id| !known.contains(&id.as_str()))
        {
            return Err(format!("no scenario {unknown}; there are {}", known.join(", ")).into());
        }
        let ids = &self.scenarios;
        Ok(all
            .into_iter()
            .filter(|scenario| ids.is_empty() || ids.iter().any(|id| id == scenario.id()))
            .collect())
    }
}
