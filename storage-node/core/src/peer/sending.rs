//! Snapshots that this leader has begun to send.
//!
//! *Life*: Raft names a peer that needs what is no longer in the log → a [`SendTask`] → sent, refused or failed →
//! [`Peer::snapshot_sent`] → Raft sends entries again, or asks once more.
//!
//! *Limits*: one a peer; one of which nothing is heard within [`SEND_MAX`] counts as failed.
//!
//! *Next stop*: [`crate::snapshot`].

use super::Peer;
use crate::store::message::{Effects, SendTask};
use std::time::Duration;
use yadkv_proto::id::PeerId;
use yadkv_proto::time::Moment;

/// How long a snapshot may take. At the rate that stores send with, the largest region takes a fraction of it.
const SEND_MAX: Duration = Duration::from_secs(1800);

impl Peer {
    /// Raft wants these peers to be sent a snapshot.
    pub(super) fn send_snapshots(
        &mut self,
        peers: Vec<PeerId>,
        now: Moment,
        effects: &mut Effects,
    ) {
        for id in peers {
            let members = &self.view.region().peers;
            let Some(to) = members.iter().find(|peer| peer.id == id.0).copied() else {
                continue;
            };
            self.sending.insert(id, now);
            effects.snapshots.push(SendTask {
                region: self.id(),
                from: *self.view.peer(),
                to,
                term: self.node.term(),
            });
        }
    }

    /// What became of one.
    pub fn snapshot_sent(&mut self, to: PeerId, arrived: bool) {
        if self.sending.remove(&to).is_some() {
            self.expect(to, self.last_tick());
            self.node.report_snapshot(to, arrived);
        }
    }

    pub(super) fn expire_snapshots(&mut self, now: Moment) {
        let late = |since: &Moment| now.since(*since) >= SEND_MAX;
        let lost: Vec<_> = (self.sending.iter())
            .filter(|(_, since)| late(since))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in lost {
            self.snapshot_sent(peer, false);
        }
    }
}
