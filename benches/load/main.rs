//! The example `proxy` under load from programs that were made for it; see
//! `run.sh`, which starts this.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to people"
)]
#![allow(missing_docs, reason = "nobody links a benchmark")]

mod faults;
mod proxy;
mod report;
mod tools;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tower_bearer::BoxError;

use proxy::{Proxy, Variant};
use report::{Report, Run};
use tools::Tool;
use world::World;

const USAGE: &str = "\
usage: benches/load/run.sh [--smoke | --rounds N --seconds N] [--check]
  --smoke      one short round: do all requests get through?
  --rounds N   how often all is measured (5)
  --seconds N  how long each measurement takes, at least 4 (12)
  --check      fail if the figures miss their targets, too";

/// What nobody can want to wait for.
const AT_MOST: Duration = Duration::from_secs(3600);

struct Plan {
    rounds: usize,
    /// Of the layer. Tokens live for half as long, so that two refreshes, a
    /// hang and a revocation fit in.
    measured: Duration,
    /// Of what the layer is compared with.
    compared: Duration,
    warm_up: Duration,
    check: bool,
}

impl Plan {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let seconds = Duration::from_secs;
        let (mut rounds, mut measured, mut smoke, mut check) = (5, 12, false, false);
        while let Some(option) = given.next() {
            let mut number = |least: u64| {
                let number = given.next().and_then(|value| value.parse().ok());
                number
                    .filter(|number| *number >= least)
                    .ok_or_else(|| format!("{option} wants a number of at least {least}"))
            };
            match option.as_str() {
                // What cargo adds.
                "--bench" => {}
                "--smoke" => smoke = true,
                "--check" => check = true,
                "--rounds" => rounds = number(1)?,
                "--seconds" => measured = number(4)?,
                _ => return Err(format!("there is no option {option:?}\n{USAGE}")),
            }
        }
        if smoke {
            return Ok(Self {
                rounds: 1,
                measured: seconds(4),
                compared: seconds(1),
                warm_up: Duration::ZERO,
                check: false,
            });
        }
        Ok(Self {
            rounds: usize::try_from(rounds).unwrap_or(usize::MAX),
            measured: seconds(measured),
            compared: seconds(measured),
            warm_up: seconds(1),
            check,
        })
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> ExitCode {
    let plan = match Plan::parse(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(message) => {
            eprintln!("load: {message}");
            return ExitCode::from(2);
        }
    };
    let measured = tokio::select! {
        measured = tokio::time::timeout(AT_MOST, measure(&plan)) => {
            measured.unwrap_or_else(|_| Err("not done after an hour".into()))
        }
        // Returns, so that what has been started is dropped, and ends with it.
        signal = asked_to_stop() => Err(signal.err().map_or("stopped".into(), Into::into)),
    };
    match measured {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn asked_to_stop() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn measure(plan: &Plan) -> Result<bool, BoxError> {
    let program = std::env::var_os("PROXY")
        .ok_or("PROXY is to name the proxy's program: start benches/load/run.sh")?;
    let world = World::start(plan.measured / 2).await?;
    let mut report = Report::default();
    for round in 0..plan.rounds {
        for tool in [Tool::Wrk, Tool::H2load] {
            // Each variant comes first, in the middle and last.
            for turn in 0..Variant::ALL.len() {
                let variant = Variant::ALL[(round + turn) % Variant::ALL.len()];
                let proxy = Proxy::start(&program, variant, tool, &world).await?;
                let run = one(plan, &world, &proxy, tool, variant).await?;
                proxy.stop().await?;
                eprintln!(
                    "round {} of {}: {tool:?} {variant:?} {run}",
                    round + 1,
                    plan.rounds
                );
                report.add(tool, variant, run);
            }
        }
    }
    println!("{report}");
    let (sound, fast) = (report.is_sound(plan), report.meets_targets());
    Ok(sound && (fast || !plan.check))
}

async fn one(
    plan: &Plan,
    world: &World,
    proxy: &Proxy,
    tool: Tool,
    variant: Variant,
) -> Result<Run, BoxError> {
    if !plan.warm_up.is_zero() {
        tool.run(proxy.url(), plan.warm_up).await?;
    }
    let (tokens, cpu) = (world.token_requests(), proxy.cpu_time()?);
    let figures = if variant == Variant::Layer {
        let faults = faults::play(world, plan.measured / 2);
        let (figures, faults) = tokio::join!(
            tool.run(proxy.url(), plan.measured),
            tokio::time::timeout(plan.measured, faults),
        );
        faults.map_err(|_| "the load ended before all had gone wrong that was to")?;
        figures?
    } else {
        tool.run(proxy.url(), plan.compared).await?
    };
    Ok(Run {
        figures,
        cpu: proxy.cpu_time()?.saturating_sub(cpu),
        token_requests: world.token_requests() - tokens,
    })
}
