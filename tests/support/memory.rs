//! The memory of this process, searched for what should be gone.
#![allow(unreachable_pub)]

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;

/// A search that takes no memory while it goes on: what has just been freed
/// would be overwritten by it.
pub struct Search {
    maps: String,
    page: Vec<u8>,
}

impl Search {
    pub fn new() -> Self {
        Self {
            maps: String::with_capacity(1 << 20),
            page: vec![0; 1 << 20],
        }
    }

    /// How often what `hidden` stands for is in the writable memory of this
    /// process.
    pub fn copies(&mut self, hidden: &[u8], mask: u8) -> usize {
        let Self { maps, page } = self;
        maps.clear();
        File::open("/proc/self/maps")
            .unwrap()
            .read_to_string(maps)
            .unwrap();
        let mut memory = File::open("/proc/self/mem").unwrap();
        let own = page.as_ptr() as u64..page.as_ptr_range().end as u64;
        let mut copies = 0;
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let start = u64::from_str_radix(start, 16).unwrap();
            let end = u64::from_str_radix(end, 16).unwrap();
            for (start, end) in outside(own.clone(), start..end) {
                copies += copies_between(&mut memory, page, start, end, hidden, mask);
            }
        }
        copies
    }
}

/// What of `range` is not in `own`: to read what is read into would copy what
/// is found there again and again.
fn outside(own: Range<u64>, range: Range<u64>) -> [(u64, u64); 2] {
    let clamped = |at: u64| at.clamp(range.start, range.end);
    [
        (range.start, clamped(own.start)),
        (clamped(own.end), range.end),
    ]
}

fn copies_between(
    memory: &mut File,
    page: &mut [u8],
    start: u64,
    end: u64,
    hidden: &[u8],
    mask: u8,
) -> usize {
    if start >= end || memory.seek(SeekFrom::Start(start)).is_err() {
        return 0;
    }
    let mut copies = 0;
    let mut left = usize::try_from(end - start).unwrap();
    while left > 0 {
        let length = left.min(page.len());
        let Ok(read) = memory.read(&mut page[..length]) else {
            break;
        };
        for byte in &mut page[..read] {
            *byte ^= mask;
        }
        copies += page[..read]
            .windows(hidden.len())
            .filter(|part| *part == hidden)
            .count();
        page.fill(0);
        left -= read.max(1);
    }
    copies
}
