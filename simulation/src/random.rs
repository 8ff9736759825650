//! All chance of a run, from one seed.
//!
//! *Place*: each machine, each link, each strike of the faults and each worker of a client has a generator of its own,
//! from which it draws in the order of events: what happens in one place shifts no draws in another.
//!
//! *Invariants*: SplitMix64: the same seed gives the same numbers on every machine and release.
//!
//! *Next stop*: [`crate::sky`].

use crate::sky::Machine;
use std::collections::BTreeMap;
use std::time::Duration;

/// A generator of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// A generator of its own for each seed and path: leaving another path's draws out does not shift its own.
    pub fn derived(seed: u64, path: [u64; 3]) -> Self {
        path.into_iter().fold(Self::new(seed), |parent, step| {
            Self::new(parent.0 ^ Self::new(step).draw())
        })
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

/// The generators of machines and links.
#[derive(Debug)]
pub struct Places {
    seed: u64,
    noise: u64,
    /// By machine, or by the two ends of a link.
    generators: BTreeMap<(Machine, Option<Machine>), Random>,
}

impl Places {
    /// Those of a seed; each `noise` has others.
    pub fn new(seed: u64, noise: u64) -> Self {
        Self {
            seed,
            noise,
            generators: BTreeMap::new(),
        }
    }

    /// What threads and disks of a machine draw from.
    pub fn machine(&mut self, machine: Machine) -> &mut Random {
        self.at(machine, None)
    }

    /// What decides about messages from one machine to another.
    pub fn link(&mut self, from: Machine, to: Machine) -> &mut Random {
        self.at(from, Some(to))
    }

    fn at(&mut self, machine: Machine, to: Option<Machine>) -> &mut Random {
        let other = to.map_or(0, |to| 1 + to.number());
        let path = [self.noise, machine.number(), other];
        self.generators
            .entry((machine, to))
            .or_insert_with(|| Random::derived(self.seed, path))
    }
}
