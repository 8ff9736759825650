//! Replicas come and go, one durable step after the other, many at once.
//!
//! *Place*: a worker lets go of a replica and hands a [`Move`] down to apply; the server's thread and the simulation
//! take its steps once everything before is applied; the worker opens what it finds then.
//!
//! *Life of an installation*:
//!
//! | step | engine | durable after it |
//! |---|---|---|
//! | mark | data | the region is `Applying`, with position and set; its old data is deleted |
//! | reset | log | the log begins at the position; term and vote of the same replica stay |
//! | take in | data | the pairs are there |
//! | normal | data | the region is `Normal`, applied up to the position |
//! | forget | files | the set is discarded |
//!
//! *Life of a destruction*: tombstone and no data (data engine) → no log (log engine). A replica that removed itself by
//! an entry of its log has its tombstone already.
//!
//! *Invariants*: nobody reads or writes the region meanwhile; a replica that is marked is finished at the next start,
//! from `reset` on, before Raft reads a log that may contradict the snapshot. Ids of replicas rise: an older one than
//! the tombstone's is never installed. No two regions of a store overlap.
//!
//! *Limits and failure*: all moves of a store take their steps together, since what makes a step durable, a flush of the
//! data engine, costs the same for many. What does not fit is refused before anything is written.
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`crate::store`], its `moves`.

use super::receive::{Head, Received};
use crate::layout::{self, FORMAT, META};
use crate::planted::{self, Planted};
use crate::store::StoreError;
use crate::store::recover::{self, damaged};
use prost::Message;
use std::ops::ControlFlow;
use std::sync::Arc;
use yadkv_consensus::LogStore;
use yadkv_engine::{Direction, Durability, Engine, Intake, WriteBatch};
use yadkv_proto::id::{Index, PeerId, RegionId, Term};
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::storagepb::{AppliedRecord, PeerState, RegionRecord};

/// What a replica goes through.
#[derive(Debug)]
pub enum Move {
    /// A snapshot takes its place, or makes it.
    Install(Box<Received>),
    /// It is over.
    Destroy {
        /// The descriptor that it knows.
        region: Region,
        /// Itself.
        peer: Peer,
    },
}

/// A move is over: whatever the engines say of the region is true again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The region.
    pub region: RegionId,
}

/// What moves work on.
#[derive(Clone)]
pub struct Places {
    /// Data engine.
    pub kv: Arc<dyn Engine>,
    /// The same one, as it takes sets in.
    pub intake: Arc<dyn Intake>,
    /// All logs.
    pub log: LogStore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Mark,
    Reset,
    TakeIn,
    Normal,
    Forget,
    Bury,
    Wipe,
    Done,
}

/// The engine that a step wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrote {
    Data,
    Log,
}

/// Takes one step of every move, in order, and makes them durable; those that are over leave.
pub fn advance(moving: &mut Vec<Moving>, places: &Places) -> Result<Vec<Moved>, StoreError> {
    let (mut data, mut log) = (false, false);
    for one in &mut *moving {
        match one.step(places)? {
            Some(Wrote::Data) => data = true,
            Some(Wrote::Log) => log = true,
            None => {}
        }
    }
    if data {
        places.kv.sync()?;
    }
    if log && !planted::is(Planted::ResetNotSynced) {
        places.log.engine().sync()?;
    }
    let over = |one: &Moving| one.step == Step::Done;
    let moved = moving.iter().filter(|one| over(one));
    let moved = moved.map(|one| Moved { region: one.region }).collect();
    moving.retain(|one| !over(one));
    Ok(moved)
}

/// A move in progress.
pub struct Moving {
    region: RegionId,
    step: Step,
    what: What,
    /// Why nothing was installed.
    refusal: Option<String>,
}

enum What {
    Install(Installation, Option<Box<Received>>),
    Destroy(Region, Peer),
}

/// What is installed.
struct Installation {
    region: Region,
    peer: Peer,
    applied: AppliedRecord,
    set: String,
    /// What has become part of it.
    merged: Vec<u64>,
    /// Those of them whose replica ended for it.
    buried: Vec<RegionId>,
}

impl Move {
    /// The region.
    pub fn region(&self) -> RegionId {
        match self {
            Self::Install(received) => RegionId(received.head.region.id),
            Self::Destroy { region, .. } => RegionId(region.id),
        }
    }

    /// Begins it. Everything that was handed over to apply before is applied and forgotten.
    pub fn begin(self) -> Moving {
        let region = self.region();
        match self {
            Self::Install(received) => {
                let Head {
                    to,
                    region: descriptor,
                    applied,
                    merged,
                    ..
                } = received.head.clone();
                let installation = Installation {
                    region: descriptor,
                    peer: to,
                    applied,
                    set: received.head.set(),
                    merged,
                    buried: Vec::new(),
                };
                Moving {
                    region,
                    step: Step::Mark,
                    what: What::Install(installation, Some(received)),
                    refusal: None,
                }
            }
            Self::Destroy {
                region: descriptor,
                peer,
            } => Moving {
                region,
                step: Step::Bury,
                what: What::Destroy(descriptor, peer),
                refusal: None,
            },
        }
    }
}

impl Moving {
    /// Goes on with an installation that a crash interrupted; `None` if the record is of none.
    pub(crate) fn resume(record: &RegionRecord) -> Option<Self> {
        if record.state() != PeerState::Applying {
            return None;
        }
        let region = record.region.clone()?;
        let id = RegionId(region.id);
        let installation = Installation {
            region,
            peer: record.peer?,
            applied: record.arriving?,
            set: record.staged.clone(),
            merged: record.merged.clone(),
            buried: Vec::new(),
        };
        Some(Self {
            region: id,
            // The old log may be longer, and contradict the snapshot.
            step: match planted::is(Planted::LogKeptOnResume) {
                true => Step::TakeIn,
                false => Step::Reset,
            },
            what: What::Install(installation, None),
            refusal: None,
        })
    }

    /// Takes one step; what it wrote is to be made durable before the next.
    fn step(&mut self, places: &Places) -> Result<Option<Wrote>, StoreError> {
        let (next, wrote) = match (&mut self.what, self.step) {
            (What::Install(this, _), Step::Mark) => match this.mark(places)? {
                Ok(()) => (Step::Reset, Some(Wrote::Data)),
                Err(reason) => {
                    tracing::info!(region = self.region.0, reason, "snapshot refused");
                    self.refusal = Some(reason);
                    (Step::Forget, None)
                }
            },
            (What::Install(this, _), Step::Reset) => {
                this.reset(places)?;
                (Step::TakeIn, Some(Wrote::Log))
            }
            (What::Install(this, _), Step::TakeIn) => {
                places.intake.ingest(&this.set)?;
                (Step::Normal, None)
            }
            (What::Install(this, _), Step::Normal) => {
                this.finish(places)?;
                (Step::Forget, Some(Wrote::Data))
            }
            (What::Install(this, received), Step::Forget) => {
                places.intake.discard(&this.set)?;
                match (received.take(), self.refusal.take()) {
                    (Some(received), Some(reason)) => received.refuse(reason),
                    (Some(received), None) => received.done(),
                    (None, _) => {}
                }
                (Step::Done, None)
            }
            (What::Destroy(region, peer), Step::Bury) => {
                bury(places, region, *peer)?;
                let synced = !planted::is(Planted::MergeNotSynced);
                (Step::Wipe, synced.then_some(Wrote::Data))
            }
            (What::Destroy(..), Step::Wipe) => {
                wipe(places, self.region, Durability::Buffered)?;
                (Step::Done, Some(Wrote::Log))
            }
            (_, step) => (step, None),
        };
        self.step = next;
        Ok(wrote)
    }
}

impl Installation {
    fn id(&self) -> RegionId {
        RegionId(self.region.id)
    }

    /// Refuses, or makes room.
    fn mark(&mut self, places: &Places) -> Result<Result<(), String>, StoreError> {
        let range = KeyRange::of(&self.region);
        let mut batch = WriteBatch::new();
        for record in recover::load_regions(&*places.kv)? {
            let lives = record.state() != PeerState::Tombstone;
            let region = record.region.clone().unwrap_or_default();
            if region.id == self.region.id {
                if let Some(reason) = self.older_than(places, &record)? {
                    return Ok(Err(reason));
                }
                let lives = lives && !planted::is(Planted::OldDataKept);
                delete_data(&mut batch, &KeyRange::of(&region), lives);
            } else if layout::lives(&record) && self.merged.contains(&region.id) {
                // Nobody answers for it any more; what of its data is not in the snapshot was changed since.
                self.buried.push(RegionId(region.id));
                bury_in(&mut batch, &region, record.peer.unwrap_or_default());
            } else if lives && KeyRange::of(&region).overlaps(&range) {
                let reason = format!("region {} lives here and has part of the range", region.id);
                return Ok(Err(reason));
            }
        }
        if !planted::is(Planted::OldDataKept) && holds_data(&*places.kv, &range) {
            delete_data(&mut batch, &range, true);
        }
        let record = RegionRecord {
            format: FORMAT,
            region: Some(self.region.clone()),
            peer: Some(self.peer),
            state: PeerState::Applying as i32,
            arriving: Some(self.applied),
            staged: self.set.clone(),
            merged: self.merged.clone(),
            ..RegionRecord::default()
        };
        let key = layout::region_key(self.id());
        batch.put(META, key, record.encode_to_vec());
        places.kv.write(batch, Durability::Buffered)?;
        Ok(Ok(()))
    }

    /// Why the replica that is or was here must stay.
    fn older_than(
        &self,
        places: &Places,
        record: &RegionRecord,
    ) -> Result<Option<String>, StoreError> {
        let known = record.peer.unwrap_or_default().id;
        let own = self.peer.id;
        if record.state() == PeerState::Tombstone {
            let gone = known >= own;
            return Ok(gone.then(|| format!("peer {own} was destroyed here")));
        }
        if known != own {
            return Ok(Some(format!("peer {known} of the region lives here")));
        }
        let applied = recover::load_applied(&*places.kv, self.id())?;
        let newer = applied.filter(|applied| applied.index.0 >= self.applied.index);
        Ok(newer.map(|applied| format!("applied up to {} here", applied.index.0)))
    }

    fn reset(&self, places: &Places) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        let position = (Index(self.applied.index), Term(self.applied.term));
        places
            .log
            .reset(self.id(), PeerId(self.peer.id), position, &mut batch)
            .map_err(|error| damaged(self.id(), error))?;
        for source in &self.buried {
            places.log.wipe(*source, &mut batch);
        }
        Ok(places.log.engine().write(batch, Durability::Buffered)?)
    }

    fn finish(&self, places: &Places) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        let record = RegionRecord {
            format: FORMAT,
            region: Some(self.region.clone()),
            peer: Some(self.peer),
            merged: self.merged.clone(),
            ..RegionRecord::default()
        };
        let key = layout::region_key(self.id());
        batch.put(META, key, record.encode_to_vec());
        let applied = AppliedRecord {
            format: FORMAT,
            ..self.applied
        };
        let key = layout::applied_key(self.id());
        batch.put(META, key, applied.encode_to_vec());
        Ok(places.kv.write(batch, Durability::Buffered)?)
    }
}

/// Whether something of a range is there. A deletion of nothing would lie over what is taken in next, and keep it among
/// the tables that are merged first.
fn holds_data(kv: &dyn Engine, range: &KeyRange) -> bool {
    let snapshot = kv.snapshot();
    layout::DATA.into_iter().any(|family| {
        let mut found = false;
        let visit = &mut |_: &[u8], _: &[u8]| {
            found = true;
            ControlFlow::Break(())
        };
        let looked = snapshot.scan(family, &range.start, &range.end, Direction::Forward, visit);
        found || looked.is_err()
    })
}

fn delete_data(batch: &mut WriteBatch, range: &KeyRange, lives: bool) {
    if !lives {
        return;
    }
    for family in layout::DATA {
        batch.delete_range(family, range.start.clone(), range.end.clone());
    }
}

fn bury(places: &Places, region: &Region, peer: Peer) -> Result<(), StoreError> {
    let id = RegionId(region.id);
    let record: Option<RegionRecord> = layout::load(&*places.kv, &layout::region_key(id))?;
    if record.is_none_or(|record| record.state() == PeerState::Tombstone) {
        return Ok(());
    }
    let mut batch = WriteBatch::new();
    bury_in(&mut batch, region, peer);
    Ok(places.kv.write(batch, Durability::Buffered)?)
}

/// The tombstone of a replica, and the end of its data.
fn bury_in(batch: &mut WriteBatch, region: &Region, peer: Peer) {
    let id = RegionId(region.id);
    delete_data(batch, &KeyRange::of(region), true);
    let record = layout::region_record(region, peer, PeerState::Tombstone);
    batch.put(META, layout::region_key(id), record);
    batch.delete(META, layout::applied_key(id));
}

/// Forgets the log of a region that has no replica here.
pub(crate) fn wipe(
    places: &Places,
    region: RegionId,
    durability: Durability,
) -> Result<(), StoreError> {
    let mut batch = WriteBatch::new();
    places.log.wipe(region, &mut batch);
    Ok(places.log.engine().write(batch, durability)?)
}

/// Discards what earlier lives of the process staged and nobody needs; before any worker opens.
pub fn clear(places: &Places) -> Result<(), StoreError> {
    let records = recover::load_regions(&*places.kv)?;
    let wanted = |set: &String| records.iter().any(|record| record.staged == *set);
    for set in places.intake.staged()? {
        if !wanted(&set) {
            places.intake.discard(&set)?;
        }
    }
    Ok(())
}
