//! Links between machines: latency, loss, duplicates, stragglers, cuts in one or both directions.
//!
//! *Place*: [`crate::sky::Sky::send`] asks it; faults set it.
//!
//! *Life of a message*: cut or lost, and gone → else delayed by a random latency → duplicated now and then,
//! or held back for seconds, so that later ones overtake it.
//!
//! *Invariants*: a message that left before a cut still arrives. Calls are never duplicated: they travel on
//! connections; a lost one ends in the caller's timeout.
//!
//! *Next stop*: [`crate::calls`].

use crate::random::Random;
use crate::sky::Machine;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// raft-rs's number of MsgTimeoutNow.
pub const TIMEOUT_NOW: u32 = 14;

/// All links.
#[derive(Debug, Default)]
pub struct Network {
    /// Directed links that carry nothing.
    pub cuts: BTreeSet<(Machine, Machine)>,
    /// Directed links with more latency.
    pub slow: BTreeMap<(Machine, Machine), Duration>,
    /// Messages lost, of a thousand.
    pub loss: u64,
    /// Raft messages delivered twice, of a thousand.
    pub duplicate: u64,
    /// Messages held back for up to two seconds, of a thousand.
    pub straggle: u64,
    /// Orders of a leader transfer held back, of a thousand.
    pub straggle_transfers: u64,
}

impl Network {
    /// Whether nothing gets from one machine to another.
    pub fn is_cut(&self, from: Machine, to: Machine) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Cuts a link in both directions.
    pub fn cut(&mut self, one: Machine, other: Machine) {
        self.cuts.extend([(one, other), (other, one)]);
    }

    /// Mends a link in both directions.
    pub fn mend(&mut self, one: Machine, other: Machine) {
        self.cuts.remove(&(one, other));
        self.cuts.remove(&(other, one));
    }

    /// Forgets every fault.
    pub fn heal(&mut self) {
        *self = Self::default();
    }

    /// When the copies of a Raft message arrive.
    pub fn raft(
        &self,
        random: &mut Random,
        from: Machine,
        to: Machine,
        transfer: bool,
    ) -> Vec<Duration> {
        if self.is_cut(from, to) || random.chance(self.loss) {
            return Vec::new();
        }
        let copies = if random.chance(self.duplicate) { 2 } else { 1 };
        let straggle = if transfer {
            self.straggle_transfers.max(self.straggle)
        } else {
            self.straggle
        };
        (0..copies)
            .map(|_| {
                let held = if random.chance(straggle) {
                    random.millis(300, 2000)
                } else {
                    Duration::ZERO
                };
                self.latency(random, from, to) + held
            })
            .collect()
    }

    /// When a call or an answer arrives.
    pub fn call(&self, random: &mut Random, from: Machine, to: Machine) -> Option<Duration> {
        if self.is_cut(from, to) || random.chance(self.loss / 2) {
            return None;
        }
        let held = if random.chance(self.straggle / 2) {
            random.millis(50, 1000)
        } else {
            Duration::ZERO
        };
        Some(self.latency(random, from, to) + held)
    }

    fn latency(&self, random: &mut Random, from: Machine, to: Machine) -> Duration {
        let slow = self.slow.get(&(from, to)).copied().unwrap_or_default();
        // One in twenty is late enough to be overtaken.
        let jitter = if random.chance(50) {
            random.micros(500, 8000)
        } else {
            Duration::ZERO
        };
        random.micros(80, 600) + jitter + slow
    }
}
