//! Everything people and tools look at, in one value: what HTTP and metrics show.
//!
//! *Place*: [`crate::member`] makes it for [`crate::Input::Overview`]; the server turns it into JSON.
//!
//! *Types to know*: [`Overview`].
//!
//! *Invariants*: borders are true borders; counts are of true regions.
//!
//! *Limits*: costs a walk over all regions; asked for by people, not by clients.
//!
//! *Next stop*: the server's HTTP routes.

use super::Known;
use crate::config::{MemberAddress, ScheduleConfig};
use crate::reports::Condition;
use crate::schedule::operator::{Ended, Operator};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use yadkv_proto::id::{ClusterId, PeerId, RegionId, StoreId, Term};
use yadkv_proto::metapb::{Peer, Region, Store};
use yadkv_proto::pdpb::{PeerStats, StoreStats};

/// A store and how it is.
#[derive(Clone, Debug)]
pub struct StoreOverview {
    /// What it registered as.
    pub store: Store,
    /// How alive it is.
    pub condition: Condition,
    /// Its last heartbeat in this term of office.
    pub stats: Option<StoreStats>,
    /// Time since that heartbeat, or since the leader took office.
    pub silence: Duration,
    /// Regions with a peer on it.
    pub regions: usize,
    /// Regions that it leads, as far as known.
    pub leaders: usize,
}

/// A region and who leads it.
#[derive(Clone, Debug)]
pub struct RegionOverview {
    /// The descriptor, with true borders.
    pub region: Arc<Region>,
    /// The leader, if known.
    pub leader: Option<Peer>,
    /// The term in which it leads, and the time since it said so, if reported.
    pub reported: Option<(Term, Duration)>,
    /// Approximate size in bytes, if reported.
    pub size_bytes: Option<u64>,
    /// Approximate number of keys, if reported.
    pub keys: Option<u64>,
    /// Peers that lag, as its leader says.
    pub pending: Vec<Peer>,
    /// Peers that its leader does not hear.
    pub down: Vec<PeerStats>,
}

/// The whole cluster.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Its id.
    pub cluster_id: ClusterId,
    /// The member that made this, and leads.
    pub leader: PeerId,
    /// All members.
    pub members: Vec<MemberAddress>,
    /// All stores by id.
    pub stores: Vec<StoreOverview>,
    /// All regions in key order.
    pub regions: Vec<RegionOverview>,
    /// Voters that every region shall have.
    pub replicas: u32,
    /// Running operators, and after them those that ended last.
    pub operators: Vec<Operator>,
    /// How many operators have ended since this leader took office.
    pub ended: Ended,
    /// Timestamps below are, or may have been, given out. Milliseconds since the epoch.
    pub tso_bound_ms: u64,
}

/// Stores of the overview, counted over its regions.
pub(crate) fn stores(
    known: &Known<'_>,
    regions: &[RegionOverview],
    config: &ScheduleConfig,
) -> Vec<StoreOverview> {
    let mut counts: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for region in regions {
        for peer in &region.region.peers {
            counts.entry(peer.store_id).or_default().0 += 1;
        }
        if let Some(leader) = region.leader {
            counts.entry(leader.store_id).or_default().1 += 1;
        }
    }
    let show = |(id, store): (&StoreId, &Store)| {
        let (regions, leaders) = counts.get(&id.0).copied().unwrap_or_default();
        StoreOverview {
            store: store.clone(),
            condition: known.reports.condition(store, config, known.now),
            stats: known
                .reports
                .of_store(*id)
                .map(|report| report.stats.clone()),
            silence: known.reports.silence(*id, known.now),
            regions,
            leaders,
        }
    };
    known.cluster.stores().iter().map(show).collect()
}

/// Regions of the overview.
pub(crate) fn regions(known: &Known<'_>) -> Vec<RegionOverview> {
    let show = |region: &Arc<Region>| {
        let lead = known.reports.lead(RegionId(region.id));
        RegionOverview {
            region: region.clone(),
            leader: known.leader(region),
            reported: lead.map(|lead| (lead.term, known.now.since(lead.at))),
            size_bytes: lead.map(|lead| lead.size_bytes),
            keys: lead.map(|lead| lead.keys),
            pending: known.pending(region),
            down: known.down(region),
        }
    };
    known.cluster.regions().iter().map(show).collect()
}
