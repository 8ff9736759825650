//! What hangs over all machines: real time, the events to come, the network, the clocks, the trace.
//!
//! *Place*: machines and tasks schedule through [`Sky`]; [`crate::world::World`] takes the next event out.
//!
//! *Types to know*: [`Sky`], [`Event`], [`Machine`].
//!
//! *Life of an event*: scheduled for (time, number) → taken out in that order → deferred if its machine is
//! paused, dropped if it was for a process that has ended → carried out by the world.
//!
//! *Invariants*: events at one time keep the order in which they were scheduled, so a run depends on its seed
//! alone. A machine's moment never goes back; its wall clock may step.
//!
//! *Next stop*: [`crate::network`].

use crate::calls::Calls;
use crate::chronicle::Happening;
use crate::network::Network;
use crate::random::{Places, Random};
use crate::tasks::Timer;
use crate::trace::Trace;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use yadkv_client::runtime::CallError;
use yadkv_proto::api::{PdRequest, PdResponse, StoreRequest, StoreResponse};
use yadkv_proto::id::{Index, PeerId, RegionId};
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::pdpb::RegionHeartbeatResponse;
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::{Envelope, SnapshotChunk};
use yadkv_storage_core::store::message::{
    ChangeTask, DigestTask, MergeTask, SendTask, SizeTask, SplitTask,
};

/// Wall clock of a correct machine when a run begins, milliseconds since the Unix epoch.
pub const EPOCH_MS: u64 = 1_700_000_000_000;
/// Furthest that a wall clock may be from the correct one, milliseconds.
pub const SKEW_MAX_MS: i64 = 2500;

/// A simulated machine, numbered from 0 within its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Machine {
    /// A placement driver.
    Pd(usize),
    /// A store.
    Store(usize),
    /// A client.
    Client(usize),
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pd(number) => write!(formatter, "pd{number}"),
            Self::Store(number) => write!(formatter, "store{number}"),
            Self::Client(number) => write!(formatter, "client{number}"),
        }
    }
}

impl Machine {
    /// Where it listens.
    pub fn address(self) -> String {
        match self {
            Self::Pd(_) => format!("{self}:2379"),
            _ => format!("{self}:20160"),
        }
    }

    /// A number that no other machine has.
    pub fn number(self) -> u64 {
        match self {
            Self::Pd(number) => 3 * number as u64,
            Self::Store(number) => 3 * number as u64 + 1,
            Self::Client(number) => 3 * number as u64 + 2,
        }
    }

    /// The machine that listens at an address, `http://` or not.
    pub fn at(address: &str) -> Option<Self> {
        let address = address.trim_start_matches("http://");
        let host = address.split(':').next()?;
        if let Some(number) = host.strip_prefix("pd") {
            return number.parse().ok().map(Self::Pd);
        }
        host.strip_prefix("store")?.parse().ok().map(Self::Store)
    }
}

/// Something that arrives over the network.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "most are the largest")]
pub enum Message {
    /// Raft, between stores or between placement drivers.
    Raft(Envelope),
    /// A call to a store.
    StoreCall(u64, Box<StoreRequest>),
    /// A call to a placement driver; whether another one passed it on.
    PdCall(u64, Box<PdRequest>, bool),
    /// All chunks of a snapshot.
    Snapshot(Box<Transit>),
    /// What became of one that this machine sent.
    SnapshotEnd(Transfer, bool),
    /// An operator that the placement driver pushes to a store.
    Operator(Box<RegionHeartbeatResponse>),
}

/// Which snapshot: sender and its life, region, receiving peer, and a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Who sends.
    pub from: Machine,
    /// In which life.
    pub life: u64,
    /// The region.
    pub region: RegionId,
    /// Who shall have it.
    pub to: PeerId,
    /// Which one.
    pub id: u64,
}

/// A snapshot on its way.
#[derive(Debug)]
pub struct Transit {
    /// Which one.
    pub transfer: Transfer,
    /// Everything.
    pub chunks: Vec<SnapshotChunk>,
}

/// The answer to a call.
#[derive(Debug)]
pub enum Answer {
    /// Of a store.
    Store(Box<StoreResponse>),
    /// Of a placement driver.
    Pd(Box<PdResponse>),
    /// None, and why.
    Failed(CallError),
}

/// A step of a store's process.
#[derive(Debug)]
pub enum StoreEvent {
    /// The process knows who it is and opens its regions.
    Open,
    /// A worker's tick is due.
    Tick(usize),
    /// A worker drains its inbox and makes a round.
    Loop(usize),
    /// A worker's batch reaches the log file.
    LogWritten(usize),
    /// A worker's batch reaches the disk.
    LogSynced(usize),
    /// Apply takes what was handed over.
    ApplyPrepare,
    /// Its batch reaches the data engine.
    ApplyWritten,
    /// Its answers leave.
    ApplyFinished,
    /// A read goes on.
    Read(u64),
    /// First regions came from the placement driver.
    Create(Vec<Region>),
    /// Report every region to a new placement driver leader.
    ReportAll,
    /// Hand a region's leadership over.
    Transfer(u64, Peer),
    /// Cut a region at a border, as a caller asks for it.
    Cut(u64, Bytes),
    /// Ids for that.
    Split(Box<SplitTask>),
    /// The placement driver was told of a split, or could not be.
    SplitReported(u64),
    /// The data engine makes applied positions durable.
    Flushed(Vec<(RegionId, Index)>),
    /// A region is measured.
    Look(Box<SizeTask>),
    /// A replica's data is read for a check.
    Digest(Box<DigestTask>),
    /// The data engine writes back what it holds.
    Flush,
    /// Logs are large.
    ShortenLogs,
    /// Members of a region change.
    ChangePeers(u64, Box<ChangeTask>),
    /// A snapshot is read and sent.
    SendSnapshot(Box<SendTask>),
    /// One that was sent has had time enough.
    SnapshotLate(Transfer),
    /// A replica's installation or destruction takes its next step.
    MoveStep,
    /// Damaged data files are looked for.
    LookForDamage,
    /// Those that nobody needs are taken away.
    Sweep,
    /// The placement driver knows where a region is.
    Located(Box<Region>, Moment),
    /// The placement driver knows no such region; this one has its first key.
    Vanished(RegionId, Box<Region>),
    /// A region is to become part of its neighbour.
    Merge(RegionId, Box<MergeTask>),
}

/// A step of a placement driver's process.
#[derive(Debug)]
pub enum PdEvent {
    /// Its tick is due.
    Tick,
    /// It handles its inbox.
    Handle,
    /// It makes a round.
    Round,
    /// The round's batch reaches the log file.
    LogWritten,
    /// The round's batch reaches the disk.
    LogSynced,
    /// The state engine is durable up to this position.
    Flushed(Index),
}

/// Anything that happens.
#[derive(Debug)]
pub enum Event {
    /// In a store's process of one life.
    Store(usize, u64, StoreEvent),
    /// In a placement driver's process of one life.
    Pd(usize, u64, PdEvent),
    /// A message arrives.
    Arrive(Machine, Box<Message>),
    /// The answer to a call arrives.
    Answered(u64, Answer),
    /// A call has waited long enough.
    TimedOut(u64),
    /// A sleeping task wakes.
    Wake(Machine, u64),
    /// The faults of a random run go on.
    Nemesis(crate::nemesis::Step),
}

impl Event {
    fn machine(&self) -> Option<Machine> {
        match self {
            Self::Store(number, ..) => Some(Machine::Store(*number)),
            Self::Pd(number, ..) => Some(Machine::Pd(*number)),
            Self::Arrive(machine, _) | Self::Wake(machine, _) => Some(*machine),
            _ => None,
        }
    }
}

/// How a machine's clocks differ from real time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// The moment at real time 0, nanoseconds.
    pub boot: u64,
    /// How much faster than real time its moments pass, millionths.
    pub drift_ppm: i64,
    /// How far its wall clock is ahead, milliseconds.
    pub skew_ms: i64,
}

/// State that machines, tasks and replies share.
pub struct Sky {
    /// Real time since the run began, nanoseconds.
    pub now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    /// Chance of what the cluster is like.
    pub random: Random,
    /// Chance of what nobody plans: delays, losses, what a disk keeps.
    pub places: Places,
    /// Chance of the strike or action under way.
    pub dice: Random,
    /// Links.
    pub network: Network,
    /// By machine; a missing one is correct.
    pub clocks: BTreeMap<Machine, Clock>,
    /// Machines that stand still, and until when.
    pub paused: BTreeMap<Machine, u64>,
    /// Machines whose syncs take longer.
    pub slow_disks: BTreeMap<Machine, Duration>,
    /// Machines whose data engine hangs now and then, for readers and apply.
    pub slow_data: BTreeSet<Machine>,
    /// Machines whose apply stands still, and until when.
    pub stalled_apply: BTreeMap<Machine, u64>,
    /// The life that a machine is in; replies of earlier ones are lost.
    pub lives: BTreeMap<Machine, u64>,
    /// Machine number of a store id, also of one whose disks were lost: its address stays.
    pub stores: BTreeMap<u64, usize>,
    /// Ids of stores whose disks were lost.
    pub lost_stores: BTreeSet<u64>,
    /// Regions that have become part of others, with their version then.
    pub merged: BTreeSet<(RegionId, u64)>,
    /// Regions whose merge was rolled back, likewise.
    pub rolled_back: BTreeSet<(RegionId, u64)>,
    /// Checks that compared replicas.
    pub compared: usize,
    /// Snapshots that placement drivers installed.
    pub pd_snapshots: u64,
    /// Calls under way.
    pub calls: Calls,
    /// Sleeping tasks.
    pub timers: BTreeMap<u64, Timer>,
    next_id: u64,
    /// What happened.
    pub trace: Trace,
    /// What a reader wants to know of it, with times in nanoseconds.
    pub chronicle: Vec<(u64, Happening)>,
    /// Tasks to start.
    pub spawned: Vec<(Machine, futures::future::BoxFuture<'static, ()>)>,
    /// The first law that was broken.
    pub violation: Option<String>,
}

/// The sky, shared.
pub type Shared = Arc<Mutex<Sky>>;

impl Sky {
    /// The beginning of a run.
    pub fn new(seed: u64) -> Self {
        Self {
            now: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            random: Random::new(seed),
            places: Places::new(seed, 0),
            dice: Random::new(seed),
            network: Network::default(),
            clocks: BTreeMap::new(),
            paused: BTreeMap::new(),
            slow_disks: BTreeMap::new(),
            slow_data: BTreeSet::new(),
            stalled_apply: BTreeMap::new(),
            lives: BTreeMap::new(),
            stores: BTreeMap::new(),
            lost_stores: BTreeSet::new(),
            merged: BTreeSet::new(),
            rolled_back: BTreeSet::new(),
            compared: 0,
            pd_snapshots: 0,
            calls: Calls::default(),
            timers: BTreeMap::new(),
            next_id: 0,
            trace: Trace::default(),
            chronicle: Vec::new(),
            spawned: Vec::new(),
            violation: None,
        }
    }

    /// Schedules an event.
    pub fn after(&mut self, delay: Duration, event: Event) {
        let at = self.now + delay.as_nanos() as u64;
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    // ANCHOR: next-event
    /// Takes the next event out and moves time to it; deferred ones of paused machines are put back.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            let ((at, _), event) = self.queue.pop_first()?;
            self.now = self.now.max(at);
            let until = event
                .machine()
                .and_then(|machine| self.paused.get(&machine).copied());
            match until {
                Some(until) if until > self.now => {
                    self.sequence += 1;
                    self.queue.insert((until, self.sequence), event);
                }
                _ => return Some(event),
            }
        }
    }
    // ANCHOR_END: next-event

    /// A number that nothing else has.
    pub fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A machine's monotonic clock.
    pub fn moment(&self, machine: Machine) -> Moment {
        let clock = self.clocks.get(&machine).copied().unwrap_or_default();
        let drift = (self.now as i64 / 1_000_000).saturating_mul(clock.drift_ppm);
        Moment((clock.boot + self.now).saturating_add_signed(drift))
    }

    /// Both clocks of a machine.
    pub fn clock(&self, machine: Machine) -> Now {
        let skew = self.clocks.get(&machine).map_or(0, |clock| clock.skew_ms);
        Now {
            moment: self.moment(machine),
            wall_ms: (EPOCH_MS + self.now / 1_000_000).saturating_add_signed(skew),
        }
    }

    /// The life that a machine is in.
    pub fn life(&self, machine: Machine) -> u64 {
        self.lives.get(&machine).copied().unwrap_or(0)
    }

    /// Sends a message; the network decides when, whether and how often it arrives.
    pub fn send(&mut self, from: Machine, to: Machine, message: Message) {
        match message {
            Message::Raft(envelope) => {
                let transfers = envelope
                    .message
                    .as_ref()
                    .is_some_and(|m| m.kind == crate::network::TIMEOUT_NOW);
                let delays = self
                    .network
                    .raft(self.places.link(from, to), from, to, transfers);
                if delays.is_empty() {
                    crate::note!(
                        self,
                        "{from} -> {to} lost {}",
                        crate::trace::raft(&envelope)
                    );
                }
                for delay in delays {
                    self.after(
                        delay,
                        Event::Arrive(to, Box::new(Message::Raft(envelope.clone()))),
                    );
                }
            }
            other => {
                if let Some(delay) = self.network.call(self.places.link(from, to), from, to) {
                    self.after(delay, Event::Arrive(to, Box::new(other)));
                }
            }
        }
    }

    /// Sends the answer to a call back.
    pub fn answer(&mut self, from: Machine, call: u64, answer: Answer) {
        let Some(caller) = self.calls.caller(call) else {
            return;
        };
        if let Some(delay) = self
            .network
            .call(self.places.link(from, caller), from, caller)
        {
            self.after(delay, Event::Answered(call, answer));
        }
    }

    /// Notes what a reader will want to know.
    pub fn tell(&mut self, what: Happening) {
        self.chronicle.push((self.now, what));
    }

    /// Notes a broken law; the first counts.
    pub fn violated(&mut self, law: String) {
        crate::note!(self, "VIOLATION {law}");
        self.violation.get_or_insert(law);
    }
}
