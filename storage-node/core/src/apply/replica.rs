//! A replica as apply sees it: its descriptor and how far its log is carried out.
//!
//! *Place*: [`super::Applier`] keeps one for each region it has met; commands are judged by it and change it.
//!
//! *Invariants*: it is what the entries so far made of the region. Readers and the worker hear of it only after
//! the batch is written.
//!
//! *Next stop*: [`super::split`], [`super::members`].

use super::{Applied, ApplyError};
use crate::check::Point;
use crate::layout::{self, FORMAT};
use crate::split::check::Amount;
use crate::store::message::Adopted;
use crate::store::recover;
use bytes::Bytes;
use prost::Message;
use yadkv_consensus::MembersChange;
use yadkv_engine::Engine;
use yadkv_proto::id::{Index, PeerId, RegionId};
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::storagepb::{Merging, PeerState, RegionRecord};

/// How far a region is applied, and what its worker has to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The position.
    pub applied: Applied,
    /// What was put since the last progress.
    pub written: Amount,
    /// Bytes of the entries since then.
    pub consumed: u64,
    /// What the descriptor went through since then, oldest first.
    pub changes: Vec<Change>,
    /// Entries up to here may leave the log once they are durable in the data engine.
    pub truncate: Option<Index>,
    /// The data right after a check's entry, if the last entry is one.
    pub check: Option<Point>,
}

/// A change of the descriptor that was applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The region was cut.
    Split(SplitDone),
    /// Its members are others.
    Members(MembersDone),
    /// It waits to become part of another one.
    MergePrepared(Region, Merging),
    /// It does not become part of another one after all.
    MergeRolledBack(Region),
    /// Another region is part of it now.
    Merged(MergedDone),
    /// It is part of another one now: the replica is over, its tombstone written. Its data is the other one's.
    TakenIn(Region),
}

/// A merge that was applied, on the side of the region that took the other one in.
#[derive(Clone, Debug, PartialEq)]
pub struct MergedDone {
    /// The region now.
    pub region: Region,
    /// What it took in.
    pub source: RegionId,
    /// All that it has taken in lately.
    pub merged: Vec<u64>,
}

/// A change of members that was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct MembersDone {
    /// The region now. Without a peer on this store, the replica is over: its data is deleted already.
    pub region: Region,
    /// What Raft is told.
    pub change: MembersChange,
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
        self.consumed += later.consumed;
        self.changes.extend(later.changes);
        self.truncate = self.truncate.max(later.truncate);
        self.check = later.check.or(self.check.take());
    }
}

impl Change {
    /// The descriptor after it.
    pub fn region(&self) -> &Region {
        match self {
            Self::Split(done) => &done.region,
            Self::Members(done) => &done.region,
            Self::Merged(done) => &done.region,
            Self::MergePrepared(region, _)
            | Self::MergeRolledBack(region)
            | Self::TakenIn(region) => region,
        }
    }
}

impl SplitDone {
    /// The new replicas on this store, which campaign if the one they were cut off leads.
    pub fn created(self, campaign: bool) -> impl Iterator<Item = Adopted> {
        let created = self.created;
        let parts = self.parts.into_iter();
        let here = parts.filter(move |part| created.contains(&RegionId(part.id)));
        here.map(move |region| Adopted { region, campaign })
    }

    /// All descriptors that took the region's place, in key order.
    pub fn regions(&self) -> Vec<Region> {
        let mut regions = self.parts.clone();
        regions.push(self.region.clone());
        regions
    }
}

/// One replica.
#[derive(Clone)]
pub(super) struct Replica {
    pub(super) applied: Applied,
    pub(super) region: Region,
    /// The one on this store.
    pub(super) peer: Peer,
    /// The merge that it waits for.
    pub(super) merging: Option<Merging>,
    /// What became part of it lately, oldest first.
    pub(super) merged: Vec<u64>,
    /// It applies nothing any more: an entry has to read data that is damaged.
    pub(super) halted: bool,
    /// It is part of another region.
    pub(super) taken_in: bool,
    pub(super) written: Amount,
    pub(super) consumed: u64,
    pub(super) changes: Vec<Change>,
    pub(super) truncate: Option<Index>,
    /// The entry that asks for a check, and who compares: the last entry before a write.
    pub(super) check: Option<(Index, PeerId)>,
}

impl Replica {
    pub(super) fn load(engine: &dyn Engine, id: RegionId) -> Result<Self, ApplyError> {
        let applied = recover::load_applied(engine, id)?.ok_or(ApplyError::Unknown(id))?;
        let record: RegionRecord =
            layout::load(engine, &layout::region_key(id))?.ok_or(ApplyError::Unknown(id))?;
        if !layout::lives(&record) {
            return Err(ApplyError::Unknown(id));
        }
        Ok(Self {
            applied,
            region: record.region.unwrap_or_default(),
            peer: record.peer.unwrap_or_default(),
            merging: record.merging,
            merged: record.merged,
            halted: record.halted,
            taken_in: false,
            written: Amount::default(),
            consumed: 0,
            changes: Vec::new(),
            truncate: None,
            check: None,
        })
    }

    pub(super) fn version(&self) -> u64 {
        self.region
            .region_epoch
            .as_ref()
            .map_or(0, |epoch| epoch.version)
    }

    /// Its record, while it lives.
    pub(super) fn record(&self) -> Bytes {
        let state = match self.merging {
            Some(_) => PeerState::Merging,
            None => PeerState::Normal,
        };
        RegionRecord {
            format: FORMAT,
            region: Some(self.region.clone()),
            peer: Some(self.peer),
            state: state as i32,
            merging: self.merging.clone(),
            merged: self.merged.clone(),
            halted: self.halted,
            ..RegionRecord::default()
        }
        .encode_to_vec()
        .into()
    }

    /// Whether the replica on this store is no member any more, or the region is no more.
    pub(super) fn is_over(&self) -> bool {
        self.taken_in || self.region.peers.iter().all(|peer| peer.id != self.peer.id)
    }

    pub(super) fn range(&self) -> KeyRange {
        KeyRange::of(&self.region)
    }

    pub(super) fn take_progress(&mut self) -> Progress {
        Progress {
            applied: self.applied,
            written: std::mem::take(&mut self.written),
            consumed: std::mem::take(&mut self.consumed),
            changes: std::mem::take(&mut self.changes),
            truncate: self.truncate.take(),
            check: None,
        }
    }
}
