//! Writes: checked, queued, packed into few entries, proposed, and matched with what was committed.
//!
//! *Life of a write*: `write` → queue → one entry together with its neighbours → proposal table, by
//! (index, term) → its committed entry (callers go along to apply), or another entry at that index (it was
//! not carried out: NotLeader), or a change of role (its outcome is unknown).
//!
//! *Invariants*: commands of one region enter the log in the order they were queued; the table is ordered by
//! index.
//!
//! *Limits*: the queue holds at most `queued_bytes_max`; the log's own limit of uncommitted bytes makes the
//! queue wait, not fail, and so do `unapplied_bytes_max` of entries that apply has not reached.
//!
//! *Source*: Raft paper 5.3; retried writes: Raft thesis 6.3.
//!
//! *Next stop*: [`super::ready`](super).

use super::Peer;
use crate::config::Config;
use crate::layout::FORMAT;
use crate::raw::write;
use crate::refusal;
use crate::respond::Responder;
use crate::store::message::WriteTask;
use prost::Message;
use std::collections::{BTreeMap, VecDeque};
use yadkv_consensus::{Proposal, ProposeError};
use yadkv_proto::id::{Index, StoreId, Term};
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::{Command, LogEntry, RegionEntry};

/// Shortest time between two clock entries of a region.
const CLOCK_ENTRY_INTERVAL_MS: u64 = 1000;

/// Checked commands that wait to be proposed.
#[derive(Default)]
pub(super) struct Queue {
    commands: VecDeque<(Command, usize, Responder)>,
    bytes: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes commands for one entry.
    fn pack(&mut self, pack_bytes: usize) -> (Vec<Command>, Vec<Responder>, usize) {
        let (mut commands, mut responders, mut packed) = (Vec::new(), Vec::new(), 0);
        while let Some((_, bytes, _)) = self.commands.front() {
            if !commands.is_empty() && packed + bytes > pack_bytes {
                break;
            }
            let Some((command, bytes, responder)) = self.commands.pop_front() else {
                break;
            };
            self.bytes -= bytes;
            packed += bytes;
            commands.push(command);
            responders.push(responder);
        }
        (commands, responders, packed)
    }

    fn put_back(&mut self, commands: Vec<Command>, responders: Vec<Responder>) {
        for (command, responder) in commands.into_iter().zip(responders).rev() {
            let bytes = command.operation.as_ref().map_or(0, write::bytes);
            self.bytes += bytes;
            self.commands.push_front((command, bytes, responder));
        }
    }
}

/// An entry in the log, when it came there, and who waits for it.
struct Proposed {
    index: Index,
    term: Term,
    at: Moment,
    responders: Vec<Responder>,
}

/// Callers of proposed entries, by position.
#[derive(Default)]
pub(super) struct Proposals {
    entries: VecDeque<Proposed>,
}

impl Proposals {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Notes who waits for a proposal, one for each command in it.
    pub(super) fn note(&mut self, proposal: Proposal, at: Moment, responders: Vec<Responder>) {
        self.entries.push_back(Proposed {
            index: proposal.index,
            term: proposal.term,
            at,
            responders,
        });
    }

    // ANCHOR: resolve
    /// Callers of the commands in committed entries; callers whose entry lost its place are refused. `took` hears when each
    /// of the others was proposed.
    pub(super) fn resolve(
        &mut self,
        committed: &[LogEntry],
        refuse: impl Fn() -> yadkv_proto::errorpb::Error,
        mut took: impl FnMut(Moment),
    ) -> BTreeMap<Index, Vec<Responder>> {
        let mut matched = BTreeMap::new();
        for entry in committed {
            while self
                .entries
                .front()
                .is_some_and(|first| first.index.0 <= entry.index)
            {
                let Some(proposed) = self.entries.pop_front() else {
                    break;
                };
                if (proposed.index.0, proposed.term.0) == (entry.index, entry.term) {
                    took(proposed.at);
                    matched.insert(proposed.index, proposed.responders);
                } else {
                    let responders = proposed.responders.into_iter();
                    responders.for_each(|responder| responder.refuse(refuse()));
                }
            }
        }
        matched
    }
    // ANCHOR_END: resolve

    /// Leadership is over: nobody here will learn what became of the rest.
    pub(super) fn abandon(&mut self) {
        for proposed in self.entries.drain(..) {
            let responders = proposed.responders.into_iter();
            responders.for_each(|responder| responder.refuse(refusal::outcome_unknown()));
        }
    }
}

impl Peer {
    /// Takes a write in.
    pub fn write(&mut self, task: WriteTask, store: StoreId, config: &Config) {
        if let Err(error) = self.check(&task.context, store) {
            return self.refuse_or_park_write(task, error, config);
        }
        let outside =
            write::point_keys(&task.operation).find(|key| !self.view.range().contains(key));
        if let Some(key) = outside {
            let error = refusal::key_not_in_region(key, self.view.region());
            return task.responder.refuse(error);
        }
        if self.queue.bytes + task.bytes > config.queued_bytes_max {
            return task
                .responder
                .refuse(refusal::busy("the region's write queue is full"));
        }
        let command = Command {
            version: self.view.version(),
            operation: Some(task.operation),
        };
        self.queue.bytes += task.bytes;
        self.queue
            .commands
            .push_back((command, task.bytes, task.responder));
    }

    /// Packs and proposes what is queued, as far as the log takes it.
    pub(super) fn propose_queued(&mut self, now: Now, config: &Config) {
        if !self.is_leader() {
            return self.refuse_queued();
        }
        while !self.queue.is_empty() && self.may_propose(config) {
            let (commands, responders, _) = self.queue.pack(config.pack_bytes);
            let entry = RegionEntry {
                format: FORMAT,
                now_ms: now.wall_ms,
                commands,
            };
            match self.node.propose(entry.encode_to_vec().into(), now.moment) {
                Ok(proposal) => {
                    self.tally.proposals += 1;
                    self.tally.commands += responders.len() as u64;
                    self.proposals.note(proposal, now.moment, responders);
                }
                Err(
                    ProposeError::Busy
                    | ProposeError::Transferring
                    | ProposeError::Changing
                    | ProposeError::Joint,
                ) => {
                    return self.queue.put_back(entry.commands, responders);
                }
                Err(ProposeError::TooLarge { bytes, max }) => {
                    let error = refusal::entry_too_large(self.id().0, bytes, max);
                    responders
                        .into_iter()
                        .for_each(|responder| responder.refuse(error.clone()));
                }
                Err(ProposeError::NotLeader { .. } | ProposeError::Damaged) => {
                    let error = self.not_leader();
                    responders
                        .into_iter()
                        .for_each(|responder| responder.refuse(error.clone()));
                }
            }
        }
    }

    /// Whether writes may enter the log: not while apply is far behind, or the region changes.
    pub(super) fn may_propose(&self, config: &Config) -> bool {
        self.unapplied_bytes < config.unapplied_bytes_max && !self.holds_writes()
    }

    /// Nothing of the queue is in the log yet, so its callers may safely go to the new leader.
    pub(super) fn refuse_queued(&mut self) {
        let error = self.not_leader();
        for responder in self.take_queued() {
            responder.refuse(error.clone());
        }
    }

    /// The callers of what is queued, which will not be proposed.
    pub(super) fn take_queued(&mut self) -> Vec<Responder> {
        self.queue.bytes = 0;
        let queued = self.queue.commands.drain(..);
        queued.map(|(.., responder)| responder).collect()
    }

    /// Moves the region clock on while values may expire and nothing else does.
    pub(super) fn propose_clock(&mut self, now: Now) {
        let due = self.applied.latest_expiry_ms > self.applied.clock_ms
            && now.wall_ms
                >= self
                    .applied
                    .clock_ms
                    .saturating_add(CLOCK_ENTRY_INTERVAL_MS)
            && now.moment.since(self.clock_proposed).as_millis()
                >= u128::from(CLOCK_ENTRY_INTERVAL_MS);
        if !due || !self.is_leader() || self.waits_for().is_some() {
            return;
        }
        self.clock_proposed = now.moment;
        let entry = RegionEntry {
            format: FORMAT,
            now_ms: now.wall_ms,
            commands: Vec::new(),
        };
        // A refusal is made good by the next tick.
        let _ = self.node.propose(entry.encode_to_vec().into(), now.moment);
    }
}
