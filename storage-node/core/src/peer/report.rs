//! Heartbeats of a led region to the placement driver.
//!
//! *Life*: when leadership is won, when an entry of the new term is applied, when the placement driver has a
//! new leader itself, when a peer falls behind or has caught up, and every `region_heartbeat`.
//!
//! *Limits*: one report a region and occasion, at most one a [`PENDING_PACE`] because of peers that lag; the
//! server's channel to the placement driver drops the oldest when full, the next occasion makes it good.
//!
//! *Next stop*: `placement-driver/core`.

use super::Peer;
use crate::config::Config;
use crate::store::message::Effects;
use std::time::Duration;
use yadkv_proto::id::PeerId;
use yadkv_proto::metapb;
use yadkv_proto::pdpb::RegionHeartbeatRequest;
use yadkv_proto::time::{Moment, Now};

/// Least time between two reports of peers that lag: one that comes and goes must not flood.
const PENDING_PACE: Duration = Duration::from_secs(1);

/// What was reported of the region, and when.
pub(super) struct Reports {
    /// The last report on its own occasion.
    last: Moment,
    /// Peers reported as lagging.
    pending: Vec<metapb::Peer>,
    /// When a change of them was reported.
    pending_since: Moment,
}

impl Reports {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            last: now,
            pending: Vec::new(),
            pending_since: now,
        }
    }
}

impl Peer {
    /// Reports the region now.
    pub fn report(&mut self, effects: &mut Effects) {
        if !self.is_leader() {
            return;
        }
        self.reports.pending = self.pending();
        let size = self.size.estimate();
        effects.reports.push(RegionHeartbeatRequest {
            region: Some(self.view.region().clone()),
            leader: Some(*self.view.peer()),
            term: self.node.term().0,
            pending_peers: self.reports.pending.clone(),
            approximate_size: size.bytes,
            approximate_keys: size.keys,
            ..Default::default()
        });
    }

    /// Peers that do not keep up with this leader.
    fn pending(&self) -> Vec<metapb::Peer> {
        let own = self.view.peer().id;
        let peers = self.view.region().peers.iter();
        peers
            .filter(|peer| peer.id != own && !self.node.follows(PeerId(peer.id)))
            .copied()
            .collect()
    }

    pub(super) fn report_if_due(&mut self, now: Now, config: &Config, effects: &mut Effects) {
        let paced = now.moment.since(self.reports.pending_since) >= PENDING_PACE;
        if now.moment.since(self.reports.last) >= config.region_heartbeat {
            self.reports.last = now.moment;
            self.report(effects);
        } else if self.is_leader() && paced && self.pending() != self.reports.pending {
            self.reports.pending_since = now.moment;
            self.report(effects);
        }
    }
}
