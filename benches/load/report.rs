//! The figures as a table.

use std::fmt;
use std::time::Duration;

use super::Plan;
use super::proxy::Variant;
use super::tools::{Figures, Tool};

const LEAST_THROUGHPUT: f64 = 0.98;
const MOST_P99: f64 = 1.02;

/// One variant under one tool for one time.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) figures: Figures,
    pub(crate) cpu: Duration,
    pub(crate) token_requests: u64,
}

impl Run {
    fn throughput(&self) -> f64 {
        self.figures.requests as f64 / self.figures.seconds
    }

    fn p99(&self) -> f64 {
        self.figures.p99.as_secs_f64() * 1e6
    }

    fn slowest(&self) -> f64 {
        self.figures.slowest.as_secs_f64() * 1e3
    }

    /// Microseconds of the proxy's, for a request.
    fn cpu(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.figures.requests as f64
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0}/s, p99 {:.0} us, slowest {:.1} ms, cpu {:.1} us, {} failed, {} token requests",
            self.throughput(),
            self.p99(),
            self.slowest(),
            self.cpu(),
            self.figures.failed,
            self.token_requests
        )
    }
}

#[derive(Default)]
pub(crate) struct Report(Vec<(Tool, Variant, Run)>);

impl Report {
    pub(crate) fn add(&mut self, tool: Tool, variant: Variant, run: Run) {
        self.0.push((tool, variant, run));
    }

    fn runs(&self, tool: Tool, variant: Variant) -> impl Iterator<Item = &Run> {
        let runs = self.0.iter();
        runs.filter_map(move |(t, v, run)| (*t == tool && *v == variant).then_some(run))
    }

    fn median(&self, tool: Tool, variant: Variant, figure: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs(tool, variant).map(figure))
    }

    /// The layer's figure by that of `other` in the same round.
    fn ratio(&self, tool: Tool, other: Variant, figure: impl Fn(&Run) -> f64) -> f64 {
        let layer = self.runs(tool, Variant::Layer).map(&figure);
        let other = self.runs(tool, other).map(&figure);
        median(layer.zip(other).map(|(layer, other)| layer / other))
    }

    fn failed(&self, tool: Tool) -> u64 {
        let of_tool = self.0.iter().filter(|(of, ..)| *of == tool);
        of_tool.map(|(.., run)| run.figures.failed).sum()
    }

    /// Whether all requests got through, with few tokens.
    pub(crate) fn is_sound(&self, plan: &Plan) -> bool {
        // A life is refreshed after three tenths of it at the earliest, and
        // then there are the revocation and a retry after the hang.
        let most = plan.measured.as_secs_f64() / (plan.measured.as_secs_f64() / 2.0 * 0.3) + 3.0;
        self.0.iter().all(|(_, variant, run)| {
            let few = match variant {
                Variant::Layer => (4.0..=most).contains(&(run.token_requests as f64)),
                Variant::Nothing | Variant::Fixed => run.token_requests == 0,
            };
            few && run.figures.failed == 0 && run.figures.requests > 0
        })
    }

    pub(crate) fn meets_targets(&self) -> bool {
        [Tool::Wrk, Tool::H2load].into_iter().all(|tool| {
            self.ratio(tool, Variant::Fixed, Run::throughput) >= LEAST_THROUGHPUT
                && self.ratio(tool, Variant::Fixed, Run::p99) <= MOST_P99
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | HTTP/1: wrk | HTTP/2: h2load |\n| --- | --: | --: |")?;
        for (title, variant) in [
            ("no token", Variant::Nothing),
            ("a fixed token", Variant::Fixed),
            ("the layer", Variant::Layer),
        ] {
            row(f, &format!("{title}: requests/s, p99, CPU"), |tool| {
                format!(
                    "{:.0}, {:.0} µs, {:.1} µs",
                    self.median(tool, variant, Run::throughput),
                    self.median(tool, variant, Run::p99),
                    self.median(tool, variant, Run::cpu),
                )
            })?;
        }
        // Both programs wait for an answer before they ask again, so a stall
        // holds up no more requests than there are connections or streams: far
        // too few to move the p99.
        for (title, variant) in [
            ("a fixed token", Variant::Fixed),
            ("the layer", Variant::Layer),
        ] {
            row(f, &format!("{title}: slowest request of a run"), |tool| {
                let slowest = self.median(tool, variant, Run::slowest);
                let worst = self.runs(tool, variant).map(Run::slowest);
                let worst = worst.fold(0.0, f64::max);
                format!("{slowest:.1} ms, at worst {worst:.1} ms")
            })?;
        }
        for (title, other) in [
            ("a fixed token", Variant::Fixed),
            ("no token", Variant::Nothing),
        ] {
            let target = if other == Variant::Fixed {
                [
                    format!(" (≥ {LEAST_THROUGHPUT})"),
                    format!(" (≤ {MOST_P99})"),
                ]
            } else {
                Default::default()
            };
            row(
                f,
                &format!("throughput by that of {title}{}", target[0]),
                |tool| format!("{:.3}", self.ratio(tool, other, Run::throughput)),
            )?;
            row(f, &format!("p99 by that of {title}{}", target[1]), |tool| {
                format!("{:.3}", self.ratio(tool, other, Run::p99))
            })?;
            row(
                f,
                &format!("CPU for a request by that of {title}"),
                |tool| format!("{:.3}", self.ratio(tool, other, Run::cpu)),
            )?;
        }
        row(f, "failed requests (0)", |tool| {
            self.failed(tool).to_string()
        })?;
        row(f, "requests through the layer", |tool| {
            let runs = self.runs(tool, Variant::Layer);
            runs.map(|run| run.figures.requests)
                .sum::<u64>()
                .to_string()
        })?;
        row(
            f,
            "token requests in a run: two refreshes, one that hangs, a revocation",
            |tool| {
                let runs = self.runs(tool, Variant::Layer);
                let each: Vec<_> = runs.map(|run| run.token_requests.to_string()).collect();
                each.join(", ")
            },
        )
    }
}

fn row(f: &mut fmt::Formatter<'_>, title: &str, figure: impl Fn(Tool) -> String) -> fmt::Result {
    let (http1, http2) = (figure(Tool::Wrk), figure(Tool::H2load));
    writeln!(f, "| {title} | {http1} | {http2} |")
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        0 if figures.is_empty() => f64::NAN,
        0 => f64::midpoint(figures[middle - 1], figures[middle]),
        _ => figures[middle],
    }
}
