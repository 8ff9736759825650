//! Disks: stretches of data become unreadable, and whole disks are lost.
//!
//! *Place*: [`World::strike_damage`] and [`World::strike_lost_disk`] plan; [`World::damage`] and [`World::lose_disks`]
//! carry out, or do nothing.
//!
//! *Life of damage*: bytes rot, nobody knows → a read meets it, or a merge of tables, at which the process starts itself
//! again → the store looks, tells, and is rid of its replicas there → the file is swept → replicas may come back.
//!
//! *Life of a lost disk*: power loss → both disks are empty → somebody orders the placement driver to remove the store, as
//! `ctl store remove` does, again and again until it takes that → the machine starts under a new id, and registers when
//! the old one no longer holds its address → the regions get new replicas → the old store is a tombstone.
//!
//! *Limits*: three replicas bear the loss of one. So one store at a time has damage or is being replaced, and only if its
//! regions have a majority without it: one that is short of a replica already is spared. A disk is
//! lost only while each of its replicas has a majority of whole ones elsewhere, all stores run, and no members change.
//!
//! *Next stop*: [`crate::run`].

use super::Action;
use crate::sky::Machine;
use crate::world::World;
use bytes::Bytes;
use std::time::Duration;
use yadkv_engine::DamagedFile;
use yadkv_placement_core::{Order, StoreOrder};
use yadkv_proto::codec;
use yadkv_proto::id::{PeerId, RegionId, StoreId};
use yadkv_proto::metapb::{Peer, PeerRole, StoreState};
use yadkv_storage_core::layout::{RAW, RAW2};
use yadkv_storage_core::store::recover;

/// Where stretches begin and end: keys that clients use, and between them; the last one is behind all.
const KEYS: [&str; 12] = [
    "", "a", "b", "c", "h", "i", "k", "n", "p", "q", "r", "\u{7f}",
];
/// In front of the keys of keyspace DEFAULT.
const PREFIX: &str = "r\0\0\0";
/// Between two orders to remove a store.
const ORDER_AGAIN: Duration = Duration::from_secs(1);

/// Keys of one table file.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Whether they are of API V2.
    pub v2: bool,
    /// The first one.
    pub first: &'static str,
    /// The last one.
    pub last: &'static str,
}

impl Stretch {
    fn file(self, name: String) -> DamagedFile {
        let stored = |key: &str| match self.v2 {
            true => codec::encode(format!("{PREFIX}{key}").as_bytes()),
            false => Bytes::copy_from_slice(key.as_bytes()),
        };
        DamagedFile {
            name,
            family: if self.v2 { RAW2 } else { RAW },
            first: stored(self.first),
            last: stored(self.last),
        }
    }
}

impl World {
    /// One store's data rots in one to three places; perhaps it starts again meanwhile, or another one does.
    pub(super) fn strike_damage(&mut self) {
        let store = self.below(self.stores.len() as u64) as usize;
        let mut at = Duration::ZERO;
        for _ in 0..=self.below(3) {
            let stretch = self.any_stretch();
            self.later(at, Action::Damage(store, stretch));
            let merged = at + self.millis(500, 12_000);
            self.later(merged, Action::MergeTables(store));
            at += self.millis(0, 2500);
        }
        if self.chance(400) {
            let machine = match self.below(2) {
                0 => Machine::Store(store),
                _ => self.any_server(),
            };
            let (when, dark) = (self.millis(0, 4000), self.millis(10, 600));
            self.later(when, Action::PowerLoss(machine, dark));
        }
    }

    fn any_stretch(&self) -> Stretch {
        let keys = KEYS.len() as u64;
        let (one, length) = match self.below(10) {
            // A single key, or what lies between two.
            0..=4 => (1 + self.below(keys - 2), self.below(2)),
            5..=8 => (self.below(keys), self.below(keys)),
            _ => (0, keys),
        };
        let last = (one + length).min(keys - 1);
        Stretch {
            v2: self.chance(400),
            first: KEYS[one as usize],
            last: KEYS[last as usize],
        }
    }

    /// A store loses its disks.
    pub(super) fn strike_lost_disk(&mut self) {
        let store = self.below(self.stores.len() as u64) as usize;
        let down = self.millis(50, 3000);
        self.at_once(Action::LoseDisks(store, down));
    }

    pub(super) fn damage(&mut self, store: usize, stretch: Stretch) {
        if self.rots_beside(Some(store)) || self.is_replacing() || !self.can_spare(store) {
            return;
        }
        let number = self.sky.lock().id();
        let file = stretch.file(format!("{number:06}.sst"));
        self.stores[store].kv.rot(file);
    }

    /// Whether each region with a replica on a store has a majority of its voters elsewhere, as far as they exist. One that
    /// damage elsewhere has cost a replica, and that is not whole again, has none.
    fn can_spare(&self, store: usize) -> bool {
        let others = || self.stores.iter().filter(|host| host.number != store);
        let exists = |id: RegionId, peer: &Peer| {
            others().any(|host| {
                // What is down comes back with what it has.
                host.runs().is_none_or(|running| {
                    let mut workers = running.workers.iter();
                    let found = workers.find_map(|worker| worker.worker.peer(id));
                    found.is_some_and(|found| found.view().peer().id == peer.id)
                })
            })
        };
        let Some(running) = self.stores[store].runs() else {
            return false;
        };
        let mut peers = running.workers.iter().flat_map(|one| one.worker.peers());
        peers.all(|peer| {
            let members = peer.view().region().peers.iter();
            let voters: Vec<_> = members
                .filter(|member| member.role() != PeerRole::Learner)
                .collect();
            let elsewhere = voters.iter().filter(|voter| exists(peer.id(), voter));
            elsewhere.count() * 2 > voters.len()
        })
    }

    /// Whether data of some store is damaged, other than this one's.
    pub(super) fn rots_beside(&self, store: Option<usize>) -> bool {
        let mut others = self.stores.iter().filter(|host| Some(host.number) != store);
        others.any(|host| !host.kv.rotten().is_empty())
    }

    /// A merge of tables meets damage that nobody has met: the engine takes no more writes, the process begins anew.
    pub(super) fn merge_tables(&mut self, store: usize) {
        if self.now() < self.strikes_until && self.stores[store].kv.meet_damage() {
            let soon = Duration::from_millis(200);
            self.take_down(Machine::Store(store), false, soon);
        }
    }

    /// Whether a store whose disks were lost is not made good for yet.
    pub fn is_replacing(&self) -> bool {
        let lost: Vec<u64> = self.sky.lock().lost_stores.iter().copied().collect();
        lost.into_iter().any(|id| !self.is_buried(id))
    }

    /// Whether every placement driver that runs, and one does, has a tombstone of a store.
    pub fn is_buried(&self, store: u64) -> bool {
        let running = self.pds.iter().filter_map(|host| host.process.as_ref());
        let states = running.map(|process| {
            let stores = process.member.cluster().stores();
            stores.get(&StoreId(store)).map(|store| store.state())
        });
        let states: Vec<_> = states.collect();
        let buried = |state: &Option<StoreState>| *state == Some(StoreState::Tombstone);
        !states.is_empty() && states.iter().all(buried)
    }

    pub(super) fn lose_disks(&mut self, store: usize, down: Duration) {
        if !self.can_bear(store) {
            return;
        }
        let record = recover::store_record(&self.stores[store].kv);
        let Ok(Some(record)) = record else { return };
        let machine = Machine::Store(store);
        self.kill(machine, true);
        self.stores[store].lose_disks();
        {
            let mut sky = self.sky.lock();
            sky.lost_stores.insert(record.store_id);
            crate::note!(
                sky,
                "{machine}, store {}, has lost its disks",
                record.store_id
            );
        }
        self.follow(down, Action::Boot(machine));
        self.follow(down, Action::RemoveStore(record.store_id));
    }

    /// Whether nothing is lost for good with the disks of a store.
    fn can_bear(&self, store: usize) -> bool {
        let down = self.stores.iter().any(|host| host.runs().is_none());
        if down || self.rots_beside(None) || self.is_replacing() {
            return false;
        }
        let Some(running) = self.stores[store].runs() else {
            return false;
        };
        let mut peers = running
            .workers
            .iter()
            .flat_map(|worker| worker.worker.peers());
        peers.all(|peer| self.has_majority_without(peer.id(), store))
    }

    /// Whether more than half of a region's voters are whole, and elsewhere.
    fn has_majority_without(&self, region: RegionId, store: usize) -> bool {
        let host = |number: usize| {
            let running = self.stores[number].runs()?;
            let mut workers = running.workers.iter();
            workers.find_map(|worker| worker.worker.peer(region))
        };
        let Some(leader) = self.leader(region.0).and_then(host) else {
            return false;
        };
        let members = leader.view().region().peers.iter();
        let voters: Vec<&Peer> = members
            .filter(|peer| peer.role() == PeerRole::Voter)
            .collect();
        let node = leader.node();
        let has_all = |peer: &Peer| {
            let matched = node.matched(PeerId(peer.id));
            peer.id == leader.view().peer().id || matched >= Some(node.commit())
        };
        let whole = |peer: &&&Peer| {
            let mut others = (0..self.stores.len()).filter(|number| *number != store);
            others.any(|number| {
                host(number).is_some_and(|replica| {
                    let applies = replica.applied().index.0 > 0;
                    replica.view().peer().id == peer.id && applies && has_all(peer)
                })
            })
        };
        let elsewhere = voters.iter().filter(whole).count();
        let changes = leader.node().is_joint() || leader.node().is_changing();
        !changes && elsewhere * 2 > voters.len()
    }

    /// Somebody orders the placement driver to remove a store whose disks were lost, until it does.
    pub(super) fn remove_store(&mut self, store: u64) {
        if let Some(leader) = self.pd_leader() {
            let process = self.pds[leader].process.as_ref();
            let stores = process.map(|process| process.member.cluster().stores());
            let known = stores.and_then(|stores| stores.get(&StoreId(store)));
            if known.is_some_and(|known| known.state() != StoreState::Up) {
                return;
            }
            let order = Order::Store(StoreId(store), StoreOrder::Remove);
            self.pds[leader].order(&self.sky, order);
        }
        self.follow(ORDER_AGAIN, Action::RemoveStore(store));
    }
}
