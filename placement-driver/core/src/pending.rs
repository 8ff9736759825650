//! Newer descriptors that do not tile yet, waiting for the rest of their split or merge.
//!
//! After a split each part reports alone, after a merge the grown region may report before its neighbour's
//! last change is known. A descriptor waits here until it and others cover exactly what they replace; then
//! all of them go into the map in one command.
//!
//! *Place*: [`crate::member`] gives every heartbeat with a new epoch to [`Pending::offer`] and proposes the
//! [`Replacement`] that comes back. Volatile: a new leader hears it all again from the stores.
//!
//! *Types to know*: [`Pending`], [`Offer`].
//!
//! *Invariants*: waiting descriptors never overlap (of two that do, the lower version is history); none is
//! older than the map.
//!
//! *Limits*: at most [`PENDING_MAX`] descriptors; the longest waiting one leaves first. It comes back with
//! its region's next heartbeat.
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`crate::tso`].

use crate::region_map::{RegionMap, epoch_of, is_complete, succeeds};
use std::collections::BTreeMap;
use yadkv_proto::id::RegionId;
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::Region;

/// Waiting descriptors, at most.
pub const PENDING_MAX: usize = 4096;

/// A change of the map, to be proposed.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// Regions that leave, by start key.
    pub removed: Vec<RegionId>,
    /// Regions that come, by start key.
    pub added: Vec<Region>,
}

/// What a reported descriptor means for the map.
#[derive(Clone, Debug, PartialEq)]
pub enum Offer {
    /// The map says so already.
    Known,
    /// Older than the map, contradicting it at the same epoch, or incomplete: refuse the report.
    Refused(&'static str),
    /// Newer, but the rest is missing.
    Waiting,
    /// Together with others it fits.
    Fits(Replacement),
}

#[derive(Debug)]
struct Waiting {
    region: Region,
    /// Order of arrival.
    since: u64,
}

/// Descriptors that wait, by start key.
#[derive(Debug, Default)]
pub struct Pending {
    waiting: BTreeMap<bytes::Bytes, Waiting>,
    arrivals: u64,
}

impl Pending {
    /// How many descriptors wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a descriptor of this region waits.
    pub fn waits(&self, id: RegionId) -> bool {
        self.waiting.values().any(|other| other.region.id == id.0)
    }

    /// Considers a reported descriptor against the map.
    pub fn offer(&mut self, map: &RegionMap, region: &Region) -> Offer {
        if !is_complete(region) {
            return Offer::Refused("the descriptor is incomplete");
        }
        if map.is_empty() {
            return Offer::Refused("the cluster is not bootstrapped");
        }
        if let Some(known) = map.by_id(RegionId(region.id)) {
            if **known == *region {
                return Offer::Known;
            }
            if !succeeds(region, known) {
                return Offer::Refused("the epoch is stale");
            }
            if KeyRange::of(region) == KeyRange::of(known) {
                let removed = vec![RegionId(region.id)];
                return Offer::Fits(Replacement {
                    removed,
                    added: vec![region.clone()],
                });
            }
        }
        let range = KeyRange::of(region);
        if map
            .overlapping(&range)
            .any(|known| !succeeds(region, known))
        {
            return Offer::Refused("a newer region covers its keys");
        }
        if !self.admit(region, &range) {
            return Offer::Refused("a newer region has reported its keys");
        }
        match self.fit(map, range) {
            Some(replacement) => {
                for added in &replacement.added {
                    self.waiting.remove(&added.start_key);
                }
                Offer::Fits(replacement)
            }
            None => Offer::Waiting,
        }
    }

    /// Lets a descriptor wait, in place of the older ones that it contradicts; false if it is the older.
    fn admit(&mut self, region: &Region, range: &KeyRange) -> bool {
        let rivals: Vec<_> = (self.waiting.iter())
            .filter(|(_, other)| {
                other.region.id == region.id || KeyRange::of(&other.region).overlaps(range)
            })
            .map(|(start, other)| {
                (
                    start.clone(),
                    succeeds(region, &other.region),
                    other.region == *region,
                )
            })
            .collect();
        if rivals.iter().any(|(_, newer, same)| !newer && !same) {
            return false;
        }
        for (start, ..) in rivals {
            self.waiting.remove(&start);
        }
        if self.waiting.len() >= PENDING_MAX {
            let oldest = self.waiting.iter().min_by_key(|(_, waiting)| waiting.since);
            if let Some(start) = oldest.map(|(start, _)| start.clone()) {
                self.waiting.remove(&start);
            }
        }
        self.arrivals += 1;
        let waiting = Waiting {
            region: region.clone(),
            since: self.arrivals,
        };
        self.waiting.insert(region.start_key.clone(), waiting);
        true
    }

    /// The smallest change around `range` that waiting descriptors can make whole, if there is one.
    fn fit(&self, map: &RegionMap, mut range: KeyRange) -> Option<Replacement> {
        // Grow to the borders of the map, then of what waits there, until both agree.
        loop {
            let (first, last) = ends(map.overlapping(&range).map(|region| &**region))?;
            let whole = KeyRange::new(first, last);
            let added = self.cover(&whole)?;
            let (first, last) = ends(added.iter().copied())?;
            let covered = KeyRange::new(first, last);
            if covered == whole {
                let removed = map
                    .overlapping(&whole)
                    .map(|region| RegionId(region.id))
                    .collect();
                let added: Vec<_> = added.into_iter().cloned().collect();
                let taken = |new: &Region| {
                    let known = map.by_id(RegionId(new.id));
                    known.is_some_and(|known| !whole.covers(&KeyRange::of(known)))
                };
                return (!added.iter().any(taken)).then_some(Replacement { removed, added });
            }
            range = covered;
        }
    }

    /// Waiting descriptors without a hole over `range`; the outer ones may reach beyond it.
    fn cover(&self, range: &KeyRange) -> Option<Vec<&Region>> {
        let upto = self
            .waiting
            .range(..=range.start.clone())
            .next_back()?
            .0
            .clone();
        let mut added: Vec<&Region> = Vec::new();
        for waiting in self
            .waiting
            .range(upto..)
            .map(|(_, waiting)| &waiting.region)
        {
            match added.last() {
                Some(last) if last.end_key != waiting.start_key => return None,
                _ => added.push(waiting),
            }
            if !KeyRange::of(waiting).contains(&range.start) && added.len() == 1 {
                return None;
            }
            let end = &waiting.end_key;
            if end.is_empty() || (!range.end.is_empty() && *end >= range.end) {
                return Some(added);
            }
        }
        None
    }

    /// Forgets what the map has overtaken. Call after the map changed.
    pub fn prune(&mut self, map: &RegionMap, changed: &KeyRange) {
        self.waiting.retain(|_, waiting| {
            let range = KeyRange::of(&waiting.region);
            !range.overlaps(changed)
                || map
                    .overlapping(&range)
                    .all(|known| succeeds(&waiting.region, known))
        });
    }

    /// A change that became possible because the map changed, if there is one: the place that a waiting
    /// descriptor's id had may be free now.
    pub fn recheck(&mut self, map: &RegionMap) -> Option<Replacement> {
        let ranges = self
            .waiting
            .values()
            .map(|waiting| KeyRange::of(&waiting.region));
        let replacement = ranges.into_iter().find_map(|range| self.fit(map, range))?;
        for added in &replacement.added {
            self.waiting.remove(&added.start_key);
        }
        Some(replacement)
    }

    /// The versions that wait, for people to look at: (region, version).
    pub fn versions(&self) -> Vec<(RegionId, u64)> {
        let regions = self.waiting.values().map(|waiting| &waiting.region);
        regions
            .map(|region| (RegionId(region.id), epoch_of(region).version))
            .collect()
    }
}

/// First start and last end of regions in key order.
fn ends<'a>(regions: impl Iterator<Item = &'a Region>) -> Option<(bytes::Bytes, bytes::Bytes)> {
    let mut regions = regions.peekable();
    let first = regions.peek()?.start_key.clone();
    regions.last().map(|last| (first, last.end_key.clone()))
}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod tests;
