//! The routes a client knows: regions that never overlap, by key.
//!
//! *Place*: [`super::Router`] asks it before every request and tells it what answers revealed.
//!
//! *Types to know*: [`RegionCache`], [`Route`].
//!
//! *Life of a route*: inserted from the placement driver or from EpochNotMatch → [`RegionCache::locate`] → the
//! leader moves ([`RegionCache::follow`]) or does not answer ([`RegionCache::next_peer`]) → dropped when every
//! peer was tried, or replaced by newer regions of its range.
//!
//! *Invariants*: ranges never overlap, asserted at insertion. Over any key the version of the covering region
//! only grows (a split adds, a merge takes the maximum plus one), so a view that overlaps a newer one is stale
//! and is not taken. A change names the generation it was based on: of many tasks that failed on one route only
//! the first changes it.
//!
//! *Limits*: at most `regions_max` routes; the one after the newcomer is dropped then.
//!
//! *Source*: `proto/README.md`, Epochs; `yadkv_proto::epoch`.
//!
//! *Next stop*: [`super::pd`].

use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use yadkv_proto::epoch;
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Peer, PeerRole, Region, RegionEpoch};

/// One region and whom to ask for it.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) region: Region,
    /// Position in `region.peers` of the peer believed to lead.
    leader: usize,
    /// Peers in a row that turned out not to lead.
    tried: usize,
    generation: u64,
}

impl Route {
    fn new(region: Region, leader: u64, otherwise: usize, generation: u64) -> Self {
        let leader = region.peers.iter().position(|peer| peer.id == leader);
        Self {
            region,
            leader: leader.unwrap_or(otherwise),
            tried: 0,
            generation,
        }
    }

    pub(crate) fn leader(&self) -> &Peer {
        &self.region.peers[self.leader]
    }

    pub(crate) fn range(&self) -> KeyRange {
        KeyRange::of(&self.region)
    }

    pub(crate) fn epoch(&self) -> RegionEpoch {
        self.region.region_epoch.unwrap_or_default()
    }
}

/// Non-overlapping routes by start key.
pub(crate) struct RegionCache {
    routes: BTreeMap<Bytes, Arc<Route>>,
    generation: u64,
    regions_max: usize,
}

impl RegionCache {
    pub(crate) fn new(regions_max: usize) -> Self {
        Self {
            routes: BTreeMap::new(),
            generation: 0,
            regions_max: regions_max.max(1),
        }
    }

    /// The route of a key in region space.
    pub(crate) fn locate(&self, key: &[u8]) -> Option<Arc<Route>> {
        let below = (Bound::Unbounded, Bound::Included(key));
        let (_, route) = self.routes.range::<[u8], _>(below).next_back()?;
        route.range().contains(key).then(|| route.clone())
    }

    /// The route of the keys right below a border (empty: below plus infinity).
    pub(crate) fn locate_below(&self, border: &[u8]) -> Option<Arc<Route>> {
        let below = match border {
            [] => (Bound::Unbounded, Bound::Unbounded),
            border => (Bound::Unbounded, Bound::Excluded(border)),
        };
        let (_, route) = self.routes.range::<[u8], _>(below).next_back()?;
        let end = &route.region.end_key;
        let reaches = end.is_empty() || (!border.is_empty() && end[..] >= *border);
        reaches.then(|| route.clone())
    }

    /// Takes a region in, in place of everything older that it overlaps.
    ///
    /// Returns false, and changes nothing, if the view is older than what is known or has no voter to ask.
    pub(crate) fn insert(&mut self, region: Region, leader: Option<&Peer>) -> bool {
        let range = KeyRange::of(&region);
        let voters: Vec<_> = voters(&region).collect();
        let Some(first) = voters.first().copied() else {
            return false;
        };
        if range.is_empty() {
            return false;
        }
        let overlapped = self.overlapped(&range);
        if overlapped.iter().any(|known| is_newer(known, &region)) {
            return false;
        }
        for known in &overlapped {
            self.routes.remove(&known.region.start_key);
        }
        self.put(region, leader, first);
        true
    }

    /// Takes in the one part of a region that `wanted` points out and nothing known covers.
    ///
    /// Where an old view is all there is for a key, the store that it leads to knows better; what is known to be
    /// newer stays.
    pub(crate) fn insert_gap(
        &mut self,
        region: &Region,
        leader: Option<&Peer>,
        wanted: impl Fn(&KeyRange) -> bool,
    ) {
        let Some(first) = voters(region).next() else {
            return;
        };
        let mut gaps = Vec::new();
        let mut start = region.start_key.clone();
        let mut more = true;
        for known in self.overlapped(&KeyRange::of(region)).iter().rev() {
            let known = known.range();
            if known.start > start {
                gaps.push(KeyRange::new(start, known.start));
            }
            more = !known.end.is_empty();
            start = known.end;
        }
        if more {
            gaps.push(KeyRange::new(start, region.end_key.clone()));
        }
        let gap = gaps.into_iter().find(|gap| !gap.is_empty() && wanted(gap));
        if let Some(gap) = gap {
            let mut region = region.clone();
            region.start_key = gap.start;
            region.end_key = gap.end;
            self.put(region, leader, first);
        }
    }

    fn put(&mut self, region: Region, leader: Option<&Peer>, otherwise: usize) {
        let start = region.start_key.clone();
        self.make_room(&start);
        self.generation += 1;
        let leader = leader.map_or(0, |leader| leader.id);
        let route = Route::new(region, leader, otherwise, self.generation);
        self.routes.insert(start.clone(), Arc::new(route));
        self.assert_apart(&start);
    }

    /// Sends the next request of this route to `leader`. A peer the region does not have drops the route.
    pub(crate) fn follow(&mut self, route: &Route, leader: &Peer) {
        let position = route
            .region
            .peers
            .iter()
            .position(|peer| peer.id == leader.id);
        match position {
            Some(position) => self.change(route, |route| {
                route.leader = position;
                route.tried = 0;
            }),
            None => self.forget(route),
        }
    }

    /// Sends the next request of this route to another voter, or drops it when all were tried.
    pub(crate) fn next_peer(&mut self, route: &Route) {
        let voters: Vec<_> = voters(&route.region).collect();
        if route.tried + 1 >= voters.len() {
            return self.forget(route);
        }
        let next = voters
            .iter()
            .find(|voter| **voter > route.leader)
            .or(voters.first())
            .copied();
        self.change(route, |route| {
            route.leader = next.unwrap_or(route.leader);
            route.tried += 1;
        });
    }

    /// Drops a route, unless it changed since.
    pub(crate) fn forget(&mut self, route: &Route) {
        if self.current(route) {
            self.routes.remove(&route.region.start_key);
        }
    }

    fn current(&self, route: &Route) -> bool {
        self.routes
            .get(&route.region.start_key)
            .is_some_and(|known| known.generation == route.generation)
    }

    fn change(&mut self, route: &Route, change: impl FnOnce(&mut Route)) {
        if !self.current(route) {
            return;
        }
        self.generation += 1;
        let mut changed = route.clone();
        change(&mut changed);
        changed.generation = self.generation;
        self.routes
            .insert(route.region.start_key.clone(), Arc::new(changed));
    }

    fn overlapped(&self, range: &KeyRange) -> Vec<Arc<Route>> {
        let mut found = Vec::new();
        let upto = match &range.end {
            end if end.is_empty() => Bound::Unbounded,
            end => Bound::Excluded(&end[..]),
        };
        let below = self.routes.range::<[u8], _>((Bound::Unbounded, upto));
        for (_, route) in below.rev() {
            if !route.range().overlaps(range) {
                break;
            }
            found.push(route.clone());
        }
        found
    }

    fn make_room(&mut self, start: &Bytes) {
        if self.routes.len() < self.regions_max {
            return;
        }
        let after = (Bound::Excluded(&start[..]), Bound::Unbounded);
        let victim = self.routes.range::<[u8], _>(after).next();
        let victim = victim.or_else(|| self.routes.iter().next());
        if let Some(victim) = victim.map(|(start, _)| start.clone()) {
            self.routes.remove(&victim);
        }
    }

    /// The new route touches its neighbours at most.
    fn assert_apart(&self, start: &Bytes) {
        let before = (Bound::Unbounded, Bound::Excluded(&start[..]));
        if let Some((_, before)) = self.routes.range::<[u8], _>(before).next_back() {
            let end = &before.region.end_key;
            assert!(!end.is_empty() && end <= start, "cached regions overlap");
        }
        let after = (Bound::Excluded(&start[..]), Bound::Unbounded);
        if let Some((after, _)) = self.routes.range::<[u8], _>(after).next() {
            let end = &self.routes[start].region.end_key;
            assert!(!end.is_empty() && end <= after, "cached regions overlap");
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }
}

/// Whether a known view certainly came after `region`, where they overlap.
fn is_newer(known: &Route, region: &Region) -> bool {
    let offered = region.region_epoch.unwrap_or_default();
    if known.region.id == region.id {
        epoch::compare(&known.epoch(), &offered) == Ordering::Greater
    } else {
        known.epoch().version > offered.version
    }
}

/// Positions of the peers that can lead.
fn voters(region: &Region) -> impl Iterator<Item = usize> + '_ {
    region
        .peers
        .iter()
        .enumerate()
        .filter(|(_, peer)| peer.role() != PeerRole::Learner)
        .map(|(position, _)| position)
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
