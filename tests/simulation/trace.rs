//! What happened, as a hash of all of it and as text of the last of it.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::time::{Duration, SystemTime};

use tower_bearer::{ErrorKind, Timestamp};

use crate::oracle::TokenId;
use crate::places::Key;

const KEPT: usize = 30;

#[derive(Clone, Copy, Debug, Hash)]
pub enum Event {
    Called {
        request: u64,
        cache: u32,
        host: usize,
    },
    Arrived {
        request: u64,
        token: Option<TokenId>,
        status: u16,
        answered_in: Duration,
    },
    Reset {
        request: u64,
    },
    Finished {
        request: u64,
        status: u16,
    },
    Failed {
        request: u64,
        kind: ErrorKind,
    },
    Cancelled {
        request: u64,
    },
    Fetch {
        fetch: u64,
        cache: u32,
        key: Key,
        refused: Option<TokenId>,
    },
    Brought {
        fetch: u64,
        token: TokenId,
        good_for: Duration,
    },
    BroughtNothing {
        fetch: u64,
        kind: ErrorKind,
    },
    Aborted {
        fetch: u64,
    },
    Fault {
        name: &'static str,
        place: usize,
        lasts: Duration,
    },
    NewCache {
        cache: u32,
    },
}

pub struct Trace {
    hash: DefaultHasher,
    events: u64,
    last: VecDeque<(Timestamp, Event)>,
    text: Option<String>,
}

impl Trace {
    /// `whole`: the text of every event is kept.
    pub fn new(whole: bool) -> Self {
        Self {
            hash: DefaultHasher::new(),
            events: 0,
            last: VecDeque::with_capacity(KEPT),
            text: whole.then(String::new),
        }
    }

    pub fn record(&mut self, now: Timestamp, event: Event) {
        (now.monotonic, now.wall, event).hash(&mut self.hash);
        self.events += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back((now, event));
        if let Some(text) = &mut self.text {
            writeln!(text, "{} {event:?}", At(now)).unwrap();
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    pub fn last(&self) -> String {
        let mut text = String::new();
        for (now, event) in &self.last {
            writeln!(text, "  {} {event:?}", At(*now)).unwrap();
        }
        text
    }
}

/// Both clocks, to be read by people.
pub struct At(pub Timestamp);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wall = self.0.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let (days, seconds) = (wall.as_secs() / 86_400, wall.as_secs() % 86_400);
        write!(
            f,
            "{:.6} s, day {days} {:02}:{:02}:{:02}.{:03}",
            self.0.monotonic.as_secs_f64(),
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            wall.subsec_millis(),
        )
    }
}
