//! Everything that can happen to a store worker, and everything it can ask for.
//!
//! *Place*: services, transport, apply and the placement driver's stream produce [`Input`]; the loop around
//! the worker carries [`Round`] and [`Effects`] out.
//!
//! *Invariants*: nothing of a [`Round`] but `send_now` may leave before its batch is written.
//!
//! *Next stop*: [`super::Worker`].

use crate::apply::{Applied, ApplyTask};
use crate::read::ConfirmedRead;
use crate::refusal;
use crate::respond::Responder;
use yadkv_engine::WriteBatch;
use yadkv_proto::api::StoreRequest;
use yadkv_proto::errorpb;
use yadkv_proto::id::RegionId;
use yadkv_proto::kvrpcpb::Context;
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::pdpb::RegionHeartbeatRequest;
use yadkv_proto::time::Moment;
use yadkv_proto::yadkvpb::Envelope;
use yadkv_proto::yadkvpb::command::Operation;

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
    Applied(Vec<Applied>),
    /// First regions, as the placement driver assigned them. Known ones are left alone.
    Create(Vec<Region>),
    /// Hand leadership to another replica.
    TransferLeader {
        /// The region.
        region: RegionId,
        /// The replica that shall lead.
        to: Peer,
    },
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

    fn refuse(self, error: errorpb::Error) {
        match self {
            Self::Write(task) => task.responder.refuse(error),
            Self::Read(task) => task.responder.refuse(error),
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

/// What a worker wants done.
#[derive(Debug, Default)]
pub struct Effects {
    /// Messages to other stores.
    pub send: Vec<Envelope>,
    /// Committed entries.
    pub apply: Vec<ApplyTask>,
    /// Reads that may be served now.
    pub reads: Vec<ConfirmedRead>,
    /// Heartbeats to the placement driver.
    pub reports: Vec<RegionHeartbeatRequest>,
}
