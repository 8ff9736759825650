//! A store's machine and process: the server's loops, one step an event.
//!
//! *Place*: [`crate::world::World`] hands it events; it drives `yadkv_storage_core` exactly in the order of
//! `storage-node/server/src/threads`, with simulated durations in between.
//!
//! *Types to know*: [`StoreHost`] (the machine: its disks outlive processes), [`Process`].
//!
//! *What is where*: [`worker`] drain, round, log write, fsync · [`apply`] · [`read`] lease reads in four
//! steps · [`split`] what splits want told · [`snapshot`] replicas that come and go · [`damage`] damaged files ·
//! [`companion`] the conversation with the placement driver.
//!
//! *Life of a process*: boot → identity from the disk or from the placement driver → regions opened → loops →
//! killed at any event: the process alone (what was written stays) or the power (of what was not synced a
//! prefix stays, chosen by chance, in each database apart).
//!
//! *Invariants*: a reply of a dead process reaches nobody.
//!
//! *Next stop*: [`worker`].

pub mod apply;
pub mod companion;
mod damage;
pub mod read;
pub mod snapshot;
pub mod split;
pub mod worker;

use crate::check::laws::Laws;
use crate::life::{self, Disks};
use crate::sky::{Answer, Event, Machine, Message, Shared, Sky, StoreEvent};
use futures::channel::mpsc;
use read::Job;
use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;
use worker::WorkerHost;
use yadkv_client::runtime::CallError;
use yadkv_consensus::LogStore;
use yadkv_engine::memory::Memory;
use yadkv_engine::rows::RowCache;
use yadkv_engine::{Engine, LogEngine};
use yadkv_proto::api::StoreRequest;
use yadkv_proto::id::{RegionId, StoreId};
use yadkv_proto::pdpb::{RegionHeartbeatRequest, RegionHeartbeatResponse};
use yadkv_proto::time::Now;
use yadkv_storage_core::apply::Applier;
use yadkv_storage_core::apply::queue::Queue;
use yadkv_storage_core::config::Config;
use yadkv_storage_core::damage::Damage;
use yadkv_storage_core::front::Front;
use yadkv_storage_core::layout;
use yadkv_storage_core::respond::Reply;
use yadkv_storage_core::snapshot::install;
use yadkv_storage_core::store::message::{ChangeTask, Input, MergeTask};
use yadkv_storage_core::store::{Shard, Shared as Parts, StoreError, Worker, recover};
use yadkv_storage_core::stuck::Writes;
use yadkv_storage_core::view::Directory;

/// Entries cached by all regions of a store, bytes.
const CACHE_BYTES: usize = 1 << 20;
/// Rows in front of the data: so few that they come and go.
const ROW_BYTES: usize = 64 << 10;
/// The same in every run.
type Hashes = BuildHasherDefault<DefaultHasher>;
/// The data engine as a process sees it.
type Rows = RowCache<Memory, Hashes>;
/// Region heartbeats that wait for the placement driver.
const REPORTS_MAX: usize = 256;

/// A store's machine.
pub struct StoreHost {
    /// Its number.
    pub number: usize,
    /// Data engine.
    pub kv: Memory,
    /// Log engine.
    pub raft: Memory,
    /// Worker threads of its process.
    pub workers: u64,
    /// The process, if one runs.
    pub process: Option<Process>,
    /// Whether the machine has power.
    pub powered: bool,
    /// Cuts the power at a moment of the next log write that holds a vote.
    pub trap: Option<Trap>,
}

/// A power cut that waits for a vote.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    /// How long the machine stays dark.
    pub dark: Duration,
    /// How long the candidate is then cut off.
    pub cut: Duration,
}

/// A running store.
pub struct Process {
    /// Its life.
    pub life: u64,
    /// The loops' possessions once the regions are open.
    pub running: Option<Running>,
}

/// A store that knows who it is.
pub struct Running {
    /// Store id.
    pub store: StoreId,
    /// Worker threads.
    pub workers: Vec<WorkerHost>,
    /// Replicas as readers see them.
    pub directory: Arc<Directory>,
    applier: Applier,
    front: Front,
    /// The data engine, with what this process has read in front of it.
    rows: Arc<Rows>,
    apply: apply::State,
    handed_over: Queue,
    /// All logs.
    log: LogStore,
    /// Apply can go on without being handed anything.
    continues: bool,
    moves: snapshot::Moves,
    /// What workers were told last.
    damage: Damage,
    jobs: BTreeMap<u64, Job>,
    reports: mpsc::Sender<RegionHeartbeatRequest>,
}

impl StoreHost {
    /// A machine with empty disks.
    pub fn new(number: usize, workers: u64) -> Self {
        let (kv, raft) = empty_disks();
        Self {
            number,
            kv,
            raft,
            workers,
            process: None,
            powered: true,
            trap: None,
        }
    }

    /// Itself as a place of the network.
    pub fn machine(&self) -> Machine {
        Machine::Store(self.number)
    }

    /// Starts a process.
    pub fn boot(&mut self, sky: &Shared) {
        self.powered = true;
        let machine = self.machine();
        let life = life::begin(sky, machine, self.disks());
        self.process = Some(Process {
            life,
            running: None,
        });
        let identity = companion::identity(sky.clone(), machine, self.kv.clone());
        sky.lock().spawned.push((machine, Box::pin(identity)));
    }

    fn disks(&self) -> Disks<'_> {
        Disks {
            kv: &self.kv,
            raft: &self.raft,
        }
    }

    /// Ends the process; its disks lose what chance decides.
    pub fn kill(&mut self, sky: &Shared, power_loss: bool) {
        life::end(sky, self.machine(), self.disks(), power_loss);
        self.powered = !power_loss;
        // Dropped without the lock: replies of this life look at it.
        drop(self.process.take());
    }

    /// Empty disks take the place of those that were there; no process runs.
    pub fn lose_disks(&mut self) {
        (self.kv, self.raft) = empty_disks();
    }

    /// One step of the process.
    pub fn step(&mut self, sky: &Shared, life: u64, event: StoreEvent, laws: &mut Laws) {
        if self
            .process
            .as_ref()
            .is_none_or(|process| process.life != life)
        {
            return;
        }
        match event {
            StoreEvent::Open => self.open(sky, laws),
            StoreEvent::Tick(number) => self.tick(sky, number),
            StoreEvent::Loop(number) => self.make_round(sky, number),
            StoreEvent::LogWritten(number) => self.write_log(sky, number),
            StoreEvent::LogSynced(number) => self.log_synced(sky, number),
            StoreEvent::ApplyPrepare => self.prepare(sky, laws),
            StoreEvent::ApplyWritten => self.write_data(sky),
            StoreEvent::ApplyFinished => self.finish(sky),
            StoreEvent::Read(job) => self.read_on(sky, job),
            StoreEvent::Create(regions) => self.broadcast(sky, || Input::Create(regions.clone())),
            StoreEvent::ReportAll => self.broadcast(sky, || Input::ReportAll),
            StoreEvent::Transfer(region, to) => {
                let region = RegionId(region);
                self.input(sky, region, Input::TransferLeader { region, to });
            }
            StoreEvent::Cut(region, key) => self.cut(sky, region, key),
            StoreEvent::Split(task) => {
                self.input(sky, RegionId(task.region.id), Input::Split(*task));
            }
            StoreEvent::SplitReported(region) => {
                let region = RegionId(region);
                self.input(sky, region, Input::SplitReported(region));
            }
            StoreEvent::Look(task) => self.look(sky, &task),
            StoreEvent::Digest(task) => self.digest(sky, *task),
            StoreEvent::Flushed(positions) => {
                self.kv
                    .sync()
                    .expect("memory engines fail only when told to");
                self.broadcast(sky, || Input::Durable(positions.clone()));
            }
            StoreEvent::Flush => {
                let _ = self.kv.sync();
            }
            StoreEvent::ShortenLogs => self.broadcast(sky, || Input::ShortenLogs),
            StoreEvent::ChangePeers(region, task) if companion::lacks_id(&task) => {
                let named = companion::name(sky.clone(), self.machine(), region, task);
                sky.lock().spawned.push((self.machine(), Box::pin(named)));
            }
            StoreEvent::ChangePeers(region, task) => {
                let region = RegionId(region);
                self.input(sky, region, Input::ChangePeers(region, *task));
            }
            StoreEvent::SendSnapshot(task) => self.send_snapshot(sky, &task),
            StoreEvent::SnapshotLate(transfer) => self.snapshot_ended(sky, transfer, false),
            StoreEvent::MoveStep => self.take_step(sky),
            StoreEvent::LookForDamage => self.look_for_damage(sky),
            StoreEvent::Sweep => self.sweep_again(sky),
            StoreEvent::Located(region, asked) => {
                self.input(sky, RegionId(region.id), Input::Located(*region, asked));
            }
            StoreEvent::Vanished(region, owner) => {
                self.input(sky, region, Input::Vanished(region, *owner));
            }
            StoreEvent::Merge(region, task) => {
                self.input(sky, region, Input::Merge(region, *task));
            }
        }
        laws.after_store(sky, self);
    }

    fn open(&mut self, sky: &Shared, laws: &mut Laws) {
        let machine = self.machine();
        let record = recover::store_record(&self.kv)
            .expect("the record is sound")
            .expect("the identity was written");
        let (now, seed) = {
            let mut sky = sky.lock();
            sky.stores.insert(record.store_id, self.number);
            (sky.clock(machine), sky.places.machine(machine).draw())
        };
        let Some(process) = &mut self.process else {
            return;
        };
        let directory = Arc::new(Directory::default());
        let disk = Arc::new(self.kv.clone());
        let families = [layout::RAW, layout::RAW2];
        let rows = Arc::new(RowCache::new(disk, &families, ROW_BYTES, Hashes::default()));
        let kv: Arc<dyn Engine> = rows.clone();
        let log =
            LogStore::open(Arc::new(self.raft.clone()), CACHE_BYTES).expect("the log store opens");
        let store = StoreId(record.store_id);
        let parts = Parts {
            store,
            boot_id: process.life,
            seed,
            config: config(),
            kv: kv.clone(),
            intake: rows.clone(),
            log,
            directory: directory.clone(),
        };
        install::clear(&parts.places()).expect("memory engines fail only when told to");
        let workers = match open_workers(&parts, self.workers, now) {
            Ok(workers) => workers,
            Err(error) => {
                let story = format!("{machine} cannot open its regions: {error}");
                return sky.lock().violated(story);
            }
        };
        laws.opened(self.number, &workers);
        let (reports, received) = mpsc::channel(REPORTS_MAX);
        let config = config();
        let front = Front {
            store,
            directory: directory.clone(),
            config: config.clone(),
            log_full: false.into(),
            // One disk for all time: what hangs here is a pause of the whole machine.
            writes: Writes::new(1),
        };
        let seen = (self.kv.clone(), directory.clone());
        let companion = companion::accompany(sky.clone(), machine, seen, record, received);
        process.running = Some(Running {
            store,
            workers,
            applier: Applier::new(kv, parts.log.clone(), directory.clone(), config.apply_bytes),
            directory,
            front,
            rows,
            apply: apply::State::Idle,
            handed_over: Queue::new(config.apply_queue_bytes),
            log: parts.log.clone(),
            continues: false,
            moves: snapshot::Moves::new(parts.places()),
            damage: Damage::default(),
            jobs: BTreeMap::new(),
            reports,
        });
        self.begin(&mut sky.lock(), companion);
    }

    /// The process is open: its loops begin.
    fn begin(&self, sky_now: &mut Sky, companion: impl Future<Output = ()> + Send + 'static) {
        let (machine, life) = (self.machine(), self.life());
        crate::note!(sky_now, "{machine} begins to serve");
        for number in 0..self.workers as usize {
            schedule(
                sky_now,
                machine,
                life,
                Duration::from_millis(100),
                StoreEvent::Tick(number),
            );
        }
        self.watch_damage(sky_now);
        sky_now.spawned.push((machine, Box::pin(companion)));
    }

    /// A message arrives at this machine.
    pub fn receive(&mut self, sky: &Shared, message: Message) {
        let machine = self.machine();
        if !self.powered {
            return;
        }
        match message {
            Message::Raft(envelope) => {
                self.input(sky, RegionId(envelope.region_id), Input::Raft(envelope));
            }
            Message::Operator(operator) => self.carry_out_operator(sky, *operator),
            Message::Snapshot(transit) => self.receive_snapshot(sky, *transit),
            Message::SnapshotEnd(transfer, arrived) => {
                self.snapshot_ended(sky, transfer, arrived);
            }
            Message::StoreCall(call, request) => {
                if self.running().is_none() {
                    let refused = Answer::Failed(CallError::NotSent("connection refused".into()));
                    return sky.lock().answer(machine, call, refused);
                }
                self.submit(sky, call, *request);
            }
            Message::PdCall(..) => {}
        }
    }

    fn carry_out_operator(&mut self, sky: &Shared, operator: RegionHeartbeatResponse) {
        let region = RegionId(operator.region_id);
        if let Some(task) = ChangeTask::of(&operator) {
            self.input(sky, region, Input::ChangePeers(region, task));
        }
        if let Some(task) = MergeTask::of(&operator) {
            self.input(sky, region, Input::Merge(region, task));
        }
        if let Some(to) = operator.transfer_leader.and_then(|transfer| transfer.peer) {
            self.input(sky, region, Input::TransferLeader { region, to });
        }
    }

    fn submit(&mut self, sky: &Shared, call: u64, request: StoreRequest) {
        let machine = self.machine();
        let Some(process) = &self.process else { return };
        let (life, shared) = (process.life, sky.clone());
        let reply: Reply = Box::new(move |response| {
            let mut sky = shared.lock();
            if sky.life(machine) == life {
                sky.answer(machine, call, Answer::Store(Box::new(response)));
            }
        });
        self.admit(sky, request, reply);
    }

    /// The loops' possessions, once the regions are open.
    pub fn running(&mut self) -> Option<&mut Running> {
        self.process.as_mut()?.running.as_mut()
    }

    /// Likewise, to look at.
    pub fn runs(&self) -> Option<&Running> {
        self.process.as_ref()?.running.as_ref()
    }

    fn life(&self) -> u64 {
        self.process.as_ref().map_or(0, |process| process.life)
    }

    /// Schedules a step of this life.
    fn later(&self, sky: &mut Sky, delay: Duration, event: StoreEvent) {
        schedule(sky, self.machine(), self.life(), delay, event);
    }
}

/// Data and logs.
fn empty_disks() -> (Memory, Memory) {
    let families = [layout::FAMILIES.len(), yadkv_consensus::FAMILIES.len()];
    let [kv, raft] = families.map(Memory::new);
    (kv, raft)
}

/// Schedules a step of a store's life.
pub fn schedule(sky: &mut Sky, machine: Machine, life: u64, delay: Duration, event: StoreEvent) {
    if let Machine::Store(number) = machine {
        sky.after(delay, Event::Store(number, life, event));
    }
}

/// Logs are shortened after a few entries, laggards left behind and entries left in the log soon, so that it happens all
/// the time.
fn config() -> Config {
    Config {
        log_entries: 8,
        lag_entries: 24,
        apply_queue_bytes: 1024,
        apply_bytes: 512,
        unapplied_bytes_max: 4096,
        check_interval: Duration::from_secs(10),
        ..Config::default()
    }
}

fn open_workers(parts: &Parts, of: u64, now: Now) -> Result<Vec<WorkerHost>, StoreError> {
    let open = |number| {
        let worker = Worker::open(parts.clone(), Shard { number, of }, now)?;
        Ok(WorkerHost::new(worker, now.moment))
    };
    (0..of).map(open).collect()
}
