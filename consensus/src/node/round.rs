//! One round of output: what to write, what to send before and after, what to apply.
//!
//! *Place*: part of [`Node`]; the caller's loop in [`crate`] carries a round out.
//!
//! *Life of a round*: [`Node::ready`] starts a round of heartbeats if reads wait, takes raft-rs's own ready apart,
//! and adds entries and hard state to the caller's batch → the caller writes it → [`Node::persisted`] lets the log
//! view see the entries, then raft-rs, which may commit more.
//!
//! *Invariants*: what depends on the write is in [`Persisted`] only. A term or vote is written in the very batch
//! of the round that made it. Appends carry at most [`crate::Config::message_bytes_max`] of entries each
//! (raft-rs joins all appends of a round into one message per peer), or a single entry.
//!
//! *Source*: raft-rs, `Ready` and `LightReady`; Raft thesis §10.2.1.
//!
//! *Scenario*: `consensus/tests/scripts/replication`.
//!
//! *Next stop*: [`crate::storage`].

use super::Node;
use crate::layout::HardState;
use crate::message;
use crate::planted::{self, Planted};
use crate::reads::ReadReady;
use crate::ready::{Persisted, Ready, RoleChange};
use raft::eraftpb::{Entry, Message, MessageType};
use yadkv_engine::WriteBatch;
use yadkv_proto::id::{Index, PeerId, Term};
use yadkv_proto::time::Moment;
use yadkv_proto::yadkvpb::{LogEntry, RaftMessage};

/// Entries after which the commit position is worth a record beside the next ones. After a restart about so many, and what
/// was committed since the last entries were written, are applied only once a leader tells that they are committed. With
/// each batch of entries, the record took a fourteenth of all puts where many regions write little each.
const COMMIT_STEP: u64 = 64;

impl Node {
    /// Whether [`Self::ready`] has something to say.
    pub fn has_ready(&self) -> bool {
        !self.writing
            && !self.is_damaged()
            && (self.raw.has_ready()
                || self.holds_back()
                || self.reads.can_start()
                || self.reads.has_lost()
                || self.role_change().is_some())
    }

    /// Collects what is to be done and adds entries and hard state to `batch`, which may stay as it was.
    pub fn ready(&mut self, batch: &mut WriteBatch, now: Moment) -> Option<Ready> {
        if self.writing || self.is_damaged() {
            return None;
        }
        if let Some(context) = self.reads.start_round(now) {
            self.raw.read_index(context.to_vec());
        }
        if !self.has_ready() {
            return None;
        }
        let mut raft = self.raw.ready();
        let committed = entries_out(raft.take_committed_entries());
        if self.is_damaged() {
            return None;
        }
        let committed = self.hold(committed);
        let reads = self.answer_reads(raft.take_read_states());
        let entries = raft.take_entries();
        let hard_state = self.hard_state_to_write(raft.hs().is_some(), &entries);
        let log = self.raw.store();
        log.append(&entries, batch);
        if let Some(state) = &hard_state {
            log.put_hard_state(state, batch);
        }
        let mut messages = raft.take_messages();
        messages.append(&mut raft.take_persisted_messages());
        let office_durable = hard_state.is_none_or(|state| {
            let old = self.raw.store().hard_state();
            (old.term, old.vote) == (state.term, state.vote)
        });
        let snapshots = snapshots_wanted(&messages);
        let early = office_durable && !self.holds_back();
        let (send_now, later) = self.split_messages(messages, early);
        let mut send = std::mem::take(&mut self.held_messages);
        send.extend(later);
        let role = self.role_change();
        self.reported = role.unwrap_or(self.reported);
        self.writing = true;
        Some(Ready {
            send_now,
            committed,
            reads,
            lost_reads: self.reads.take_lost(),
            snapshots,
            role,
            must_sync: raft.must_sync() || self.holds_back(),
            raft,
            entries,
            hard_state,
            send,
        })
    }

    /// The batch of `ready` was written, and synced if it had to be. Never call it before.
    pub fn persisted(&mut self, ready: Ready, now: Moment) -> Persisted {
        assert!(self.writing, "persisted follows ready");
        self.writing = false;
        if !ready.entries.is_empty() {
            self.quiet_ticks = 0;
        }
        let log = self.raw.mut_store();
        log.appended(ready.entries);
        if let Some(state) = ready.hard_state {
            log.hard_state_written(state);
        }
        let mut light = self.raw.advance_append(ready.raft);
        let committed = entries_out(light.take_committed_entries());
        self.adjust(now);
        if self.is_damaged() {
            return Persisted::default();
        }
        let committed = self.hold(committed);
        let messages = light.take_messages();
        let snapshots = snapshots_wanted(&messages);
        let bytes_max = self.config.message_bytes_max;
        let messages = messages.into_iter().filter(travels);
        let messages = messages
            .flat_map(|message| message::split_append(message::message_out(message), bytes_max));
        let mut send = ready.send;
        match self.holds_back() {
            true => self.held_messages.extend(messages),
            false => send.extend(messages),
        }
        send.sort_by_key(|message| message.to);
        Persisted {
            send,
            committed,
            snapshots,
        }
    }

    fn answer_reads(&mut self, states: Vec<raft::ReadState>) -> Vec<ReadReady> {
        let mut ready = Vec::new();
        for state in states {
            let Some(round) = self.reads.answered(&state.request_ctx) else {
                continue;
            };
            if self.lease.term() == Some(self.term()) {
                self.lease.acknowledged(round.registered);
            }
            let index = Index(state.index);
            ready.extend(
                round
                    .tokens
                    .into_iter()
                    .map(|token| ReadReady { token, index }),
            );
        }
        ready
    }

    /// A change of the commit position is not worth a write of its own, and beside entries only if it is a large one: it is
    /// learnt again from the leader. If a change of members waits for it, it is always written.
    fn hard_state_to_write(&self, changed: bool, entries: &[Entry]) -> Option<HardState> {
        let raft = &self.raw.raft;
        let state = HardState {
            peer: self.config.peer,
            term: Term(raft.term),
            vote: PeerId(raft.vote),
            commit: Index(raft.raft_log.committed),
        };
        let old = self.raw.store().hard_state();
        let office = (old.term, old.vote) != (state.term, state.vote);
        assert!(changed || !office, "raft-rs reports a new term or vote");
        let far = state.commit.0 >= old.commit.0 + COMMIT_STEP;
        (office || self.holds_back() || (far && !entries.is_empty())).then_some(state)
    }

    /// A leader's appends may leave before its own write: not if the term itself is not durable yet (a single voter wins
    /// its election without asking anyone), nor if they tell of a change of members that waits for the commit position.
    fn split_messages(
        &self,
        messages: Vec<Message>,
        early: bool,
    ) -> (Vec<RaftMessage>, Vec<RaftMessage>) {
        let leads = self.raw.raft.state == raft::StateRole::Leader && early;
        let vote_early = planted::is(Planted::VoteBeforeHardState);
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for message in messages.into_iter().filter(travels) {
            let early = match message.get_msg_type() {
                MessageType::MsgAppend
                | MessageType::MsgHeartbeat
                | MessageType::MsgReadIndexResp => leads,
                MessageType::MsgRequestVoteResponse => vote_early,
                _ => false,
            };
            let list = if early { &mut now } else { &mut later };
            let bytes_max = self.config.message_bytes_max;
            list.extend(message::split_append(
                message::message_out(message),
                bytes_max,
            ));
        }
        // raft-rs visits its peers in the order of a hash map.
        now.sort_by_key(|message: &RaftMessage| message.to);
        later.sort_by_key(|message: &RaftMessage| message.to);
        (now, later)
    }

    fn role_change(&self) -> Option<RoleChange> {
        let now = RoleChange {
            role: self.role(),
            term: self.term(),
            leader: self.leader(),
        };
        (now != self.reported).then_some(now)
    }
}

/// Whom raft-rs has just begun to send a snapshot.
fn snapshots_wanted(messages: &[Message]) -> Vec<PeerId> {
    let wanted = messages.iter().filter(|message| !travels(message));
    wanted.map(|message| PeerId(message.to)).collect()
}

/// Whether a message goes the way of all messages: snapshots have their own.
fn travels(message: &Message) -> bool {
    message.get_msg_type() != MessageType::MsgSnapshot
}

fn entries_out(entries: Vec<Entry>) -> Vec<LogEntry> {
    entries.into_iter().map(message::entry_out).collect()
}
