//! The one table.

use crate::{Case, Family};

/// What was measured of one case.
pub struct Row {
    pub case: Case,
    /// Nanoseconds more than its floor: full map, map with room.
    pub added: [f64; 2],
    /// Instructions of one call more than its floor.
    pub instructions: f64,
    /// Allocations and bytes of one call more than its floor.
    pub allocations: [f64; 2],
    /// Millions of calls in a second on two threads.
    pub two_threads: f64,
    pub scaling: f64,
}

/// Prints `rows`, one of which is what was written by hand.
///
/// # Panics
///
/// If none is.
pub fn print(rows: &[Row]) {
    let by_hand = rows.iter().find(|row| row.case.is_by_hand()).unwrap();
    println!(
        "| library | case | added ns | × (b) | added ns, roomy map | × (b) | added instructions | × (b) | added allocations | added bytes | 2 threads: calls/µs | against 1 thread |"
    );
    println!("| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |");
    for row in rows {
        let [full, roomy] = row.added;
        let times = |figure: f64, reference: f64| format!("{:.2}", figure / reference);
        // Azure's own map cannot be made with room.
        let roomy = if row.case.family == Family::Azure {
            ["–".to_owned(), "–".to_owned()]
        } else {
            [format!("{roomy:.0}"), times(roomy, by_hand.added[1])]
        };
        let [count, bytes] = row.allocations;
        let cells = [
            library(&row.case),
            row.case.name.to_owned(),
            format!("{full:.0}"),
            times(full, by_hand.added[0]),
            roomy[0].clone(),
            roomy[1].clone(),
            format!("{:.0}", row.instructions),
            times(row.instructions, by_hand.instructions),
            format!("{count:.0}"),
            format!("{bytes:.0}"),
            format!("{:.2}", row.two_threads),
            format!("{:.2}", row.scaling),
        ];
        println!("| {} |", cells.join(" | "));
    }
}

fn library(case: &Case) -> String {
    if case.is_library() {
        format!("{} {}", case.package, locked_version(case.package))
    } else {
        String::new()
    }
}

/// The version that this package depends on, which may be one of several that
/// are locked.
fn locked_version(package: &str) -> &'static str {
    const LOCK: &str = include_str!("../Cargo.lock");
    let own = concat!("name = \"", env!("CARGO_PKG_NAME"), "\"");
    let one_of_several = LOCK
        .split("\n\n")
        .find(|entry| entry.contains(own))
        .and_then(|entry| {
            let start = format!("\n \"{package} ");
            entry.split_once(&start)?.1.split('"').next()
        });
    let only_one = || {
        let start = format!("name = \"{package}\"\nversion = \"");
        LOCK.split_once(&start)?.1.split('"').next()
    };
    one_of_several.or_else(only_one).unwrap()
}
