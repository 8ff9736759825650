//! Which of two views of a region is newer (`proto/README.md`, Epochs).
//!
//! *Place*: stores check a request's epoch against it, the placement driver decides by it which heartbeat
//! counts, the SDK which cached route survives.
//!
//! *Invariants*: a region's epoch never goes backwards in either part; two views with different parts
//! moving in opposite directions cannot both be true.
//!
//! *Next stop*: [`crate::key`].

use crate::metapb::RegionEpoch;
use std::cmp::Ordering;

/// Epoch of every first region: conf_ver 1, version 1.
pub const FIRST: RegionEpoch = RegionEpoch {
    conf_ver: 1,
    version: 1,
};

/// Compares two epochs as the placement driver does: the version first, then conf_ver.
pub fn compare(left: &RegionEpoch, right: &RegionEpoch) -> Ordering {
    (left.version, left.conf_ver).cmp(&(right.version, right.conf_ver))
}

// ANCHOR: stale
/// Whether `candidate` is older than `known` in any part, that is: stale.
pub fn is_stale(candidate: &RegionEpoch, known: &RegionEpoch) -> bool {
    candidate.version < known.version || candidate.conf_ver < known.conf_ver
}
// ANCHOR_END: stale
