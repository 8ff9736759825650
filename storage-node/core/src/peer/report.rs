//! Heartbeats of a led region to the placement driver.
//!
//! *Life*: when leadership is won, when an entry of the new term is applied, when the placement driver has a
//! new leader itself, and every `region_heartbeat`.
//!
//! *Limits*: one report a region and occasion; the server's channel to the placement driver drops the oldest
//! when full, the next occasion makes it good.
//!
//! *Next stop*: `placement-driver/core`.

use super::Peer;
use crate::config::Config;
use crate::store::message::Effects;
use yadkv_proto::pdpb::RegionHeartbeatRequest;
use yadkv_proto::time::{Moment, Now};

/// When the region was reported last.
pub(super) struct Reports {
    last: Moment,
}

impl Reports {
    pub(super) fn new(now: Moment) -> Self {
        Self { last: now }
    }
}

impl Peer {
    /// Reports the region now.
    pub fn report(&mut self, effects: &mut Effects) {
        if !self.is_leader() {
            return;
        }
        effects.reports.push(RegionHeartbeatRequest {
            region: Some(self.view.region().clone()),
            leader: Some(*self.view.peer()),
            term: self.node.term().0,
            ..Default::default()
        });
    }

    pub(super) fn report_if_due(&mut self, now: Now, config: &Config, effects: &mut Effects) {
        if now.moment.since(self.reports.last) >= config.region_heartbeat {
            self.reports.last = now.moment;
            self.report(effects);
        }
    }
}
