//! Timestamps: strictly rising over the whole cluster, for ever.
//!
//! *Place*: the leader's [`crate::member`] owns one [`Oracle`] a term, made from the replicated bound after
//! an entry of that term was applied. The member sends a block out only if its lease still covers a clock
//! read after [`Oracle::take`].
//!
//! *Types to know*: [`Oracle`], [`Block`], [`Taken`].
//!
//! *Life of a block*: `take(count)` → physical follows the wall clock forwards, never back; logical counts
//! within one millisecond → below the replicated bound it is given; at the bound the caller waits until a
//! raise is applied.
//!
//! ```text
//! wall clock ──────────────●───── physical ≥ wall ──────────|bound
//!                           └─ 300 to 500 ms ahead ─────────┘   next leader starts at the bound
//! ```
//!
//! *Invariants*: every physical given is below an applied bound; a new oracle starts at the bound it read;
//! a block lies within one physical millisecond and its last logical is below 2^18.
//!
//! *Limits and failure*: when the clock stands or steps back, 2^18 timestamps last for one millisecond of
//! real time, as with a running clock; who wants more waits.
//!
//! *Source*: `proto/README.md`, Timestamps; `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`crate::ids`], which gives numbers out the same way.

use std::time::Duration;
use yadkv_proto::time::{Moment, Now};

/// Logical timestamps in one physical millisecond.
pub const LOGICAL_MAX: u64 = 1 << 18;
/// How far ahead of the present a raise puts the bound. More would expire living locks at a fail-over,
/// since the next leader starts there.
pub const AHEAD_MAX_MS: u64 = 500;
/// A raise is due when less than this is left. Less would make callers wait for the raise.
pub const AHEAD_MIN_MS: u64 = 300;

/// `count` timestamps `(physical, logical - count + 1 ..= logical)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// Milliseconds since the Unix epoch.
    pub physical: u64,
    /// Largest logical of the block, below 2^18.
    pub logical: u64,
}

/// What became of a wish for timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// These. Send them only under a lease that covers a later clock reading.
    Block(Block),
    /// The bound or the clock is in the way: ask again after a raise or at the next tick.
    Wait,
}

/// The leader's source of timestamps.
#[derive(Debug)]
pub struct Oracle {
    /// Physical part of the last block.
    physical: u64,
    /// Next unused logical in `physical`, up to 2^18.
    logical: u64,
    /// Applied bound: physical stays below.
    bound_ms: u64,
    /// Bound that has been proposed; at least `bound_ms`.
    proposed_ms: u64,
    /// When the physical part last followed a clock, and its value then: how fast it may run by itself.
    anchor: (Moment, u64),
}

impl Oracle {
    /// A source above everything below `bound_ms`, the bound that the replicated state holds.
    pub fn new(bound_ms: u64, now: Now) -> Self {
        let physical = bound_ms.max(now.wall_ms);
        Self {
            physical,
            logical: 0,
            bound_ms,
            proposed_ms: bound_ms,
            anchor: (now.moment, physical),
        }
    }

    // ANCHOR: take
    /// Takes `count` timestamps, 1 to 2^18.
    pub fn take(&mut self, count: u64, now: Now) -> Taken {
        assert!(
            (1..=LOGICAL_MAX).contains(&count),
            "the caller checked the count"
        );
        let (mut physical, mut logical) = (self.physical, self.logical);
        let mut anchor = self.anchor;
        if now.wall_ms > physical {
            (physical, logical) = (now.wall_ms, 0);
            anchor = (now.moment, physical);
        } else if logical + count > LOGICAL_MAX {
            (physical, logical) = (physical + 1, 0);
        }
        let elapsed = now.moment.since(anchor.0) + Duration::from_millis(1);
        let paced = anchor.1 + u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX / 2);
        if physical >= self.bound_ms || physical > paced {
            return Taken::Wait;
        }
        (self.physical, self.logical, self.anchor) = (physical, logical + count, anchor);
        Taken::Block(Block {
            physical,
            logical: logical + count - 1,
        })
    }
    // ANCHOR_END: take

    /// The bound to propose now, if one is due. The caller proposes it, or calls [`Oracle::dropped`].
    pub fn raise(&mut self, now: Now) -> Option<u64> {
        let present = now.wall_ms.max(self.physical);
        if self.proposed_ms > present + AHEAD_MIN_MS {
            return None;
        }
        self.proposed_ms = present + AHEAD_MAX_MS;
        Some(self.proposed_ms)
    }

    /// A raise was applied.
    pub fn raised(&mut self, bound_ms: u64) {
        self.bound_ms = self.bound_ms.max(bound_ms);
        self.proposed_ms = self.proposed_ms.max(bound_ms);
    }

    /// The proposed raise did not enter the log.
    pub fn dropped(&mut self) {
        self.proposed_ms = self.bound_ms;
    }

    /// The applied bound, milliseconds since the Unix epoch.
    pub fn bound_ms(&self) -> u64 {
        self.bound_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Now {
        Now {
            moment: Moment(ms * 1_000_000),
            wall_ms: 1_000_000 + ms,
        }
    }

    #[test]
    fn the_bound_is_waited_for_and_never_reached() {
        let mut oracle = Oracle::new(0, at(0));
        assert_eq!(oracle.take(1, at(0)), Taken::Wait);
        let bound = oracle.raise(at(0));
        assert_eq!(bound, Some(1_000_500));
        assert_eq!(oracle.raise(at(0)), None);
        assert_eq!(oracle.take(1, at(0)), Taken::Wait);
        oracle.raised(1_000_500);
        let block = Block {
            physical: 1_000_000,
            logical: 9,
        };
        assert_eq!(oracle.take(10, at(0)), Taken::Block(block));
        assert_eq!(oracle.take(1, at(500)), Taken::Wait);
        assert_eq!(oracle.raise(at(199)), None);
        assert_eq!(oracle.raise(at(200)), Some(1_000_700));
    }

    #[test]
    fn a_block_never_straddles_milliseconds_and_a_standing_clock_is_paced() {
        let mut oracle = Oracle::new(0, at(0));
        oracle.raised(2_000_000);
        let stuck = |ms: u64| Now {
            wall_ms: 1_000_000,
            ..at(ms)
        };
        let whole = |physical| {
            Taken::Block(Block {
                physical,
                logical: LOGICAL_MAX - 1,
            })
        };
        assert_eq!(
            oracle.take(1, stuck(0)),
            Taken::Block(Block {
                physical: 1_000_000,
                logical: 0
            })
        );
        assert_eq!(oracle.take(LOGICAL_MAX, stuck(0)), whole(1_000_001));
        assert_eq!(oracle.take(LOGICAL_MAX, stuck(0)), Taken::Wait);
        assert_eq!(oracle.take(LOGICAL_MAX, stuck(1)), whole(1_000_002));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        /// Clocks step either way, leaders come and go with the applied bound: every block lies above
        /// all earlier ones and below the bound.
        #[test]
        fn timestamps_rise_for_ever(steps in prop::collection::vec((0u8..6, 1u64..=LOGICAL_MAX, 0u64..2000), 1..200)) {
            let (mut moment, mut wall, mut bound, mut proposed) = (0u64, 5_000_000u64, 0u64, None);
            let mut oracle = Oracle::new(bound, Now { moment: Moment(0), wall_ms: wall });
            let mut last = None;
            for (kind, count, size) in steps {
                let now = Now { moment: Moment(moment * 1_000_000), wall_ms: wall };
                match kind {
                    0 => { moment += size; wall += size; }
                    1 => wall = wall.saturating_sub(size),
                    2 => wall += size,
                    3 => proposed = oracle.raise(now).or(proposed),
                    4 => if let Some(raised) = proposed.take() {
                        bound = raised.max(bound);
                        oracle.raised(raised);
                    },
                    _ if size % 10 == 0 => oracle = Oracle::new(bound, now),
                    _ => {}
                }
                let now = Now { moment: Moment(moment * 1_000_000), wall_ms: wall };
                if let Taken::Block(block) = oracle.take(count, now) {
                    let first = (block.physical, block.logical + 1 - count);
                    prop_assert!(last < Some(first));
                    prop_assert!(block.logical < LOGICAL_MAX && block.physical < bound);
                    last = Some((block.physical, block.logical));
                }
            }
        }
    }
}
