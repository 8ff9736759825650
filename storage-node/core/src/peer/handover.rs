//! A replica that should not lead, with damaged data, beside one that stands still, on a disk without room or that hangs, or on
//! a store that stops: it leads no longer than it has to.
//!
//! *Why beside*: a region that waits to become part of its neighbour has the neighbour's leader called by its replica on the
//! same store. One that stands still calls nobody.
//!
//! *Limits and failure*: while no other voter keeps up it goes on leading; what it cannot read or write it refuses. One that
//! is given leadership back (the other store may be no better off) keeps it for [`AGAIN_AFTER`], or on a store that stops for
//! [`LEAVING_AGAIN_AFTER`].
//!
//! *Next stop*: [`crate::damage`], [`crate::room`], [`crate::stuck`].

use super::Peer;
use std::time::Duration;
use yadkv_proto::id::PeerId;
use yadkv_proto::metapb::PeerRole;
use yadkv_proto::time::Moment;

/// Shorter, and leadership goes back and forth between two stores that both want to be rid of it.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// The same on a store that stops: one that goes cannot wait. About the time that an order to hand over is good for.
const LEAVING_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Why a replica should not lead.
#[derive(Debug, Default)]
pub(super) struct Handover {
    damaged: bool,
    beside_halted: bool,
    cramped: bool,
    leaving: bool,
    /// When it handed over last.
    last: Option<Moment>,
}

impl Peer {
    /// Whether some of its data may be damaged.
    pub fn set_damaged(&mut self, damaged: bool) {
        self.handover.damaged = damaged;
    }

    /// Whether a replica of a neighbour applies nothing any more here.
    pub fn set_beside_halted(&mut self, beside: bool) {
        self.handover.beside_halted = beside;
    }

    /// Whether there is little room on the disk, or it hangs.
    pub fn set_cramped(&mut self, cramped: bool) {
        self.handover.cramped = cramped;
    }

    /// Whether the store is about to stop.
    pub fn set_leaving(&mut self, leaving: bool) {
        self.handover.leaving = leaving;
    }

    /// Hands leadership over, if it has to.
    pub(super) fn hand_over_if_due(&mut self, now: Moment) {
        let reason = match &self.handover {
            Handover { damaged: true, .. } => "damaged data",
            _ if self.view.is_halted() => "damaged data of a region that becomes part of this one",
            Handover {
                beside_halted: true,
                ..
            } => "damaged data of a neighbour, which may wait for this leader",
            Handover { cramped: true, .. } => "a full or hung disk",
            Handover { leaving: true, .. } => "the store stops",
            _ => {
                self.handover.last = None;
                return;
            }
        };
        let pause = match self.handover.leaving {
            true => LEAVING_AGAIN_AFTER,
            false => AGAIN_AFTER,
        };
        let recently = |last: Moment| now.since(last) < pause;
        if !self.is_leader() || self.handover.last.is_some_and(recently) {
            return;
        }
        let own = self.view.peer().id;
        let region = self.view.region();
        let fits = |peer: &&yadkv_proto::metapb::Peer| {
            let votes = matches!(peer.role(), PeerRole::Voter | PeerRole::IncomingVoter);
            votes && peer.id != own && self.node.follows(PeerId(peer.id))
        };
        if let Some(heir) = region.peers.iter().find(fits).copied() {
            tracing::info!(
                region = region.id,
                to = heir.id,
                "{reason}: leadership goes elsewhere"
            );
            self.handover.last = Some(now);
            self.transfer_leader(&heir, now);
        }
    }
}
