//! Schedulers: pure functions from what the leader knows to what should change.
//!
//! *Place*: [`crate::member`] builds a [`ClusterView`] every `schedule.interval`, asks each scheduler, and
//! gives its wishes to [`operator::Operators`]; a region's leader hears of its operator in the answer to
//! its next heartbeat.
//!
//! ```text
//! heartbeats ─▶ reports ─▶ ClusterView ─▶ replica_checker, balance_leaders ─▶ operators ─▶ heartbeat answer
//! ```
//!
//! *Types to know*: [`ClusterView`], [`operator::Operator`].
//!
//! *Invariants*: the same view and configuration give the same wishes; a scheduler changes nothing itself.
//!
//! *Next stop*: [`replica_checker`], then [`operator`].

pub mod balance_leaders;
pub mod operator;
pub mod replica_checker;
pub mod step;

use crate::cluster::Cluster;
use crate::config::ScheduleConfig;
use crate::reports::{Condition, Reports, StoreReport};
use std::collections::BTreeMap;
use std::sync::Arc;
use yadkv_proto::id::{PeerId, RegionId, StoreId};
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::time::Moment;

/// A store as schedulers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreView {
    /// How alive it is.
    pub condition: Condition,
    /// Regions that it leads.
    pub leaders: usize,
    /// Regions with a peer on it.
    pub regions: usize,
    /// Whether it has room for more: a twentieth of its disk is free, or [`ROOM_BYTES`], and no data on it is damaged.
    pub has_room: bool,
    /// Whether it refuses writes, or is behind with its work.
    pub is_busy: bool,
}

/// A region as schedulers see it.
#[derive(Clone, Debug)]
pub struct RegionView {
    /// The descriptor.
    pub region: Arc<Region>,
    /// Its leader's store.
    pub leader: StoreId,
    /// Peers that should not lead: lagging, not heard, or with damaged data.
    pub unfit: Vec<PeerId>,
    /// Stores that say that their data of it is damaged.
    pub damaged: Vec<StoreId>,
}

/// What the leader knows, frozen.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// All stores.
    pub stores: BTreeMap<StoreId, StoreView>,
    /// Regions whose leader has reported.
    pub regions: BTreeMap<RegionId, RegionView>,
}

/// Free bytes that are room enough on the largest disk: what a store keeps back, and four snapshots of regions that are
/// about to be cut.
const ROOM_BYTES: u64 = 2 << 30;
/// A scheduler acts only when this share of the regions has reported: counting the rest would be guessing.
const REPORTED_PERCENT_MIN: usize = 80;

impl ClusterView {
    /// Freezes what is known; none while too few regions have reported.
    pub fn of(
        cluster: &Cluster,
        reports: &Reports,
        config: &ScheduleConfig,
        now: Moment,
    ) -> Option<Self> {
        if reports.leads_len() * 100 < cluster.regions().len() * REPORTED_PERCENT_MIN {
            return None;
        }
        let mut view = Self::default();
        for (id, store) in cluster.stores() {
            let condition = reports.condition(store, config, now);
            view.stores.insert(
                *id,
                StoreView {
                    condition,
                    leaders: 0,
                    regions: 0,
                    has_room: reports.of_store(*id).is_some_and(has_room),
                    is_busy: (reports.of_store(*id)).is_some_and(|report| report.stats.is_busy),
                },
            );
        }
        for region in cluster.regions().iter() {
            let id = RegionId(region.id);
            for peer in &region.peers {
                if let Some(store) = view.stores.get_mut(&StoreId(peer.store_id)) {
                    store.regions += 1;
                }
            }
            let Some(lead) = reports.lead(id) else {
                continue;
            };
            let leader = StoreId(lead.peer.store_id);
            if let Some(store) = view.stores.get_mut(&leader) {
                store.leaders += 1;
            }
            let is_damaged = |peer: &&Peer| reports.is_damaged(StoreId(peer.store_id), id);
            let damaged: Vec<&Peer> = region.peers.iter().filter(is_damaged).collect();
            view.regions.insert(
                id,
                RegionView {
                    region: region.clone(),
                    leader,
                    unfit: reports.unfit(region),
                    damaged: damaged.iter().map(|peer| StoreId(peer.store_id)).collect(),
                },
            );
        }
        Some(view)
    }
}

/// Whether a store has room for new replicas.
fn has_room(report: &StoreReport) -> bool {
    let stats = &report.stats;
    let healthy = !stats.is_busy && stats.damaged_regions_id.is_empty();
    healthy && stats.available > ROOM_BYTES.min(stats.capacity / 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yadkv_proto::pdpb::StoreStats;

    #[test]
    fn room_is_a_share_of_small_disks_and_bytes_on_large_ones() {
        const GIB: u64 = 1 << 30;
        let cases = [
            (10 * GIB, GIB, true),
            (10 * GIB, GIB / 2, false),
            (1000 * GIB, 3 * GIB, true),
            (1000 * GIB, 2 * GIB, false),
            (0, 0, false),
        ];
        for (capacity, available, expected) in cases {
            let stats = StoreStats {
                capacity,
                available,
                ..Default::default()
            };
            let report = StoreReport {
                stats,
                at: Moment::default(),
            };
            assert_eq!(has_room(&report), expected, "{available} of {capacity}");
        }
    }
}
