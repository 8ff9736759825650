//! What Raft wants done, in the two steps around the log write.
//!
//! *Life of a round*: `round` proposes what is queued, takes the node's Ready (entries and hard state into the
//! shared batch; messages that may leave first; entries that were durable before) → the caller writes →
//! `persisted` (messages that had to wait, entries that are durable now).
//!
//! *Invariants*: the delegate is withdrawn before any message of the same round leaves, so a transfer's
//! MsgTimeoutNow never overtakes it.
//!
//! *Next stop*: [`crate::apply`].

use super::Peer;
use crate::apply::queue::ApplyTask;
use crate::apply::{Change, Progress};
use crate::config::Config;
use crate::store::message::{Effects, Round};
use yadkv_consensus::{Ready, Role, RoleChange};
use yadkv_proto::id::{StoreId, Term};
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::LogEntry;

impl Peer {
    /// Before the log write.
    pub fn round(&mut self, now: Now, store: StoreId, config: &Config, round: &mut Round) {
        self.prepare_merge(now);
        self.propose_queued(now, config);
        self.register_reads(now.moment);
        self.truncate_log(&mut round.batch);
        let Some(mut ready) = self.node.ready(&mut round.batch, now.moment) else {
            round.effects.tally.add(std::mem::take(&mut self.tally));
            return self.publish_lease();
        };
        if let Some(change) = ready.role.take() {
            self.role_changed(change, store, config, &mut round.effects);
        }
        let reads = std::mem::take(&mut ready.reads);
        let lost = std::mem::take(&mut ready.lost_reads);
        self.confirm_reads(reads, lost, &mut round.effects);
        let committed = std::mem::take(&mut ready.committed);
        self.commit(committed, now.moment, &mut round.effects);
        self.publish_lease();
        self.envelopes(std::mem::take(&mut ready.send_now), &mut round.send_now);
        let snapshots = std::mem::take(&mut ready.snapshots);
        self.send_snapshots(snapshots, now.moment, &mut round.effects);
        round.must_sync |= ready.must_sync;
        round.effects.tally.add(std::mem::take(&mut self.tally));
        round.readies.push((self.id(), ready));
    }

    /// After it.
    pub fn persisted(&mut self, ready: Ready, now: Now, effects: &mut Effects) {
        let persisted = self.node.persisted(ready, now.moment);
        self.commit(persisted.committed, now.moment, effects);
        self.publish_lease();
        self.envelopes(persisted.send, &mut effects.send);
        self.send_snapshots(persisted.snapshots, now.moment, effects);
        effects.tally.add(std::mem::take(&mut self.tally));
    }

    /// Entries were applied.
    pub fn entries_applied(&mut self, progress: Progress, now: Moment, effects: &mut Effects) {
        let applied = progress.applied;
        assert!(applied.index >= self.applied.index, "apply never goes back");
        let first_of_term = self.applied.term != applied.term;
        self.applied = applied;
        self.size.wrote(progress.written);
        self.unapplied_bytes = self.unapplied_bytes.saturating_sub(progress.consumed);
        self.truncation_applied(progress.truncate, progress.written.bytes);
        let taken_in = |change: &Change| matches!(change, Change::TakenIn(_));
        if let Some(end) = progress.changes.iter().rposition(taken_in) {
            return self.taken_in(progress.changes, end, effects);
        }
        for change in progress.changes {
            match change {
                Change::Split(done) => self.split_done(done, now, effects),
                Change::Members(done) => self.members_done(done, now, effects),
                change => self.merge_done(change, effects),
            }
        }
        if self.is_over() {
            return;
        }
        // Raft takes the next change of members from here on. A target that takes this region in may have had more applied
        // than is known to be committed here.
        self.node.applied(applied.index.min(self.node.commit()));
        self.splits_applied();
        self.merges_applied();
        self.check_applied(progress.check, now, effects);
        self.publish_lease();
        self.serve_confirmed(effects);
        if first_of_term && self.is_leader() {
            self.report(effects);
        }
    }

    fn commit(&mut self, entries: Vec<LogEntry>, now: Moment, effects: &mut Effects) {
        if entries.is_empty() {
            return;
        }
        let error = self.not_leader();
        let times = &mut self.tally.commit_times;
        let took = |proposed| times.push(now.since(proposed));
        let responders = self.proposals.resolve(&entries, || error.clone(), took);
        self.tally.committed += entries.len() as u64;
        let task = ApplyTask::new(self.id(), entries, responders);
        self.unapplied_bytes += task.as_ref().map_or(0, |task| task.bytes() as u64);
        effects.apply.extend(task);
    }

    fn role_changed(
        &mut self,
        change: RoleChange,
        store: StoreId,
        config: &Config,
        effects: &mut Effects,
    ) {
        let leader = self.node.leader().map_or(0, |peer| peer.0);
        tracing::info!(
            region = self.id().0,
            peer = self.view.peer().id,
            term = change.term.0,
            leader,
            role = ?change.role,
            "role changed"
        );
        self.view.set_leader(leader);
        self.tally.elections += u64::from(change.role == Role::PreCandidate);
        self.tally.leaders += u64::from(change.role == Role::Leader);
        if change.role == Role::Leader {
            self.view.set_office(change.term);
            self.report(effects);
            self.tell_split(effects);
        } else {
            self.view.withdraw();
            self.view.set_office(Term(0));
            self.proposals.abandon();
            self.abandon_split();
            self.abandon_merge();
            self.abandon_check();
            self.return_reads(store, config);
        }
        if leader != 0 {
            self.unpark(store, config);
            // A new leader proposes them in the round after this one: the node takes no input before it knows
            // that this one is persisted. Anybody else sends them to the leader now.
            if !self.is_leader() {
                self.refuse_queued();
            }
        }
    }

    // ANCHOR: publish-lease
    /// Publishes or withdraws the right to read under the lease.
    pub(super) fn publish_lease(&mut self) {
        let applied_own_term = self.applied.term == self.node.term();
        match self.node.lease() {
            Some(until) if applied_own_term && !self.has_merge_committed() => {
                if !self.has_unapplied_split() {
                    self.view.publish(self.node.term(), until);
                }
            }
            _ => self.view.withdraw(),
        }
    }
    // ANCHOR_END: publish-lease
}
