//! `allocations CASE` prints what one request of that case allocates: how often,
//! and how many bytes. A program of its own, as its allocator counts.

use peers_cost::{FULL, enter, named};

const REQUESTS: usize = 1000;

fn main() {
    let _context = enter();
    let name = std::env::args().nth(1).expect("allocations CASE");
    let mut subject = named(&name).expect("no such case").make();
    let send = subject.prepare(FULL, REQUESTS);
    let counted = allocation_counter::measure(send);
    let each = |total: u64| total as f64 / REQUESTS as f64;
    println!(
        "{} {}",
        each(counted.count_total),
        each(counted.bytes_total)
    );
}
