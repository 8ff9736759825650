//! Changes on their way through the log.
//!
//! *Place*: any part of [`super::Member`] queues a command with its [`Purpose`]; `round` proposes; [`super::apply`]
//! brings outcomes back.
//!
//! *Life of a command*: [`Writing::queue`] → [`Member::propose`] packs all queued commands into few entries →
//! the table keeps their purposes under (index, term) → applied: [`Writing::take`] gives the purposes back, in
//! the order of the commands.
//!
//! *Invariants*: a purpose is resolved once: by the outcome, by an entry of another term at its index, or when
//! the office ends. In the last two cases the command may or may not have taken effect.
//!
//! *Limits*: [`ENTRY_BYTES_MAX`] an entry; [`QUEUED_MAX`] commands wait or are under way: more are refused.
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`super::apply`].

use super::call::{Refusal, Reply};
use super::order::OrderReply;
use super::seat::Office;
use super::{Member, Seat};
use crate::cluster::Cluster;
use prost::Message;
use std::collections::BTreeMap;
use std::fmt;
use yadkv_proto::id::{Index, RegionId, Term};
use yadkv_proto::pdpb::RegionHeartbeatRequest;
use yadkv_proto::placementpb::command::Operation;
use yadkv_proto::placementpb::{Command, RaiseIdBound};
use yadkv_proto::time::Now;

/// Bytes of commands that one entry is filled up to.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Commands queued or proposed at once.
pub(super) const QUEUED_MAX: usize = 65_536;

/// What a command is for.
pub(super) enum Purpose {
    /// The cluster's identity.
    Form,
    /// Timestamps wait for it.
    TsoBound,
    /// Ids wait for it.
    IdBound,
    /// The first regions.
    Bootstrap,
    /// Nobody waits.
    Nothing,
    /// A caller registered a store: by PutStore, or by Bootstrap (true).
    PutStore(Reply, bool),
    /// A caller wants a store to leave, or to stay.
    StoreState(OrderReply),
    /// A store that left is empty.
    Burial,
    /// A caller raised the safe point.
    GcSafePoint(Reply),
    /// Heartbeats or a report changed the map.
    Map(Box<MapChange>),
}

/// A change of the map under way.
pub(super) struct MapChange {
    /// Regions that leave or come.
    pub(super) regions: Vec<RegionId>,
    /// Who completed it; none if it became possible by another change.
    pub(super) caller: Option<Caller>,
}

/// Who told of a change of the map.
// Unboxed: it is boxed together with the change.
#[allow(clippy::large_enum_variant)]
pub(super) enum Caller {
    /// A region's leader.
    Heartbeat(RegionHeartbeatRequest, Reply),
    /// A store that split a region.
    Split(Reply),
}

impl Caller {
    fn refuse(self, refusal: Refusal) {
        let (Self::Heartbeat(_, reply) | Self::Split(reply)) = self;
        reply(Err(refusal));
    }
}

impl Purpose {
    /// The command did not enter the log, or nobody knows whether it did.
    pub(super) fn refuse(self, refusal: Refusal) {
        match self {
            Self::PutStore(reply, _) | Self::GcSafePoint(reply) => reply(Err(refusal)),
            Self::StoreState(reply) => reply(Err(refusal)),
            Self::Map(change) => {
                if let Some(caller) = change.caller {
                    caller.refuse(refusal);
                }
            }
            Self::Form
            | Self::TsoBound
            | Self::IdBound
            | Self::Bootstrap
            | Self::Nothing
            | Self::Burial => {}
        }
    }
}

/// Commands that are queued and purposes that wait for the log.
#[derive(Default)]
pub(super) struct Writing {
    queued: Vec<(Command, Purpose)>,
    proposed: BTreeMap<Index, (Term, Vec<Purpose>)>,
    /// Purposes in `proposed`.
    under_way: usize,
}

impl fmt::Debug for Writing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Writing {{ queued: {}, under way: {} }}",
            self.queued.len(),
            self.under_way
        )
    }
}

impl Writing {
    /// Queues a command.
    pub(super) fn queue(&mut self, operation: Operation, purpose: Purpose) {
        if self.queued.len() + self.under_way >= QUEUED_MAX {
            purpose.refuse(Refusal::Unavailable("too many changes are under way"));
            return;
        }
        self.queued.push((
            Command {
                operation: Some(operation),
            },
            purpose,
        ));
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// The purposes of the entry that was applied at (`index`, `term`), in the order of its commands.
    pub(super) fn take(&mut self, index: Index, term: Term) -> Vec<Purpose> {
        let Some((proposed, purposes)) = self.proposed.remove(&index) else {
            return Vec::new();
        };
        self.under_way -= purposes.len();
        if proposed == term {
            return purposes;
        }
        for purpose in purposes {
            purpose.refuse(Refusal::Unavailable(
                "another leader's entry took the place; the outcome is unknown",
            ));
        }
        Vec::new()
    }

    /// The office ends: the outcome of what is under way is unknown.
    pub(super) fn refuse_all(self) {
        let under_way = self
            .proposed
            .into_values()
            .flat_map(|(_, purposes)| purposes);
        for purpose in under_way {
            purpose.refuse(Refusal::Unavailable(
                "leadership was lost; the outcome is unknown",
            ));
        }
        for (_, purpose) in self.queued {
            purpose.refuse(Refusal::Unavailable("leadership was lost"));
        }
    }
}

impl Office {
    /// Proposes a higher id bound if `count` ids cannot be had otherwise.
    pub(super) fn raise_ids(&mut self, count: u64) {
        if let Some(bound) = self.ids.raise(count) {
            self.writing.queue(
                Operation::RaiseIdBound(RaiseIdBound { bound }),
                Purpose::IdBound,
            );
        }
    }

    /// The command of this purpose did not enter the log: what was promised on it is taken back.
    fn drop_promise(&mut self, purpose: &Purpose) {
        match purpose {
            Purpose::TsoBound => self.oracle.dropped(),
            Purpose::IdBound => self.ids.dropped(),
            Purpose::Bootstrap => self.bootstrapping = false,
            Purpose::Burial => self.burying = false,
            Purpose::Map(change) => {
                for region in &change.regions {
                    self.replacing.remove(region);
                }
            }
            _ => {}
        }
    }
}

impl Member {
    /// Proposes everything that is queued.
    pub(super) fn propose(&mut self, now: Now) {
        loop {
            let Seat::Leader(office) = &mut self.seat else {
                return;
            };
            let mut bytes = 0;
            let fits = |(command, _): &&(Command, Purpose)| {
                bytes += command.encoded_len();
                bytes <= ENTRY_BYTES_MAX
            };
            // A command above the limit travels alone.
            let count = office.writing.queued.iter().take_while(fits).count().max(1);
            let count = count.min(office.writing.queued.len());
            if count == 0 {
                return;
            }
            let (commands, purposes): (Vec<_>, Vec<_>) =
                office.writing.queued.drain(..count).unzip();
            match self.node.propose(Cluster::encode(commands), now.moment) {
                Ok(proposal) => {
                    office.writing.under_way += purposes.len();
                    let replaced = office
                        .writing
                        .proposed
                        .insert(proposal.index, (proposal.term, purposes));
                    assert!(
                        replaced.is_none(),
                        "a leader gives an index once in its term"
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "proposal refused");
                    for purpose in purposes {
                        office.drop_promise(&purpose);
                        purpose.refuse(Refusal::Unavailable(
                            "the log takes no entries at the moment",
                        ));
                    }
                }
            }
        }
    }
}
