//! What people order: members of a region, who leads it, and which stores leave.
//!
//! *Place*: [`super::serve`] brings an [`Order`]; it becomes an operator, ahead of those of the schedulers.
//!
//! *Limits and failure*: one order a region at a time. What makes no sense is refused with what is wrong and what to do;
//! nothing is begun then.
//!
//! *Next stop*: [`crate::schedule::step`].

use super::call::{Call, Refusal};
use super::{Member, Seat};
use crate::bootstrap::fixed_borders;
use crate::reports::Condition;
use crate::schedule::operator::Operator;
use crate::schedule::replica_checker::takes_replicas;
use crate::schedule::step::{Step, stores_of};
use crate::schedule::{ClusterView, RegionView};
use std::ops::Range;
use yadkv_proto::id::{PeerId, RegionId, StoreId};
use yadkv_proto::metapb::{Peer, PeerRole, Region};
use yadkv_proto::time::{Moment, Now};

/// Where the end of an order's examination goes. Called once.
pub type OrderReply = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// What a person wants of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOrder {
    /// It gives its replicas away and leaves for good.
    Remove,
    /// It stays after all.
    Keep,
}

/// What a person orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A new voter on a store.
    AddPeer(RegionId, StoreId),
    /// The peer on a store leaves.
    RemovePeer(RegionId, StoreId),
    /// The voter on one store gives its place to a new one on another.
    MovePeer(RegionId, StoreId, StoreId),
    /// The voter on a store leads.
    TransferLeader(RegionId, StoreId),
    /// The first one becomes part of the second, its neighbour.
    Merge(RegionId, RegionId),
    /// Whatever the region is asked to do is given up.
    Cancel(RegionId),
    /// A store leaves, or stays.
    Store(StoreId, StoreOrder),
}

impl Order {
    fn region(self) -> Option<RegionId> {
        Some(match self {
            Self::AddPeer(region, _)
            | Self::RemovePeer(region, _)
            | Self::MovePeer(region, ..)
            | Self::TransferLeader(region, _)
            | Self::Merge(region, _)
            | Self::Cancel(region) => region,
            Self::Store(..) => return None,
        })
    }

    /// The store on which it makes a replica.
    fn makes(self) -> Option<StoreId> {
        match self {
            Self::AddPeer(_, store) | Self::MovePeer(_, _, store) => Some(store),
            _ => None,
        }
    }
}

impl Member {
    /// Examines an order and begins it; only a leader in office comes here.
    pub(super) fn order(&mut self, order: Order, reply: OrderReply, deadline: Moment, now: Now) {
        let Some(id) = order.region() else {
            if let Order::Store(store, order) = order {
                self.order_store(store, order, reply, now);
            }
            return;
        };
        let steps = match self.steps(order, id, now) {
            Ok(steps) => steps,
            Err(reason) => return reply(Err(Refusal::Invalid(reason))),
        };
        let Some(region) = self.cluster.regions().by_id(id).cloned() else {
            return reply(Err(Refusal::Invalid(unknown(id))));
        };
        let config = &self.config.schedule;
        let Seat::Leader(office) = &mut self.seat else {
            return;
        };
        let Some(mut steps) = steps else {
            office.operators.cancel(id);
            return reply(Ok(()));
        };
        let new = steps.iter().filter(|step| step.is_first_of_new()).count() as u64;
        if new > 0 {
            let Some(ids) = office.ids.take(new) else {
                office.raise_ids(new);
                return self.park(Call::Order(order, reply), deadline);
            };
            name(&mut steps, ids);
        }
        let mut operator = Operator::new(id, &region, steps, "ordered by hand".into());
        operator.by_hand = true;
        if !office.operators.add(operator, config, now.moment) {
            let reason = format!(
                "region {}, or the one that it is merged with, has an order already: cancel it first",
                id.0
            );
            return reply(Err(Refusal::Invalid(reason)));
        }
        office.push(&region, &self.cluster, now.moment);
        reply(Ok(()));
    }

    /// What an order means, with 0 for the id of a new peer; none to cancel.
    fn steps(&self, order: Order, id: RegionId, now: Now) -> Result<Option<Vec<Step>>, String> {
        let Seat::Leader(office) = &self.seat else {
            return Err("this member does not lead".into());
        };
        if matches!(order, Order::Cancel(_)) {
            let running = office.operators.of(id);
            let none = || format!("region {} is not asked to do anything", id.0);
            return running.map(|_| None).ok_or_else(none);
        }
        let config = &self.config.schedule;
        if self.cluster.regions().by_id(id).is_none() {
            return Err(unknown(id));
        }
        let view = ClusterView::of(&self.cluster, &office.reports, config, now.moment);
        let view = view.ok_or("too few regions have reported yet: try again in a minute")?;
        let region = view.regions.get(&id);
        let region =
            region.ok_or_else(|| format!("region {} has not reported yet: try again", id.0))?;
        if let Some(store) = order.makes() {
            check_target(&view, region, store)?;
        }
        let steps = match order {
            Order::AddPeer(_, store) => {
                let new = new_peer(store);
                vec![Step::AddLearner(new), Step::Promote(new)]
            }
            Order::RemovePeer(_, store) => {
                let peer = peer_on(region, store)?;
                let voters = region.region.peers.iter();
                let voters = voters.filter(|peer| peer.role() == PeerRole::Voter).count();
                if voters == 1 && peer.role() == PeerRole::Voter {
                    return Err(format!("region {} would lose its last voter", id.0));
                }
                vec![Step::Remove(peer)]
            }
            Order::MovePeer(_, from, to) => move_peer(peer_on(region, from)?, to),
            Order::Merge(_, target) => self.merge(&view, region, target)?,
            Order::TransferLeader(_, store) => {
                let to = peer_on(region, store)?;
                if region.leader == store {
                    return Err(format!("the peer on store {} leads already", store.0));
                }
                if to.role() != PeerRole::Voter {
                    return Err(format!("the peer on store {} does not vote", store.0));
                }
                if region.unfit.contains(&PeerId(to.id)) {
                    return Err(format!(
                        "the peer on store {} lags, is not heard, or its data is damaged",
                        store.0
                    ));
                }
                let from = region.leader;
                vec![Step::TransferLeader { from, to }]
            }
            Order::Cancel(_) | Order::Store(..) => Vec::new(),
        };
        Ok(Some(steps))
    }

    /// The source's replicas come to the stores of the target's; then it becomes part of it.
    fn merge(
        &self,
        view: &ClusterView,
        source: &RegionView,
        target: RegionId,
    ) -> Result<Vec<Step>, String> {
        let into = view.regions.get(&target).ok_or_else(|| unknown(target))?;
        let id = source.region.id;
        let borders = [&source.region, &into.region].map(|region| {
            let region: &Region = region;
            (region.start_key.clone(), region.end_key.clone())
        });
        let [(start, end), (into_start, into_end)] = borders;
        let border = match () {
            () if !end.is_empty() && end == into_start => end,
            () if !start.is_empty() && start == into_end => start,
            () => return Err(format!("regions {id} and {} are no neighbours", target.0)),
        };
        if fixed_borders().contains(&border) {
            return Err(format!(
                "the border between regions {id} and {} belongs to the keyspaces: it stays",
                target.0
            ));
        }
        let stores = |region: &Region| {
            stores_of(region).ok_or_else(|| {
                let id = region.id;
                format!("the members of region {id} are changing: try again when they have")
            })
        };
        let (here, there) = (stores(&source.region)?, stores(&into.region)?);
        if here.len() != there.len() {
            let (here, there) = (here.len(), there.len());
            return Err(format!(
                "region {id} has {here} replicas, region {} has {there}: give them the same number first",
                target.0
            ));
        }
        let leaving = here.iter().filter(|store| !there.contains(store));
        let coming = there.iter().filter(|store| !here.contains(store));
        let mut steps = Vec::new();
        for (from, to) in leaving.zip(coming) {
            check_target(view, source, *to)?;
            steps.extend(move_peer(peer_on(source, *from)?, *to));
        }
        steps.push(Step::Merge(target));
        Ok(steps)
    }
}

/// The steps by which a replica moves to another store.
fn move_peer(remove: Peer, to: StoreId) -> Vec<Step> {
    let add = new_peer(to);
    vec![
        Step::AddLearner(add),
        Step::Exchange { add, remove },
        Step::LeaveJoint,
        Step::Remove(remove),
    ]
}

/// Gives each new peer its id: the steps of one follow each other.
fn name(steps: &mut [Step], mut ids: Range<u64>) {
    let mut id = 0;
    for step in steps {
        if step.is_first_of_new() {
            id = ids.next().unwrap_or_default();
        }
        step.name(id);
    }
}

fn unknown(id: RegionId) -> String {
    format!("region {} does not exist: list the regions", id.0)
}

fn new_peer(store: StoreId) -> Peer {
    let mut peer = Peer {
        store_id: store.0,
        ..Peer::default()
    };
    peer.set_role(PeerRole::Learner);
    peer
}

fn peer_on(region: &RegionView, store: StoreId) -> Result<Peer, String> {
    let peers = &region.region.peers;
    let found = peers.iter().find(|peer| peer.store_id == store.0).copied();
    found.ok_or_else(|| {
        format!(
            "region {} has no peer on store {}",
            region.region.id, store.0
        )
    })
}

fn check_target(view: &ClusterView, region: &RegionView, store: StoreId) -> Result<(), String> {
    let Some(target) = view.stores.get(&store) else {
        return Err(format!("store {} does not exist: list the stores", store.0));
    };
    if peer_on(region, store).is_ok() {
        let id = region.region.id;
        return Err(format!("region {id} has a peer on store {}", store.0));
    }
    if target.condition != Condition::Up {
        let name = target.condition.name();
        return Err(format!(
            "store {} is {name}: choose one that is Up",
            store.0
        ));
    }
    match takes_replicas(target) {
        true => Ok(()),
        false => Err(format!(
            "store {} has no room left, is busy, or its data is damaged: choose another",
            store.0
        )),
    }
}
