//! Replicas of a worker as people see them.
//!
//! *Place*: the server's status port asks with [`super::message::Input::Inspect`].
//!
//! *Limits and failure*: at most [`INSPECTED_MAX`] replicas a question, so that nobody else waits for long; the answer
//! must not block. Whose question is dropped hears so by its reply being dropped.
//!
//! *Next stop*: [`crate::peer::inspect`].

use super::Worker;
use crate::peer::inspect::Replica;
use yadkv_proto::id::RegionId;
use yadkv_proto::time::Moment;

/// Replicas in one answer: about a third of a millisecond of the worker's time.
pub const INSPECTED_MAX: usize = 256;

/// A replica, as far as there is something to see.
#[derive(Clone, Debug)]
pub enum Inspected {
    /// It takes part.
    Lives(Box<Replica>),
    /// It is being installed or destroyed.
    Moves(RegionId),
}

impl Inspected {
    /// Its region.
    pub fn region(&self) -> RegionId {
        match self {
            Self::Lives(replica) => RegionId(replica.region.id),
            Self::Moves(region) => *region,
        }
    }
}

/// Where the answer goes, replicas in the order of their regions. Must not block.
pub type InspectionReply = Box<dyn FnOnce(Vec<Inspected>) + Send>;

/// Somebody wants to see replicas.
pub struct Inspection {
    /// The first region.
    pub from: RegionId,
    /// How many; at most [`INSPECTED_MAX`].
    pub limit: usize,
    /// Who asks.
    pub reply: InspectionReply,
}

impl std::fmt::Debug for Inspection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Inspection({} from {})", self.limit, self.from)
    }
}

impl Worker {
    pub(super) fn inspect(&self, inspection: Inspection, now: Moment) {
        let Inspection { from, limit, reply } = inspection;
        let limit = limit.min(INSPECTED_MAX);
        let living = self.peers.range(from..).take(limit);
        let living = living.map(|(_, peer)| Inspected::Lives(Box::new(peer.inspect(now))));
        let moving = self.moving.range(from..).take(limit);
        let moving = moving.map(|region| Inspected::Moves(*region));
        let mut all: Vec<_> = living.chain(moving).collect();
        all.sort_by_key(Inspected::region);
        all.truncate(limit);
        reply(all);
    }
}
