//! Faults of every kind, one after another, in an order that follows from a seed.
//!
//! *Place*: the tests under fault strike with one kind for a while, the soak with all of them.
//!
//! *Types to know*: [`Storm`], [`Fault`].
//!
//! *Life of a fault*: drawn → done to some server, or to the network → its time is over → mended before [`Storm::strike`]
//! returns. What the cluster makes of it goes on.
//!
//! *Next stop*: [`crate::repair`].
#![allow(clippy::print_stdout)]

use crate::{Cluster, NODES, eventually, repair};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tokio::time::sleep;
use yadkv_simulation::random::Random;

use crate::network::CLIENT;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// One or two processes end (SIGKILL) and start again.
    Kill,
    /// A process stands still (SIGSTOP) for up to 4 s.
    Stop,
    /// Some servers do not hear each other, in one direction or both. Needs [`Cluster::network`].
    Cut,
    /// A wall clock jumps by up to five minutes. Needs [`Cluster::clocks`].
    Clock,
    /// A byte in some file of a store is another one.
    Flip,
    /// A disk has no room for a while. Needs a first disk of [`Cluster::disks`], in memory.
    Fill,
    /// A disk hangs for a while. Needs a second disk, in a file.
    Hang,
    /// A region is cut, becomes part of its neighbour, or is led by another replica.
    Churn,
}

/// How far a clock jumps, seconds.
const JUMP_SECONDS_MAX: u64 = 300;
/// How much a disk that fills has left for the store when it is not full, MiB.
const SCARCE_MIB: u64 = 180;

/// What strikes a cluster.
#[derive(Debug)]
pub struct Storm {
    random: Random,
    /// What was done so far.
    pub done: BTreeMap<Fault, u32>,
}

impl Storm {
    /// The storm of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            done: BTreeMap::new(),
        }
    }

    /// One of these faults.
    pub async fn any(&mut self, cluster: &mut Cluster, faults: &[Fault]) {
        let fault = self.random.pick(faults);
        self.strike(cluster, fault).await;
    }

    /// One fault, and a moment to recover.
    pub async fn strike(&mut self, cluster: &mut Cluster, fault: Fault) {
        *self.done.entry(fault).or_default() += 1;
        match fault {
            Fault::Kill => self.kill(cluster).await,
            Fault::Stop => self.stop(cluster).await,
            Fault::Cut => self.cut(cluster).await,
            Fault::Clock => self.set_clock(cluster),
            Fault::Flip => self.flip(cluster),
            Fault::Fill => self.fill(cluster).await,
            Fault::Hang => self.hang(cluster).await,
            Fault::Churn => self.churn(cluster),
        }
        sleep(self.random.millis(100, 1200)).await;
        cluster.nobody_crashed();
    }

    /// The place of some server.
    fn server(&mut self) -> usize {
        self.random.below(2 * NODES as u64) as usize
    }

    async fn kill(&mut self, cluster: &mut Cluster) {
        // One of them, or two, also of the same kind: then nobody is served until one is back.
        let count = if self.random.chance(300) { 2 } else { 1 };
        let places: Vec<_> = (0..count).map(|_| self.server()).collect();
        for place in &places {
            cluster.servers()[*place].kill();
        }
        sleep(self.random.millis(50, 900)).await;
        for place in places {
            cluster.servers()[place].start_again();
        }
    }

    async fn stop(&mut self, cluster: &mut Cluster) {
        let place = self.server();
        cluster.servers()[place].signal(Signal::STOP);
        // Shorter than a lease, about as long as one, and long enough for another leader.
        let time = match self.random.below(3) {
            0 => self.random.millis(50, 500),
            1 => self.random.millis(500, 2000),
            _ => self.random.millis(2000, 4000),
        };
        sleep(time).await;
        cluster.servers()[place].signal(Signal::CONT);
    }

    async fn cut(&mut self, cluster: &Cluster) {
        let Some(network) = &cluster.network else {
            return;
        };
        let names = cluster.names();
        let one = &names[self.random.below(names.len() as u64) as usize];
        let mut others: Vec<_> = names.iter().filter(|name| *name != one).collect();
        match self.random.below(4) {
            // It is heard by nobody, hears nobody, or both: clients and all.
            0 => others.iter().for_each(|other| network.cut(one, other)),
            1 => others.iter().for_each(|other| network.cut(other, one)),
            2 => {
                others.iter().for_each(|other| network.part(one, other));
                network.part(one, CLIENT);
            }
            // Two of them only.
            _ => {
                let other = self.random.below(others.len() as u64) as usize;
                network.part(one, others.swap_remove(other));
            }
        }
        sleep(self.random.millis(300, 4000)).await;
        network.mend();
    }

    fn set_clock(&mut self, cluster: &Cluster) {
        let names = cluster.names();
        if let Some(clocks) = &cluster.clocks {
            let name = &names[self.random.below(names.len() as u64) as usize];
            let far = self.random.chance(500);
            let most = if far { JUMP_SECONDS_MAX } else { 2 };
            let ahead = self.random.below(2 * most + 1) as i64 - most as i64;
            clocks.set(name, ahead);
        }
    }

    fn flip(&mut self, cluster: &mut Cluster) {
        let place = self.random.below(cluster.stores.len() as u64) as usize;
        let Some((file, at)) = self.some_byte(cluster.stores[place].data()) else {
            return;
        };
        flip(&file, at);
        println!("byte {at} of {} is another one", file.display());
        // Some of it is read at the start only.
        cluster.stores[place].kill();
        cluster.stores[place].start();
        repair::repair(cluster, place);
    }

    /// A byte of some file in which a store keeps what it must not lose.
    fn some_byte(&mut self, data: &Path) -> Option<(PathBuf, u64)> {
        let folder = data.join(self.random.pick(&["kv", "raft"]));
        let entries = std::fs::read_dir(folder).ok()?.flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
        files.sort();
        let of_kind = |path: &PathBuf, kind: &str| {
            let name = path.file_name().and_then(|name| name.to_str());
            let named = name.is_some_and(|name| name.ends_with(kind) || name.starts_with(kind));
            named && path.metadata().is_ok_and(|metadata| metadata.len() > 0)
        };
        let kinds = ["sst", "log", "MANIFEST", "CURRENT"].into_iter();
        let kinds: Vec<_> = kinds
            .filter(|kind| files.iter().any(|file| of_kind(file, kind)))
            .collect();
        if kinds.is_empty() {
            return None;
        }
        let kind = self.random.pick(&kinds);
        files.retain(|file| of_kind(file, kind));
        let file = files.swap_remove(self.random.below(files.len() as u64) as usize);
        let length = file.metadata().ok()?.len();
        let at = self.random.below(length);
        Some((file, at))
    }

    async fn fill(&mut self, cluster: &Cluster) {
        if let Some(disk) = cluster.disks.first() {
            match self.random.chance(500) {
                true => disk.fill_up(),
                false => disk.fill(SCARCE_MIB),
            }
            sleep(self.random.millis(1000, 6000)).await;
            disk.empty();
        }
    }

    async fn hang(&mut self, cluster: &Cluster) {
        if let Some(disk) = cluster.disks.get(1) {
            disk.freeze();
            sleep(self.random.millis(200, 6000)).await;
            disk.thaw();
        }
    }

    /// Orders may be refused: a region may be busy, or changed already.
    fn churn(&mut self, cluster: &Cluster) {
        let Some(regions) = cluster.rows(&["region"]) else {
            return;
        };
        let ids: Vec<_> = regions
            .iter()
            .map(|region| region["id"].to_string())
            .collect();
        let place = self.random.below(ids.len() as u64) as usize;
        let pd = cluster.pd();
        let order = |args: &[&str]| {
            cluster.yadkv(&[&["ctl", "--pd", &pd, "region"], args].concat());
        };
        match self.random.below(3) {
            0 => {
                let byte = self.random.below(256);
                order(&["split", &format!("\\x{byte:02x}middle")]);
            }
            1 => {
                let neighbour = (place + 1).min(ids.len() - 1);
                order(&["merge", &ids[place], &ids[neighbour]]);
            }
            _ => {
                let peers = regions[place]["peers"].as_array();
                let stores: Vec<_> = peers
                    .into_iter()
                    .flatten()
                    .map(|peer| &peer["store_id"])
                    .collect();
                if !stores.is_empty() {
                    let to = stores[self.random.below(stores.len() as u64) as usize];
                    order(&["transfer-leader", &ids[place], &to.to_string()]);
                }
            }
        }
    }

    /// Waits until nothing is wrong with the cluster any more.
    pub fn calm(&self, cluster: &Cluster) {
        eventually("all is well again", repair::PATIENCE, || {
            repair::is_whole(cluster).then_some(())
        });
    }
}

/// Makes a byte of a file another one.
fn flip(path: &Path, at: u64) {
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("a file of the store");
    let mut byte = [0];
    let place = SeekFrom::Start(at);
    file.seek(place).expect("inside");
    // A file may be gone, or shorter, by now.
    if file.read_exact(&mut byte).is_ok() {
        file.seek(place).expect("inside");
        file.write_all(&[byte[0] ^ 0x10]).expect("a byte");
        file.sync_all().expect("a sync");
    }
}
