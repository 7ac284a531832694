//! Numbers that follow from a seed. Integers only where time is drawn, so that
//! a seed means the same on every machine.

use std::time::Duration;

/// `SplitMix64`.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers of `seed`; different `stream`s have nothing to do with each
    /// other.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.rotate_left(32));
        random.0 = random.next().wrapping_add(stream);
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From `[0, most)`.
    pub fn below(&mut self, most: usize) -> usize {
        let drawn = (u128::from(self.next()) * most as u128) >> 64;
        usize::try_from(drawn).unwrap()
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Small values as often as great ones: each doubling is equally likely.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let doublings = (most.as_nanos() / least.as_nanos().max(1)).max(1).ilog2();
        let least = least * 2_u32.pow(u32::try_from(self.below(doublings as usize + 1)).unwrap());
        (least + self.up_to(least)).min(most)
    }

    pub fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap();
        let drawn = (u128::from(self.next()) * u128::from(nanos)) >> 64;
        Duration::from_nanos(u64::try_from(drawn).unwrap())
    }

    /// `mean` on average.
    pub fn around(&mut self, mean: Duration) -> Duration {
        self.up_to(mean * 2)
    }
}
