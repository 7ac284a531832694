//! Cases that are compared in time and in allocations.

use allocation_counter::AllocationInfo;

use crate::rounds::{Rounds, lid, print_table};

/// A name, and what gives the nanoseconds for each of the calls that are made
/// with such inputs.
pub(crate) type Case<'a, I> = (&'a str, Box<dyn FnMut(Vec<I>) -> f64 + 'a>);

/// Prints a table in which every case is measured against the first.
pub(crate) fn print<I, const N: usize>(
    title: &str,
    rounds: usize,
    inputs: impl Fn() -> Vec<I>,
    mut cases: [Case<I>; N],
) {
    let allocations = cases.each_mut().map(|(_, case)| {
        // What is made once, and not for each call, comes before.
        case(inputs());
        let inputs = inputs();
        let calls = inputs.len();
        let counted = allocation_counter::measure(|| {
            case(inputs);
        });
        each(&counted, calls)
    });
    let mut compared = Rounds::new();
    let cases = cases.map(|(name, mut case)| {
        let inputs = &inputs;
        let case = compared.case(move || {
            let inputs = inputs();
            let _lid = lid();
            case(inputs)
        });
        (name, case)
    });
    let (first, floor) = cases[0];
    let samples = compared.run(rounds);
    let rows: Vec<_> = cases
        .iter()
        .zip(allocations)
        .map(|((name, case), [count, bytes])| {
            vec![
                (*name).to_owned(),
                format!("{:.0}", samples.of(*case).median),
                format!("{:.0}", samples.added(*case, floor).median),
                format!("{:.2}", samples.ratio(*case, floor).median),
                count,
                bytes,
            ]
        })
        .collect();
    print_table(
        title,
        &[
            "",
            "ns each",
            "added ns",
            &format!("× {first}"),
            "allocations each",
            "bytes each",
        ],
        &rows,
    );
}

fn each(counted: &AllocationInfo, calls: usize) -> [String; 2] {
    let each = |all: u64| format!("{:.1}", all as f64 / calls as f64);
    [each(counted.count_total), each(counted.bytes_total)]
}
