//! The leader's half: a head, then chunks of pairs, from one view of the data engine.
//!
//! *Place*: the server's sending task and the simulation drive it.
//!
//! *Invariants*: descriptor, position and pairs are of one moment. The receiver is a member at that moment.
//!
//! *Limits*: a chunk holds about [`CHUNK_BYTES`], and at least one pair.
//!
//! *Next stop*: [`super::receive`].

use super::{CRC, FORMAT};
use crate::layout::{self, LoadError};
use crate::planted::{self, Planted};
use crate::store::message::SendTask;
use bytes::Bytes;
use prost::Message;
use std::ops::ControlFlow;
use yadkv_engine::{Direction, Snapshot};
use yadkv_proto::id::ClusterId;
use yadkv_proto::key::KeyRange;
use yadkv_proto::storagepb::{AppliedRecord, PeerState, RegionRecord};
use yadkv_proto::yadkvpb::{SnapshotChunk, SnapshotHead, SnapshotPair, SnapshotPairs};

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
    number: u64,
    /// The family that comes next, and where in it; none is left if it is beyond the last.
    family: usize,
    start: Vec<u8>,
    done: bool,
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
        Ok(Self {
            view,
            start: KeyRange::of(head.region.as_ref().unwrap_or(&Default::default()))
                .start
                .to_vec(),
            head,
            number: 0,
            family: 0,
            done: false,
        })
    }

    /// What is sent.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The next chunk; `None` after the last.
    pub fn next_chunk(&mut self) -> Result<Option<SnapshotChunk>, SendError> {
        if self.done {
            return Ok(None);
        }
        let mut chunk = SnapshotChunk {
            number: self.number,
            ..SnapshotChunk::default()
        };
        self.number += 1;
        if chunk.number == 0 {
            chunk.head = Some(self.head.clone());
            return Ok(Some(chunk));
        }
        while let Some(family) = layout::DATA.get(self.family).copied() {
            let pairs = self.read(family)?;
            if !pairs.is_empty() {
                let pairs = SnapshotPairs {
                    family: u32::from(family.0),
                    pairs,
                };
                chunk.pairs = pairs.encode_to_vec().into();
                chunk.checksum = CRC.checksum(&chunk.pairs);
                return Ok(Some(chunk));
            }
        }
        self.done = true;
        chunk.last = true;
        Ok(Some(chunk))
    }

    /// Some pairs of a family, and where the next ones are.
    fn read(&mut self, family: yadkv_engine::Family) -> Result<Vec<SnapshotPair>, SendError> {
        let range = KeyRange::of(self.head.region.as_ref().unwrap_or(&Default::default()));
        let (mut pairs, mut bytes) = (Vec::new(), 0);
        let visit = &mut |key: &[u8], value: &[u8]| {
            bytes += key.len() + value.len();
            pairs.push(SnapshotPair {
                key: Bytes::copy_from_slice(key),
                value: Bytes::copy_from_slice(value),
            });
            match bytes >= CHUNK_BYTES {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let forward = Direction::Forward;
        self.view
            .scan(family, &self.start, &range.end, forward, visit)?;
        match pairs.last() {
            // The least key after it.
            Some(last) if bytes >= CHUNK_BYTES => self.start = [&last.key[..], &[0]].concat(),
            _ => {
                self.family += 1;
                self.start = range.start.to_vec();
            }
        }
        Ok(pairs)
    }
}
