//! Nothing that arrives from the network may end the process.
//!
//! One replica of three lives through random ticks, proposals, reads, transfers, restarts and above all random
//! messages, with numbers so near to its own that many pass the sanitiser. The messages lie about everything, so
//! nothing about agreement can be expected; only that the replica goes on, hands out committed entries in order,
//! and can be opened again from what it wrote.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use yadkv_consensus::{Config, FAMILIES, FIRST_INDEX, LogStore, Members, Node, Start};
use yadkv_engine::memory::Memory;
use yadkv_engine::{Durability, LogEngine as _, WriteBatch};
use yadkv_proto::id::{Index, PeerId, RegionId};
use yadkv_proto::time::Moment;
use yadkv_proto::yadkvpb::{LogEntry, RaftMessage};

/// Far below raft-rs's own limits, so that they are reached.
const ENTRY_BYTES: usize = 40;

struct Victim {
    disk: Memory,
    node: Node,
    now: Moment,
    applied: u64,
    boot: u64,
    voters: u64,
}

fn open(disk: &Memory, boot: u64, voters: u64, now: Moment) -> Node {
    let store = LogStore::open(Arc::new(disk.clone()), 500).unwrap();
    let mut batch = WriteBatch::new();
    store.bootstrap(RegionId(1), PeerId(1), &mut batch).unwrap();
    disk.write(batch, Durability::Synced).unwrap();
    let mut config = Config::new(RegionId(1), PeerId(1), boot, 1);
    config.inflight_messages_max = 2;
    config.message_bytes_max = 100;
    config.entry_bytes_max = 100;
    config.uncommitted_bytes_max = 400;
    config.committed_bytes_per_ready_max = 100;
    let members = Members {
        voters: (1..=voters).map(PeerId).collect(),
        learners: vec![PeerId(9)],
        ..Members::default()
    };
    // A restart every few steps would leave no time without a vote hold.
    let start = Start::Bootstrap;
    Node::open(config, store, members, FIRST_INDEX, start, now).unwrap()
}

impl Victim {
    fn new(voters: u64) -> Self {
        let disk = Memory::new(FAMILIES.len());
        let now = Moment::default().after(Duration::from_secs(1));
        let node = open(&disk, 1, voters, now);
        Self {
            disk,
            node,
            now,
            applied: FIRST_INDEX.0,
            boot: 1,
            voters,
        }
    }

    fn act(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Tick(count) => {
                for _ in 0..count {
                    self.now = self.now.after(Duration::from_millis(100));
                    self.node.tick(self.now);
                }
            }
            Step::Campaign => self.node.campaign(now),
            Step::Elect => self.elect(),
            Step::Propose => {
                let _ = self.node.propose(Bytes::from(vec![7; ENTRY_BYTES]), now);
            }
            Step::Read => {
                let _ = self.node.read_index(now);
            }
            Step::Transfer(to) => {
                let _ = self.node.transfer_leader(PeerId(to), now);
            }
            Step::Unreachable(peer) => self.node.report_unreachable(PeerId(peer)),
            Step::Restart => {
                self.boot += 1;
                self.disk.power_loss(0);
                self.applied = FIRST_INDEX.0;
                self.node = open(&self.disk, self.boot, self.voters, now);
            }
            Step::Work => self.work(),
            Step::Message(lie) => {
                let message = lie.message(&self.node);
                let _ = self.node.step(message, now);
            }
        }
    }

    /// Lets the victim win an election.
    fn elect(&mut self) {
        self.work();
        self.now = self.now.after(Duration::from_secs(1));
        self.node.campaign(self.now);
        for (kind, ahead) in [(18, 1), (6, 0)] {
            self.work();
            let vote = RaftMessage {
                kind,
                to: 1,
                from: 2,
                term: self.node.term().0 + ahead,
                ..RaftMessage::default()
            };
            let _ = self.node.step(vote, self.now);
        }
    }

    fn work(&mut self) {
        for _ in 0..1000 {
            let mut batch = WriteBatch::new();
            let Some(mut ready) = self.node.ready(&mut batch, self.now) else {
                assert_eq!(self.node.damage(), None);
                return;
            };
            self.apply(std::mem::take(&mut ready.committed));
            let durability = if ready.must_sync {
                Durability::Synced
            } else {
                Durability::Buffered
            };
            self.disk.write(batch, durability).unwrap();
            let persisted = self.node.persisted(ready, self.now);
            self.apply(persisted.committed);
        }
        panic!("never comes to rest");
    }

    fn apply(&mut self, entries: Vec<LogEntry>) {
        for entry in entries {
            assert_eq!(entry.index, self.applied + 1);
            self.applied = entry.index;
        }
        self.node.applied(Index(self.applied));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Tick(u64),
    Campaign,
    Elect,
    Propose,
    Read,
    Transfer(u64),
    Unreachable(u64),
    Restart,
    Work,
    Message(Lie),
}

/// A message relative to the state of the victim.
#[derive(Clone, Debug)]
struct Lie {
    kind: u32,
    from: u64,
    /// Each is added to something of the victim's, less 2 (less 3 for indexes).
    term: u64,
    log_term: u64,
    index: u64,
    commit: u64,
    hint: u64,
    reject: bool,
    context: u8,
    /// Term steps, index steps and kinds of the entries.
    entries: Vec<(u64, u64, u32)>,
    /// Replaces one number by an extreme one.
    extreme: Option<(u8, u64)>,
}

impl Lie {
    fn message(self, node: &Node) -> RaftMessage {
        let term = (node.term().0 + self.term).saturating_sub(2);
        let index = (node.last_index().0 + self.index).saturating_sub(3);
        // Often the truth, or else no append would ever match.
        let true_term = node.term_at(Index(index)).map_or(1, |term| term.0);
        let log_term = (true_term + self.log_term).saturating_sub(1);
        let mut message = RaftMessage {
            kind: self.kind,
            to: 1,
            from: self.from,
            term: if self.kind == 15 { 0 } else { term },
            log_term,
            index,
            commit: (node.last_index().0 + self.commit).saturating_sub(3),
            commit_term: true_term,
            reject: self.reject,
            reject_hint: (index + self.hint).saturating_sub(2),
            context: match self.context {
                0 => Bytes::from_static(b"CampaignTransfer"),
                1 => Bytes::from_static(&[1; 25]),
                _ => Bytes::new(),
            },
            ..RaftMessage::default()
        };
        let (mut entry_term, mut entry_index) = (log_term.max(1), index);
        for (term_step, index_step, kind) in &self.entries {
            entry_term += term_step;
            entry_index += index_step;
            message.entries.push(LogEntry {
                kind: *kind,
                term: entry_term.min(term.max(entry_term.min(1))),
                index: entry_index,
                data: Bytes::from(vec![1; 25]),
                context: Bytes::new(),
            });
        }
        match self.extreme {
            Some((0, value)) => message.term = value,
            Some((1, value)) => message.index = value,
            Some((2, value)) => message.log_term = value,
            Some((3, value)) => message.commit = value,
            Some((4, value)) => message.reject_hint = value,
            Some((5, value)) => message.request_snapshot = value,
            Some((6, value)) => message.from = value,
            Some((_, value)) => message.priority = value as i64,
            None => {}
        }
        message
    }
}

fn lies() -> impl Strategy<Value = Lie> {
    let kind = prop_oneof![
        20 => prop::sample::select(vec![3_u32, 4, 5, 6, 8, 9, 14, 15, 16, 17, 18]),
        1 => 0..21_u32,
    ];
    let entry = (
        prop_oneof![8 => Just(0_u64), 1 => Just(1)],
        prop_oneof![20 => Just(1_u64), 1 => 0..3_u64],
        prop_oneof![8 => Just(0_u32), 1 => 0..4_u32],
    );
    let extreme = (
        0..8_u8,
        prop::sample::select(vec![0, 1, u64::MAX / 4, u64::MAX / 2, u64::MAX]),
    );
    (
        (
            kind,
            prop_oneof![20 => 2..4_u64, 1 => prop::sample::select(vec![0, 1, 5, 9])],
        ),
        (prop_oneof![12 => Just(2_u64), 2 => Just(3), 1 => 0..6_u64]),
        (
            prop_oneof![6 => Just(1_u64), 1 => 0..4_u64],
            0..6_u64,
            0..6_u64,
            0..4_u64,
        ),
        prop_oneof![3 => Just(false), 1 => Just(true)],
        0..6_u8,
        prop::collection::vec(entry, 0..4),
        prop::option::weighted(0.05, extreme),
    )
        .prop_map(
            |(
                (kind, from),
                term,
                (log_term, index, commit, hint),
                reject,
                context,
                entries,
                extreme,
            )| Lie {
                kind,
                from,
                term,
                log_term,
                index,
                commit,
                hint,
                reject,
                context,
                entries: if matches!(kind, 3) {
                    entries
                } else if matches!(kind, 15 | 16) {
                    entries.into_iter().take(1).collect()
                } else {
                    Vec::new()
                },
                extreme,
            },
        )
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![4 => Just(1_u64), 1 => 1..20_u64].prop_map(Step::Tick),
        1 => Just(Step::Campaign),
        1 => Just(Step::Elect),
        4 => Just(Step::Propose),
        2 => Just(Step::Read),
        1 => (2..5_u64).prop_map(Step::Transfer),
        1 => (1..5_u64).prop_map(Step::Unreachable),
        1 => Just(Step::Restart),
        12 => Just(Step::Work),
        40 => lies().prop_map(Step::Message),
    ]
}

proptest! {
    #[test]
    fn lives_through_every_lie(
        voters in prop_oneof![1 => Just(1_u64), 3 => Just(3)],
        steps in prop::collection::vec(steps(), 1..200),
    ) {
        let mut victim = Victim::new(voters);
        for step in steps {
            victim.act(step);
        }
        victim.work();
    }
}
