//! Plays every scenario against every peer and prints one Markdown table.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/Cargo.toml --bin scenarios
//! ```
//!
//! With `--check`, plays them against tower-bearer alone. With ids, plays only
//! those (`-- --check R35 R37`). Either way it fails when a figure of
//! tower-bearer's is not as it ought to be, unless it is one that depends on how
//! fast the machine is: those are only printed.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::process::ExitCode;

use peers::BoxError;
use peers::peer::Peer;
use peers::peers::{others, ours};
use peers::report::Table;
use peers::scenario::Scenario;
use peers::scenarios;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<ExitCode, BoxError> {
    let (mut check, mut ids) = (false, Vec::new());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--check" => check = true,
            id => ids.push(id.to_ascii_uppercase()),
        }
    }
    let mut peers: Vec<Box<dyn Peer>> = vec![ours()];
    if !check {
        peers.extend(others());
    }
    let chosen = chosen(&ids)?;

    let names: Vec<_> = peers.iter().map(|peer| peer.name()).collect();
    let mut table = Table::new(&names);
    let mut missed = Vec::new();
    for scenario in chosen {
        let mut columns = Vec::new();
        for peer in &peers {
            eprintln!("{} against {}", scenario.id(), peer.name());
            columns.push(scenario.run(&**peer).await?);
        }
        table.add(scenario.id(), scenario.title(), &columns);
        for figure in columns
            .iter()
            .take(1)
            .flatten()
            .filter(|figure| figure.fails())
        {
            missed.push(format!(
                "{}: {}: {} in place of {}",
                scenario.id(),
                figure.what,
                figure.text(),
                figure.ideal
            ));
        }
    }
    println!("{}", table.as_str());
    for miss in &missed {
        eprintln!("tower-bearer misses {miss}");
    }
    Ok(if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn chosen(ids: &[String]) -> Result<Vec<Box<dyn Scenario>>, BoxError> {
    let all = scenarios::all();
    let known: Vec<_> = all.iter().map(|scenario| scenario.id()).collect();
    if let Some(unknown) = ids.iter().find(|id| !known.contains(&id.as_str())) {
        return Err(format!("no scenario {unknown}; there are {}", known.join(", ")).into());
    }
    Ok(all
        .into_iter()
        .filter(|scenario| ids.is_empty() || ids.iter().any(|id| id == scenario.id()))
        .collect())
}
