//! Heartbeats of a led region to the placement driver.
//!
//! *Life*: when leadership is won, when an entry of the new term is applied, when the placement driver has a
//! new leader itself, when a peer falls behind or has caught up, is silent or speaks again, and every `region_heartbeat`.
//!
//! *Limits*: one report a region and occasion, at most one a [`CHANGE_PACE`] because of peers that lag or are silent; the
//! server's channel to the placement driver drops the oldest when full, the next occasion makes it good.
//!
//! *Next stop*: `placement-driver/core`.

use super::Peer;
use crate::config::Config;
use crate::store::message::Effects;
use std::time::Duration;
use yadkv_proto::id::PeerId;
use yadkv_proto::metapb;
use yadkv_proto::pdpb::{PeerStats, RegionHeartbeatRequest};
use yadkv_proto::time::{Moment, Now};

/// Least time between two reports of peers that lag or are silent: one that comes and goes must not flood.
const CHANGE_PACE: Duration = Duration::from_secs(1);
/// Silence after which a peer counts as down: more than an election and than a stall of its disk.
const DOWN_MIN: Duration = Duration::from_secs(5);

/// What was reported of the region, and when.
pub(super) struct Reports {
    /// The last report on its own occasion.
    last: Moment,
    /// Peers reported as lagging.
    pending: Vec<metapb::Peer>,
    /// Peers reported as down.
    down: Vec<u64>,
    /// When a change of either was reported.
    changed: Moment,
    /// The last tick.
    clock: Moment,
}

impl Reports {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            last: now,
            pending: Vec::new(),
            down: Vec::new(),
            changed: now,
            clock: now,
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
        let down = self.down();
        self.reports.down = down.iter().map(id_of).collect();
        let size = self.size.estimate();
        effects.reports.push(RegionHeartbeatRequest {
            region: Some(self.view.region().clone()),
            leader: Some(*self.view.peer()),
            term: self.node.term().0,
            down_peers: down,
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

    /// Peers that this leader has not heard of for long. One that is sent a snapshot may be busy with it.
    pub(super) fn down(&self) -> Vec<PeerStats> {
        let own = self.view.peer().id;
        let peers = self.view.region().peers.iter();
        let silent = peers.filter_map(|peer| {
            let id = PeerId(peer.id);
            let silence = self.silence(id, self.reports.clock);
            let down = silence >= DOWN_MIN && peer.id != own && !self.sending.contains_key(&id);
            down.then_some(PeerStats {
                peer: Some(*peer),
                down_seconds: silence.as_secs(),
            })
        });
        silent.collect()
    }

    fn has_changed_peers(&self) -> bool {
        self.pending() != self.reports.pending
            || self
                .down()
                .iter()
                .map(id_of)
                .ne(self.reports.down.iter().copied())
    }

    /// When the last tick was: as good as now for silence, which lasts many of them.
    pub(super) fn last_tick(&self) -> Moment {
        self.reports.clock
    }

    pub(super) fn report_if_due(&mut self, now: Now, config: &Config, effects: &mut Effects) {
        self.reports.clock = now.moment;
        let paced = now.moment.since(self.reports.changed) >= CHANGE_PACE;
        if now.moment.since(self.reports.last) >= config.region_heartbeat {
            self.reports.last = now.moment;
            self.report(effects);
        } else if self.is_leader() && paced && self.has_changed_peers() {
            self.reports.changed = now.moment;
            self.report(effects);
        }
    }
}

fn id_of(down: &PeerStats) -> u64 {
    down.peer.map_or(0, |peer| peer.id)
}
