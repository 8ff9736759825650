//! What a node wants done, and in which order it may be done.
//!
//! *Place*: made by [`crate::Node::ready`] and [`crate::Node::persisted`], carried out by the caller's loop.
//!
//! ```text
//! ready(batch) ──▶ Ready ──▶ send_now          before, during or after the write
//!                    │       committed, reads  durable already: apply, answer
//!                    ▼
//!              write the batch, with a sync if must_sync
//!                    ▼
//!              persisted(Ready) ──▶ Persisted ──▶ send, committed
//! ```
//!
//! *Invariants*: what must not leave before the disk has it is not visible to the caller before
//! [`crate::Node::persisted`] (votes, acknowledgements); only a leader's own appends, heartbeats and answers
//! to reads are in [`Ready::send_now`].
//!
//! *Limits*: [`crate::Config::committed_bytes_per_ready_max`] bounds the committed entries of a round, and
//! those of two earlier ones may have waited for it.
//!
//! *Source*: Raft thesis §10.2.1 (writing to the leader's disk in parallel).
//!
//! *Next stop*: [`crate::node`].

use crate::layout::HardState;
use crate::reads::{ReadReady, ReadToken};
use raft::eraftpb::Entry;
use yadkv_proto::id::{PeerId, Term};
use yadkv_proto::yadkvpb::{LogEntry, RaftMessage};

/// What a replica is in its group at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Orders the log.
    Leader,
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for votes in its own new term.
    Candidate,
    /// Asks whether it would get votes, without a new term.
    PreCandidate,
}

impl From<raft::StateRole> for Role {
    fn from(role: raft::StateRole) -> Self {
        match role {
            raft::StateRole::Leader => Self::Leader,
            raft::StateRole::Follower => Self::Follower,
            raft::StateRole::Candidate => Self::Candidate,
            raft::StateRole::PreCandidate => Self::PreCandidate,
        }
    }
}

/// Role, term or known leader are not what the last [`Ready`] said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// Role now.
    pub role: Role,
    /// Term now.
    pub term: Term,
    /// Whom this replica takes for the leader.
    pub leader: Option<PeerId>,
}

// ANCHOR: ready
/// One round of work. Take the public lists out, write the batch, hand the rest to [`crate::Node::persisted`].
#[derive(Debug)]
pub struct Ready {
    /// Messages that may leave before the batch is written.
    pub send_now: Vec<RaftMessage>,
    /// Committed entries, durable here already: apply them in order.
    pub committed: Vec<LogEntry>,
    /// Reads that may be served once their index is applied.
    pub reads: Vec<ReadReady>,
    /// Reads that will never be answered: retry or refuse them.
    pub lost_reads: Vec<ReadToken>,
    /// Peers that need a snapshot: see [`crate::Node::report_snapshot`].
    pub snapshots: Vec<PeerId>,
    /// What changed about role, term or leader. Whatever readers see of this replica must be withdrawn before any
    /// message of the round leaves: the message may be a vote for the next leader.
    pub role: Option<RoleChange>,
    /// The batch must be on disk before [`crate::Node::persisted`].
    pub must_sync: bool,
    pub(crate) raft: raft::Ready,
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) send: Vec<RaftMessage>,
}
// ANCHOR_END: ready

/// What may happen now that the batch is written.
#[derive(Debug, Default)]
pub struct Persisted {
    /// Messages that had to wait.
    pub send: Vec<RaftMessage>,
    /// Entries that are committed and durable now; they follow those of the [`Ready`].
    pub committed: Vec<LogEntry>,
    /// As [`Ready::snapshots`].
    pub snapshots: Vec<PeerId>,
}
