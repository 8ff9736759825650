//! Ranges of keys, half open, where an empty end is plus infinity.
//!
//! *Place*: region borders, scans and range deletes everywhere.
//!
//! *Invariants*: a [`KeyRange`] made by [`KeyRange::new`] may be empty, and every operation on it keeps the
//! rule "empty start = minus infinity, empty end = plus infinity".
//!
//! *Next stop*: [`crate::codec`].

use crate::metapb::Region;
use bytes::Bytes;

/// `[start, end)`; an empty `end` is plus infinity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// First key inside; empty is minus infinity.
    pub start: Bytes,
    /// First key after; empty is plus infinity.
    pub end: Bytes,
}

impl KeyRange {
    /// The range between two borders.
    pub fn new(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self {
            start: start.into(),
            end: end.into(),
        }
    }

    /// The range of a region.
    pub fn of(region: &Region) -> Self {
        Self {
            start: region.start_key.clone(),
            end: region.end_key.clone(),
        }
    }

    /// Whether `key` lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && (self.end.is_empty() || key < &self.end[..])
    }

    /// Whether no key can lie inside.
    pub fn is_empty(&self) -> bool {
        !self.end.is_empty() && self.start >= self.end
    }

    /// Whether every key of `other` lies inside.
    pub fn covers(&self, other: &Self) -> bool {
        self.start <= other.start
            && (self.end.is_empty() || (!other.end.is_empty() && other.end <= self.end))
    }

    /// Whether some key lies inside both.
    pub fn overlaps(&self, other: &Self) -> bool {
        !self.intersect(other).is_empty()
    }

    /// The keys inside both; empty (`is_empty`) if there are none.
    pub fn intersect(&self, other: &Self) -> Self {
        let start = self.start.clone().max(other.start.clone());
        Self {
            start,
            end: min_end(&self.end, &other.end).clone(),
        }
    }
}

/// The smaller of two range ends, where empty is plus infinity.
pub fn min_end<'a>(left: &'a Bytes, right: &'a Bytes) -> &'a Bytes {
    if left.is_empty() || (!right.is_empty() && right < left) {
        right
    } else {
        left
    }
}
