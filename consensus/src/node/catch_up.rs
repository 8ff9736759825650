//! How far the log reaches back, and peers that need what is no longer in it.
//!
//! *Place*: part of [`Node`].
//!
//! *Life of a snapshot*: a peer needs an entry that was taken out → raft-rs asks [`crate::storage`] for a snapshot and
//! gets the applied position → [`crate::Ready::snapshots`] names the peer → the caller sends its state, of that
//! position or a later one, and everything Raft has to know of it → [`Node::report_snapshot`], whatever became of it.
//! Until then the peer is sent no entries.
//!
//! The receiving replica is replaced as a whole ([`crate::LogStore::reset`]); its node never sees the snapshot, and
//! answers the next append from its new position.
//!
//! *Invariants*: an entry leaves the log only when it is applied here; what a snapshot under way will need after it
//! stays, until the peer has answered from its position, if the caller asks [`Node::replicated_index`] what may leave.
//!
//! *Source*: Raft paper section 7; Raft thesis section 5.1.
//!
//! *Scenario*: `consensus/tests/scripts/snapshot`.
//!
//! *Next stop*: [`crate::storage`].

use super::Node;
use crate::ready::Role;
use raft::{ProgressState, SnapshotStatus};
use yadkv_engine::WriteBatch;
use yadkv_proto::id::{Index, PeerId};

/// Entries that a peer may lack and still count as keeping up: a few rounds of a busy region.
pub const FOLLOWS_ENTRIES_MAX: u64 = 256;

/// Ticks that a peer has from the arrival of its snapshot to its answer: it opens, and a heartbeat finds it.
const ARRIVED_TICKS: u32 = 50;

/// A snapshot that has arrived.
#[derive(Debug)]
pub(super) struct Arrived {
    position: u64,
    ticks_left: u32,
}

/// How a leader sends entries to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// One message at a time: it is not known yet what the peer holds, or a message was lost.
    Probe,
    /// As they come.
    Stream,
    /// Not at all: it is sent a snapshot.
    Snapshot,
}

/// What a leader knows of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    /// What it has on its disk; 0 if it has not said so yet.
    pub matched: Index,
    /// How entries are sent to it.
    pub replication: Replication,
}

impl Node {
    /// What this leader knows of a peer, itself included; `None` on other replicas and of strangers.
    pub fn follower(&self, peer: PeerId) -> Option<Follower> {
        if self.role() != Role::Leader {
            return None;
        }
        let progress = self.raw.raft.prs().get(peer.0)?;
        Some(Follower {
            matched: Index(progress.matched),
            replication: match progress.state {
                ProgressState::Probe => Replication::Probe,
                ProgressState::Replicate => Replication::Stream,
                ProgressState::Snapshot => Replication::Snapshot,
            },
        })
    }

    /// Whether a peer of this leader keeps up: it takes entries as they come and lacks at most
    /// [`FOLLOWS_ENTRIES_MAX`] of them. False on any other replica, and for peers that are none.
    pub fn follows(&self, peer: PeerId) -> bool {
        let raft = &self.raw.raft;
        if raft.state != raft::StateRole::Leader {
            return false;
        }
        raft.prs().get(peer.0).is_some_and(|progress| {
            let lacks = raft.raft_log.last_index().saturating_sub(progress.matched);
            progress.state == ProgressState::Replicate && lacks <= FOLLOWS_ENTRIES_MAX
        })
    }

    /// A peer that lacks nothing and answers takes entries as they come, after a message to it was lost. raft-rs would find
    /// out with the next entry, for which a quiet region may wait for ever.
    pub(super) fn stream_if_complete(&mut self, peer: PeerId) {
        let last = self.last_index().0;
        if self.role() != Role::Leader {
            return;
        }
        let progress = self.raw.raft.mut_prs().get_mut(peer.0);
        let complete = progress
            .filter(|progress| progress.state == ProgressState::Probe && progress.matched == last);
        if let Some(progress) = complete {
            progress.become_replicate();
        }
    }

    /// Takes entries up to `index` out of the log, in `batch`, which the caller writes before anything else of this
    /// node. Only what is applied, and durably so; other positions are ignored.
    pub fn truncate(&mut self, index: Index, batch: &mut WriteBatch) {
        self.assert_accepts_input();
        let inside = index > self.truncated_index() && index <= self.applied_index();
        if inside && !self.is_damaged() {
            self.raw.mut_store().truncate(index, batch);
        }
    }

    /// The last position that is no longer in the log.
    pub fn truncated_index(&self) -> Index {
        self.raw.store().truncated_index()
    }

    /// The last position that every replica has on its disk, or will have with the snapshot that is under way to it, as
    /// far as this leader knows; `None` on others.
    pub fn replicated_index(&self) -> Option<Index> {
        self.least_position(|_| true)
    }

    /// Likewise, of those replicas only that are sent a snapshot, or that lack at most `entries_max` entries.
    pub fn replicated_index_within(&self, entries_max: u64) -> Option<Index> {
        let last = self.last_index().0;
        self.least_position(|position| last.saturating_sub(position) <= entries_max)
    }

    fn least_position(&self, counts: impl Fn(u64) -> bool) -> Option<Index> {
        if self.role() != Role::Leader {
            return None;
        }
        let positions = self.raw.raft.prs().iter().filter_map(|(peer, progress)| {
            let arrived = self.arrived.get(&PeerId(*peer)).map(|one| one.position);
            match progress.state {
                // Needed from there on, whatever it lacks until then.
                ProgressState::Snapshot => Some(progress.pending_snapshot),
                _ if arrived > Some(progress.matched) => arrived,
                _ => counts(progress.matched).then_some(progress.matched),
            }
        });
        positions.min().map(Index)
    }

    /// What an arrived snapshot needs after it may leave the log if the peer does not come for it.
    pub(super) fn forget_arrived(&mut self) {
        self.arrived.retain(|_, one| {
            one.ticks_left -= 1;
            one.ticks_left > 0
        });
    }

    /// A snapshot to `peer` arrived, or it will not. To be called once for each that [`crate::Ready::snapshots`] asked
    /// for: no entry is sent to that peer before.
    pub fn report_snapshot(&mut self, peer: PeerId, arrived: bool) {
        self.assert_accepts_input();
        if self.is_damaged() {
            return;
        }
        let progress = self.raw.raft.prs().get(peer.0);
        let pending = progress.filter(|one| arrived && one.state == ProgressState::Snapshot);
        if let Some(position) = pending.map(|one| one.pending_snapshot) {
            let ticks_left = ARRIVED_TICKS;
            let one = Arrived {
                position,
                ticks_left,
            };
            self.arrived.insert(peer, one);
        }
        let status = match arrived {
            true => SnapshotStatus::Finish,
            false => SnapshotStatus::Failure,
        };
        self.raw.report_snapshot(peer.0, status);
    }
}
