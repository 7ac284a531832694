//! Prints the table. Measures time in this process; asks a process of its own
//! for each count of instructions, and another one for the allocations.

use std::env;
use std::process::{Command, ExitCode};

use peers_cost::{
    BATCH, Case, FULL, Options, ROOMY, Rounds, Row, Samples, Timed, calls_per_microsecond, enter,
    named, print,
};

/// As this program is called by itself, under callgrind.
const MEASURED: &str = "--measured";
const REQUESTS: usize = 4 * BATCH;

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

/// For each case: how long a call takes with each map, and how many calls are
/// made by one thread and by two.
struct Times {
    alone: Samples,
    calls: Vec<[Timed; 2]>,
    in_threads: Samples,
    throughputs: Vec<[Timed; 2]>,
}

impl Times {
    fn measure(cases: &[Case], count: usize) -> Self {
        let subjects: Vec<_> = cases.iter().map(Case::make).collect();
        let mut alone = Rounds::new();
        let calls = subjects.iter().map(|subject| {
            [FULL, ROOMY].map(|capacity| {
                let mut own = subject.another();
                alone.case(move || own.time(capacity))
            })
        });
        let calls = calls.collect();
        let mut in_threads = Rounds::new();
        let throughputs = subjects.iter().map(|subject| {
            [1, 2]
                .map(|threads| in_threads.case(move || calls_per_microsecond(&**subject, threads)))
        });
        let throughputs = throughputs.collect();
        eprintln!("one thread, {count} rounds");
        let alone = alone.run(count);
        eprintln!("two threads, {count} rounds");
        let in_threads = in_threads.run(count);
        Self {
            alone,
            calls,
            in_threads,
            throughputs,
        }
    }

    fn added(&self, n: usize, floor: usize) -> [f64; 2] {
        [0, 1].map(|map| {
            self.alone
                .added(self.calls[n][map], self.calls[floor][map])
                .median
        })
    }

    fn two_threads(&self, n: usize) -> f64 {
        self.in_threads.of(self.throughputs[n][1]).median
    }

    fn scaling(&self, n: usize) -> f64 {
        let [one, two] = self.throughputs[n];
        self.in_threads.ratio(two, one).median
    }
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
