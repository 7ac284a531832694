//! Prints the table. Measures time in this process; asks a process of its own
//! for each count of instructions, and another one for the allocations.

use std::env;
use std::process::{Command, ExitCode};

use peers_cost::{
    CAPACITIES, Case, FULL, Options, Row, enter, in_threads, median, named, per_call, print,
};

/// As this program is called by itself, under callgrind.
const MEASURED: &str = "--measured";
/// Some batches of 256.
const REQUESTS: usize = 1024;

fn main() -> ExitCode {
    let _context = enter();
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [MEASURED, name] = [0, 1].map(|n| arguments.get(n).map_or("", String::as_str)) {
        send_under_callgrind(name);
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(arguments.into_iter()) {
        Ok(options) => options,
        Err(usage) => {
            eprint!("{usage}");
            return ExitCode::from(2);
        }
    };
    print(&rows(&options));
    ExitCode::SUCCESS
}

fn rows(options: &Options) -> Vec<Row> {
    let Options { cases, rounds } = options;
    let floor_of: Vec<_> = cases
        .iter()
        .map(|case| {
            let is_floor = |other: &Case| other.is_floor() && other.family == case.family;
            cases.iter().position(is_floor).unwrap()
        })
        .collect();

    let times = Times::measure(cases, *rounds);
    let instructions: Vec<_> = cases.iter().map(instructions).collect();
    let allocations: Vec<_> = cases.iter().map(allocations).collect();

    (0..cases.len())
        .map(|n| {
            let floor = floor_of[n];
            Row {
                case: cases[n],
                added: times.added(n, floor),
                instructions: instructions[n] - instructions[floor],
                allocations: [0, 1].map(|what| allocations[n][what] - allocations[floor][what]),
                two_threads: times.two_threads(n),
                scaling: times.scaling(n),
            }
        })
        .collect()
}

/// For each case: what each round came to.
struct Times {
    per_call: Vec<[Vec<f64>; 2]>,
    throughput: Vec<[Vec<f64>; 2]>,
}

impl Times {
    fn measure(cases: &[Case], rounds: usize) -> Self {
        let mut subjects: Vec<_> = cases.iter().map(Case::make).collect();
        let mut times = Self {
            per_call: vec![Default::default(); cases.len()],
            throughput: vec![Default::default(); cases.len()],
        };
        for round in 1..=rounds {
            for (subject, figures) in subjects.iter_mut().zip(&mut times.per_call) {
                for (capacity, figures) in CAPACITIES.into_iter().zip(figures) {
                    figures.push(per_call(&mut **subject, capacity));
                }
            }
            for (subject, [one, two]) in subjects.iter().zip(&mut times.throughput) {
                let threads = in_threads(&**subject);
                one.push(threads.one);
                two.push(threads.two);
            }
            if round % 50 == 0 {
                eprintln!("round {round} of {rounds}");
            }
        }
        times
    }

    fn added(&self, n: usize, floor: usize) -> [f64; 2] {
        [0, 1].map(|map| {
            median(pairs(
                &self.per_call[n][map],
                &self.per_call[floor][map],
                |a, b| a - b,
            ))
        })
    }

    fn two_threads(&self, n: usize) -> f64 {
        median(self.throughput[n][1].clone())
    }

    fn scaling(&self, n: usize) -> f64 {
        let [one, two] = &self.throughput[n];
        median(pairs(two, one, |two, one| two / one))
    }
}

fn pairs(left: &[f64], right: &[f64], join: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    left.iter().zip(right).map(|(l, r)| join(*l, *r)).collect()
}

fn instructions(case: &Case) -> f64 {
    eprintln!("callgrind: {}", case.name);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=peers_cost::client::measured*")
        .arg(env::current_exe().unwrap())
        .args([MEASURED, case.name])
        .output()
        .expect("it needs valgrind");
    let report = String::from_utf8_lossy(&output.stderr);
    let counted = report
        .lines()
        .find_map(|line| {
            line.split_once("Collected : ")?
                .1
                .trim()
                .parse::<f64>()
                .ok()
        })
        .filter(|counted| *counted > 0.0)
        .unwrap_or_else(|| panic!("no count for {}:\n{report}", case.name));
    counted / REQUESTS as f64
}

/// In batches, as where many requests are under way: what freeing them costs
/// depends on what lies beside them.
fn send_under_callgrind(name: &str) {
    const BATCH: usize = 256;
    let mut subject = named(name).expect("no such case").make();
    for _ in 0..REQUESTS / BATCH {
        subject.prepare(FULL, BATCH)();
    }
}

fn allocations(case: &Case) -> [f64; 2] {
    let program = env::current_exe().unwrap().with_file_name("allocations");
    let output = Command::new(program).arg(case.name).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<f64> = report
        .split_whitespace()
        .map(|figure| figure.parse().unwrap())
        .collect();
    figures.try_into().unwrap_or_else(|_| panic!("{output:?}"))
}
