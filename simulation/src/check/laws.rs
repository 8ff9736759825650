//! Laws that hold at every moment, checked after every step of a process.
//!
//! *Place*: hosts call it after each event; it notes the first broken law in the sky.
//!
//! - at most one leader in a term, in each region and among the placement drivers;
//! - at most one store whose readers may serve a key under a lease, by its own clock, at any real moment;
//! - an index of a log is applied with the same entry everywhere, over all lives;
//! - applied positions and epochs never go back within a life;
//! - placement drivers hold the same at the same applied position, over all lives;
//! - the map of every placement driver tiles the key space.
//!
//! *Next stop*: [`super::linearizable`].

use super::replicas::placement_state;
use crate::chronicle::Happening;
use crate::pd::PdHost;
use crate::sky::{Machine, Shared};
use crate::store::StoreHost;
use crate::store::worker::WorkerHost;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use yadkv_proto::id::{RegionId, StoreId};
use yadkv_proto::metapb::Region;
use yadkv_proto::yadkvpb::LogEntry;
use yadkv_storage_core::view::Directory;

/// What was seen so far.
#[derive(Default)]
pub struct Laws {
    /// By region (0: the placement drivers) and term.
    leaders: BTreeMap<(u64, u64), u64>,
    /// Term and hash by region and index.
    entries: BTreeMap<(u64, u64), (u64, u64)>,
    /// What readers of each running store see.
    directories: BTreeMap<usize, Arc<Directory>>,
    /// Applied position by store and region, of the present life.
    applied: BTreeMap<(usize, u64), u64>,
    /// Epoch by placement driver life and region.
    epochs: BTreeMap<(usize, u64, u64), (u64, u64)>,
    /// Applied position of each placement driver when its map was checked last.
    maps: BTreeMap<usize, u64>,
    /// Hash of what a placement driver holds, by applied position.
    states: BTreeMap<u64, u64>,
}

impl Laws {
    /// A store's process begins.
    pub fn opened(&mut self, store: usize, workers: &[WorkerHost]) {
        self.closed(store);
        for peer in workers.iter().flat_map(|worker| worker.worker.peers()) {
            self.applied
                .insert((store, peer.id().0), peer.applied().index.0);
        }
    }

    /// A store's process ended.
    pub fn closed(&mut self, store: usize) {
        self.directories.remove(&store);
        self.applied.retain(|(of, _), _| *of != store);
    }

    // ANCHOR: applying
    /// Entries are about to be applied.
    pub fn applying(
        &mut self,
        sky: &Shared,
        store: StoreId,
        region: RegionId,
        entries: &[LogEntry],
    ) {
        for entry in entries {
            let found = (entry.term, hash(&entry.data) ^ hash(&entry.context));
            let first = *self.entries.entry((region.0, entry.index)).or_insert(found);
            if first != found {
                let law = format!(
                    "store {store} applies another entry at index {} of region {region} (term {}, first term {})",
                    entry.index, entry.term, first.0
                );
                sky.lock().violated(law);
            }
        }
    }
    // ANCHOR_END: applying

    /// A store made a step.
    pub fn after_store(&mut self, sky: &Shared, host: &StoreHost) {
        let Some(running) = host.runs() else { return };
        self.directories
            .entry(host.number)
            .or_insert_with(|| running.directory.clone());
        let peers = running
            .workers
            .iter()
            .flat_map(|worker| worker.worker.peers());
        for peer in peers {
            let region = peer.id().0;
            if peer.is_leader() {
                let leader = (host.machine(), peer.view().peer().id);
                self.leads(sky, region, peer.node().term().0, leader);
            }
            let applied = peer.applied().index.0;
            let before = self
                .applied
                .insert((host.number, region), applied)
                .unwrap_or(0);
            if applied < before {
                sky.lock().violated(format!(
                    "store{} region {region}: applied went back",
                    host.number
                ));
            }
        }
        self.one_lease(sky, host.number, &running.directory);
    }

    fn leads(&mut self, sky: &Shared, region: u64, term: u64, (machine, peer): (Machine, u64)) {
        let first = *self.leaders.entry((region, term)).or_insert_with(|| {
            let leads = Happening::Leads {
                region,
                term,
                machine,
            };
            sky.lock().tell(leads);
            peer
        });
        if first != peer {
            sky.lock().violated(format!(
                "region {region} has two leaders in term {term}: peers {first} and {peer}"
            ));
        }
    }

    fn one_lease(&self, sky: &Shared, store: usize, directory: &Directory) {
        let mut sky = sky.lock();
        let holds = |view: &yadkv_storage_core::view::RegionView, now| {
            view.delegate().is_some_and(|delegate| delegate.covers(now))
        };
        let now = sky.moment(Machine::Store(store));
        for view in directory.all() {
            if !holds(&view, now) {
                continue;
            }
            for (other, theirs) in self
                .directories
                .iter()
                .filter(|(other, _)| **other != store)
            {
                let there = sky.moment(Machine::Store(*other));
                for other_view in theirs.all() {
                    let same_keys = other_view.range().overlaps(view.range());
                    if same_keys && holds(&other_view, there) {
                        let law = format!(
                            "keys of regions {} and {} have two lease holders: store{store} and store{other}",
                            view.id(),
                            other_view.id()
                        );
                        sky.violated(law);
                    }
                }
            }
        }
    }

    /// A placement driver made a step.
    pub fn after_pd(&mut self, sky: &Shared, host: &PdHost) {
        let Some(process) = &host.process else { return };
        let member = &process.member;
        if member.is_leader() {
            let leader = (host.machine(), host.number as u64);
            self.leads(sky, 0, member.term().0, leader);
        }
        let cluster = member.cluster();
        let applied = cluster.applied().0.0;
        if self.maps.insert(host.number, applied) == Some(applied) {
            return;
        }
        self.same_state(sky, host, applied);
        if !cluster.is_bootstrapped() {
            return;
        }
        let life = sky.lock().life(host.machine());
        let mut end = Some(Bytes::new());
        for region in cluster.regions().iter() {
            if end.as_ref() != Some(&region.start_key) {
                sky.lock().violated(format!(
                    "the map of pd{} has a hole or overlap at region {}",
                    host.number, region.id
                ));
            }
            end = (!region.end_key.is_empty()).then(|| region.end_key.clone());
            self.epoch(sky, host.number, life, region);
        }
        if end.is_some() {
            sky.lock()
                .violated(format!("the map of pd{} has no last region", host.number));
        }
    }

    fn same_state(&mut self, sky: &Shared, host: &PdHost, applied: u64) {
        let pairs = placement_state(host);
        let words = pairs.iter().flat_map(|(family, key, value)| {
            let lengths = [u64::from(*family), key.len() as u64, value.len() as u64];
            lengths.into_iter().chain([hash(key), hash(value)])
        });
        let bytes: Vec<u8> = words.flat_map(u64::to_be_bytes).collect();
        let state = hash(&bytes);
        if *self.states.entry(applied).or_insert(state) != state {
            sky.lock().violated(format!(
                "pd{} holds something else at index {applied} than another member",
                host.number
            ));
        }
    }

    fn epoch(&mut self, sky: &Shared, pd: usize, life: u64, region: &Region) {
        let epoch = region
            .region_epoch
            .map_or((0, 0), |epoch| (epoch.version, epoch.conf_ver));
        let before = self
            .epochs
            .insert((pd, life, region.id), epoch)
            .unwrap_or_default();
        if epoch.0 < before.0 || epoch.1 < before.1 {
            sky.lock().violated(format!(
                "the epoch of region {} went back on pd{pd}",
                region.id
            ));
        }
    }
}

fn hash(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
