//! Regions gain members, exchange them and lose them, while everything else goes wrong.
//!
//! *Place*: [`World::strike_members`] plans, [`World::change_members`] tells the leader; what it refuses is not done.
//!
//! *Limits*: no region is brought below three voters, since one store may be down at any time. Nobody is made a voter
//! while a store with lost disks is replaced: one that is not whole yet could be one too many.
//!
//! *Next stop*: [`crate::run`].

use super::Action;
use crate::sky::{Machine, StoreEvent};
use crate::store::schedule;
use crate::world::World;
use std::time::Duration;
use yadkv_proto::eraftpb::ConfChangeType;
use yadkv_proto::id::RegionId;
use yadkv_proto::metapb::{Peer, PeerRole, Region};
use yadkv_proto::pdpb::ChangePeer;
use yadkv_storage_core::store::message::ChangeTask;

/// Voters that stay.
const VOTERS_MIN: usize = 3;

/// What happens to the members of a region.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// A learner on some store without a replica.
    Learn,
    /// A learner votes.
    Promote,
    /// A learner takes the place of a voter that does not lead.
    Exchange,
    /// A learner leaves.
    Drop,
    /// A voter leaves that does not lead.
    Remove,
    /// A joint state is left.
    Leave,
}

impl World {
    /// A replica moves to another store in several steps; now and then the order of steps is another one.
    pub(super) fn strike_members(&mut self) {
        let regions = self.regions();
        if regions.is_empty() {
            return;
        }
        let region = regions[self.below(regions.len() as u64) as usize];
        let mut at = Duration::ZERO;
        let second = [Change::Promote, Change::Exchange][self.below(2) as usize];
        for change in [Change::Learn, second, Change::Drop, Change::Remove] {
            if self.chance(150) {
                let stores = self.stores.len() as u64;
                let to = self.below(stores) as usize;
                self.later(at, Action::Transfer(region, to));
            }
            if !self.chance(150) {
                self.later(at, Action::Members(region, change));
            }
            at += match self.chance(300) {
                true => self.millis(1, 30),
                false => self.millis(30, 1500),
            };
        }
        if self.chance(300) {
            self.later(at, Action::Members(region, Change::Leave));
        }
        if self.chance(300) {
            let (store, dark) = (self.any_server(), self.millis(10, 400));
            let when = self.millis(0, at.as_millis() as u64 + 1);
            self.later(when, Action::PowerLoss(store, dark));
        }
    }

    pub(super) fn shorten_logs(&mut self) {
        for store in 0..self.stores.len() {
            let machine = Machine::Store(store);
            let mut sky = self.sky.lock();
            let life = sky.life(machine);
            schedule(
                &mut sky,
                machine,
                life,
                Duration::ZERO,
                StoreEvent::ShortenLogs,
            );
        }
    }

    pub(super) fn change_members(&mut self, region: u64, change: Change) {
        if self.is_replacing() {
            return;
        }
        let Some((store, descriptor, leader)) = self.led(region) else {
            return;
        };
        let Some(changes) = self.changes(&descriptor, leader, change) else {
            return;
        };
        let task = ChangeTask {
            epoch: descriptor.region_epoch.unwrap_or_default(),
            changes,
        };
        let machine = Machine::Store(store);
        let mut sky = self.sky.lock();
        let life = sky.life(machine);
        let event = StoreEvent::ChangePeers(region, Box::new(task));
        schedule(&mut sky, machine, life, Duration::ZERO, event);
    }

    /// The store that leads a region, what it knows of it, and its peer.
    fn led(&self, region: u64) -> Option<(usize, Region, u64)> {
        let store = self.leader(region)?;
        let view = self.stores[store].runs()?.directory.get(RegionId(region))?;
        Some((store, view.region().clone(), view.peer().id))
    }

    fn changes(&self, region: &Region, leader: u64, change: Change) -> Option<Vec<ChangePeer>> {
        let of_role = |role: PeerRole| {
            let peers = region.peers.iter();
            let fits = peers.filter(|peer| peer.role() == role && peer.id != leader);
            let fits: Vec<Peer> = fits.copied().collect();
            (!fits.is_empty()).then(|| fits[self.below(fits.len() as u64) as usize])
        };
        let voters = region.peers.iter();
        let voters = voters.filter(|peer| peer.role() == PeerRole::Voter).count();
        let one = |kind: ConfChangeType, peer: Peer| ChangePeer {
            peer: Some(peer),
            change_type: kind as i32,
        };
        use ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};
        Some(match change {
            Change::Learn => vec![one(AddLearnerNode, self.new_peer(region)?)],
            Change::Promote => vec![one(AddNode, of_role(PeerRole::Learner)?)],
            Change::Exchange => vec![
                one(AddNode, of_role(PeerRole::Learner)?),
                one(AddLearnerNode, of_role(PeerRole::Voter)?),
            ],
            Change::Drop => vec![one(RemoveNode, of_role(PeerRole::Learner)?)],
            Change::Remove if voters <= VOTERS_MIN => return None,
            Change::Remove => vec![one(RemoveNode, of_role(PeerRole::Voter)?)],
            Change::Leave => Vec::new(),
        })
    }

    /// A peer, without an id yet, on a store that has none.
    fn new_peer(&self, region: &Region) -> Option<Peer> {
        let mut sky = self.sky.lock();
        let has = |store: &u64| region.peers.iter().any(|peer| peer.store_id == *store);
        let free: Vec<u64> = sky
            .stores
            .keys()
            .copied()
            .filter(|store| !has(store) && !sky.lost_stores.contains(store))
            .collect();
        if free.is_empty() {
            return None;
        }
        let store_id = sky.dice.pick(&free);
        Some(Peer {
            store_id,
            ..Peer::default()
        })
    }
}
