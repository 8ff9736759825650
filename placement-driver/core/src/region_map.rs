//! The map of key ranges to regions: always a tiling of the whole key space.
//!
//! *Place*: part of the replicated [`crate::cluster::Cluster`]; changed only by applied commands; read to
//! answer look-ups and by the schedulers.
//!
//! *Types to know*: [`RegionMap`], [`Misfit`] (why a set of descriptors cannot replace another).
//!
//! ```text
//! replaced   [a ........ m)[m ... z)          one split region and its neighbour, merged later
//! added      [a .. c)[c ............ z)       exactly the same keys: no hole, no overlap
//! ```
//!
//! *Invariants* (asserted after every change): once there is a region, the first starts at minus infinity,
//! each starts where the one before ends, the last ends at plus infinity; at every key the version never
//! falls, and for one id neither part of the epoch falls.
//!
//! *Limits*: everything is in memory, about 300 bytes a region.
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`crate::pending`], where heartbeats that do not tile yet wait.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use yadkv_proto::epoch;
use yadkv_proto::id::RegionId;
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Region, RegionEpoch};

/// Bytes of a border: an encoded key of 8 KiB and room to spare.
const BORDER_BYTES_MAX: usize = 32 << 10;
/// Replicas of a region.
const PEERS_MAX: usize = 64;

/// Why descriptors cannot take the place of others. The map stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A region to replace is not in the map: it was replaced before.
    #[error("region {0} is not in the map")]
    Unknown(RegionId),
    /// The descriptor misses its id, epoch or peers, is too large, or its range is empty.
    #[error("descriptor of region {0} is incomplete")]
    Incomplete(RegionId),
    /// Another region uses this id.
    #[error("region {0} is in the map already")]
    Taken(RegionId),
    /// The epoch would go back, or stand still while the descriptor changes.
    #[error("epoch of region {0} would go back")]
    Stale(RegionId),
    /// The ranges have a hole, overlap, or cover something else.
    #[error("the regions do not cover exactly what they replace")]
    Cover,
}

/// All regions, by start key and by id.
#[derive(Clone, Debug, Default)]
pub struct RegionMap {
    by_start: BTreeMap<Bytes, Arc<Region>>,
    by_id: BTreeMap<RegionId, Arc<Region>>,
}

/// The epoch of a descriptor; (0, 0) if it has none.
pub fn epoch_of(region: &Region) -> RegionEpoch {
    region.region_epoch.unwrap_or_default()
}

impl RegionMap {
    /// Builds the map from what was stored; the regions must tile the key space or be none.
    pub fn load(regions: Vec<Region>) -> Result<Self, Misfit> {
        let mut map = Self::default();
        if !regions.is_empty() {
            map.first(regions)?;
        }
        Ok(map)
    }

    /// Puts the first regions into the empty map.
    pub fn first(&mut self, regions: Vec<Region>) -> Result<(), Misfit> {
        assert!(self.is_empty(), "first regions come once");
        let added = checked(regions)?;
        if !tiles(&added, &KeyRange::default()) {
            return Err(Misfit::Cover);
        }
        self.insert(added);
        self.assert_tiling();
        Ok(())
    }

    // ANCHOR: replace
    /// Puts `added` in the place of `removed`, or says why not and changes nothing.
    pub fn replace(&mut self, removed: &[RegionId], added: Vec<Region>) -> Result<(), Misfit> {
        let added = checked(added)?;
        self.check(removed, &added)?;
        for id in removed {
            let old = self
                .by_id
                .remove(id)
                .expect("checked: the region is in the map");
            self.by_start.remove(&old.start_key);
        }
        self.insert(added);
        self.assert_tiling();
        Ok(())
    }
    // ANCHOR_END: replace

    /// Whether `replace` would succeed. `added` is sorted by start key.
    fn check(&self, removed: &[RegionId], added: &[Arc<Region>]) -> Result<(), Misfit> {
        let mut old = Vec::with_capacity(removed.len());
        for id in removed {
            old.push(self.by_id.get(id).ok_or(Misfit::Unknown(*id))?);
        }
        old.sort_by(|left, right| left.start_key.cmp(&right.start_key));
        let (Some(first), Some(last)) = (old.first(), old.last()) else {
            return Err(Misfit::Cover);
        };
        let range = KeyRange::new(first.start_key.clone(), last.end_key.clone());
        if !tiles(&old, &range) || !tiles(added, &range) {
            return Err(Misfit::Cover);
        }
        for new in added {
            let id = RegionId(new.id);
            if self.by_id.contains_key(&id) && !removed.contains(&id) {
                return Err(Misfit::Taken(id));
            }
            let overlapped = old
                .iter()
                .filter(|old| KeyRange::of(old).overlaps(&KeyRange::of(new)));
            if overlapped.into_iter().any(|old| !succeeds(new, old)) {
                return Err(Misfit::Stale(id));
            }
        }
        Ok(())
    }

    fn insert(&mut self, regions: Vec<Arc<Region>>) {
        for region in regions {
            self.by_id.insert(RegionId(region.id), region.clone());
            self.by_start.insert(region.start_key.clone(), region);
        }
    }

    fn assert_tiling(&self) {
        assert_eq!(
            self.by_id.len(),
            self.by_start.len(),
            "a region has one place"
        );
        // The whole walk is quick only for small maps; a change itself has been checked above.
        if cfg!(debug_assertions) {
            let regions: Vec<_> = self.by_start.values().collect();
            assert!(
                tiles(&regions, &KeyRange::default()),
                "regions tile the key space"
            );
        }
    }

    /// Number of regions.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no region: the cluster is not bootstrapped.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The region with this id.
    pub fn by_id(&self, id: RegionId) -> Option<&Arc<Region>> {
        self.by_id.get(&id)
    }

    /// The region that contains `key`; none only in the empty map.
    pub fn by_key(&self, key: &[u8]) -> Option<&Arc<Region>> {
        let upto = (Bound::Unbounded, Bound::Included(key));
        self.by_start
            .range::<[u8], _>(upto)
            .next_back()
            .map(|(_, region)| region)
    }

    /// The regions before the one that contains `key`, nearest first.
    pub fn before(&self, key: &[u8]) -> impl Iterator<Item = &Arc<Region>> {
        let upto = (Bound::Unbounded, Bound::Included(key));
        self.by_start
            .range::<[u8], _>(upto)
            .rev()
            .skip(1)
            .map(|(_, region)| region)
    }

    /// The regions that hold keys of `range`, in key order.
    pub fn overlapping<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = &'a Arc<Region>> {
        let first = self
            .by_key(&range.start)
            .map(|region| region.start_key.clone());
        let from = Bound::Included(first.unwrap_or_default());
        self.by_start
            .range((from, Bound::Unbounded))
            .map(|(_, region)| region)
            .take_while(|region| range.end.is_empty() || region.start_key < range.end)
    }

    /// All regions in key order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Region>> {
        self.by_start.values()
    }
}

// ANCHOR: succeeds
/// Whether `new` may follow `old` at keys that both cover.
///
/// One id: neither part goes back and something rises; the range changes only with the version. Different
/// ids: the version rises, since it does so in every split and merge.
pub fn succeeds(new: &Region, old: &Region) -> bool {
    let (new_epoch, old_epoch) = (epoch_of(new), epoch_of(old));
    if new.id != old.id {
        return new_epoch.version > old_epoch.version;
    }
    if epoch::is_stale(&new_epoch, &old_epoch) || new_epoch == old_epoch {
        return false;
    }
    new_epoch.version > old_epoch.version || KeyRange::of(new) == KeyRange::of(old)
}
// ANCHOR_END: succeeds

/// Whether a descriptor has all that the map relies on.
pub fn is_complete(region: &Region) -> bool {
    let peers = &region.peers;
    let unique = |ids: &mut Vec<u64>| {
        ids.sort_unstable();
        ids.windows(2).all(|pair| pair[0] != pair[1]) && !ids.contains(&0)
    };
    region.id != 0
        && region
            .region_epoch
            .is_some_and(|epoch| epoch.version != 0 && epoch.conf_ver != 0)
        && !KeyRange::of(region).is_empty()
        && region.start_key.len().max(region.end_key.len()) <= BORDER_BYTES_MAX
        && (1..=PEERS_MAX).contains(&peers.len())
        && unique(&mut peers.iter().map(|peer| peer.id).collect())
        && unique(&mut peers.iter().map(|peer| peer.store_id).collect())
}

fn checked(mut regions: Vec<Region>) -> Result<Vec<Arc<Region>>, Misfit> {
    if let Some(bad) = regions.iter().find(|region| !is_complete(region)) {
        return Err(Misfit::Incomplete(RegionId(bad.id)));
    }
    regions.sort_by(|left, right| left.start_key.cmp(&right.start_key));
    let mut ids: Vec<_> = regions.iter().map(|region| region.id).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Misfit::Taken(RegionId(pair[0]))),
        None => Ok(regions.into_iter().map(Arc::new).collect()),
    }
}

/// Whether `regions`, sorted by start key, cover `range` exactly once.
fn tiles<R: AsRef<Region>>(regions: &[R], range: &KeyRange) -> bool {
    let (Some(first), Some(last)) = (regions.first(), regions.last()) else {
        return false;
    };
    let joined = regions.windows(2).all(|pair| {
        let (left, right) = (pair[0].as_ref(), pair[1].as_ref());
        !left.end_key.is_empty() && left.end_key == right.start_key
    });
    joined && first.as_ref().start_key == range.start && last.as_ref().end_key == range.end
}
