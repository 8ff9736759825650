//! Stores, regions and operators: what the leader knows of the cluster.
//!
//! *Place*: the page `/metrics` asks the member for an overview and shows it here; a member that does not lead shows
//! nothing of it.
//!
//! *Limits*: a scrape of the leader costs a walk over all regions.
//!
//! *Next stop*: [`crate::http`].

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use yadkv_metrics::{Error, IntCounterVec, IntGaugeVec, Meters, about, level};
use yadkv_placement_core::Overview;
use yadkv_placement_core::answer::overview::{RegionOverview, StoreOverview};
use yadkv_placement_core::reports::Condition;
use yadkv_placement_core::schedule::operator::{Ended, Status};
use yadkv_proto::metapb::PeerRole;

/// Age of a region's last report from which its leader does not count: leaders report every minute.
const REPORT_AGE_MAX: Duration = Duration::from_secs(180);

/// Gauges of the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cluster {
    stores: IntGaugeVec,
    regions: IntGaugeVec,
    replicas: IntGaugeVec,
    leaders: IntGaugeVec,
    running: IntGaugeVec,
    ended: IntCounterVec,
    /// What `ended` has.
    counted: Arc<Mutex<Ended>>,
}

/// All of [`Condition`].
const CONDITIONS: [Condition; 5] = [
    Condition::Up,
    Condition::Disconnected,
    Condition::Down,
    Condition::Offline,
    Condition::Tombstone,
];

impl Cluster {
    /// Makes the gauges.
    pub fn new(meters: &Meters) -> Result<Self, Error> {
        let gauges =
            |name, what, question, label| meters.gauges(about(name, what, question), label);
        Ok(Self {
            stores: gauges("stores", "Stores, by state.", "Is a store gone?", "state")?,
            regions: gauges(
                "regions",
                "Regions, by how they are; one may be several: without a leader that is heard of, or that could be \
                 elected; with a peer that is down, with one that lags, with fewer voters than it should have.",
                "Is data unavailable, or one failure away from it?",
                "state",
            )?,
            replicas: gauges(
                "store_replicas",
                "Replicas of each store, by its id.",
                "Are replicas spread evenly?",
                "store",
            )?,
            leaders: gauges(
                "store_leaders",
                "Replicas of each store that lead, by its id.",
                "Are leaders, and with them requests, spread evenly?",
                "store",
            )?,
            running: gauges(
                "operators",
                "Operators that run now: leader transfers, moves of replicas, merges.",
                "Is the cluster being rebalanced or mended?",
                "status",
            )?,
            ended: meters.counters(
                about(
                    "operators_ended_total",
                    "Operators that ended, by how.",
                    "Do stores do what they are told?",
                ),
                "status",
            )?,
            counted: Arc::default(),
        })
    }

    /// Shows what the leader knows; `None`: this member does not lead.
    pub fn show(&self, overview: Option<&Overview>) {
        let Some(overview) = overview else {
            for gauges in [
                &self.stores,
                &self.regions,
                &self.replicas,
                &self.leaders,
                &self.running,
            ] {
                gauges.reset();
            }
            return;
        };
        for condition in CONDITIONS {
            let stores = overview.stores.iter();
            let count = stores.filter(|store| store.condition == condition).count();
            let gauge = self.stores.with_label_values(&[condition.name()]);
            gauge.set(level(count));
        }
        self.replicas.reset();
        self.leaders.reset();
        let gone = |condition| condition == Condition::Tombstone;
        for store in overview.stores.iter().filter(|one| !gone(one.condition)) {
            let id = [store.store.id.to_string()];
            self.replicas
                .with_label_values(&id)
                .set(level(store.regions));
            self.leaders
                .with_label_values(&id)
                .set(level(store.leaders));
        }
        self.show_regions(overview);
        self.show_operators(overview);
    }

    fn show_regions(&self, overview: &Overview) {
        let regions = &overview.regions;
        let count = |state: &str, count: usize| {
            let gauge = self.regions.with_label_values(&[state]);
            gauge.set(level(count));
        };
        count("all", regions.len());
        let heard = heard(&overview.stores);
        let silent = regions.iter().filter(|region| !is_led(region, &heard));
        count("without_leader", silent.count());
        let down = regions.iter().filter(|region| !region.down.is_empty());
        count("with_down_peer", down.count());
        let lagging = regions.iter().filter(|region| !region.pending.is_empty());
        count("with_lagging_peer", lagging.count());
        let short = regions.iter();
        let short = short.filter(|region| region.region.peers.len() < overview.replicas as usize);
        count("with_missing_peer", short.count());
    }

    fn show_operators(&self, overview: &Overview) {
        let running = overview.operators.iter();
        let running = running.filter(|operator| operator.status == Status::Running);
        let gauge = self.running.with_label_values(&["running"]);
        gauge.set(level(running.count()));
        let before = std::mem::replace(&mut *self.counted.lock(), overview.ended);
        let counts = [
            ("success", overview.ended.success, before.success),
            ("cancel", overview.ended.cancel, before.cancel),
            ("timeout", overview.ended.timeout, before.timeout),
        ];
        for (status, now, before) in counts {
            // A new term of office begins at zero.
            let new = now.checked_sub(before).unwrap_or(now);
            self.ended.with_label_values(&[status]).inc_by(new);
        }
    }
}

/// Stores that are heard of.
fn heard(stores: &[StoreOverview]) -> BTreeSet<u64> {
    let heard = |one: &&StoreOverview| matches!(one.condition, Condition::Up | Condition::Offline);
    let heard = stores.iter().filter(heard);
    heard.map(|one| one.store.id).collect()
}

/// Whether somebody leads a region as far as is known, as `yadkv ctl` judges it: a leader that died with the majority
/// is never replaced by another one's report.
fn is_led(region: &RegionOverview, heard: &BTreeSet<u64>) -> bool {
    let reported = region.reported;
    let reported = reported.is_some_and(|(_, age)| age <= REPORT_AGE_MAX);
    let leader = region.leader.as_ref();
    let leads = leader.is_some_and(|leader| heard.contains(&leader.store_id));
    let voters = region
        .region
        .peers
        .iter()
        .filter(|peer| matches!(peer.role(), PeerRole::Voter | PeerRole::IncomingVoter));
    let (mut live, mut all) = (0, 0);
    for peer in voters {
        all += 1;
        live += usize::from(heard.contains(&peer.store_id));
    }
    reported && leads && 2 * live > all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use yadkv_proto::id::Term;
    use yadkv_proto::metapb::{Peer, Region};

    fn region(leader: u64, age: u64) -> RegionOverview {
        let peer = |store_id| Peer {
            id: store_id,
            store_id,
            ..Peer::default()
        };
        RegionOverview {
            region: Arc::new(Region {
                peers: vec![peer(1), peer(2), peer(3)],
                ..Region::default()
            }),
            leader: Some(peer(leader)),
            reported: Some((Term(1), Duration::from_secs(age))),
            size_bytes: None,
            keys: None,
            pending: Vec::new(),
            down: Vec::new(),
        }
    }

    #[test]
    fn a_leader_that_is_not_heard_of_does_not_count() {
        let led = |leader, age, heard: &[u64]| {
            is_led(&region(leader, age), &heard.iter().copied().collect())
        };
        assert!(led(1, 60, &[1, 2, 3]) && led(1, 60, &[1, 2]));
        assert!(!led(3, 60, &[1, 2]), "its store is gone");
        assert!(!led(1, 60, &[1, 4]), "the majority is gone");
        assert!(!led(1, 200, &[1, 2, 3]), "it says nothing");
        let unknown = RegionOverview {
            reported: None,
            ..region(1, 0)
        };
        assert!(!is_led(&unknown, &[1, 2, 3].into()));
    }
}
