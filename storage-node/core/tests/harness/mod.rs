//! Three stores over memory engines with an instant network: the loops of the server, one step at a time.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use yadkv_consensus::LogStore;
use yadkv_engine::memory::Memory;
use yadkv_engine::{Durability, Engine, Intake, LogEngine};
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::epoch;
use yadkv_proto::id::{ClusterId, PeerId, RegionId, StoreId};
use yadkv_proto::key::KeyRange;
use yadkv_proto::kvrpcpb::{ApiVersion, Context};
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::pdpb::{RegionHeartbeatRequest, SplitId};
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::Envelope;
use yadkv_storage_core::apply::Applier;
use yadkv_storage_core::apply::queue::{self, ApplyTask, Queue};
use yadkv_storage_core::config::Config;
use yadkv_storage_core::damage;
use yadkv_storage_core::front::{Front, Next};
use yadkv_storage_core::layout;
use yadkv_storage_core::snapshot::install::{self, Move, Places, advance};
use yadkv_storage_core::snapshot::receive::{End, Head, Received, Receiving};
use yadkv_storage_core::snapshot::send::Sending;
use yadkv_storage_core::split::check::check;
use yadkv_storage_core::store::message::{Effects, IdRequest, Input, Lookup, SendTask};
use yadkv_storage_core::store::{Shard, Shared, Worker};
use yadkv_storage_core::stuck::Writes;
use yadkv_storage_core::view::Directory;

const TICK: Duration = Duration::from_millis(100);
/// Stores that have the first regions.
const FOUNDERS: u64 = 3;
/// All stores; those beyond the founders begin empty.
const STORES: u64 = 5;

pub struct Store {
    pub kv: Memory,
    pub raft: Memory,
    pub running: Option<Running>,
}

pub struct Running {
    pub worker: Worker,
    pub applier: Applier,
    pub front: Front,
    places: Places,
    moves: VecDeque<Move>,
    forget: Vec<RegionId>,
}

/// What became of snapshots: sender, region, receiver, whether it arrived.
type Arrivals = Arc<Mutex<Vec<(u64, RegionId, PeerId, bool)>>>;

/// The whole cluster.
pub struct Cluster {
    pub now: Now,
    pub stores: BTreeMap<u64, Store>,
    /// The borders that clients know.
    pub regions: Vec<Region>,
    pub cut: BTreeSet<u64>,
    /// Stores whose apply is held back.
    pub stalled: BTreeSet<u64>,
    /// Milliseconds by which the wall clocks of stores are behind.
    pub behind_ms: BTreeMap<u64, u64>,
    /// The last heartbeat of each region to the placement driver.
    pub reported: BTreeMap<u64, RegionHeartbeatRequest>,
    /// Comparisons of replicas that are over.
    pub compared: usize,
    /// Whether data engines flush when they are asked to.
    pub flushes: bool,
    /// Whether the placement driver takes reports of splits.
    pub driver: bool,
    /// Whether a replica that waits for a merge gets through to the one beside it.
    pub merges: bool,
    /// Whether snapshots get through.
    pub snapshots: bool,
    /// Snapshots that arrived so far.
    pub snapshots_sent: u64,
    /// Steps of moves until somebody crashes, if somebody shall.
    pub steps_max: Option<u64>,
    arrivals: Arrivals,
    next_id: u64,
    config: Config,
    /// What waits for apply.
    held: BTreeMap<u64, Queue>,
    network: VecDeque<Envelope>,
}

pub fn region(id: u64, start: &str, end: &str) -> Region {
    let peer = |store: u64| Peer {
        id: id * 10 + store,
        store_id: store,
        ..Default::default()
    };
    Region {
        id,
        start_key: start.as_bytes().to_vec().into(),
        end_key: end.as_bytes().to_vec().into(),
        region_epoch: Some(epoch::FIRST),
        peers: (1..=FOUNDERS).map(peer).collect(),
        ..Default::default()
    }
}

impl Cluster {
    pub fn new(borders: &[&str]) -> Self {
        Self::with_config(borders, Config::default())
    }

    pub fn with_config(borders: &[&str], config: Config) -> Self {
        let now = Now {
            moment: Moment(10_000_000_000),
            wall_ms: 1_000_000,
        };
        let mut regions = Vec::new();
        for (number, start) in borders.iter().enumerate() {
            let end = borders.get(number + 1).copied().unwrap_or("");
            regions.push(region(number as u64 + 1, start, end));
        }
        let stores = (1..=STORES).map(|id| {
            let (kv, raft) = (
                Memory::new(layout::FAMILIES.len()),
                Memory::new(yadkv_consensus::FAMILIES.len()),
            );
            (
                id,
                Store {
                    kv,
                    raft,
                    running: None,
                },
            )
        });
        let mut cluster = Self {
            now,
            stores: stores.collect(),
            regions,
            cut: BTreeSet::new(),
            stalled: BTreeSet::new(),
            reported: BTreeMap::new(),
            compared: 0,
            config,
            flushes: true,
            driver: true,
            merges: true,
            snapshots: true,
            snapshots_sent: 0,
            behind_ms: BTreeMap::new(),
            steps_max: None,
            arrivals: Arrivals::default(),
            next_id: 100,
            held: BTreeMap::new(),
            network: VecDeque::new(),
        };
        for id in FOUNDERS + 1..=STORES {
            cluster.start(id);
        }
        for id in 1..=FOUNDERS {
            cluster.start(id);
            let regions = cluster.regions.clone();
            cluster.input(id, Input::Create(regions));
        }
        cluster
    }

    pub fn start(&mut self, id: u64) {
        let store = self.stores.get_mut(&id).unwrap();
        store.kv.restart();
        store.raft.restart();
        let directory = Arc::new(Directory::default());
        let kv: Arc<dyn Engine> = Arc::new(store.kv.clone());
        let log = LogStore::open(Arc::new(store.raft.clone()), 1 << 20).unwrap();
        let shared = Shared {
            store: StoreId(id),
            boot_id: self.now.moment.0 + id,
            seed: id,
            config: self.config.clone(),
            kv: kv.clone(),
            intake: Arc::new(store.kv.clone()),
            log,
            directory: directory.clone(),
        };
        install::clear(&shared.places()).unwrap();
        let places = shared.places();
        let worker = Worker::open(shared, Shard { number: 0, of: 1 }, self.now).unwrap();
        let applier = Applier::new(
            kv,
            places.log.clone(),
            directory.clone(),
            self.config.apply_bytes,
        );
        let front = Front {
            store: StoreId(id),
            directory,
            config: self.config.clone(),
            log_full: false.into(),
            writes: Writes::new(1),
        };
        self.held
            .insert(id, Queue::new(self.config.apply_queue_bytes));
        store.running = Some(Running {
            worker,
            applier,
            front,
            places,
            moves: VecDeque::new(),
            forget: Vec::new(),
        });
    }

    pub fn crash(&mut self, id: u64) {
        self.stores.get_mut(&id).unwrap().running = None;
        self.held.remove(&id);
    }

    /// What a store's clocks say.
    fn now_at(&self, id: u64) -> Now {
        let behind = self.behind_ms.get(&id).copied().unwrap_or(0);
        Now {
            moment: self.now.moment,
            wall_ms: self.now.wall_ms - behind,
        }
    }

    pub fn input(&mut self, id: u64, input: Input) {
        let now = self.now_at(id);
        if let Some(running) = &mut self.stores.get_mut(&id).unwrap().running {
            running.worker.handle(input, now).unwrap();
        }
    }

    pub fn tick(&mut self) {
        self.now.moment = self.now.moment.after(TICK);
        self.now.wall_ms += TICK.as_millis() as u64;
        for id in 1..=STORES {
            self.watch_damage(id);
            self.input(id, Input::Tick);
        }
        self.settle();
    }

    fn watch_damage(&mut self, id: u64) {
        let store = &self.stores[&id];
        if store.running.is_none() || store.kv.damaged().unwrap().is_empty() {
            return;
        }
        damage::sweep(&store.kv, &[]).unwrap();
        let regions = damage::look(&store.kv).unwrap().regions;
        self.input(id, Input::Damaged(regions));
    }

    /// Runs every store until nothing moves.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            let ids: Vec<u64> = self.stores.keys().copied().collect();
            for id in ids {
                self.step(id);
            }
            self.tell_senders();
            let envelopes = std::mem::take(&mut self.network);
            if envelopes.is_empty() && self.stores.values().all(|store| !store.wants_round()) {
                return;
            }
            for envelope in envelopes {
                let (from, to) = (
                    envelope.from.unwrap().store_id,
                    envelope.to.unwrap().store_id,
                );
                if self.stores[&to].running.is_none() {
                    self.input(from, Input::Unreachable(to));
                } else if self.cut.contains(&from) == self.cut.contains(&to) {
                    self.input(to, Input::Raft(envelope));
                }
            }
        }
        panic!("the cluster does not settle");
    }

    fn step(&mut self, id: u64) {
        let now = self.now_at(id);
        let store = self.stores.get_mut(&id).unwrap();
        let raft = store.raft.clone();
        let Some(running) = &mut store.running else {
            return;
        };
        let mut round = running.worker.round(now);
        self.network.extend(std::mem::take(&mut round.send_now));
        let effects = std::mem::take(&mut round.effects);
        let batch = std::mem::take(&mut round.batch);
        if !batch.is_empty() {
            let durability = if round.must_sync {
                Durability::Synced
            } else {
                Durability::Buffered
            };
            raft.write(batch, durability).unwrap();
        }
        let later = running.worker.persisted(round, now);
        self.carry_out(id, effects);
        self.carry_out(id, later);
    }

    fn carry_out(&mut self, id: u64, effects: Effects) {
        self.network.extend(effects.send);
        for report in effects.reports {
            let region = report.region.clone().unwrap();
            self.learn(&region);
            self.reported.insert(region.id, report);
        }
        self.compared += effects.checks.len();
        assert!(effects.adopt.is_empty(), "one worker owns all regions");
        for request in effects.ids {
            self.give_ids(id, request);
        }
        for (region, regions) in effects.split_reports {
            if !self.is_stale(&regions) {
                self.routes(&regions);
            }
            if self.driver {
                self.input(id, Input::SplitReported(region));
            }
        }
        if !effects.flush.is_empty() && self.flushes {
            self.stores[&id].kv.sync().unwrap();
            self.input(id, Input::Durable(effects.flush));
        }
        for look in effects.looks {
            let range = KeyRange::of(&look.region);
            let version = look.region.region_epoch.map_or(0, |epoch| epoch.version);
            let snapshot = self.stores[&id].kv.clone();
            let found = check(&*snapshot.snapshot(), &range, &look.limits).unwrap();
            self.input(id, Input::Looked(RegionId(look.region.id), version, found));
        }
        for task in effects.digests {
            let answer = task.point.digest(&task).map_err(|error| error.to_string());
            self.input(id, Input::Digested(task, answer));
        }
        for task in effects.snapshots {
            self.send_snapshot(id, &task);
        }
        for lookup in effects.lookups {
            self.locate(id, &lookup);
        }
        let calls = effects.merges.into_iter().filter(|_| self.merges);
        for call in calls.collect::<Vec<_>>() {
            self.input(id, Input::CommitMerge(call));
        }
        for (region, replaced) in effects.yields {
            self.input(id, Input::Yield { region, replaced });
        }
        if let Some(running) = &mut self.stores.get_mut(&id).unwrap().running {
            running.moves.extend(effects.moves);
            running.forget.extend(effects.forget);
            let settled = |region| running.applier.settled(region);
            let resumes = effects.settled.into_iter().any(settled);
            if resumes {
                self.apply(id, Vec::new());
            }
        }
        self.held.get_mut(&id).unwrap().add(effects.apply);
        self.apply_queued(id);
        if !self.stalled.contains(&id) {
            self.carry_out_moves(id);
        }
        let store = &self.stores[&id];
        effects
            .reads
            .into_iter()
            .for_each(|read| read.serve(&store.kv));
    }

    fn apply_queued(&mut self, id: u64) {
        while !self.stalled.contains(&id) {
            let queue = self.held.get_mut(&id);
            match queue.and_then(|queue| queue.next(self.config.apply_bytes)) {
                Some(queue::Next::Apply(tasks)) => self.apply(id, tasks),
                Some(queue::Next::Carry(order)) => panic!("orders go another way: {order:?}"),
                None => break,
            }
        }
    }

    fn apply(&mut self, id: u64, tasks: Vec<ApplyTask>) {
        self.apply_once(id, tasks);
        let waits = |cluster: &mut Self| {
            let running = cluster.stores.get_mut(&id).unwrap().running.as_mut();
            running.unwrap().applier.continues()
        };
        while waits(self) {
            self.apply_once(id, Vec::new());
        }
    }

    fn apply_once(&mut self, id: u64, tasks: Vec<ApplyTask>) {
        let store = self.stores.get_mut(&id).unwrap();
        let running = store.running.as_mut().unwrap();
        let mut prepared = running.applier.prepare(tasks).unwrap();
        let rest = std::mem::take(&mut prepared.rest);
        self.held.get_mut(&id).unwrap().give_back(rest);
        store
            .kv
            .write(std::mem::take(&mut prepared.batch), prepared.durability)
            .unwrap();
        let applied = prepared.finish();
        running
            .worker
            .handle(Input::Applied(applied), self.now)
            .unwrap();
    }

    /// Takes all steps of what waits, up to `steps_max` of them.
    fn carry_out_moves(&mut self, id: u64) {
        let Some(running) = &mut self.stores.get_mut(&id).unwrap().running else {
            return;
        };
        for region in std::mem::take(&mut running.forget) {
            running.applier.forget(region);
        }
        let mut moved = Vec::new();
        while let Some(next) = running.moves.pop_front() {
            running.applier.moves(next.region());
            let mut moving = vec![next.begin()];
            while !moving.is_empty() {
                if self.steps_max == Some(0) {
                    return;
                }
                self.steps_max = self.steps_max.map(|steps| steps - 1);
                moved.extend(advance(&mut moving, &running.places).unwrap());
            }
        }
        if !moved.is_empty() {
            self.input(id, Input::Moved(moved));
        }
    }

    /// Sends a snapshot at once, if the way is free.
    fn send_snapshot(&mut self, id: u64, task: &SendTask) {
        let to = task.to.store_id;
        let refused = Input::SnapshotSent {
            region: task.region,
            to: PeerId(task.to.id),
            arrived: false,
        };
        let open = self.cut.contains(&id) == self.cut.contains(&to);
        if !open || self.stores[&to].running.is_none() || !self.snapshots {
            return self.input(id, refused);
        }
        let kv = self.stores[&id].kv.clone();
        let view = kv.snapshot();
        let mut sending = Sending::begin(&*view, ClusterId(1), task).unwrap();
        let first = sending.next_chunk().unwrap().unwrap();
        let head = Head::check(first.head.unwrap(), ClusterId(1), StoreId(to)).unwrap();
        let intake = self.stores[&to].kv.clone();
        let mut receiving = Receiving::begin(&intake, &head).unwrap();
        while let Some(chunk) = sending.next_chunk().unwrap() {
            receiving.take(chunk).unwrap();
        }
        receiving.finish().unwrap();
        self.snapshots_sent += 1;
        let answers = self.arrivals.clone();
        let (region, peer, set) = (task.region, PeerId(task.to.id), head.set());
        let notify = Box::new(move |end: End| {
            if end != End::Stopped {
                intake.discard(&set).unwrap();
            }
            let arrived = end == End::Done;
            answers.lock().unwrap().push((id, region, peer, arrived));
        });
        let received = Received::new(head, notify);
        self.input(to, Input::Snapshot(Box::new(received)));
    }

    fn tell_senders(&mut self) {
        let arrivals = std::mem::take(&mut *self.arrivals.lock().unwrap());
        for (id, region, to, arrived) in arrivals {
            let sent = Input::SnapshotSent {
                region,
                to,
                arrived,
            };
            self.input(id, sent);
        }
    }

    /// What a leader says of its region: new members, or that others are part of it.
    fn learn(&mut self, region: &Region) {
        let version = |region: &Region| region.region_epoch.unwrap().version;
        let range = KeyRange::of(region);
        let overlaps = |known: &Region| KeyRange::of(known).overlaps(&range);
        let inside = |known: &Region| {
            let starts = known.start_key >= region.start_key;
            let ends = !known.end_key.is_empty() && known.end_key <= region.end_key;
            starts && (region.end_key.is_empty() || ends)
        };
        let older = |known: &Region| version(known) <= version(region) && inside(known);
        if self
            .regions
            .iter()
            .all(|known| !overlaps(known) || older(known))
        {
            self.regions.retain(|known| !overlaps(known));
            self.routes(std::slice::from_ref(region));
        }
    }

    /// Whether the placement driver knows later versions.
    fn is_stale(&self, told: &[Region]) -> bool {
        let version = |region: &Region| region.region_epoch.unwrap().version;
        let later = |told: &Region| {
            let mut known = self.regions.iter();
            known.any(|known| known.id == told.id && version(known) > version(told))
        };
        told.iter().any(later)
    }

    /// What the placement driver knows of a region: what its leader has applied.
    fn locate(&mut self, id: u64, lookup: &Lookup) {
        let (region, start) = (lookup.region, &lookup.start);
        let known = self.regions.iter().any(|known| known.id == region.0);
        let leader = self.leader(region.0).filter(|_| known);
        let known = leader.and_then(|leader| {
            let running = self.stores[&leader].running.as_ref()?;
            Some(running.worker.peer(region)?.view().region().clone())
        });
        let has = |known: &&Region| KeyRange::of(known).contains(start);
        let owner = self.regions.iter().find(has).cloned();
        match (known, owner) {
            (Some(known), _) => self.input(id, Input::Located(known, lookup.asked)),
            (None, Some(owner)) => self.input(id, Input::Vanished(region, owner)),
            (None, None) => {}
        }
    }

    /// What the placement driver answers to a store that wants to cut a region.
    fn give_ids(&mut self, id: u64, request: IdRequest) {
        let mut next = || {
            self.next_id += 1;
            self.next_id
        };
        let ids = request.keys.iter().map(|_| SplitId {
            new_region_id: next(),
            new_peer_ids: request.region.peers.iter().map(|_| next()).collect(),
        });
        let ids = ids.collect();
        self.input(id, Input::Split(request.with_ids(ids).unwrap()));
    }

    /// Clients learn new borders.
    pub fn routes(&mut self, regions: &[Region]) {
        let new: BTreeSet<u64> = regions.iter().map(|region| region.id).collect();
        self.regions.retain(|region| !new.contains(&region.id));
        self.regions.extend(regions.iter().cloned());
        self.regions
            .sort_by(|left, right| left.start_key.cmp(&right.start_key));
    }

    pub fn unstall(&mut self, id: u64) {
        self.stalled.remove(&id);
        self.apply_queued(id);
        self.settle();
    }

    /// The context a client with a fresh route would send.
    pub fn context(&self, store: u64, key: &[u8], api: ApiVersion) -> Context {
        let contains = |region: &&Region| {
            key >= &region.start_key[..] && (region.end_key.is_empty() || key < &region.end_key[..])
        };
        let region = self.regions.iter().find(contains).unwrap();
        let peer = region
            .peers
            .iter()
            .find(|peer| peer.store_id == store)
            .copied()
            .or(Some(Peer {
                store_id: store,
                ..Peer::default()
            }));
        let mut context = Context {
            region_id: region.id,
            region_epoch: region.region_epoch,
            peer,
            ..Default::default()
        };
        context.set_api_version(api);
        context
    }

    /// Sends a request and settles; `None` if it is still waiting.
    pub fn call(&mut self, id: u64, request: StoreRequest) -> Answer {
        let answer = self.submit(id, request);
        self.settle();
        answer
    }

    pub fn submit(&mut self, id: u64, request: StoreRequest) -> Answer {
        let answer = Answer::default();
        let slot = answer.0.clone();
        let now = self.now_at(id);
        let store = self.stores.get_mut(&id).unwrap();
        let kv = store.kv.clone();
        let Some(running) = &mut store.running else {
            return answer;
        };
        let reply = Box::new(move |response| *slot.lock().unwrap() = Some(response));
        match running.front.submit(request, reply, now) {
            Next::Answered => {}
            Next::Send(_, input) => running.worker.handle(input, now).unwrap(),
            Next::Read(read, task) => {
                let response = read.evaluate(&kv, task.responder.kind(), &task.request);
                if read.confirm(now.moment) {
                    task.responder.answer(response);
                } else {
                    running.worker.handle(Input::Read(task), now).unwrap();
                }
            }
        }
        answer
    }

    /// A region as clients know it.
    pub fn region(&self, id: u64) -> Result<Region, String> {
        let known = self.regions.iter().find(|region| region.id == id);
        known.cloned().ok_or(format!("no region {id}"))
    }

    pub fn leader(&self, region: u64) -> Option<u64> {
        let leads = |store: &Store| {
            let running = store.running.as_ref()?;
            running
                .worker
                .peer(RegionId(region))
                .filter(|peer| peer.is_leader())
                .map(|peer| peer.node().term())
        };
        self.stores
            .iter()
            .filter_map(|(id, store)| Some((leads(store)?, *id)))
            .max()
            .map(|(_, id)| id)
    }
}

impl Store {
    fn wants_round(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.worker.wants_round())
    }
}

/// Where an answer arrives.
#[derive(Clone, Default)]
pub struct Answer(pub Arc<Mutex<Option<StoreResponse>>>);

impl Answer {
    pub fn take(&self) -> Option<StoreResponse> {
        self.0.lock().unwrap().take()
    }
}
