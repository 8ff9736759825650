//! Operators: what a region is asked to do, from the wish to its end.
//!
//! *Place*: schedulers wish, [`Operators::add`] admits, the answer to a region's heartbeat carries it,
//! later heartbeats show what became of it.
//!
//! *Types to know*: [`Operator`], [`Step`], [`Status`], [`Operators`].
//!
//! *Legal moves*:
//!
//! | from | to | when |
//! |---|---|---|
//! | Running | Success | the region reports what the step wants |
//! | Running | Cancel | the region's epoch changed, another peer leads, or the target lags |
//! | Running | Timeout | `schedule.operator_timeout` is over |
//!
//! *Invariants*: one operator a region; at most `schedule.operators_per_store_max` touch a store.
//!
//! *Limits*: one operator a region, [`ENDED_MAX`] ended ones are remembered for people to look at.
//!
//! *Next stop*: [`crate::answer`].

use crate::config::ScheduleConfig;
use std::collections::{BTreeMap, VecDeque};
use yadkv_proto::id::{RegionId, StoreId};
use yadkv_proto::metapb::{Peer, RegionEpoch};
use yadkv_proto::time::Moment;

/// Ended operators that are remembered.
pub const ENDED_MAX: usize = 64;

/// What a region is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Hand leadership over.
    TransferLeader {
        /// Store that leads now.
        from: StoreId,
        /// Peer that should lead.
        to: Peer,
    },
}

impl Step {
    fn touches(&self, store: StoreId) -> bool {
        match self {
            Self::TransferLeader { from, to } => *from == store || to.store_id == store.0,
        }
    }
}

/// Where an operator is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Waiting for the region to do it.
    Running,
    /// Done.
    Success,
    /// Overtaken by another change of the region.
    Cancel,
    /// Not done in time.
    Timeout,
}

impl Status {
    fn may_become(self, next: Self) -> bool {
        self == Self::Running && next != Self::Running
    }
}

/// A wish of a scheduler, and then an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Operator {
    /// The region.
    pub region: RegionId,
    /// The descriptor's epoch that the wish was made under.
    pub epoch: RegionEpoch,
    /// What to do.
    pub step: Step,
    /// Why, for people.
    pub reason: String,
    /// When it was admitted.
    pub since: Moment,
    /// Where it is.
    pub status: Status,
}

impl Operator {
    fn become_(&mut self, next: Status) {
        assert!(self.status.may_become(next), "an operator ends once");
        self.status = next;
    }
}

/// All operators.
#[derive(Debug, Default)]
pub struct Operators {
    running: BTreeMap<RegionId, Operator>,
    ended: VecDeque<Operator>,
}

impl Operators {
    /// Admits a wish unless its region has an operator or a store it touches has too many.
    pub fn add(&mut self, mut wish: Operator, config: &ScheduleConfig, now: Moment) -> bool {
        let Step::TransferLeader { from, to } = &wish.step;
        let full = [*from, StoreId(to.store_id)]
            .iter()
            .any(|store| self.touching(*store) >= config.operators_per_store_max as usize);
        if full || self.running.contains_key(&wish.region) {
            return false;
        }
        wish.since = now;
        wish.status = Status::Running;
        self.running.insert(wish.region, wish);
        true
    }

    /// Running operators that touch a store.
    pub fn touching(&self, store: StoreId) -> usize {
        self.running
            .values()
            .filter(|operator| operator.step.touches(store))
            .count()
    }

    /// The operator of a region.
    pub fn of(&self, region: RegionId) -> Option<&Operator> {
        self.running.get(&region)
    }

    /// All running operators, by region.
    pub fn running(&self) -> impl Iterator<Item = &Operator> {
        self.running.values()
    }

    /// Operators that ended, the latest last.
    pub fn ended(&self) -> impl Iterator<Item = &Operator> {
        self.ended.iter()
    }

    /// A region reported its epoch, its leader and the peers that lag: ends its operator or returns it to be
    /// sent.
    pub fn observe(
        &mut self,
        region: RegionId,
        epoch: RegionEpoch,
        leader: &Peer,
        pending: &[Peer],
    ) -> Option<&Operator> {
        let operator = self.running.get(&region)?;
        let Step::TransferLeader { from, to } = &operator.step;
        let end = if leader.id == to.id {
            Status::Success
        } else if epoch != operator.epoch
            || leader.store_id != from.0
            || pending.iter().any(|peer| peer.id == to.id)
        {
            Status::Cancel
        } else {
            return self.running.get(&region);
        };
        self.end(region, end);
        None
    }

    /// Ends what is overdue.
    pub fn expire(&mut self, config: &ScheduleConfig, now: Moment) {
        let overdue = |operator: &&Operator| now.since(operator.since) > config.operator_timeout;
        let regions: Vec<_> = self
            .running
            .values()
            .filter(overdue)
            .map(|operator| operator.region)
            .collect();
        for region in regions {
            self.end(region, Status::Timeout);
        }
    }

    /// Ends the operator of a region that changed or left the map.
    pub fn cancel(&mut self, region: RegionId) {
        if self.running.contains_key(&region) {
            self.end(region, Status::Cancel);
        }
    }

    fn end(&mut self, region: RegionId, status: Status) {
        let mut operator = self
            .running
            .remove(&region)
            .expect("the caller saw it running");
        operator.become_(status);
        tracing::info!(
            region = region.0,
            ?status,
            reason = operator.reason,
            "operator ended"
        );
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(operator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const EPOCH: RegionEpoch = RegionEpoch {
        conf_ver: 1,
        version: 1,
    };

    fn peer(store: u64) -> Peer {
        Peer {
            id: store * 10,
            store_id: store,
            ..Peer::default()
        }
    }

    fn wish(region: u64) -> Operator {
        Operator {
            region: RegionId(region),
            epoch: EPOCH,
            step: Step::TransferLeader {
                from: StoreId(1),
                to: peer(2),
            },
            reason: String::new(),
            since: Moment(0),
            status: Status::Running,
        }
    }

    #[test]
    fn an_operator_lives_until_its_region_shows_the_end() {
        let config = ScheduleConfig {
            operators_per_store_max: 3,
            ..ScheduleConfig::default()
        };
        let mut operators = Operators::default();
        let start = Moment(0);
        assert!(operators.add(wish(1), &config, start));
        assert!(!operators.add(wish(1), &config, start), "one a region");
        assert!(operators.add(wish(2), &config, start) && operators.add(wish(3), &config, start));
        assert!(!operators.add(wish(4), &config, start), "three a store");
        assert!(
            operators
                .observe(RegionId(1), EPOCH, &peer(1), &[])
                .is_some()
        );
        assert!(
            operators
                .observe(RegionId(1), EPOCH, &peer(2), &[])
                .is_none()
        );
        let changed = RegionEpoch {
            version: 2,
            ..EPOCH
        };
        assert!(
            operators
                .observe(RegionId(2), changed, &peer(1), &[])
                .is_none()
        );
        let lags = operators.observe(RegionId(3), EPOCH, &peer(1), &[peer(2)]);
        assert!(lags.is_none(), "a target that lags");
        assert!(
            operators.add(wish(3), &config, start),
            "asked again when it has caught up"
        );
        operators.expire(&config, start.after(Duration::from_secs(181)));
        let ended: Vec<_> = operators.ended().map(|operator| operator.status).collect();
        assert_eq!(
            ended,
            [
                Status::Success,
                Status::Cancel,
                Status::Cancel,
                Status::Timeout
            ]
        );
        assert_eq!(operators.running().count(), 0);
    }
}
