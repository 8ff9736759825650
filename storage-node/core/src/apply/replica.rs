//! A replica as apply sees it: its descriptor and how far its log is carried out.
//!
//! *Place*: [`super::Applier`] keeps one for each region it has met; commands are judged by it and change it.
//!
//! *Invariants*: it is what the entries so far made of the region. Readers and the worker hear of it only after
//! the batch is written.
//!
//! *Next stop*: [`super::split`].

use super::{Applied, ApplyError};
use crate::layout;
use crate::split::check::Amount;
use crate::store::recover;
use yadkv_engine::Engine;
use yadkv_proto::id::{Index, RegionId};
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::storagepb::RegionRecord;

/// How far a region is applied, and what its worker has to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The position.
    pub applied: Applied,
    /// What was put since the last progress.
    pub written: Amount,
    /// Splits since then, oldest first.
    pub splits: Vec<SplitDone>,
    /// Entries up to here may leave the log once they are durable in the data engine.
    pub truncate: Option<Index>,
}

/// A split that was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitDone {
    /// Position of its entry.
    pub index: Index,
    /// The region itself, now.
    pub region: Region,
    /// The new regions, in key order.
    pub parts: Vec<Region>,
    /// Those of them that have to be started here: not those whose replica was destroyed here before.
    pub created: Vec<RegionId>,
}

impl Progress {
    /// Adds what came after.
    pub fn absorb(&mut self, later: Self) {
        self.applied = later.applied;
        self.written += later.written;
        self.splits.extend(later.splits);
        self.truncate = self.truncate.max(later.truncate);
    }
}

impl SplitDone {
    /// All descriptors that took the region's place, in key order.
    pub fn regions(&self) -> Vec<Region> {
        let mut regions = self.parts.clone();
        regions.push(self.region.clone());
        regions
    }
}

/// One replica.
pub(super) struct Replica {
    pub(super) applied: Applied,
    pub(super) region: Region,
    /// The one on this store.
    pub(super) peer: Peer,
    pub(super) written: Amount,
    pub(super) splits: Vec<SplitDone>,
    pub(super) truncate: Option<Index>,
}

impl Replica {
    pub(super) fn load(engine: &dyn Engine, id: RegionId) -> Result<Self, ApplyError> {
        let applied = recover::load_applied(engine, id)?.ok_or(ApplyError::Unknown(id))?;
        let record: RegionRecord =
            layout::load(engine, &layout::region_key(id))?.ok_or(ApplyError::Unknown(id))?;
        Ok(Self {
            applied,
            region: record.region.unwrap_or_default(),
            peer: record.peer.unwrap_or_default(),
            written: Amount::default(),
            splits: Vec::new(),
            truncate: None,
        })
    }

    pub(super) fn version(&self) -> u64 {
        self.region
            .region_epoch
            .as_ref()
            .map_or(0, |epoch| epoch.version)
    }

    pub(super) fn range(&self) -> KeyRange {
        KeyRange::of(&self.region)
    }

    pub(super) fn take_progress(&mut self) -> Progress {
        Progress {
            applied: self.applied,
            written: std::mem::take(&mut self.written),
            splits: std::mem::take(&mut self.splits),
            truncate: self.truncate.take(),
        }
    }
}
