//! Processor time of the load generator and of the servers.
//!
//! *Source*: proc(5), `/proc/PID/stat`; getrusage(2).
//!
//! *Next stop*: [`crate::report`].

use std::ops::{Add, Sub};
use std::time::Duration;

/// Kernel ticks a second in `/proc/PID/stat`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage(pub(crate) Duration);

impl Usage {
    /// That of this process.
    pub(crate) fn own() -> Self {
        Self::of(std::process::id())
    }

    /// That of a process; none of one that is gone.
    fn of(process: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        Self(Duration::from_secs_f64(ticks(&stat) / TICKS_PER_SECOND))
    }
}

/// That of some processes.
pub(crate) fn all(processes: &[u32]) -> Usage {
    processes
        .iter()
        .map(|process| Usage::of(*process))
        .fold(Usage::default(), Add::add)
}

/// Fields 14 and 15; the name before them, in parentheses, may hold spaces.
fn ticks(stat: &str) -> f64 {
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum()
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_does_not_matter() {
        let stat = "7 (a (b) c 1 2 3) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0 300";
        assert_eq!(ticks(stat), 300.0);
        assert_eq!(ticks(""), 0.0);
    }
}
