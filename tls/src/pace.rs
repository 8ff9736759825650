//! How often the same trouble is warned of.
//!
//! *Place*: [`crate::Incoming`], and whoever dials again and again.
//!
//! *Next stop*: [`crate::incoming`].

use std::time::{Duration, Instant};

/// Time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Lets a warning through now and then, and counts the rest.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<Instant>,
    unmentioned: u64,
}

impl Pace {
    /// Whether to warn now; if so, how many warnings were left out since the last one.
    pub fn warn(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now < last + WARN_EVERY) {
            self.unmentioned += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unmentioned))
    }
}
