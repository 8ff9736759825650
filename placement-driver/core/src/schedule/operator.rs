//! Operators: what a region is asked to do, from the wish to its end.
//!
//! *Place*: schedulers wish, [`Operators::add`] admits, the answer to a region's heartbeat carries it,
//! later heartbeats show what became of it.
//!
//! *Types to know*: [`Operator`], [`Status`], [`Operators`]; [`super::step`] what it is made of.
//!
//! *Legal moves*:
//!
//! | from | to | when |
//! |---|---|---|
//! | Running | Success | the region reports what the last step wants, or is part of the one it was to be merged into |
//! | Running | Cancel | the region was cut or left the map, a merge was rolled back, a step became impossible, or somebody wants it |
//! | Running | Timeout | a step takes longer than `schedule.operator_timeout` |
//!
//! *Invariants*: one operator a region, and none for the target of a merge; at most `schedule.operators_per_store_max` leader transfers touch a store, and at
//! most `schedule.snapshots_per_store_max` replicas are made on one.
//!
//! *Limits*: one operator a region, [`ENDED_MAX`] ended ones are remembered for people to look at.
//!
//! *Next stop*: [`crate::answer`].

use super::step::{Ask, Progress, Reported, Step};
use crate::config::ScheduleConfig;
use crate::region_map::epoch_of;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use yadkv_proto::id::{RegionId, StoreId};
use yadkv_proto::metapb::Region;
use yadkv_proto::time::Moment;

/// Ended operators that are remembered.
pub const ENDED_MAX: usize = 64;

/// How long a leader has for what it was asked before it is asked again: it may have refused, or never heard.
const ASK_AGAIN: Duration = Duration::from_secs(2);

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

/// A wish of a scheduler or a person, and then an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Operator {
    /// The region.
    pub region: RegionId,
    /// The version of the region that the wish was made under: a region that was cut is another one.
    pub version: u64,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// How many steps are done.
    pub done: usize,
    /// Why, for people.
    pub reason: String,
    /// Whether a person wants it: schedulers' operators give way.
    pub by_hand: bool,
    /// When its present step began.
    pub since: Moment,
    /// When the leader was asked last.
    pub asked: Moment,
    /// Where it is.
    pub status: Status,
}

impl Operator {
    /// A wish.
    pub fn new(id: RegionId, region: &Region, steps: Vec<Step>, reason: String) -> Self {
        Self {
            region: id,
            version: epoch_of(region).version,
            steps,
            done: 0,
            reason,
            by_hand: false,
            since: Moment::default(),
            asked: Moment::default(),
            status: Status::Running,
        }
    }

    /// The present step; none when all are done.
    pub fn step(&self) -> Option<&Step> {
        self.steps.get(self.done)
    }

    /// The store on which it makes a replica, as long as that replica does not vote.
    pub fn makes(&self) -> Option<StoreId> {
        self.steps
            .iter()
            .enumerate()
            .find_map(|(at, step)| match step {
                Step::AddLearner(peer) if at + 1 >= self.done => Some(StoreId(peer.store_id)),
                _ => None,
            })
    }

    /// The region that it ends in.
    pub fn target(&self) -> Option<RegionId> {
        match self.steps.last() {
            Some(Step::Merge(target)) => Some(*target),
            _ => None,
        }
    }

    /// Whether only the end of a merge is left: then the region may be prepared for it, and leave the map.
    fn merges(&self) -> bool {
        matches!(self.step(), Some(Step::Merge(_)))
    }

    fn transfers(&self) -> bool {
        matches!(self.steps[..], [Step::TransferLeader { .. }])
    }

    fn touches(&self, store: StoreId) -> bool {
        self.steps.iter().any(|step| step.touches(store))
    }

    fn become_(&mut self, next: Status) {
        assert!(self.status.may_become(next), "an operator ends once");
        self.status = next;
    }
}

/// How many operators of a term of office ended, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Done.
    pub success: u64,
    /// Overtaken.
    pub cancel: u64,
    /// Not done in time.
    pub timeout: u64,
}

/// All operators.
#[derive(Debug, Default)]
pub struct Operators {
    running: BTreeMap<RegionId, Operator>,
    ended: VecDeque<Operator>,
    counts: Ended,
    /// Some ended since somebody asked.
    room: bool,
}

impl Operators {
    /// Admits a wish unless its region has an operator or a store it touches has too many.
    pub fn add(&mut self, mut wish: Operator, config: &ScheduleConfig, now: Moment) -> bool {
        // A change of its target would undo a merge that is under way.
        let target = wish.target();
        let busy =
            target.filter(|target| self.running.contains_key(target) || self.is_target(*target));
        if busy.is_some() || self.is_target(wish.region) {
            return false;
        }
        if let Some(running) = self.running.get(&wish.region) {
            if !wish.by_hand || running.by_hand {
                return false;
            }
            self.cancel(wish.region);
        }
        if !wish.by_hand && self.is_full_for(&wish, config) {
            return false;
        }
        tracing::info!(
            region = wish.region.0,
            steps = wish.steps.len(),
            reason = wish.reason,
            "operator begins"
        );
        wish.since = now;
        self.running.insert(wish.region, wish);
        true
    }

    fn is_target(&self, region: RegionId) -> bool {
        let mut running = self.running.values();
        running.any(|running| running.target() == Some(region))
    }

    fn is_full_for(&self, wish: &Operator, config: &ScheduleConfig) -> bool {
        if let Some(store) = wish.makes() {
            let made = self.running.values().filter_map(Operator::makes);
            let made = made.filter(|made| *made == store).count();
            return made >= config.snapshots_per_store_max as usize;
        }
        let Some(Step::TransferLeader { from, to }) = wish.step() else {
            return false;
        };
        let stores = [*from, StoreId(to.store_id)];
        let full = |store: &StoreId| {
            self.transfers_touching(*store) >= config.operators_per_store_max as usize
        };
        stores.iter().any(full)
    }

    /// Running leader transfers that touch a store.
    fn transfers_touching(&self, store: StoreId) -> usize {
        let transfers = self.running.values().filter(|one| one.transfers());
        transfers.filter(|one| one.touches(store)).count()
    }

    /// The operator of a region.
    pub fn of(&self, region: RegionId) -> Option<&Operator> {
        self.running.get(&region)
    }

    /// All running operators, by region.
    pub fn running(&self) -> impl Iterator<Item = &Operator> {
        self.running.values()
    }

    /// How many have ended.
    pub fn counts(&self) -> Ended {
        self.counts
    }

    /// Operators that ended, the latest last.
    pub fn ended(&self) -> impl Iterator<Item = &Operator> {
        self.ended.iter()
    }

    /// A region reported: its operator goes on or ends. What the leader is to be asked now.
    pub fn observe(&mut self, reported: &Reported<'_>, now: Moment) -> Option<Ask> {
        let region = RegionId(reported.region.id);
        let operator = self.running.get_mut(&region)?;
        let version = epoch_of(reported.region).version;
        if operator.merges() && version == operator.version + 1 {
            // Prepared: the next that is heard of it is the end, or the version after the rollback.
            operator.asked = now;
            return None;
        }
        if version != operator.version {
            self.end(region, Status::Cancel);
            return None;
        }
        while let Some(step) = operator.step() {
            match step.judge(reported) {
                Progress::Done => {
                    operator.done += 1;
                    operator.since = now;
                }
                Progress::Ask(ask) => {
                    operator.asked = now;
                    return Some(ask);
                }
                Progress::Wait => return None,
                Progress::Impossible => {
                    self.end(region, Status::Cancel);
                    return None;
                }
            }
        }
        self.end(region, Status::Success);
        None
    }

    /// Regions whose leaders have not done in time what they were asked.
    pub fn to_ask_again(&self, now: Moment) -> Vec<RegionId> {
        let late = |operator: &&Operator| now.since(operator.asked) >= ASK_AGAIN;
        let late = self.running.values().filter(late);
        late.map(|operator| operator.region).collect()
    }

    /// Whether some ended since the last call: others may begin.
    pub fn take_room(&mut self) -> bool {
        std::mem::take(&mut self.room)
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

    /// A region has left the map: part of another one now, which is what its operator may have wanted.
    pub fn left(&mut self, region: RegionId) {
        match self.running.get(&region).map(Operator::merges) {
            Some(true) => self.end(region, Status::Success),
            Some(false) => self.end(region, Status::Cancel),
            None => {}
        }
    }

    /// Ends the operator of a region.
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
        match status {
            Status::Success => self.counts.success += 1,
            Status::Timeout => self.counts.timeout += 1,
            Status::Cancel | Status::Running => self.counts.cancel += 1,
        }
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(operator);
        self.room = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region_map::RegionMap;
    use yadkv_proto::id::PeerId;
    use yadkv_proto::metapb::{Peer, PeerRole, RegionEpoch};

    fn peer(store: u64) -> Peer {
        Peer {
            id: store * 10,
            store_id: store,
            ..Peer::default()
        }
    }

    fn region(id: u64, peers: &[Peer]) -> Region {
        Region {
            id,
            peers: peers.to_vec(),
            region_epoch: Some(RegionEpoch {
                conf_ver: 1,
                version: 1,
            }),
            ..Region::default()
        }
    }

    fn transfer(id: u64) -> Operator {
        let to = peer(2);
        let from = StoreId(1);
        let steps = vec![Step::TransferLeader { from, to }];
        let region = region(id, &[peer(1), to]);
        Operator::new(RegionId(id), &region, steps, String::new())
    }

    fn observe(
        operators: &mut Operators,
        region: &Region,
        leader: u64,
        unfit: &[u64],
    ) -> Option<Ask> {
        let unfit: Vec<_> = unfit.iter().map(|store| PeerId(store * 10)).collect();
        let reported = Reported {
            region,
            leader: peer(leader),
            unfit: &unfit,
            damaged: &[],
            leaving: &[],
            map: &RegionMap::default(),
        };
        operators.observe(&reported, Moment(0))
    }

    #[test]
    fn an_operator_lives_until_its_region_shows_the_end() {
        let config = ScheduleConfig {
            operators_per_store_max: 3,
            ..ScheduleConfig::default()
        };
        let mut operators = Operators::default();
        let start = Moment(0);
        assert!(operators.add(transfer(1), &config, start));
        assert!(!operators.add(transfer(1), &config, start), "one a region");
        assert!(operators.add(transfer(2), &config, start));
        assert!(operators.add(transfer(3), &config, start));
        assert!(!operators.add(transfer(4), &config, start), "three a store");
        let both = [peer(1), peer(2)];
        let asked = observe(&mut operators, &region(1, &both), 1, &[]);
        assert_eq!(asked, Some(Ask::Transfer(peer(2))));
        assert_eq!(observe(&mut operators, &region(1, &both), 2, &[]), None);
        let mut cut = region(2, &both);
        cut.region_epoch = Some(RegionEpoch {
            conf_ver: 1,
            version: 2,
        });
        assert_eq!(observe(&mut operators, &cut, 1, &[]), None);
        let lags = observe(&mut operators, &region(3, &both), 1, &[2]);
        assert_eq!(lags, None, "a target that lags");
        let again = operators.add(transfer(3), &config, start);
        assert!(again, "asked again when it has caught up");
        let later = start.after(Duration::from_secs(3));
        assert_eq!(operators.to_ask_again(start), []);
        assert_eq!(operators.to_ask_again(later), [RegionId(3)]);
        operators.expire(&config, start.after(Duration::from_secs(181)));
        let ended: Vec<_> = operators.ended().map(|operator| operator.status).collect();
        use Status::{Cancel, Success, Timeout};
        assert_eq!(ended, [Success, Cancel, Cancel, Timeout]);
        assert_eq!(operators.running().count(), 0);
    }

    #[test]
    fn steps_follow_each_other_and_people_come_first() {
        let config = ScheduleConfig::default();
        let mut operators = Operators::default();
        let mut new = peer(3);
        new.set_role(PeerRole::Learner);
        let steps = vec![Step::AddLearner(new), Step::Promote(new)];
        let founders = region(1, &[peer(1), peer(2)]);
        let mut wish = Operator::new(RegionId(1), &founders, steps, String::new());
        assert!(operators.add(transfer(1), &config, Moment(0)));
        assert!(!operators.add(wish.clone(), &config, Moment(0)));
        wish.by_hand = true;
        assert!(operators.add(wish.clone(), &config, Moment(0)));
        assert!(!operators.add(wish, &config, Moment(0)), "one by hand");
        assert!(observe(&mut operators, &founders, 1, &[]).is_some());
        let learns = region(1, &[peer(1), peer(2), new]);
        assert_eq!(observe(&mut operators, &learns, 1, &[3]), None, "it lags");
        assert!(observe(&mut operators, &learns, 1, &[]).is_some());
        let votes = region(1, &[peer(1), peer(2), peer(3)]);
        assert_eq!(observe(&mut operators, &votes, 1, &[]), None);
        let ended: Vec<_> = operators.ended().map(|operator| operator.status).collect();
        assert_eq!(ended, [Status::Cancel, Status::Success]);
    }
}
