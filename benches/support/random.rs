//! Random orders that are the same in each run.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses its part")]

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators".
pub struct Random(u64);

impl Random {
    pub fn with_seed(seed: u64) -> Self {
        Self(seed << 48)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from(mixed >> 33).unwrap_or_default() % end
    }
}
