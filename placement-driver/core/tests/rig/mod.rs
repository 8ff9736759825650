//! A small deterministic cluster of placement drivers: members over memory engines, a virtual clock, a network
//! that delays, cuts and forgets.
//!
//! *Life of a millisecond*: messages that are due are delivered → members whose tick is due tick → every member
//! runs the loop that servers run, until it has nothing to do.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use yadkv_consensus::{LogStore, Start};
use yadkv_engine::memory::Memory;
use yadkv_engine::{Durability, LogEngine};
use yadkv_placement_core::{
    Config, FAMILIES, Input, Member, MemberAddress, OpenError, Order, Overview, Refusal,
};
use yadkv_proto::api::{PdRequest, PdResponse};
use yadkv_proto::id::PeerId;
use yadkv_proto::pdpb::RequestHeader;
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::Envelope;

/// Wall clock at the start, milliseconds since the epoch.
pub const EPOCH_MS: u64 = 1_700_000_000_000;
const LATENCY_MS: u64 = 2;
const TICK_MS: u64 = 100;

pub struct Host {
    pub member: Option<Member>,
    pub kv: Memory,
    pub raft: Memory,
    /// How far this machine's wall clock is off, ms.
    pub skew_ms: i64,
    /// When it loses power in its next installation of a snapshot.
    pub dies: Option<Dies>,
    /// A pause between handling inputs and the clock reading of `round`, ms, for the next turn only.
    pub pause_ms: u64,
    boots: u64,
}

/// A moment of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dies {
    /// The state is exchanged, the log is as before.
    BeforeLog,
    /// The log was reset, the state engine does not know it yet.
    AfterLog,
}

/// Says how often a message arrives, and may change it.
pub type Tamper = Box<dyn FnMut(&mut Envelope) -> usize>;

pub struct Rig {
    pub hosts: BTreeMap<u64, Host>,
    pub now_ms: u64,
    pub config: Config,
    /// Members that nothing reaches or leaves.
    pub cut: BTreeSet<u64>,
    pub tamper: Option<Tamper>,
    network: VecDeque<(u64, Envelope)>,
}

pub type Slot<T> = Arc<Mutex<Option<T>>>;
pub type Answer = Result<PdResponse, Refusal>;

impl Rig {
    pub fn new(members: u64, seed: u64) -> Self {
        let list = (1..=members).map(|id| MemberAddress {
            id: PeerId(id),
            name: format!("pd{id}"),
            client_url: format!("http://pd{id}:2379"),
            peer_url: format!("http://pd{id}:2379"),
        });
        let config = Config::new(PeerId(1), list.collect(), 1, seed);
        let mut rig = Self {
            hosts: BTreeMap::new(),
            now_ms: 0,
            config,
            cut: BTreeSet::new(),
            tamper: None,
            network: VecDeque::new(),
        };
        for id in 1..=members {
            let host = Host {
                member: None,
                kv: Memory::new(FAMILIES.len()),
                raft: Memory::new(yadkv_consensus::FAMILIES.len()),
                skew_ms: 0,
                dies: None,
                pause_ms: 0,
                boots: 0,
            };
            rig.hosts.insert(id, host);
        }
        rig
    }

    pub fn now(&self, id: u64) -> Now {
        let wall_ms = (EPOCH_MS + self.now_ms).saturating_add_signed(self.hosts[&id].skew_ms);
        // Machines count their own moments.
        Now {
            moment: Moment((self.now_ms + id * 1_000_000) * 1_000_000),
            wall_ms,
        }
    }

    pub fn start_all(&mut self) {
        for id in self.ids() {
            self.start(id).expect("a fresh or healthy member starts");
        }
    }

    pub fn ids(&self) -> Vec<u64> {
        self.hosts.keys().copied().collect()
    }

    pub fn start(&mut self, id: u64) -> Result<(), OpenError> {
        let now = self.now(id);
        let mut config = self.config.clone();
        let host = self.hosts.get_mut(&id).expect("the member exists");
        host.boots += 1;
        config.member = PeerId(id);
        config.boot_id = host.boots;
        config.seed = config.seed.wrapping_mul(31).wrapping_add(id);
        let log = LogStore::open(Arc::new(host.raft.clone()), 1 << 20)?;
        let start = if host.boots == 1 {
            Start::Bootstrap
        } else {
            Start::Restart
        };
        host.member = Some(Member::open(
            config,
            Arc::new(host.kv.clone()),
            log,
            start,
            now,
        )?);
        Ok(())
    }

    /// Ends a process; with `power_loss`, what was not synced is lost.
    pub fn kill(&mut self, id: u64, power_loss: bool) {
        let host = self.hosts.get_mut(&id).expect("the member exists");
        host.member = None;
        if power_loss {
            host.kv.power_loss(0);
            host.raft.power_loss(0);
        } else {
            host.kv.restart();
            host.raft.restart();
        }
    }

    pub fn member(&self, id: u64) -> Option<&Member> {
        self.hosts[&id].member.as_ref()
    }

    /// The member in office with the highest term that is not cut off.
    pub fn leader(&self) -> Option<u64> {
        let leads =
            |id: &u64| !self.cut.contains(id) && self.member(*id).is_some_and(Member::is_leader);
        let term = |id: &u64| self.member(*id).map(|member| member.term().0);
        self.ids().into_iter().filter(leads).max_by_key(term)
    }

    pub fn input(&mut self, id: u64, input: Input) {
        let now = self.now(id);
        if let Some(member) = &mut self.hosts.get_mut(&id).expect("the member exists").member {
            member.handle(input, now);
        }
    }

    /// One millisecond passes.
    pub fn step(&mut self) {
        self.now_ms += 1;
        while self
            .network
            .front()
            .is_some_and(|(due, _)| *due <= self.now_ms)
        {
            let Some((_, mut envelope)) = self.network.pop_front() else {
                break;
            };
            let tamper = self.tamper.as_mut();
            let copies = tamper.map_or(1, |tamper| tamper(&mut envelope));
            let ends = [
                envelope.from.map_or(0, |peer| peer.id),
                envelope.to.map_or(0, |peer| peer.id),
            ];
            if !ends.iter().any(|end| self.cut.contains(end)) && self.hosts.contains_key(&ends[1]) {
                for _ in 0..copies {
                    self.input(ends[1], Input::Raft(envelope.clone()));
                }
            }
        }
        for id in self.ids() {
            if (self.now_ms + id * 7).is_multiple_of(TICK_MS) {
                self.input(id, Input::Tick);
            }
            self.turn(id);
        }
    }

    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    /// The loop that every driver of a member runs.
    pub fn turn(&mut self, id: u64) {
        let pause =
            std::mem::take(&mut self.hosts.get_mut(&id).expect("the member exists").pause_ms);
        let mut now = self.now(id);
        now.moment = Moment(now.moment.0 + pause * 1_000_000);
        now.wall_ms += pause;
        let due = self.now_ms + LATENCY_MS;
        let host = self.hosts.get_mut(&id).expect("the member exists");
        let Some(member) = &mut host.member else {
            return;
        };
        while member.pending() {
            let Some(mut round) = member.round(now).expect("memory engines do not fail here")
            else {
                continue;
            };
            let dies = host.dies.take_if(|_| round.installs());
            if dies == Some(Dies::BeforeLog) {
                return self.kill(id, true);
            }
            let mut send = std::mem::take(&mut round.send_now);
            let durability = if round.must_sync {
                Durability::Synced
            } else {
                Durability::Buffered
            };
            let batch = std::mem::take(&mut round.batch);
            host.raft
                .write(batch, durability)
                .expect("memory engines do not fail here");
            if dies == Some(Dies::AfterLog) {
                return self.kill(id, true);
            }
            send.extend(
                member
                    .persisted(round, now)
                    .expect("memory engines do not fail here"),
            );
            self.network
                .extend(send.into_iter().map(|envelope| (due, envelope)));
        }
        if let Some(index) = member.flush(now) {
            host.kv.sync().expect("memory engines do not fail here");
            member.handle(Input::Durable(index), now);
        }
    }

    /// Runs until a member is in office and the cluster has its identity.
    pub fn await_leader(&mut self) -> u64 {
        for _ in 0..10_000 {
            match self.leader() {
                Some(leader) if self.cluster_id() != 0 => return leader,
                _ => self.step(),
            }
        }
        panic!("no leader within 10 s");
    }

    pub fn cluster_id(&self) -> u64 {
        let ids = self
            .hosts
            .values()
            .filter_map(|host| host.member.as_ref()?.cluster_id());
        ids.map(|id| id.0).max().unwrap_or(0)
    }

    pub fn header(&self) -> Option<RequestHeader> {
        Some(RequestHeader {
            cluster_id: self.cluster_id(),
            ..RequestHeader::default()
        })
    }

    /// Gives a request to a member; the slot is filled when it is answered.
    pub fn send(&mut self, id: u64, request: impl Into<PdRequest>) -> Slot<Answer> {
        let slot = Slot::default();
        let fill = slot.clone();
        let reply = Box::new(move |answer| {
            let before = fill.lock().expect("one thread").replace(answer);
            assert!(before.is_none(), "a call is answered once");
        });
        self.input(id, Input::Request(request.into(), reply));
        slot
    }

    /// Gives a request to a member and runs until it is answered.
    pub fn ask(&mut self, id: u64, request: impl Into<PdRequest>) -> Answer {
        let slot = self.send(id, request);
        self.wait(&slot)
    }

    pub fn wait<T>(&mut self, slot: &Slot<T>) -> T {
        for _ in 0..4000 {
            if let Some(answer) = slot.lock().expect("one thread").take() {
                return answer;
            }
            self.step();
        }
        panic!("a call was not answered within 4 s");
    }

    pub fn order(&mut self, id: u64, order: Order) -> Result<(), Refusal> {
        let slot: Slot<Result<(), Refusal>> = Slot::default();
        let fill = slot.clone();
        let reply = Box::new(move |answer| {
            fill.lock().expect("one thread").replace(answer);
        });
        self.input(id, Input::Order(order, reply));
        self.wait(&slot)
    }

    pub fn overview(&mut self, id: u64) -> Result<Overview, Refusal> {
        let slot: Slot<Result<Overview, Refusal>> = Slot::default();
        let fill = slot.clone();
        let reply = Box::new(move |answer| {
            fill.lock().expect("one thread").replace(answer);
        });
        self.input(id, Input::Overview(reply));
        self.wait(&slot)
    }
}
