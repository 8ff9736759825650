//! The errors of this crate, by what the caller does next.
//!
//! *Place*: returned by [`crate::LogStore`] and [`crate::Node`]; storage nodes and placement drivers turn them
//! into region errors, counters, or an end of the process.
//!
//! *Next stop*: [`crate::sanitise`], where most of [`StepError`] comes from.

use crate::config::ConfigError;
use yadkv_proto::id::{Index, PeerId, RegionId};

/// A log store or a replica that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine failed: stop, or report damage with its place.
    #[error(transparent)]
    Engine(#[from] yadkv_engine::Error),
    /// Written by a newer release: tell the operator.
    #[error("the log store has format {found}, this program reads {known}")]
    TooNew {
        /// Format on disk.
        found: u8,
        /// Newest format that this program knows.
        known: u8,
    },
    /// A record contradicts the others or does not decode: quarantine the region.
    #[error("damaged Raft state of {group}: {reason}")]
    Damaged {
        /// The group.
        group: RegionId,
        /// What does not match.
        reason: String,
    },
    /// The group has no state here: bootstrap it first.
    #[error("{0} has no Raft state in this store")]
    Missing(RegionId),
    /// The state belongs to an earlier replica of the region on this store: wipe it before creating another.
    #[error("the Raft state of {group} belongs to {found}, not to {wanted}")]
    OtherPeer {
        /// The group.
        group: RegionId,
        /// Peer that the state belongs to.
        found: PeerId,
        /// Peer that was to be opened.
        wanted: PeerId,
    },
    /// The peer is in neither list of members: a mistake of the caller.
    #[error("{peer} is no member of {group}")]
    NotMember {
        /// The group.
        group: RegionId,
        /// The peer.
        peer: PeerId,
    },
    /// The settings contradict each other: a mistake of the caller.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Why a message was dropped. [`StepError::reason`] names a counter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Not of the form that any correct peer sends.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The message is for another peer.
    #[error("message for {0}")]
    NotForUs(PeerId),
    /// A kind that never comes from the wire or that this release does not carry.
    #[error("message kind {0} is not taken from the wire")]
    Kind(u32),
    /// The sender must be a member of the group for this kind of message.
    #[error("{0} is no member")]
    NotMember(PeerId),
    /// The process started less than one election timeout ago: no vote, no campaign.
    #[error("no votes so soon after a restart")]
    VoteHold,
    /// The leader was heard of less than one election timeout ago: no vote.
    #[error("the leader was heard of a moment ago")]
    LeaderAlive,
    /// It can have no effect now: late, repeated, or for a role that this replica does not have.
    #[error("message has no effect now: {0}")]
    Stale(&'static str),
    /// Too many reads of followers are pending here; they retry.
    #[error("too many pending reads")]
    Busy,
    /// The leader counts on entries that this replica does not have: its disk lost what it acknowledged.
    /// Quarantine the region.
    #[error(
        "the leader committed up to {commit}, which this replica acknowledged, but its log ends at {last}"
    )]
    LostLog {
        /// What the leader believes this replica holds.
        commit: Index,
        /// What it holds.
        last: Index,
    },
    /// The replica is in quarantine, see [`crate::Node::damage`].
    #[error("the replica's log is damaged")]
    Damaged,
}

impl StepError {
    /// A stable name for a counter.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NotForUs(_) => "not_for_us",
            Self::Kind(_) => "kind",
            Self::NotMember(_) => "not_member",
            Self::VoteHold => "vote_hold",
            Self::LeaderAlive => "leader_alive",
            Self::Stale(_) => "stale",
            Self::Busy => "busy",
            Self::LostLog { .. } => "lost_log",
            Self::Damaged => "damaged",
        }
    }
}

/// Why a proposal was not taken. Nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Send it to the leader.
    #[error("not the leader")]
    NotLeader {
        /// Whom this replica takes for the leader.
        leader: Option<PeerId>,
    },
    /// Too many bytes are uncommitted: wait or refuse.
    #[error("too many uncommitted bytes")]
    Busy,
    /// Never possible: refuse.
    #[error("entry of {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Size of the proposal.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Leadership is being handed over: retry soon.
    #[error("leadership is being transferred")]
    Transferring,
    /// Another change of members is not applied yet: retry soon.
    #[error("another change of members is under way")]
    Changing,
    /// A joint state must be left before anything else, and only a joint state can be left.
    #[error("the change does not fit: leave the joint state first, or there is none")]
    Joint,
    /// The replica is in quarantine, see [`crate::Node::damage`].
    #[error("the replica's log is damaged")]
    Damaged,
}

/// Why a read could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A leader that has committed nothing in its term yet: retry soon.
    #[error("the leader has not committed in its term yet")]
    NotReady,
    /// No leader is known: retry or ask another replica.
    #[error("no leader")]
    NoLeader,
    /// Too many reads are pending: wait or refuse.
    #[error("too many pending reads")]
    Busy,
    /// The replica is in quarantine, see [`crate::Node::damage`].
    #[error("the replica's log is damaged")]
    Damaged,
}

/// Why a transfer was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Send it to the leader.
    #[error("not the leader")]
    NotLeader {
        /// Whom this replica takes for the leader.
        leader: Option<PeerId>,
    },
    /// The target is unknown or a learner.
    #[error("{0} is no voter")]
    NotVoter(PeerId),
    /// The target leads already.
    #[error("already the leader")]
    AlreadyLeader,
    /// The replica is in quarantine, see [`crate::Node::damage`].
    #[error("the replica's log is damaged")]
    Damaged,
}
