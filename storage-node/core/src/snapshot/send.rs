//! The leader's half: a head, then chunks of pairs, from one view of the data engine.
//!
//! *Place*: the server's sending task and the simulation drive it.
//!
//! *Invariants*: descriptor, position and pairs are of one moment. The receiver is a member at that moment.
//!
//! *Limits*: a chunk holds about [`CHUNK_BYTES`], and at least one pair.
//!
//! *Next stop*: [`super::receive`].

use super::FORMAT;
use crate::layout::{self, LoadError};
use crate::planted::{self, Planted};
use crate::store::message::SendTask;
use bytes::Bytes;
use yadkv_consensus::{Cutter, chunk};
use yadkv_engine::Snapshot;
use yadkv_proto::id::ClusterId;
use yadkv_proto::key::KeyRange;
use yadkv_proto::storagepb::{AppliedRecord, PeerState, RegionRecord};
use yadkv_proto::yadkvpb::{SnapshotChunk, SnapshotHead};

/// Bytes of pairs after which a chunk is sent. Smaller: more messages. Larger: memory on both sides.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Why nothing more is sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The data engine failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The replica has changed since it was asked: Raft asks again if it still wants to.
    #[error("{0}")]
    Outdated(&'static str),
}

impl From<yadkv_engine::Error> for SendError {
    fn from(error: yadkv_engine::Error) -> Self {
        Self::Load(error.into())
    }
}

/// A snapshot that is being sent.
pub struct Sending<'a> {
    view: &'a dyn Snapshot,
    head: SnapshotHead,
    /// The head was given.
    begun: bool,
    cutter: Cutter,
}

impl<'a> Sending<'a> {
    /// Begins to send what `view` holds of a region.
    pub fn begin(
        view: &'a dyn Snapshot,
        cluster: ClusterId,
        task: &SendTask,
    ) -> Result<Self, SendError> {
        let load = |key: Bytes| Ok::<_, LoadError>((view.get(layout::META, &key)?, key));
        let (record, key) = load(layout::region_key(task.region))?;
        let record: Option<RegionRecord> = record
            .map(|bytes| layout::parse(&key, bytes))
            .transpose()
            .map_err(LoadError::from)?;
        let (applied, key) = load(layout::applied_key(task.region))?;
        let applied: Option<AppliedRecord> = applied
            .map(|bytes| layout::parse(&key, bytes))
            .transpose()
            .map_err(LoadError::from)?;
        let (Some(record), Some(mut applied)) = (record, applied) else {
            return Err(SendError::Outdated("the replica is gone"));
        };
        let own = record.peer.is_some_and(|peer| peer.id == task.from.id);
        if !own || record.state() != PeerState::Normal {
            return Err(SendError::Outdated("the replica is another one"));
        }
        let region = record.region.unwrap_or_default();
        let member = |id: u64| region.peers.iter().find(|peer| peer.id == id).copied();
        let Some(to) = member(task.to.id) else {
            return Err(SendError::Outdated("the receiver is no member any more"));
        };
        if applied.term > task.term.0 {
            return Err(SendError::Outdated("another replica leads"));
        }
        if planted::is(Planted::SnapshotAheadOfData) {
            applied.index += 1;
        }
        let head = SnapshotHead {
            format: FORMAT,
            cluster_id: cluster.0,
            from: Some(task.from),
            to: Some(to),
            term: task.term.0,
            region: Some(region),
            applied: Some(applied),
            merged: record.merged,
        };
        let range = KeyRange::of(head.region.as_ref().unwrap_or(&Default::default()));
        Ok(Self {
            view,
            head,
            begun: false,
            cutter: Cutter::new(&layout::DATA, range, CHUNK_BYTES),
        })
    }

    /// What is sent.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The next chunk; `None` after the last.
    pub fn next_chunk(&mut self) -> Result<Option<SnapshotChunk>, SendError> {
        if !std::mem::replace(&mut self.begun, true) {
            return Ok(Some(chunk::first(self.head.clone())));
        }
        Ok(self.cutter.next(self.view)?)
    }
}
