//! Ids for stores, regions and peers: each given out once and never again.
//!
//! *Place*: the leader's [`crate::member`] owns one [`IdSource`] a term, made from the replicated bound
//! after an entry of that term was applied.
//!
//! *Life of an id*: the bound is raised by a chunk through the log → ids of the chunk are given out from
//! memory → the next leader starts at the bound, so the rest of the chunk is never used.
//!
//! *Invariants*: every id given is at or above the bound that was read at the start of the term and below
//! an applied bound that this leader raised.
//!
//! *Next stop*: [`crate::bootstrap`], the first to need ids.

use std::ops::Range;

/// Ids that one raise adds beyond the need. Smaller: more log entries; larger: more are wasted at each
/// fail-over.
pub const CHUNK: u64 = 1000;
/// Ids that one call may take.
pub const COUNT_MAX: u64 = 100_000;

/// The leader's source of ids.
#[derive(Debug)]
pub struct IdSource {
    next: u64,
    /// Applied bound: ids stay below.
    bound: u64,
    /// Bound that has been proposed; at least `bound`.
    proposed: u64,
}

impl IdSource {
    /// A source above everything below `bound`, the bound that the replicated state holds.
    pub fn new(bound: u64) -> Self {
        let next = bound.max(1);
        Self {
            next,
            bound: next,
            proposed: next,
        }
    }

    // ANCHOR: ids
    /// Takes `count` ids in a row, or none if the chunk holds fewer: raise the bound and ask again.
    pub fn take(&mut self, count: u64) -> Option<Range<u64>> {
        let end = self.next.checked_add(count)?;
        if end > self.bound {
            return None;
        }
        let ids = self.next..end;
        self.next = end;
        Some(ids)
    }

    /// The bound to propose so that `count` ids can be taken, if none that suffices is on its way.
    pub fn raise(&mut self, count: u64) -> Option<u64> {
        let need = self.next.saturating_add(count);
        if self.proposed >= need {
            return None;
        }
        self.proposed = need.saturating_add(CHUNK);
        Some(self.proposed)
    }

    // ANCHOR_END: ids
    /// A raise was applied.
    pub fn raised(&mut self, bound: u64) {
        self.bound = self.bound.max(bound);
        self.proposed = self.proposed.max(bound);
    }

    /// The proposed raise did not enter the log.
    pub fn dropped(&mut self) {
        self.proposed = self.bound;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_once_and_from_one() {
        let mut first = IdSource::new(0);
        assert_eq!(first.take(1), None);
        assert_eq!(first.raise(2), Some(1003));
        assert_eq!(first.raise(2), None);
        first.raised(1003);
        assert_eq!(first.take(2), Some(1..3));
        assert_eq!(first.take(1001), None);
        let mut second = IdSource::new(1003);
        assert_eq!(second.raise(1), Some(2004));
        second.raised(2004);
        assert_eq!(second.take(1), Some(1003..1004));
    }
}
