//! What was played, in numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub days: u64,
    pub requests: u64,
    pub cancelled: u64,
    pub failed: u64,
    pub fetches: u64,
    pub brought: u64,
    pub refusals: u64,
    pub resends: u64,
    pub waits: u64,
    pub slowest_wait: Duration,
    pub events: u64,
    pub caches: u64,
    pub faults: BTreeMap<&'static str, u64>,
}

impl Figures {
    pub fn count_fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.days += other.days;
        self.requests += other.requests;
        self.cancelled += other.cancelled;
        self.failed += other.failed;
        self.fetches += other.fetches;
        self.brought += other.brought;
        self.refusals += other.refusals;
        self.resends += other.resends;
        self.waits += other.waits;
        self.slowest_wait = self.slowest_wait.max(other.slowest_wait);
        self.events += other.events;
        self.caches += other.caches;
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} days, {} events, {} caches",
            self.days, self.events, self.caches
        )?;
        writeln!(
            f,
            "{} requests: {} cancelled, {} without a token, {} waited for one, at most {:.3} s",
            self.requests,
            self.cancelled,
            self.failed,
            self.waits,
            self.slowest_wait.as_secs_f64()
        )?;
        writeln!(f, "{} answers 401, {} resends", self.refusals, self.resends)?;
        writeln!(
            f,
            "{} fetches, {} of which brought a token: {:.3} calls per needed one",
            self.fetches,
            self.brought,
            self.fetches as f64 / self.brought.max(1) as f64
        )?;
        for (name, count) in &self.faults {
            writeln!(f, "  {count:>8} {name}")?;
        }
        Ok(())
    }
}
