//! The two clocks, as values that are passed in: no core reads a clock.
//!
//! *Place*: servers read the operating system's clocks and hand [`Now`] down; the simulation makes it up.
//!
//! [`Moment`] is for durations (leases, elections, deadlines) and never steps; [`Now::wall_ms`] is for what
//! people and other machines see (expiry, timestamps) and may step either way.
//!
//! *Next stop*: `consensus::lease`, where the difference matters most.

use std::time::Duration;

/// A point on this machine's CLOCK_BOOTTIME, in nanoseconds; comparable only within one machine.
///
/// BOOTTIME and not MONOTONIC: a lease must not survive a suspended machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `duration` later; saturates at the end of time.
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// Time since `earlier`; zero if `earlier` is in fact later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For durations.
    pub moment: Moment,
    /// Wall clock, milliseconds since the Unix epoch.
    pub wall_ms: u64,
}
