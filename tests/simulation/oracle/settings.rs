//! How a cache is set up, as the seed has it.

use std::time::Duration;

use crate::places::AUDIENCES;
use crate::random::Random;

/// The options of a cache.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub fetch_timeout: Duration,
    /// How many fetches may be under way at once.
    pub most: usize,
    pub warm: [bool; AUDIENCES.len()],
}

impl Settings {
    pub fn new(random: &mut Random) -> Self {
        Self {
            fetch_timeout: Duration::from_secs(random.pick(&[20, 120, 120])),
            most: random.pick(&[1, 2, UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED]),
            warm: [(); AUDIENCES.len()].map(|()| random.percent(30)),
        }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.most < UNLIMITED
    }

    /// A fetch that takes longer may be too slow for those who wait for it, or
    /// for their turn.
    pub(super) fn patience(&self) -> Duration {
        if self.is_limited() {
            Duration::from_millis(500)
        } else {
            Duration::from_secs(4)
        }
    }
}

/// More than there are keys.
const UNLIMITED: usize = 64;
