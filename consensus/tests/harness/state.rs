//! What the harness's state machine holds: who the members are, and nothing else.
//!
//! *Place*: part of [`super::Cluster`]; snapshots carry a [`State`].

use super::{Cluster, GROUP};
use std::fmt::Write as _;
use std::sync::Arc;
use yadkv_consensus::{LogStore, MemberChange, Members, MembersChange};
use yadkv_engine::{Durability, LogEngine as _, WriteBatch};
use yadkv_proto::id::{Index, PeerId, Term};

/// The state at a position of the log.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub index: Index,
    pub term: Term,
    pub members: Members,
}

/// A snapshot on its way.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub from: u64,
    pub to: u64,
    pub state: State,
}

/// `v4` makes 4 a voter, `l4` a learner, `r4` removes it; several begin a joint state, `leave` ends it.
pub fn parse_change(text: &[u8]) -> MembersChange {
    let text = std::str::from_utf8(text).unwrap();
    if text == "leave" {
        return MembersChange::Leave;
    }
    let parse = |word: &str| {
        let peer = PeerId(word[1..].parse().unwrap());
        match &word[..1] {
            "v" => MemberChange::Voter(peer),
            "l" => MemberChange::Learner(peer),
            "r" => MemberChange::Remove(peer),
            _ => panic!("{word} is no change"),
        }
    };
    let mut changes: Vec<_> = text.split(' ').map(parse).collect();
    match changes.len() {
        1 => MembersChange::Simple(changes.remove(0)),
        _ => MembersChange::Enter(changes),
    }
}

/// What a change makes of the members, as a caller of the crate works it out.
pub fn next_members(before: &Members, change: &MembersChange) -> Members {
    let mut next = before.clone();
    let changes = match change {
        MembersChange::Simple(change) => vec![*change],
        MembersChange::Enter(changes) => {
            next.outgoing = next.voters.clone();
            changes.clone()
        }
        MembersChange::Leave => {
            next.outgoing.clear();
            next.learners.append(&mut next.demoted);
            return next;
        }
    };
    for change in changes {
        let (MemberChange::Voter(peer) | MemberChange::Learner(peer) | MemberChange::Remove(peer)) =
            change;
        next.voters.retain(|other| *other != peer);
        next.learners.retain(|other| *other != peer);
        match change {
            MemberChange::Voter(_) => next.voters.push(peer),
            MemberChange::Learner(_) if next.outgoing.contains(&peer) => next.demoted.push(peer),
            MemberChange::Learner(_) => next.learners.push(peer),
            MemberChange::Remove(_) => {}
        }
    }
    next
}

impl Cluster {
    pub(super) fn take_snapshots(&mut self, from: u64, wanted: Vec<PeerId>) {
        for to in wanted {
            let node = self.node(from);
            let index = node.applied_index();
            let term = node.term_at(index).unwrap();
            let members = self.machines[&from].members.clone();
            let _ = writeln!(self.log, "{from} snapshot {}/{} for {to}", index.0, term.0);
            self.snapshots.push_back(Snapshot {
                from,
                to: to.0,
                state: State {
                    index,
                    term,
                    members,
                },
            });
        }
    }

    /// Installs the oldest snapshot under way, or loses it; the sender hears of it.
    pub fn deliver_snapshot(&mut self, arrives: bool) {
        let Some(snapshot) = self.snapshots.pop_front() else {
            return;
        };
        let Snapshot { from, to, state } = snapshot;
        if arrives {
            let machine = self.machines.get_mut(&to).unwrap();
            let stale = machine
                .node
                .as_ref()
                .is_some_and(|node| node.commit() >= state.index);
            machine.node = None;
            if !stale {
                let store = LogStore::open(Arc::new(machine.disk.clone()), 1 << 20).unwrap();
                let mut batch = WriteBatch::new();
                store
                    .reset(GROUP, PeerId(to), (state.index, state.term), &mut batch)
                    .unwrap();
                machine.disk.write(batch, Durability::Synced).unwrap();
                machine.base = state;
            }
            self.start(to);
            let _ = writeln!(self.log, "{to} installs a snapshot of {from}");
        }
        self.node(from).report_snapshot(PeerId(to), arrives);
        self.work(from);
    }
}
