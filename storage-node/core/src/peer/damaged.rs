//! A replica with damaged data: it leads no longer than it has to.
//!
//! *Limits and failure*: while no other voter keeps up it goes on leading; what it cannot read it refuses.
//!
//! *Next stop*: [`crate::damage`].

use super::Peer;
use yadkv_proto::id::PeerId;
use yadkv_proto::metapb::PeerRole;
use yadkv_proto::time::Moment;

impl Peer {
    /// Whether some of its data may be damaged.
    pub fn set_damaged(&mut self, damaged: bool) {
        self.damaged = damaged;
    }

    /// Hands leadership over, if it has to.
    pub(super) fn hand_over_if_damaged(&mut self, now: Moment) {
        if !self.damaged || !self.is_leader() {
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
                "damaged data: leadership goes elsewhere"
            );
            self.transfer_leader(&heir, now);
        }
    }
}
