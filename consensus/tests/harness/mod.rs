//! Several nodes, a network and a clock that only move when told to.
//!
//! *Place*: the scripts (`tests/scripts.rs`) and the property tests (`tests/hostile.rs`) drive it; it runs each
//! node in the loop that servers run: inputs, `ready`, write, `persisted`, send, apply.
//!
//! *Types to know*: [`Cluster`].
//!
//! *Invariants* that it checks at every step: at most one node holds a valid lease; what a node applies at an
//! index is what every other node applied there; a term has one leader.
//!
//! *Next stop*: `tests/scripts`.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use yadkv_consensus::{
    Config, FAMILIES, FIRST_INDEX, FIRST_TERM, LogStore, MEMBERS_ENTRY, Members, Node, Ready, Role,
    Start, StepError, acts_as_leader, says_nothing_is_here,
};
use yadkv_engine::memory::Memory;
use yadkv_engine::{Durability, LogEngine as _, WriteBatch};
use yadkv_proto::id::{Index, PeerId, RegionId, Term};
use yadkv_proto::time::Moment;
use yadkv_proto::yadkvpb::{LogEntry, RaftMessage};

mod state;

pub use state::{Snapshot, parse_change};
use state::{State, next_members};

pub const GROUP: RegionId = RegionId(1);
/// Rounds after which a cluster that still talks is taken to talk for ever.
const ROUNDS_MAX: usize = 10_000;

/// One machine: its disk, and its process if that runs.
pub struct Machine {
    pub disk: Memory,
    pub node: Option<Node>,
    pub boot: u64,
    /// What the state machine holds durably, and begins with after a restart.
    base: State,
    members: Members,
    pub applied: Vec<LogEntry>,
    pub paused: bool,
}

/// All machines, the messages under way, and time.
pub struct Cluster {
    pub now: Moment,
    pub machines: BTreeMap<u64, Machine>,
    pub network: VecDeque<RaftMessage>,
    pub held: Vec<RaftMessage>,
    pub hold_kinds: BTreeSet<u32>,
    pub cuts: BTreeSet<(u64, u64)>,
    /// Snapshots on their way.
    pub snapshots: VecDeque<Snapshot>,
    pub trace: bool,
    pub log: String,
    leaders: BTreeMap<u64, u64>,
    history: BTreeMap<u64, LogEntry>,
}

impl Cluster {
    pub fn new(voters: u64, learners: u64) -> Self {
        let members = Members {
            voters: (1..=voters).map(PeerId).collect(),
            learners: (voters + 1..=voters + learners).map(PeerId).collect(),
            ..Members::default()
        };
        let mut cluster = Self {
            now: Moment::default().after(Duration::from_secs(1000)),
            machines: BTreeMap::new(),
            network: VecDeque::new(),
            held: Vec::new(),
            hold_kinds: BTreeSet::new(),
            cuts: BTreeSet::new(),
            snapshots: VecDeque::new(),
            trace: false,
            log: String::new(),
            leaders: BTreeMap::new(),
            history: BTreeMap::new(),
        };
        for id in 1..=voters + learners {
            cluster.join(id);
            let machine = cluster.machines.get_mut(&id).unwrap();
            machine.base = State {
                index: FIRST_INDEX,
                term: FIRST_TERM,
                members: members.clone(),
            };
            cluster.start(id);
        }
        cluster
    }

    /// A machine that belongs to no group yet.
    pub fn join(&mut self, id: u64) {
        let machine = Machine {
            disk: Memory::new(FAMILIES.len()),
            node: None,
            boot: 0,
            base: State::default(),
            members: Members::default(),
            applied: Vec::new(),
            paused: false,
        };
        assert!(self.machines.insert(id, machine).is_none());
    }

    /// Starts the process of a machine; the first time it bootstraps the group.
    pub fn start(&mut self, id: u64) {
        let now = self.now;
        let machine = self.machines.get_mut(&id).unwrap();
        assert!(machine.node.is_none(), "{id} runs already");
        machine.boot += 1;
        machine.disk.restart();
        let store = LogStore::open(Arc::new(machine.disk.clone()), 1 << 20).unwrap();
        let mut batch = WriteBatch::new();
        let first = store.bootstrap(GROUP, PeerId(id), &mut batch).unwrap();
        machine.disk.write(batch, Durability::Synced).unwrap();
        let start = if first {
            Start::Bootstrap
        } else {
            Start::Restart
        };
        // A state machine that loses everything it has not written with the log: it applies again.
        machine.applied.clear();
        machine.members = machine.base.members.clone();
        let mut config = Config::new(GROUP, PeerId(id), machine.boot, 1);
        config.sends_snapshots = true;
        let (members, applied) = (machine.members.clone(), machine.base.index);
        machine.node = Some(Node::open(config, store, members, applied, start, now).unwrap());
    }

    /// Ends the process; with `keep` also the power, of the unsynced batches only the first `keep` remain.
    pub fn stop(&mut self, id: u64, keep: Option<usize>) {
        let machine = self.machines.get_mut(&id).unwrap();
        machine.node = None;
        if let Some(keep) = keep {
            machine.disk.power_loss(keep);
        }
    }

    pub fn node(&mut self, id: u64) -> &mut Node {
        self.machines.get_mut(&id).unwrap().node.as_mut().unwrap()
    }

    pub fn running(&self) -> Vec<u64> {
        let running = self
            .machines
            .iter()
            .filter(|(_, m)| m.node.is_some() && !m.paused);
        running.map(|(id, _)| *id).collect()
    }

    pub fn advance(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }

    /// One tick of time for everybody, each followed by all messages it causes.
    pub fn tick_all(&mut self) {
        self.advance(100);
        for id in self.running() {
            let now = self.now;
            self.node(id).tick(now);
            self.work(id);
        }
        self.deliver_all();
    }

    /// Runs the loop of one node until it has nothing more to say.
    pub fn work(&mut self, id: u64) {
        for _ in 0..ROUNDS_MAX {
            let now = self.now;
            let node = self.node(id);
            let mut batch = WriteBatch::new();
            let Some(ready) = node.ready(&mut batch, now) else {
                assert!(!self.node(id).has_ready() || self.node(id).damage().is_some());
                self.check();
                return;
            };
            self.finish(id, ready, batch);
        }
        panic!("{id} never comes to rest");
    }

    fn finish(&mut self, id: u64, mut ready: Ready, batch: WriteBatch) {
        let now = self.now;
        if let Some(change) = ready.role {
            let leader = change
                .leader
                .map_or("-".to_owned(), |peer| peer.0.to_string());
            let _ = writeln!(
                self.log,
                "{id} {:?} {} leader={leader}",
                change.role, change.term
            );
            if change.role == Role::Leader {
                let before = self.leaders.insert(change.term.0, id);
                assert!(
                    before.is_none_or(|other| other == id),
                    "two leaders in one term"
                );
            }
        }
        self.send(std::mem::take(&mut ready.send_now));
        self.take_snapshots(id, std::mem::take(&mut ready.snapshots));
        // A change of members is an input, which has to wait until the write is over.
        let committed = std::mem::take(&mut ready.committed);
        let changes = committed.iter().any(|entry| entry.kind == MEMBERS_ENTRY);
        let (early, mut late) = match changes {
            true => (Vec::new(), committed),
            false => (committed, Vec::new()),
        };
        self.apply(id, early);
        for read in &ready.reads {
            let _ = writeln!(self.log, "{id} read {} at {}", read.token.0, read.index);
        }
        for token in &ready.lost_reads {
            let _ = writeln!(self.log, "{id} read {} lost", token.0);
        }
        // ANCHOR: write-then-send
        let durability = if ready.must_sync {
            Durability::Synced
        } else {
            Durability::Buffered
        };
        if !batch.is_empty() {
            self.machines[&id].disk.write(batch, durability).unwrap();
        }
        let persisted = self.node(id).persisted(ready, now);
        self.send(persisted.send);
        // ANCHOR_END: write-then-send
        self.take_snapshots(id, persisted.snapshots);
        late.extend(persisted.committed);
        self.apply(id, late);
    }

    fn send(&mut self, messages: Vec<RaftMessage>) {
        for message in messages {
            if self.hold_kinds.contains(&message.kind) {
                self.held.push(message);
            } else {
                self.network.push_back(message);
            }
        }
    }

    fn apply(&mut self, id: u64, entries: Vec<LogEntry>) {
        let Some(last) = entries.last().map(|entry| Index(entry.index)) else {
            return;
        };
        for entry in entries {
            let known = self
                .history
                .entry(entry.index)
                .or_insert_with(|| entry.clone());
            assert_eq!(
                *known, entry,
                "{id} applies something else than another node"
            );
            let machine = self.machines.get_mut(&id).unwrap();
            let before = machine.applied.last().map(|before| Index(before.index));
            let expected = before.unwrap_or(machine.base.index).next().0;
            assert_eq!(entry.index, expected, "applied in order");
            let _ = writeln!(
                self.log,
                "{id} apply {}/{} {:?}",
                entry.index,
                entry.term,
                match entry.kind {
                    MEMBERS_ENTRY => String::from_utf8_lossy(&entry.context),
                    _ => String::from_utf8_lossy(&entry.data),
                }
            );
            let change = (entry.kind == MEMBERS_ENTRY).then(|| parse_change(&entry.context));
            machine.applied.push(entry);
            if let Some(change) = change {
                machine.members = next_members(&machine.members, &change);
                let (members, now) = (machine.members.clone(), self.now);
                self.node(id).change_members(&change, &members, now);
            }
        }
        self.node(id).applied(last);
    }

    /// Delivers what is under way, and what that causes, until the network is quiet.
    pub fn deliver_all(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let Some(message) = self.network.pop_front() else {
                return;
            };
            self.deliver(message);
        }
        panic!("the network never comes to rest");
    }

    /// Delivers a message that left before the network was cut.
    pub fn deliver_from_far(&mut self, message: RaftMessage) {
        let cuts = std::mem::take(&mut self.cuts);
        self.deliver(message);
        self.cuts = cuts;
    }

    pub fn deliver(&mut self, message: RaftMessage) {
        let (from, to) = (message.from, message.to);
        let lost = self.cuts.contains(&(from, to));
        let up = self
            .machines
            .get(&to)
            .is_some_and(|m| m.node.is_some() && !m.paused);
        if self.trace {
            let fate = if lost || !up { " lost" } else { "" };
            let _ = writeln!(self.log, "{}{fate}", show(&message));
        }
        let unborn = self
            .machines
            .get(&to)
            .is_some_and(|machine| machine.boot == 0);
        if unborn && !lost && acts_as_leader(&message) {
            return self.network.extend(says_nothing_is_here(&message));
        }
        if lost || !up {
            return;
        }
        let now = self.now;
        let kind = message.kind;
        match self.node(to).step(message, now) {
            Ok(()) => {}
            Err(error @ (StepError::VoteHold | StepError::LeaderAlive)) => {
                let _ = writeln!(
                    self.log,
                    "{to} refuses {} of {from}: {error}",
                    kind_name(kind)
                );
            }
            Err(error) => {
                let _ = writeln!(
                    self.log,
                    "{to} drops {} of {from}: {error}",
                    kind_name(kind)
                );
            }
        }
        self.work(to);
    }

    /// What must hold at any moment.
    pub fn check(&self) {
        let now = self.now;
        let holders: Vec<u64> = self
            .machines
            .iter()
            .filter(|(_, machine)| {
                let lease = machine.node.as_ref().and_then(Node::lease);
                lease.is_some_and(|until| now < until)
            })
            .map(|(id, _)| *id)
            .collect();
        assert!(holders.len() <= 1, "{holders:?} hold a lease at once");
    }

    pub fn propose(&mut self, id: u64, data: &str) -> Result<(Term, Index), String> {
        let now = self.now;
        let proposed = self
            .node(id)
            .propose(Bytes::copy_from_slice(data.as_bytes()), now);
        let proposal = proposed.map_err(|error| error.to_string())?;
        Ok((proposal.term, proposal.index))
    }

    pub fn leader(&self) -> Option<u64> {
        let leads = |machine: &Machine| {
            machine
                .node
                .as_ref()
                .is_some_and(|n| n.role() == Role::Leader)
        };
        let newest = self.machines.iter().filter(|(_, machine)| leads(machine));
        newest
            .max_by_key(|(_, machine)| machine.node.as_ref().map(Node::term))
            .map(|(id, _)| *id)
    }
}

/// Name of a message kind, without the prefix of raft-rs.
pub fn kind_name(kind: u32) -> &'static str {
    const NAMES: [&str; 19] = [
        "Hup",
        "Beat",
        "Propose",
        "Append",
        "AppendResponse",
        "RequestVote",
        "RequestVoteResponse",
        "Snapshot",
        "Heartbeat",
        "HeartbeatResponse",
        "Unreachable",
        "SnapStatus",
        "CheckQuorum",
        "TransferLeader",
        "TimeoutNow",
        "ReadIndex",
        "ReadIndexResp",
        "RequestPreVote",
        "RequestPreVoteResponse",
    ];
    NAMES.get(kind as usize).copied().unwrap_or("?")
}

/// Number of a message kind.
pub fn kind_number(name: &str) -> Option<u32> {
    (0..19).find(|kind| kind_name(*kind) == name)
}

/// One line that shows a message.
pub fn show(message: &RaftMessage) -> String {
    let mut line = format!(
        "{}→{} {} t{}",
        message.from,
        message.to,
        kind_name(message.kind),
        message.term
    );
    if message.index != 0 || message.log_term != 0 {
        let _ = write!(line, " at {}/{}", message.index, message.log_term);
    }
    if !message.entries.is_empty() && message.entries[0].index != 0 {
        let entries: Vec<String> = message
            .entries
            .iter()
            .map(|e| format!("{}/{}", e.index, e.term))
            .collect();
        let _ = write!(line, " [{}]", entries.join(" "));
    }
    if message.commit != 0 {
        let _ = write!(line, " commit={}", message.commit);
    }
    if message.reject {
        let _ = write!(line, " reject hint={}", message.reject_hint);
    }
    if !message.context.is_empty() {
        line.push_str(if message.context.len() == 25 {
            " +read"
        } else {
            " +transfer"
        });
    }
    line
}
