//! What comes in and how it is answered.
//!
//! *Place*: the driver makes an [`Input`]; the member answers each [`Call`] exactly once, by taking it.
//!
//! *Types to know*: [`Input`], [`Refusal`].
//!
//! *Next stop*: [`super::serve`].

use super::order::{Order, OrderReply};
use crate::answer::overview::Overview;
use crate::config::{Changeable, ConfigError};
use yadkv_proto::api::{PdRequest, PdResponse};
use yadkv_proto::id::{ClusterId, Index, PeerId};
use yadkv_proto::yadkvpb::Envelope;

/// Where the answer to a request goes. Called once.
pub type Reply = Box<dyn FnOnce(Result<PdResponse, Refusal>) + Send>;
/// Where an overview goes. Called once.
pub type OverviewReply = Box<dyn FnOnce(Result<Overview, Refusal>) + Send>;

/// Where the outcome of a change of settings goes. Called once.
pub type ConfigureReply = Box<dyn FnOnce(Result<(), ConfigError>) + Send>;

/// Everything that can happen to a member.
// Unboxed: an input is moved into a channel and out of it, once.
#[allow(clippy::large_enum_variant)]
pub enum Input {
    /// 100 ms have passed. Missed ticks are given as one.
    Tick,
    /// A Raft message of another member.
    Raft(Envelope),
    /// A call of a client or store.
    Request(PdRequest, Reply),
    /// Someone wants to look at everything.
    Overview(OverviewReply),
    /// Someone orders something for a region.
    Order(Order, OrderReply),
    /// Other settings for this member; the reply is called when they are in force, or refused.
    Configure(Box<Changeable>, ConfigureReply),
    /// A message to another member was lost.
    Unreachable(PeerId),
    /// Someone wants to know whether the member goes on; called at once.
    Ping(Box<dyn FnOnce() + Send>),
    /// This member is about to stop: another one shall lead. Given again until one does.
    Leave,
    /// The state engine holds everything up to this position durably, as [`super::Member::flush`] asked for.
    Durable(Index),
}

/// Why a call was not served. Nothing was done, except where the text says that it may have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Ask the leader (gRPC: UNAVAILABLE, unless the server forwards it).
    #[error("not leader{}", leader.as_ref().map(|url| format!(", the leader is {url}")).unwrap_or_default())]
    NotLeader {
        /// Its client url, if known.
        leader: Option<String>,
    },
    /// The caller belongs to another cluster (gRPC: FAILED_PRECONDITION).
    #[error("mismatch cluster id, need {} but got {}", expected.0, found.0)]
    ClusterMismatch {
        /// This cluster.
        expected: ClusterId,
        /// What the request named.
        found: ClusterId,
    },
    /// Try again (gRPC: UNAVAILABLE).
    #[error("{0}")]
    Unavailable(&'static str),
    /// Never possible (gRPC: INVALID_ARGUMENT).
    #[error("{0}")]
    Invalid(String),
}

/// A call that waits for its answer.
// Unboxed: nearly every call is of the large kind.
#[allow(clippy::large_enum_variant)]
pub(super) enum Call {
    Pd(PdRequest, Reply),
    Overview(OverviewReply),
    Order(Order, OrderReply),
}

/// An answer that is held until it may go.
pub(super) enum Answer {
    Pd(Box<PdResponse>),
    Overview(Box<Overview>),
}

impl Call {
    /// Answers with a refusal.
    pub(super) fn refuse(self, refusal: Refusal) {
        match self {
            Self::Pd(_, reply) => reply(Err(refusal)),
            Self::Overview(reply) => reply(Err(refusal)),
            Self::Order(_, reply) => reply(Err(refusal)),
        }
    }

    /// Answers. The answer was made for this call.
    pub(super) fn answer(self, answer: Answer) {
        match (self, answer) {
            (Self::Pd(_, reply), Answer::Pd(response)) => reply(Ok(*response)),
            (Self::Overview(reply), Answer::Overview(overview)) => reply(Ok(*overview)),
            _ => unreachable!("an answer has the kind of its call"),
        }
    }
}
