//! Stores, regions and operators: what the leader knows of the cluster.
//!
//! *Place*: the page `/metrics` asks the member for an overview and shows it here; a member that does not lead shows
//! nothing of it.
//!
//! *Limits*: a scrape of the leader costs a walk over all regions.
//!
//! *Next stop*: [`crate::http`].

use parking_lot::Mutex;
use std::sync::Arc;
use yadkv_metrics::{Error, IntCounterVec, IntGaugeVec, Meters, about, level};
use yadkv_placement_core::Overview;
use yadkv_placement_core::reports::Condition;
use yadkv_placement_core::schedule::operator::{Ended, Status};

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
                "Regions, by how they are; one may be several: without a leader that reports, with a peer that is down, \
                 with one that lags, with fewer voters than it should have.",
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
        let silent = regions.iter().filter(|region| region.reported.is_none());
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
