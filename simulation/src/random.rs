//! All chance of a run, from one seed.
//!
//! *Place*: the world, the network, the faults and the clients' work draw from it, always in the order of events.
//!
//! *Invariants*: SplitMix64: the same seed gives the same numbers on every machine and release.
//!
//! *Next stop*: [`crate::sky`].

use std::time::Duration;

/// A generator of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        for constant in [0xbf58_476d_1ce4_e5b9_u64, 0x94d0_49bb_1331_11eb] {
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(constant);
        }
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// A number in `start..end`.
    pub fn between(&mut self, start: u64, end: u64) -> u64 {
        start + self.below(end.saturating_sub(start))
    }

    /// True `permille` times of a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// A time in `start..end` microseconds.
    pub fn micros(&mut self, start: u64, end: u64) -> Duration {
        Duration::from_micros(self.between(start, end))
    }

    /// A time in `start..end` milliseconds, to the microsecond.
    pub fn millis(&mut self, start: u64, end: u64) -> Duration {
        self.micros(start * 1000, end * 1000)
    }

    /// One of a list that is not empty.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}
