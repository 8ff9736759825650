//! A placement driver's machine and process: the server's driver loop, one step an event.
//!
//! *Place*: [`crate::world::World`] hands it events; it drives `yadkv_placement_core::Member` in the order of
//! `placement-driver/server/src/driver.rs`.
//!
//! ```text
//! Handle: inbox, tick → Round (a later clock) → send_now → LogWritten → LogSynced → persisted → Round …
//!                                                            flush wanted → Flushed → inbox
//! ```
//!
//! Logs are kept so short ([`KEEP_ENTRIES`]) that a member which was away for seconds needs a snapshot.
//!
//! *Invariants*: a pause may come between handling and round, in which a lease may end. Unary calls that a
//! follower refuses with the leader's address are passed on once, as the server does; streams are not.
//!
//! *Next stop*: [`crate::world`].

use crate::check::laws::Laws;
use crate::life::{self, Disks};
use crate::nemesis::{Action, Step};
use crate::sky::{Answer, Event, Machine, Message, PdEvent, Shared, Sky};
use crate::store::companion::MEMBERS;
use crate::store::worker::fsync;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use yadkv_client::runtime::CallError;
use yadkv_consensus::{LogStore, Start};
use yadkv_engine::memory::Memory;
use yadkv_engine::{Durability, LogEngine, WriteBatch};
use yadkv_placement_core::{
    Config, FAMILIES, Input, Member, MemberAddress, Order, Refusal, Reply, Round,
};
use yadkv_proto::api::{PdRequest, PdResponse};
use yadkv_proto::id::PeerId;
use yadkv_proto::time::Moment;
use yadkv_proto::yadkvpb::Envelope;

const TICK: Duration = Duration::from_millis(100);
const CACHE_BYTES: usize = 1 << 20;
/// Entries that stay in a log: those of a few seconds.
pub const KEEP_ENTRIES: u64 = 8;
/// Bytes of records in a chunk: the state is some of them.
const CHUNK_BYTES: u64 = 1 << 10;

/// A placement driver's machine.
pub struct PdHost {
    /// Its number.
    pub number: usize,
    /// State engine.
    pub kv: Memory,
    /// Log engine.
    pub raft: Memory,
    /// The process, if one runs.
    pub process: Option<Process>,
    /// Whether the machine has power.
    pub powered: bool,
    /// What happens while it next installs a snapshot.
    pub trap: Option<InstallTrap>,
    borders: Vec<bytes::Bytes>,
}

/// An end that waits for the installation of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct InstallTrap {
    /// Of the machine's power, else of the process.
    pub power_loss: bool,
    /// How long until the next start.
    pub dark: Duration,
}

/// A running member.
pub struct Process {
    life: u64,
    /// The core.
    pub member: Member,
    inbox: VecDeque<Input>,
    doing: Doing,
    next_tick: Moment,
    /// Snapshots that were counted.
    installed: u64,
}

enum Doing {
    Nothing,
    Scheduled,
    Writing(Box<(Round, WriteBatch)>),
    Syncing(Box<Round>),
}

impl PdHost {
    /// A machine with empty disks; `borders` cut the first regions besides the fixed ones.
    pub fn new(number: usize, borders: Vec<bytes::Bytes>) -> Self {
        Self {
            number,
            kv: Memory::new(FAMILIES.len()),
            raft: Memory::new(yadkv_consensus::FAMILIES.len()),
            process: None,
            powered: true,
            trap: None,
            borders,
        }
    }

    /// Itself as a place of the network.
    pub fn machine(&self) -> Machine {
        Machine::Pd(self.number)
    }

    /// Starts a process.
    pub fn boot(&mut self, sky: &Shared) {
        self.powered = true;
        let machine = self.machine();
        let life = life::begin(sky, machine, self.disks());
        let mut sky = sky.lock();
        let members = (0..MEMBERS).map(|number| MemberAddress {
            id: PeerId(number as u64 + 1),
            name: Machine::Pd(number).to_string(),
            client_url: format!("http://{}", Machine::Pd(number).address()),
            peer_url: format!("http://{}", Machine::Pd(number).address()),
        });
        let own = PeerId(self.number as u64 + 1);
        let mut config = Config::new(
            own,
            members.collect(),
            life,
            sky.places.machine(machine).draw(),
        );
        config.bootstrap.borders = self.borders.clone();
        config.log.keep_entries = KEEP_ENTRIES;
        config.log.chunk_bytes = CHUNK_BYTES;
        let log =
            LogStore::open(Arc::new(self.raft.clone()), CACHE_BYTES).expect("the log store opens");
        let start = if life == 1 {
            Start::Bootstrap
        } else {
            Start::Restart
        };
        let now = sky.clock(machine);
        match Member::open(config, Arc::new(self.kv.clone()), log, start, now) {
            Ok(member) => {
                let next_tick = now.moment.after(TICK);
                self.process = Some(Process {
                    life,
                    member,
                    inbox: VecDeque::new(),
                    doing: Doing::Nothing,
                    next_tick,
                    installed: 0,
                });
                sky.after(TICK, Event::Pd(self.number, life, PdEvent::Tick));
            }
            Err(error) => sky.violated(format!("{machine} cannot open: {error}")),
        }
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
        drop(self.process.take());
    }

    /// One step of the process.
    pub fn step(&mut self, sky: &Shared, life: u64, event: PdEvent, laws: &mut Laws) {
        if self
            .process
            .as_ref()
            .is_none_or(|process| process.life != life)
        {
            return;
        }
        match event {
            PdEvent::Tick => {
                sky.lock()
                    .after(TICK, Event::Pd(self.number, life, PdEvent::Tick));
                self.wake(sky);
            }
            PdEvent::Handle => self.handle(sky),
            PdEvent::Round => self.make_round(sky),
            PdEvent::LogWritten => self.write_log(sky),
            PdEvent::LogSynced => {
                self.log_synced(sky);
                self.count_snapshots(sky);
            }
            PdEvent::Flushed(index) => {
                self.kv
                    .sync()
                    .expect("memory engines fail only when told to");
                self.input(sky, Input::Durable(index));
            }
        }
        laws.after_pd(sky, self);
    }

    fn count_snapshots(&mut self, sky: &Shared) {
        let Some(process) = &mut self.process else {
            return;
        };
        let installed = process.member.transfers().installed;
        let new = installed - std::mem::replace(&mut process.installed, installed);
        if new > 0 {
            let mut sky = sky.lock();
            sky.pd_snapshots += new;
            let index = process.member.cluster().applied().0;
            crate::note!(sky, "pd{} installed the state of {index}", self.number);
        }
    }

    /// A message arrives at this machine.
    pub fn receive(&mut self, sky: &Shared, message: Message) {
        let machine = self.machine();
        if !self.powered {
            return;
        }
        match message {
            Message::Raft(envelope) => self.input(sky, Input::Raft(envelope)),
            Message::PdCall(call, request, passed_on) => {
                let Some(process) = &self.process else {
                    let refused = Answer::Failed(CallError::NotSent("connection refused".into()));
                    return sky.lock().answer(machine, call, refused);
                };
                let reply = reply(
                    sky.clone(),
                    machine,
                    process.life,
                    call,
                    request.clone(),
                    passed_on,
                );
                self.input(sky, Input::Request(*request, reply));
            }
            _ => {}
        }
    }

    /// Somebody orders something; whether it is done shows in the cluster's state.
    pub fn order(&mut self, sky: &Shared, order: Order) {
        let (machine, shared) = (self.machine(), sky.clone());
        let reply = Box::new(move |answer: Result<(), Refusal>| {
            let mut sky = shared.lock();
            crate::note!(sky, "{machine}: {order:?}: {answer:?}");
        });
        self.input(sky, Input::Order(order, reply));
    }

    fn input(&mut self, sky: &Shared, input: Input) {
        if let Some(process) = &mut self.process {
            process.inbox.push_back(input);
            self.wake(sky);
        }
    }

    fn wake(&mut self, sky: &Shared) {
        let Some(process) = &mut self.process else {
            return;
        };
        if matches!(process.doing, Doing::Nothing) {
            process.doing = Doing::Scheduled;
            let mut sky = sky.lock();
            let delay = sky.places.machine(Machine::Pd(self.number)).micros(5, 40);
            sky.after(delay, Event::Pd(self.number, process.life, PdEvent::Handle));
        }
    }

    fn later(&self, sky: &mut Sky, delay: Duration, event: PdEvent) {
        let life = self.process.as_ref().map_or(0, |process| process.life);
        sky.after(delay, Event::Pd(self.number, life, event));
    }

    fn handle(&mut self, sky: &Shared) {
        let now = sky.lock().clock(self.machine());
        let Some(process) = &mut self.process else {
            return;
        };
        for input in std::mem::take(&mut process.inbox) {
            process.member.handle(input, now);
        }
        if now.moment >= process.next_tick {
            process.member.handle(Input::Tick, now);
            process.next_tick = now.moment.after(TICK);
        }
        let mut sky = sky.lock();
        // The thread may lose the processor here, and the lease with it.
        let delay = if sky.places.machine(Machine::Pd(self.number)).chance(2) {
            sky.places.machine(Machine::Pd(self.number)).millis(50, 900)
        } else {
            sky.places.machine(Machine::Pd(self.number)).micros(2, 20)
        };
        self.later(&mut sky, delay, PdEvent::Round);
    }

    fn make_round(&mut self, sky: &Shared) {
        let now = sky.lock().clock(self.machine());
        let Some(process) = &mut self.process else {
            return;
        };
        while process.member.pending() {
            let round = match process.member.round(now) {
                Ok(Some(round)) => Some(round),
                Ok(None) => continue,
                Err(error) => return sky.lock().violated(format!("pd{}: {error}", self.number)),
            };
            if let Some(mut round) = round {
                if round.installs()
                    && let Some(trap) = self.trap.take()
                {
                    spring(sky, Machine::Pd(self.number), trap);
                }
                let batch = std::mem::take(&mut round.batch);
                let send_now = std::mem::take(&mut round.send_now);
                process.doing = Doing::Writing(Box::new((round, batch)));
                self.send(sky, send_now);
                let mut sky = sky.lock();
                let delay = sky.places.machine(Machine::Pd(self.number)).micros(10, 60);
                return self.later(&mut sky, delay, PdEvent::LogWritten);
            }
        }
        self.finish_turn(sky);
    }

    fn write_log(&mut self, sky: &Shared) {
        let machine = self.machine();
        let Some(process) = &mut self.process else {
            return;
        };
        let Doing::Writing(writing) = std::mem::replace(&mut process.doing, Doing::Nothing) else {
            return;
        };
        let (round, batch) = *writing;
        let sync = round.must_sync;
        process.doing = Doing::Syncing(Box::new(round));
        if !batch.is_empty() {
            self.raft
                .write(batch, Durability::Buffered)
                .expect("memory engines fail only when told to");
        }
        if !sync {
            return self.log_synced(sky);
        }
        let delay = fsync(sky, machine);
        self.later(&mut sky.lock(), delay, PdEvent::LogSynced);
    }

    fn log_synced(&mut self, sky: &Shared) {
        let now = sky.lock().clock(self.machine());
        let Some(process) = &mut self.process else {
            return;
        };
        let Doing::Syncing(round) = std::mem::replace(&mut process.doing, Doing::Scheduled) else {
            return;
        };
        if round.must_sync {
            self.raft
                .sync()
                .expect("memory engines fail only when told to");
        }
        match process.member.persisted(*round, now) {
            Ok(messages) => self.send(sky, messages),
            Err(error) => return sky.lock().violated(format!("pd{}: {error}", self.number)),
        }
        self.later(&mut sky.lock(), Duration::from_micros(3), PdEvent::Round);
    }

    /// Pushes operators, begins a flush that is wanted, and looks whether more came in meanwhile.
    fn finish_turn(&mut self, sky: &Shared) {
        let machine = self.machine();
        let clock = sky.lock().clock(machine);
        let now = clock.moment;
        let Some(process) = &mut self.process else {
            return;
        };
        process.doing = Doing::Nothing;
        let pushes = process.member.pushes();
        if let Some(index) = process.member.flush(clock) {
            let flushed = Event::Pd(self.number, process.life, PdEvent::Flushed(index));
            let delay = fsync(sky, machine);
            sky.lock().after(delay, flushed);
        }
        let more = !process.inbox.is_empty() || now >= process.next_tick;
        {
            let mut sky = sky.lock();
            for (store, operator) in pushes {
                if let Some(number) = sky.stores.get(&store.0).copied() {
                    sky.send(
                        machine,
                        Machine::Store(number),
                        Message::Operator(Box::new(operator)),
                    );
                }
            }
        }
        if more {
            self.wake(sky);
        }
    }

    fn send(&self, sky: &Shared, envelopes: Vec<Envelope>) {
        let machine = self.machine();
        let mut sky = sky.lock();
        for envelope in envelopes {
            let to = envelope.to.map_or(0, |peer| peer.id);
            let to = Machine::Pd((to as usize).saturating_sub(1));
            let quiet = envelope
                .message
                .as_ref()
                .is_some_and(|message| matches!(message.kind, 8 | 9));
            if !quiet {
                crate::note!(sky, "{machine} -> {to} {}", crate::trace::raft(&envelope));
            }
            sky.send(machine, to, Message::Raft(envelope));
        }
    }
}

/// The state is exchanged, the log is about to be reset: the end comes at some moment of that write.
fn spring(sky: &Shared, machine: Machine, trap: InstallTrap) {
    let end = match trap.power_loss {
        true => Action::PowerLoss(machine, trap.dark),
        false => Action::Crash(machine, trap.dark),
    };
    let mut sky = sky.lock();
    let at = sky.places.machine(machine).micros(0, 1500);
    sky.after(at, Event::Nemesis(Step::Follow(end)));
}

/// Carries an answer back, or passes the call on to the leader.
fn reply(
    sky: Shared,
    machine: Machine,
    life: u64,
    call: u64,
    request: Box<PdRequest>,
    passed_on: bool,
) -> Reply {
    Box::new(move |answer: Result<PdResponse, Refusal>| {
        let mut sky = sky.lock();
        if sky.life(machine) != life {
            return;
        }
        let stream = matches!(
            *request,
            PdRequest::Tso(_) | PdRequest::RegionHeartbeat(_) | PdRequest::QueryRegion(_)
        );
        let answer = match answer {
            Ok(response) => Answer::Pd(Box::new(response)),
            Err(Refusal::NotLeader { leader: Some(url) }) if !passed_on && !stream => {
                if let Some(leader) = Machine::at(&url) {
                    return sky.send(machine, leader, Message::PdCall(call, request, true));
                }
                Answer::Failed(CallError::Lost("the leader's address is unknown".into()))
            }
            Err(refusal @ (Refusal::NotLeader { .. } | Refusal::Unavailable(_))) => {
                Answer::Failed(CallError::Lost(refusal.to_string()))
            }
            Err(refusal) => Answer::Failed(CallError::Refused(refusal.to_string())),
        };
        sky.answer(machine, call, answer);
    })
}
