//! Times of cases that are compared, on a machine that is never quiet.
//!
//! What disturbs a measurement (another program, a clock that is raised, a
//! cache that is cold) lasts longer than a batch of calls. So each round
//! measures one batch of every case, and only what was measured in the same
//! round is compared; of hundreds of rounds the median counts.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses its part")]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures time, and prints it"
)]

use std::fmt::Display;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How many calls are timed together.
pub const BATCH: usize = 256;

/// Whether Cargo was asked to measure. If not (`cargo test --benches`), one
/// round shows that everything runs.
pub fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Whether the part called `name` is wanted: all are, unless some are named on
/// the command line.
pub fn is_wanted(name: &str) -> bool {
    let arguments = std::env::args().skip(1);
    let named: Vec<_> = arguments.filter(|word| !word.starts_with('-')).collect();
    named.is_empty() || named.iter().any(|word| word == name)
}

/// Keeps glibc's allocator from giving memory back to the system, page table
/// and all, while what was made before is freed: that costs more than what is
/// measured, and more on two threads.
pub fn lid() -> Vec<u8> {
    black_box(vec![0; 8192])
}

/// Nanoseconds for one `call`, of as many as there are `inputs`.
pub fn nanoseconds<T>(inputs: Vec<T>, mut call: impl FnMut(T)) -> f64 {
    let count = inputs.len();
    let _lid = lid();
    let start = Instant::now();
    for input in inputs {
        call(input);
    }
    start.elapsed().as_nanos() as f64 / count as f64
}

/// For how long this thread has waited for a processor; nothing where the
/// system does not say.
pub fn waited_for_processor() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').nth(1).and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// The number of a case.
#[derive(Clone, Copy)]
pub struct Case(usize);

/// The cases that are compared with each other.
#[derive(Default)]
pub struct Rounds<'a>(Vec<Box<dyn FnMut() -> f64 + 'a>>);

impl<'a> Rounds<'a> {
    pub fn new() -> Self {
        Self::default()
    }

    /// `measure` is called once in each round, and gives the round's figure.
    pub fn case(&mut self, measure: impl FnMut() -> f64 + 'a) -> Case {
        self.0.push(Box::new(measure));
        Case(self.0.len() - 1)
    }

    pub fn run(mut self, rounds: usize) -> Samples {
        let rounds = if is_measuring() { rounds } else { 1 };
        let mut samples = vec![Vec::with_capacity(rounds); self.0.len()];
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        for _ in 0..rounds {
            for case in &order {
                samples[*case].push(self.0[*case]());
            }
            // To and fro, so that no case always has the same one before it.
            order.reverse();
        }
        Samples(samples)
    }
}

/// What was measured, round by round.
pub struct Samples(Vec<Vec<f64>>);

impl Samples {
    /// The figure of `case`.
    pub fn of(&self, case: Case) -> Spread {
        Spread::of(self.0[case.0].iter().copied())
    }

    /// What `case` takes more than `floor`.
    pub fn added(&self, case: Case, floor: Case) -> Spread {
        self.compared(case, floor, |case, floor| case - floor)
    }

    /// How many times as much `case` is as `other`.
    pub fn ratio(&self, case: Case, other: Case) -> Spread {
        self.compared(case, other, |case, other| case / other)
    }

    fn compared(&self, case: Case, other: Case, compare: impl Fn(f64, f64) -> f64) -> Spread {
        let pairs = self.0[case.0].iter().zip(&self.0[other.0]);
        Spread::of(pairs.map(|(case, other)| compare(*case, *other)))
    }
}

/// The median of the rounds, and between what the middle half of them lies.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub lower: f64,
    pub upper: f64,
}

impl Spread {
    fn of(samples: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = samples.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quarters: usize| sorted[(sorted.len() - 1) * quarters / 4];
        Self {
            median: at(2),
            lower: at(1),
            upper: at(3),
        }
    }

    /// The middle half, with so many decimals.
    pub fn range(&self, decimals: usize) -> String {
        format!("{:.decimals$} to {:.decimals$}", self.lower, self.upper)
    }
}

/// Prints a Markdown table, whose first column is text.
pub fn print_table(title: &str, columns: &[&str], rows: &[Vec<String>]) {
    println!("\n## {title}\n");
    print_row(columns);
    let rules = columns.iter().enumerate();
    print_row(rules.map(|(column, _)| if column == 0 { "---" } else { "--:" }));
    for row in rows {
        print_row(row);
    }
}

fn print_row(cells: impl IntoIterator<Item = impl Display>) {
    let cells: Vec<_> = cells.into_iter().map(|cell| cell.to_string()).collect();
    println!("| {} |", cells.join(" | "));
}
