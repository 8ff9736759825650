//! Keeps every region at the number of replicas that is asked for, on stores that live.
//!
//! *Place*: asked by [`crate::member`] with a [`ClusterView`]; its wishes go to [`super::operator::Operators`].
//!
//! *What it does*, the first that applies:
//!
//! | a region | |
//! |---|---|
//! | in a joint state | leaves it |
//! | with a learner on a lost store | loses the learner |
//! | with a voter on a lost store, and more voters than asked for | loses that voter |
//! | with a voter on a lost store | gets a learner elsewhere, which takes its place |
//! | with a voter whose data is damaged, and no store for another | loses that voter, if all the others are well |
//! | with fewer voters than asked for | gets a learner, which is promoted |
//! | with more voters than asked for | loses one that does not lead |
//! | with a learner that nobody needs | loses it |
//!
//! A replica whose store says that its data is damaged counts as one on a lost store.
//!
//! *Invariants*: a region with an operator is left alone. New replicas come on stores that are Up, have room, and have
//! none of the region; of those the one with fewest regions.
//!
//! *Limits*: [`WISHES_MAX`] wishes a call.
//!
//! *Next stop*: [`super::step`].

use super::operator::{Operator, Operators};
use super::step::Step;
use super::{ClusterView, RegionView, StoreView};
use crate::config::ScheduleConfig;
use crate::reports::Condition;
use std::collections::BTreeMap;
use yadkv_proto::id::StoreId;
use yadkv_proto::metapb::{Peer, PeerRole};

/// Wishes in one call.
pub const WISHES_MAX: usize = 64;

/// What would mend the regions, in the order of their ids. `new_id` gives ids of new peers, as long as it has some.
pub fn replica_checker(
    view: &ClusterView,
    operators: &Operators,
    config: &ScheduleConfig,
    new_id: &mut dyn FnMut() -> Option<u64>,
) -> Vec<Operator> {
    let mut checker = Checker::new(view, operators, config);
    let mut wishes = Vec::new();
    for (id, region) in &view.regions {
        if wishes.len() >= WISHES_MAX {
            break;
        }
        if operators.of(*id).is_some() {
            continue;
        }
        let Some((steps, reason)) = checker.mend(region, new_id) else {
            continue;
        };
        wishes.push(Operator::new(*id, &region.region, steps, reason));
    }
    wishes
}

/// Where a new replica of a region may come, best first.
pub fn targets<'a>(
    view: &'a ClusterView,
    region: &'a RegionView,
    made: &'a BTreeMap<StoreId, usize>,
) -> impl Iterator<Item = (usize, StoreId)> + 'a {
    let fits = move |(id, store): &(&StoreId, &StoreView)| {
        let peers = &region.region.peers;
        takes_replicas(store) && peers.iter().all(|peer| peer.store_id != id.0)
    };
    let stores = view.stores.iter().filter(fits);
    let mut sorted: Vec<_> = stores
        .map(|(id, store)| (store.regions + made.get(id).copied().unwrap_or(0), *id))
        .collect();
    sorted.sort_unstable();
    sorted.into_iter()
}

/// Whether a new replica may come there.
pub fn takes_replicas(store: &StoreView) -> bool {
    store.condition == Condition::Up && store.has_room
}

struct Checker<'a> {
    view: &'a ClusterView,
    config: &'a ScheduleConfig,
    /// Replicas that are being made, by store.
    made: BTreeMap<StoreId, usize>,
}

type Wish = (Vec<Step>, String);

impl<'a> Checker<'a> {
    fn new(view: &'a ClusterView, operators: &Operators, config: &'a ScheduleConfig) -> Self {
        let mut made = BTreeMap::new();
        for store in operators.running().filter_map(Operator::makes) {
            *made.entry(store).or_default() += 1;
        }
        Self { view, config, made }
    }

    /// Whether a replica has to be replaced, and why.
    fn lost(&self, region: &RegionView, peer: &Peer) -> Option<String> {
        let store = peer.store_id;
        if region.damaged.contains(&StoreId(store)) {
            return Some(format!("data of store {store} is damaged"));
        }
        let lost = self.is_lost(peer);
        lost.then(|| format!("store {store} is {}", self.condition(peer)))
    }

    /// Whether a damaged replica goes first and a new one comes after it, when its store has none of the damage left: two
    /// of three that are well are as safe as with a third that is not.
    fn heals_alone(&self, region: &RegionView, peer: &Peer, voters: usize) -> bool {
        let damaged = region.damaged.contains(&StoreId(peer.store_id));
        damaged && voters > 2 && targets(self.view, region, &self.made).next().is_none()
    }

    fn is_lost(&self, peer: &Peer) -> bool {
        let store = self.view.stores.get(&StoreId(peer.store_id));
        store
            .is_none_or(|store| !matches!(store.condition, Condition::Up | Condition::Disconnected))
    }

    fn condition(&self, peer: &Peer) -> &'static str {
        let store = self.view.stores.get(&StoreId(peer.store_id));
        store.map_or("unknown", |store| store.condition.name())
    }

    fn mend(
        &mut self,
        region: &RegionView,
        new_id: &mut dyn FnMut() -> Option<u64>,
    ) -> Option<Wish> {
        let peers = &region.region.peers;
        let of_role = |role: PeerRole| peers.iter().filter(move |peer| peer.role() == role);
        let joint = [PeerRole::IncomingVoter, PeerRole::DemotingVoter];
        if peers.iter().any(|peer| joint.contains(&peer.role())) {
            return Some((
                vec![Step::LeaveJoint],
                "the joint state is left over".into(),
            ));
        }
        let lost = |peer: &Peer| self.lost(region, peer).map(|reason| (*peer, reason));
        if let Some((lost, reason)) = of_role(PeerRole::Learner).find_map(lost) {
            return Some((vec![Step::Remove(lost)], format!("{reason}, of a learner")));
        }
        let learner = of_role(PeerRole::Learner).next().copied();
        let voters: Vec<Peer> = of_role(PeerRole::Voter).copied().collect();
        let wanted = self.config.replicas as usize;
        let superfluous = voters.len() > wanted;
        let lost: Vec<_> = voters.iter().filter_map(lost).collect();
        match lost.first().cloned() {
            Some(one) if lost.len() == 1 && self.heals_alone(region, &one.0, voters.len()) => {
                Some((vec![Step::Remove(one.0)], one.1))
            }
            Some(one) => self.replace(region, one, learner, superfluous, new_id),
            None if voters.len() < wanted => self.complete(region, learner, new_id),
            None if voters.len() > wanted => self.reduce(region, &voters),
            None => learner.map(|learner| {
                let reason = format!("learner {} is left over", learner.id);
                (vec![Step::Remove(learner)], reason)
            }),
        }
    }

    fn replace(
        &mut self,
        region: &RegionView,
        (lost, reason): (Peer, String),
        learner: Option<Peer>,
        superfluous: bool,
        new_id: &mut dyn FnMut() -> Option<u64>,
    ) -> Option<Wish> {
        if superfluous {
            return Some((vec![Step::Remove(lost)], reason));
        }
        let (add, mut steps) = match learner {
            Some(learner) => (learner, Vec::new()),
            None => {
                let new = self.new_peer(region, new_id)?;
                (new, vec![Step::AddLearner(new)])
            }
        };
        let exchange = Step::Exchange { add, remove: lost };
        steps.extend([exchange, Step::LeaveJoint, Step::Remove(lost)]);
        Some((steps, reason))
    }

    fn complete(
        &mut self,
        region: &RegionView,
        learner: Option<Peer>,
        new_id: &mut dyn FnMut() -> Option<u64>,
    ) -> Option<Wish> {
        let reason = format!("fewer than {} replicas", self.config.replicas);
        if let Some(learner) = learner {
            return Some((vec![Step::Promote(learner)], reason));
        }
        let new = self.new_peer(region, new_id)?;
        Some((vec![Step::AddLearner(new), Step::Promote(new)], reason))
    }

    fn reduce(&self, region: &RegionView, voters: &[Peer]) -> Option<Wish> {
        let regions = |peer: &&Peer| {
            let store = self.view.stores.get(&StoreId(peer.store_id));
            store.map_or(0, |store| store.regions)
        };
        let others = voters.iter();
        let others = others.filter(|peer| peer.store_id != region.leader.0);
        // The newest of those on the fullest stores.
        let chosen = others.max_by_key(|peer| (regions(peer), peer.id))?;
        let reason = format!("more than {} replicas", self.config.replicas);
        Some((vec![Step::Remove(*chosen)], reason))
    }

    fn new_peer(
        &mut self,
        region: &RegionView,
        new_id: &mut dyn FnMut() -> Option<u64>,
    ) -> Option<Peer> {
        let room = self.config.snapshots_per_store_max as usize;
        let made = &self.made;
        let free = |(_, store): &(usize, StoreId)| made.get(store).is_none_or(|made| *made < room);
        let (_, store) = targets(self.view, region, &self.made).find(free)?;
        let id = new_id()?;
        *self.made.entry(store).or_default() += 1;
        let mut peer = Peer {
            id,
            store_id: store.0,
            ..Peer::default()
        };
        peer.set_role(PeerRole::Learner);
        Some(peer)
    }
}

#[cfg(test)]
#[path = "replica_checker_tests.rs"]
mod tests;
