//! Everything that can happen to a store worker, and everything it can ask for.
//!
//! *Place*: services, transport, apply and the placement driver's stream produce [`Input`]; the loop around
//! the worker carries [`Round`] and [`Effects`] out.
//!
//! *Invariants*: nothing of a [`Round`] but `send_now` may leave before its batch is written.
//!
//! *Next stop*: [`super::Worker`].

use super::inspect::Inspection;
use crate::apply::Progress;
use crate::apply::queue::ApplyTask;
use crate::check::compare::Answer;
use crate::check::digest::Scope;
use crate::check::{Point, Report};
use crate::config::Config;
use crate::read::ConfirmedRead;
use crate::refusal;
use crate::respond::Responder;
use crate::room::Room;
use crate::snapshot::install::{Move, Moved};
use crate::snapshot::receive::Received;
use crate::split::check::{Checked, Limits};
use crate::tally::Tally;
use crate::view::RegionView;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use yadkv_engine::WriteBatch;
use yadkv_proto::api::StoreRequest;
use yadkv_proto::errorpb;
use yadkv_proto::id::{Index, PeerId, RegionId, Term};
use yadkv_proto::kvrpcpb::Context;
use yadkv_proto::metapb::{Peer, Region, RegionEpoch};
use yadkv_proto::pdpb::{ChangePeer, RegionHeartbeatRequest, RegionHeartbeatResponse, SplitId};
use yadkv_proto::time::Moment;
use yadkv_proto::yadkvpb::command::Operation;
use yadkv_proto::yadkvpb::{Envelope, SplitPart};

/// A write on its way to the log.
#[derive(Debug)]
pub struct WriteTask {
    /// Where the caller sent it and what it believes of the region.
    pub context: Box<Context>,
    /// What to do.
    pub operation: Operation,
    /// Its size in an entry, about.
    pub bytes: usize,
    /// Who waits.
    pub responder: Responder,
    /// When it came in.
    pub arrived: Moment,
}

/// A read that the lease could not serve.
#[derive(Debug)]
pub struct ReadTask {
    /// What to read.
    pub request: StoreRequest,
    /// Who waits.
    pub responder: Responder,
    /// When it came in.
    pub arrived: Moment,
}

/// A caller wants a region cut.
#[derive(Debug)]
pub struct CutTask {
    /// Where the caller sent it and what it believes of the region.
    pub context: Box<Context>,
    /// Where, as borders, in rising order.
    pub keys: Vec<Bytes>,
    /// Who waits.
    pub responder: Responder,
}

/// The placement driver shall give ids for cutting a region; the answer comes back as a [`SplitTask`].
#[derive(Debug)]
pub struct IdRequest {
    /// The region as it is.
    pub region: Region,
    /// Where it is to be cut, in rising order.
    pub keys: Vec<Bytes>,
    /// Who waits, if it was not the region's size.
    pub responder: Option<Responder>,
}

/// Ids for cutting a region.
#[derive(Debug)]
pub struct SplitTask {
    /// The region as it was when they were asked for: with another epoch it is not cut.
    pub region: Region,
    /// The new regions.
    pub parts: Vec<SplitPart>,
    /// Who waits.
    pub responder: Option<Responder>,
}

impl IdRequest {
    /// What comes back with these ids: one for each cut; `None` if there are more or fewer.
    pub fn with_ids(self, ids: Vec<SplitId>) -> Option<SplitTask> {
        if ids.len() != self.keys.len() {
            return None;
        }
        let part = |(end_key, id): (Bytes, SplitId)| SplitPart {
            end_key,
            region_id: id.new_region_id,
            peer_ids: id.new_peer_ids,
        };
        Some(SplitTask {
            region: self.region,
            parts: self.keys.into_iter().zip(ids).map(part).collect(),
            responder: self.responder,
        })
    }
}

/// Somebody shall look how large a region is; [`Input::Looked`] follows.
#[derive(Debug)]
pub struct SizeTask {
    /// The region.
    pub region: Region,
    /// What is too large.
    pub limits: Limits,
}

/// A caller wants the replicas of a region compared.
#[derive(Debug)]
pub struct CheckTask {
    /// Where the caller sent it and what it believes of the region.
    pub context: Box<Context>,
    /// Who waits.
    pub responder: Responder,
}

/// Somebody shall read a replica's data as a check found it; [`Input::Digested`] follows.
#[derive(Clone, Debug)]
pub struct DigestTask {
    /// The data.
    pub point: Point,
    /// Each pair of this stretch; otherwise everything in parts.
    pub scope: Option<Scope>,
}

/// A new replica, made by a split; its records are on the disk.
#[derive(Debug)]
pub struct Adopted {
    /// Its region.
    pub region: Region,
    /// Whether the replica it was cut off leads: then it campaigns at once.
    pub campaign: bool,
}

/// The placement driver wants other members in a region.
#[derive(Debug)]
pub struct ChangeTask {
    /// The descriptor's epoch that it decided by: with another one nothing is changed.
    pub epoch: RegionEpoch,
    /// What shall change, together; nothing leaves a joint state.
    pub changes: Vec<ChangePeer>,
}

impl ChangeTask {
    /// What an answer to a region's heartbeat says of its members, if it does.
    pub fn of(answer: &RegionHeartbeatResponse) -> Option<Self> {
        let changes = match (&answer.change_peer_v2, &answer.change_peer) {
            (Some(several), _) => several.changes.clone(),
            (None, Some(one)) => vec![*one],
            (None, None) => return None,
        };
        Some(Self {
            epoch: answer.region_epoch?,
            changes,
        })
    }
}

/// The placement driver wants a region to become part of its neighbour.
#[derive(Clone, Debug)]
pub struct MergeTask {
    /// The descriptor's epoch that it decided by: with another one nothing is changed.
    pub epoch: RegionEpoch,
    /// The neighbour, as it is to be.
    pub target: Region,
}

impl MergeTask {
    /// What an answer to a region's heartbeat says of a merge, if it does.
    pub fn of(answer: &RegionHeartbeatResponse) -> Option<Self> {
        Some(Self {
            epoch: answer.region_epoch?,
            target: answer.merge.clone()?.target?,
        })
    }
}

/// A replica waits to become part of the region whose replica beside it is called.
#[derive(Clone, Debug)]
pub struct MergeCall {
    /// The region that is called.
    pub target: RegionId,
    /// The epoch that it must have.
    pub expected: RegionEpoch,
    /// The region that waits, as its PrepareMerge left it.
    pub source: Region,
    /// Position of that in its log, which is applied here.
    pub commit: Index,
}

impl MergeCall {
    /// The region that waits.
    pub fn source_id(&self) -> RegionId {
        RegionId(self.source.id)
    }
}

/// A peer needs a snapshot; [`Input::SnapshotSent`] follows.
#[derive(Clone, Debug)]
pub struct SendTask {
    /// The region.
    pub region: RegionId,
    /// Who sends.
    pub from: Peer,
    /// Who lacks it.
    pub to: Peer,
    /// The term in which the sender leads.
    pub term: Term,
}

/// All inputs of a worker.
#[derive(Debug)]
pub enum Input {
    /// One tick of Raft time has passed (missed ticks count once).
    Tick,
    /// A Raft message from another store.
    Raft(Envelope),
    /// A write.
    Write(WriteTask),
    /// A read that needs ReadIndex.
    Read(ReadTask),
    /// Entries were applied.
    Applied(Vec<Progress>),
    /// Cut a region.
    Cut(CutTask),
    /// Ids for that.
    Split(SplitTask),
    /// The placement driver knows of a split, or could not be told.
    SplitReported(RegionId),
    /// The data engine holds everything up to these positions durably.
    Durable(Vec<(RegionId, Index)>),
    /// Somebody looked how large a region is, as it was at this version of its epoch.
    Looked(RegionId, u64, Checked),
    /// Compare the replicas of a region.
    Check(CheckTask),
    /// What was read of a replica for that.
    Digested(DigestTask, Answer),
    /// Replicas that a split on another worker made.
    Adopt(Vec<Adopted>),
    /// First regions, as the placement driver assigned them. Known ones are left alone.
    Create(Vec<Region>),
    /// Hand leadership to another replica.
    TransferLeader {
        /// The region.
        region: RegionId,
        /// The replica that shall lead.
        to: Peer,
    },
    /// Change the members of a region.
    ChangePeers(RegionId, ChangeTask),
    /// Let a region become part of its neighbour.
    Merge(RegionId, MergeTask),
    /// Take a neighbour in.
    CommitMerge(MergeCall),
    /// Let go of a replica whose region has become part of another one.
    Yield {
        /// The region.
        region: RegionId,
        /// Those whose replicas here a snapshot is to replace: the one that it is of, and all that are part of it.
        replaced: Arc<[RegionId]>,
    },
    /// What became of a snapshot that was sent to a peer.
    SnapshotSent {
        /// The region.
        region: RegionId,
        /// Who was to get it.
        to: PeerId,
        /// Whether it is installed there.
        arrived: bool,
    },
    /// A snapshot was received whole; it is staged beside the data.
    Snapshot(Box<Received>),
    /// Replicas have been installed or destroyed.
    Moved(Vec<Moved>),
    /// Where a region is, as the placement driver knew it at this moment or later.
    Located(Region, Moment),
    /// The placement driver knows no such region; this one has its first key.
    Vanished(RegionId, Region),
    /// Regions whose data here may be damaged, all of them.
    Damaged(BTreeSet<RegionId>),
    /// How much room there is on the disk.
    Room(Room),
    /// Writes to the disk hang, or do no longer.
    Hangs(bool),
    /// The store is about to stop: replicas that lead hand over.
    Leave,
    /// Other settings, which were validated: those are taken that may change ([`Config::take_changeable`]).
    Configure(Box<Config>),
    /// People want to see replicas.
    Inspect(Inspection),
    /// The logs of this store are large: shorten whatever can be.
    ShortenLogs,
    /// The placement driver has a new leader: tell it of every region led here.
    ReportAll,
    /// The transport could not reach a store.
    Unreachable(u64),
}

impl Input {
    /// Answers a request whose inbox is full.
    pub fn refuse_busy(self) {
        self.refuse(refusal::busy("the region's inbox is full"));
    }

    /// Answers a request that comes while the store stops: it was not tried.
    pub fn refuse_stopping(self) {
        self.refuse(refusal::shutting_down());
    }

    /// Answers whoever waits, if somebody does, with a region error.
    pub fn refuse(self, error: errorpb::Error) {
        match self {
            Self::Write(task) => task.responder.refuse(error),
            Self::Read(task) => task.responder.refuse(error),
            Self::Cut(task) => task.responder.refuse(error),
            Self::Check(task) => task.responder.refuse(error),
            Self::Snapshot(received) => received.refuse(error.message),
            Self::Split(task) => {
                if let Some(responder) = task.responder {
                    responder.refuse(error);
                }
            }
            _ => {}
        }
    }
}

/// What the regions touched since the last round want written, and what may leave before that.
#[derive(Debug, Default)]
pub struct Round {
    /// For the log engine, in one write.
    pub batch: WriteBatch,
    /// Whether that write must reach the disk.
    pub must_sync: bool,
    /// Messages that may leave before the write.
    pub send_now: Vec<Envelope>,
    pub(crate) readies: Vec<(RegionId, yadkv_consensus::Ready)>,
    /// What became possible without waiting for the write.
    pub effects: Effects,
}

impl Round {
    /// Regions that have something to be written.
    pub fn regions(&self) -> usize {
        self.readies.len()
    }
}

/// A question to the placement driver: where a region is.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// The region.
    pub region: RegionId,
    /// Its first key.
    pub start: Bytes,
    /// When it is asked.
    pub asked: Moment,
}

impl Lookup {
    /// Asks for the region of a replica.
    pub fn of(view: &RegionView, asked: Moment) -> Self {
        Self {
            region: view.id(),
            start: view.range().start.clone(),
            asked,
        }
    }
}

/// What a worker wants done.
#[derive(Debug, Default)]
pub struct Effects {
    /// Messages to other stores.
    pub send: Vec<Envelope>,
    /// Committed entries.
    pub apply: Vec<ApplyTask>,
    /// Reads that may be served now.
    pub reads: Vec<ConfirmedRead>,
    /// Ids wanted from the placement driver.
    pub ids: Vec<IdRequest>,
    /// Splits to tell the placement driver of, by region, with all descriptors that took its place;
    /// [`Input::SplitReported`] follows.
    pub split_reports: Vec<(RegionId, Vec<Region>)>,
    /// The data engine shall be durable up to here: applied positions by region; [`Input::Durable`] follows.
    pub flush: Vec<(RegionId, Index)>,
    /// Regions whose size is wanted.
    pub looks: Vec<SizeTask>,
    /// Data to be read for checks; may get lost.
    pub digests: Vec<DigestTask>,
    /// Checks that are over.
    pub checks: Vec<Report>,
    /// New replicas of other workers; must not get lost.
    pub adopt: Vec<Adopted>,
    /// Snapshots to be sent.
    pub snapshots: Vec<SendTask>,
    /// Replicas to be installed or destroyed once everything handed over to apply before is applied; must not get
    /// lost. [`Input::Moved`] follows.
    pub moves: Vec<Move>,
    /// Replicas beside those that wait for them; may get lost.
    pub merges: Vec<MergeCall>,
    /// Regions whose replica here lets go, and with whom ([`Input::Yield`]); may get lost.
    pub yields: Vec<(RegionId, Arc<[RegionId]>)>,
    /// Replicas that nobody answers for from now on, behind what was handed over to apply before.
    pub forget: Vec<RegionId>,
    /// Moves of which the worker has heard that they are over: told to apply.
    pub settled: Vec<RegionId>,
    /// Regions of which the placement driver is asked where they are; [`Input::Located`] or [`Input::Vanished`] follows,
    /// if it answers.
    pub lookups: Vec<Lookup>,
    /// Heartbeats to the placement driver.
    pub reports: Vec<RegionHeartbeatRequest>,
    /// What is counted.
    pub tally: Tally,
}
