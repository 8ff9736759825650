//! The worker: owns the replicas of its regions and drives them, many at a time.
//!
//! *Place*: the server gives each worker a thread and an inbox, the simulation an event queue. It calls its
//! [`Peer`]s and the two engines' batches; nobody else touches a peer.
//!
//! *Life of a round*:
//! ```text
//! handle(input)…            drain the inbox up to a limit, step each touched peer
//! round(now)                propose, collect one batch and the messages that may leave at once
//! [send send_now] [write batch, one fsync] [carry out effects]
//! persisted(round, now)     the messages that had to wait, what is committed now
//! [carry out effects]
//! ```
//!
//! *Invariants*: nothing that depends on the batch leaves before it is written; a region belongs to exactly
//! one worker of a store.
//!
//! *Limits and failure*: an engine error is final: the caller stops the node. A bad message is dropped with a
//! reason that is counted.
//!
//! *Source*: batching across groups: Raft thesis 10.2; "multi-Raft" of the field.
//!
//! *Next stop*: [`crate::peer`].

mod adopt;
mod configure;
pub mod inspect;
mod merges;
pub mod message;
mod moves;
pub mod recover;
mod strangers;
mod unborn;

use crate::apply::{Change, Progress};
use crate::config::Config;
use crate::layout::LoadError;
use crate::peer::Peer;
use crate::peer::inspect::Waiting;
use crate::refusal;
use crate::room::Room;
use crate::snapshot::install::Places;
use crate::split::check::Checked;
use crate::view::Directory;
use bytes::Bytes;
use message::{Adopted, Effects, Input, Round, SplitTask};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use yadkv_consensus::LogStore;
use yadkv_engine::{Engine, Intake};
use yadkv_proto::id::{Index, RegionId, StoreId};
use yadkv_proto::time::Now;

/// A worker cannot go on, or a store cannot start: stop the node and tell the operator.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An engine failed.
    #[error(transparent)]
    Engine(#[from] yadkv_engine::Error),
    /// A record is damaged.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A region's log does not fit its data.
    #[error("region {region}: {reason}")]
    Region {
        /// The region.
        region: RegionId,
        /// What does not fit.
        reason: String,
    },
}

/// What a store's workers share.
#[derive(Clone)]
pub struct Shared {
    /// This store.
    pub store: StoreId,
    /// Unique per process start: keeps read contexts of different lives apart.
    pub boot_id: u64,
    /// Seed of the election timeouts.
    pub seed: u64,
    /// Settings.
    pub config: Config,
    /// Data engine.
    pub kv: Arc<dyn Engine>,
    /// The same one, as it takes sets in.
    pub intake: Arc<dyn Intake>,
    /// All logs.
    pub log: LogStore,
    /// What readers see.
    pub directory: Arc<Directory>,
}

impl Shared {
    /// What installations and destructions work on.
    pub fn places(&self) -> Places {
        Places {
            kv: self.kv.clone(),
            intake: self.intake.clone(),
            log: self.log.clone(),
        }
    }
}

/// One worker of a store.
pub struct Worker {
    shared: Shared,
    shard: Shard,
    peers: BTreeMap<RegionId, Peer>,
    touched: BTreeSet<RegionId>,
    effects: Effects,
    early: adopt::Early,
    /// Replicas that are being installed or destroyed: nobody answers for them.
    moving: BTreeSet<RegionId>,
    /// On the disk.
    room: Room,
    /// Whether the disk hangs.
    hangs: bool,
    /// Whether the store is about to stop.
    leaves: bool,
    dropped: BTreeMap<&'static str, u64>,
}

/// Which regions a worker owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// This worker, from 0.
    pub number: u64,
    /// Workers of the store, at least 1.
    pub of: u64,
}

impl Shard {
    /// The number of the worker that owns a region.
    pub fn owner(region: RegionId, of: u64) -> u64 {
        // Fibonacci hashing: neighbouring ids spread over the workers.
        (region.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % of
    }

    fn owns(self, region: RegionId) -> bool {
        Self::owner(region, self.of) == self.number
    }
}

impl Worker {
    /// Recovers the regions of this shard from the engines.
    pub fn open(shared: Shared, shard: Shard, now: Now) -> Result<Self, StoreError> {
        let mut worker = Self {
            shared,
            shard,
            peers: BTreeMap::new(),
            touched: BTreeSet::new(),
            effects: Effects::default(),
            early: adopt::Early::default(),
            moving: BTreeSet::new(),
            room: Room::default(),
            hangs: false,
            leaves: false,
            dropped: BTreeMap::new(),
        };
        worker.recover(now)?;
        Ok(worker)
    }

    /// The peers, for inspection.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    /// The peer of a region, for inspection.
    pub fn peer(&self, region: RegionId) -> Option<&Peer> {
        self.peers.get(&region)
    }

    /// Who waits for replicas here, all together.
    pub fn waiting(&self) -> Waiting {
        let peers = self.peers.values();
        peers.fold(Waiting::default(), |all, peer| all + peer.waiting())
    }

    /// Messages dropped so far, by reason.
    pub fn dropped(&self) -> &BTreeMap<&'static str, u64> {
        &self.dropped
    }

    /// Whether a round has something to do.
    pub fn wants_round(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Takes one input. Nothing leaves before the next [`Worker::round`].
    pub fn handle(&mut self, input: Input, now: Now) -> Result<(), StoreError> {
        match input {
            Input::Tick => self.tick(now)?,
            Input::Raft(envelope) => self.receive(envelope, now)?,
            Input::Write(_) | Input::Read(_) | Input::Cut(_) | Input::Check(_) => {
                self.request(input, now);
            }
            Input::Applied(results) => self.applied(results, now)?,
            Input::Durable(positions) => self.durable(positions),
            Input::Looked(region, version, found) => self.looked(region, version, found, now),
            Input::Adopt(adopted) => self.adopt(adopted, now)?,
            Input::Digested(task, answer) => {
                if let Some(peer) = self.peers.get_mut(&RegionId(task.point.region.id)) {
                    self.touched.insert(peer.id());
                    peer.digested(&task, answer, now.moment, &mut self.effects);
                }
            }
            Input::Split(task) => self.split(task, now),
            Input::SplitReported(region) => {
                if let Some(peer) = self.peers.get_mut(&region) {
                    peer.split_announced();
                }
            }
            Input::Create(regions) => self.create(regions, now)?,
            Input::ChangePeers(..)
            | Input::Merge(..)
            | Input::CommitMerge(_)
            | Input::SnapshotSent { .. }
            | Input::TransferLeader { .. } => {
                self.order(input, now);
            }
            Input::Yield { region, replaced } => self.give_way(region, &replaced, now),
            Input::Snapshot(received) => self.consider(received)?,
            Input::Moved(moved) => self.moved(moved, now)?,
            Input::Located(region, asked) => self.located(&region, asked, now),
            Input::Vanished(region, owner) => self.vanished(region, &owner, now),
            Input::ReportAll => self
                .peers
                .values_mut()
                .for_each(|peer| peer.report(&mut self.effects)),
            Input::Damaged(regions) => self.damaged(&regions),
            Input::Room(room) => self.room = room,
            Input::Hangs(hangs) => self.hangs = hangs,
            Input::Leave => self.leaves = true,
            Input::Configure(wanted) => self.configure(&wanted),
            Input::Inspect(inspection) => self.inspect(inspection, now.moment),
            Input::ShortenLogs => self.peers.values_mut().for_each(Peer::shorten_log),
            Input::Unreachable(store) => self
                .peers
                .values_mut()
                .for_each(|peer| peer.unreachable(store)),
        }
        Ok(())
    }

    /// What a caller wants of a region; he is refused if it does not live here.
    fn request(&mut self, input: Input, now: Now) {
        let described = |request| crate::front::describe(request).map(|(_, context)| context);
        let region = match &input {
            Input::Write(task) => task.context.region_id,
            Input::Read(task) => described(&task.request).map_or(0, |context| context.region_id),
            Input::Cut(task) => task.context.region_id,
            Input::Check(task) => task.context.region_id,
            _ => return,
        };
        let Some(peer) = self.peers.get_mut(&RegionId(region)) else {
            return input.refuse(refusal::region_not_found(region));
        };
        self.touched.insert(peer.id());
        match input {
            Input::Write(task) => peer.write(task, self.shared.store, &self.shared.config),
            Input::Read(task) => peer.read(task, self.shared.store, &self.shared.config),
            Input::Cut(task) => peer.cut(task, self.shared.store, &mut self.effects),
            Input::Check(task) => peer.check_replicas(task, self.shared.store, now),
            _ => {}
        }
    }

    fn damaged(&mut self, regions: &BTreeSet<RegionId>) {
        let views = regions.iter();
        let views = views.filter_map(|region| self.shared.directory.get(*region));
        let halted: Vec<_> = views.filter(|view| view.is_halted()).collect();
        for (region, peer) in &mut self.peers {
            let own = peer.view().range();
            let borders = |one: &Bytes, next: &Bytes| one == next && !one.is_empty();
            let beside = halted.iter().any(|view| {
                let other = view.range();
                borders(&own.end, &other.start) || borders(&other.end, &own.start)
            });
            peer.set_damaged(regions.contains(region));
            peer.set_beside_halted(beside);
        }
    }

    fn looked(&mut self, region: RegionId, version: u64, found: Checked, now: Now) {
        if let Some(peer) = self.peers.get_mut(&region) {
            peer.looked(version, found, now.moment, &mut self.effects);
        }
    }

    /// Something that a region's replica is told, if it lives here.
    fn order(&mut self, input: Input, now: Now) {
        let region = match &input {
            Input::CommitMerge(call) => call.target,
            Input::ChangePeers(region, _)
            | Input::Merge(region, _)
            | Input::SnapshotSent { region, .. }
            | Input::TransferLeader { region, .. } => *region,
            _ => return,
        };
        let Some(peer) = self.peers.get_mut(&region) else {
            return;
        };
        self.touched.insert(region);
        match input {
            Input::ChangePeers(_, task) => peer.change_peers(&task, now),
            Input::Merge(_, task) => peer.merge(task, now),
            Input::CommitMerge(call) => {
                peer.commit_merge(call, &self.shared.log, now, &self.shared.config);
            }
            Input::SnapshotSent { to, arrived, .. } => peer.snapshot_sent(to, arrived),
            Input::TransferLeader { to, .. } => peer.transfer_leader(&to, now.moment),
            _ => {}
        }
    }

    fn tick(&mut self, now: Now) -> Result<(), StoreError> {
        for peer in self.peers.values_mut() {
            if let Some(reason) = peer.node().damage() {
                return Err(StoreError::Region {
                    region: peer.id(),
                    reason,
                });
            }
            peer.set_cramped(self.hangs || self.room != Room::Plenty);
            peer.set_leaving(self.leaves);
            peer.tick(now, &self.shared.config, &mut self.effects);
            if peer.wants_round(&self.shared.config) {
                self.touched.insert(peer.id());
            }
        }
        let waits = |peer: &&Peer| peer.waits_for().is_some();
        let waiting: Vec<_> = self.peers.values().filter(waits).map(Peer::id).collect();
        for region in waiting {
            self.watch_merge(region, now);
        }
        Ok(())
    }

    fn applied(&mut self, results: Vec<Progress>, now: Now) -> Result<(), StoreError> {
        for progress in results {
            let region = progress.applied.region;
            let Some(peer) = self.peers.get_mut(&region) else {
                self.adopt_parts(progress);
                continue;
            };
            let changed = !progress.changes.is_empty();
            peer.entries_applied(progress, now.moment, &mut self.effects);
            if changed || peer.wants_round(&self.shared.config) {
                self.touched.insert(region);
            }
            if peer.is_over() {
                self.destroy(region, now);
            } else if changed {
                self.shared.directory.publish(peer.view().clone());
                self.watch_merge(region, now);
            }
        }
        let owned = |new: &mut Adopted| self.shard.owns(RegionId(new.region.id));
        let owned: Vec<_> = self.effects.adopt.extract_if(.., owned).collect();
        self.adopt(owned, now)
    }

    /// The replica is over, what was cut off it is not.
    fn adopt_parts(&mut self, progress: Progress) {
        for change in progress.changes {
            if let Change::Split(done) = change {
                self.effects.adopt.extend(done.created(false));
            }
        }
    }

    fn durable(&mut self, positions: Vec<(RegionId, Index)>) {
        for (region, index) in positions {
            if let Some(peer) = self.peers.get_mut(&region) {
                self.touched.insert(region);
                peer.durable(index);
            }
        }
    }

    fn split(&mut self, task: SplitTask, now: Now) {
        let region = RegionId(task.region.id);
        if let Some(peer) = self.peers.get_mut(&region) {
            self.touched.insert(region);
            peer.split(task, now, &self.shared.config);
        }
    }

    /// Collects what the touched regions want written and sent.
    pub fn round(&mut self, now: Now) -> Round {
        let mut round = Round {
            effects: std::mem::take(&mut self.effects),
            readies: Vec::with_capacity(self.touched.len()),
            ..Default::default()
        };
        for region in std::mem::take(&mut self.touched) {
            if let Some(peer) = self.peers.get_mut(&region) {
                peer.round(now, self.shared.store, &self.shared.config, &mut round);
            }
        }
        round
    }

    /// After the round's batch was written (and synced if it had to be).
    pub fn persisted(&mut self, round: Round, now: Now) -> Effects {
        let mut effects = Effects::default();
        for (region, ready) in round.readies {
            if let Some(peer) = self.peers.get_mut(&region) {
                peer.persisted(ready, now, &mut effects);
                if peer.wants_round(&self.shared.config) {
                    self.touched.insert(region);
                }
            }
        }
        effects
    }
}
