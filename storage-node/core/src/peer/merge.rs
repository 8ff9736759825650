//! Becoming part of a neighbour, and taking one in, on the side of the worker.
//!
//! *Life of a merge*:
//! ```text
//! source's leader   order of the placement driver → writes wait until all that was proposed is applied and on the
//!                   disk of every replica → PrepareMerge proposed → committed: no read under the lease any more
//!                   → applied: queued writes refused, everybody else as well
//! every store       source's replica: the target has the epoch that was named? → its replica here is called, again
//!                   and again ([`crate::store`], merges) until the source is over
//! target's leader   called by the source's replica beside it → CommitMerge proposed → applied: one region
//! ```
//! If the target gets another epoch first, the merge can never take place: the source's leader, which sees that or is
//! told so by another replica, proposes the rollback.
//!
//! *Invariants*: a leader gives its lease up before anybody can know that its PrepareMerge is committed: then the target
//! may take the range over at any moment.
//!
//! *Limits and failure*: an order that cannot be carried out within [`ASK_MAX`] is given up; the placement driver gives it
//! again.
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`crate::apply`], its merge.

use super::Peer;
use super::size::Size;
use crate::apply::merge::misfit;
use crate::apply::{Change, MergedDone};
use crate::config::Config;
use crate::layout::FORMAT;
use crate::planted::{self, Planted};
use crate::refusal;
use crate::store::message::{Effects, MergeCall, MergeTask};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use yadkv_consensus::LogStore;
use yadkv_proto::errorpb;
use yadkv_proto::id::{Index, PeerId};
use yadkv_proto::metapb::Region;
use yadkv_proto::storagepb::Merging;
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::command::Operation;
use yadkv_proto::yadkvpb::{
    Command, CommitMerge, Envelope, PrepareMerge, RegionEntry, RollbackMerge,
};

/// How long writes wait for a merge to be prepared.
const ASK_MAX: Duration = Duration::from_secs(1);

/// What is under way.
#[derive(Default)]
pub(super) struct Merge {
    /// The placement driver wants it, since when.
    asked: Option<(Moment, MergeTask)>,
    /// A step that this leader proposed and that is not applied, and whether it is a PrepareMerge.
    proposed: Option<(Index, bool)>,
    /// The region waits to become part of another one.
    waits: Option<Merging>,
    /// It has become part of another one.
    over: bool,
}

impl Merge {
    pub(super) fn new(waits: Option<Merging>) -> Self {
        Self {
            waits,
            ..Self::default()
        }
    }

    /// Whether queued writes wait.
    pub(super) fn holds_writes(&self) -> bool {
        self.asked.is_some() || self.proposed.is_some() || self.waits.is_some()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}

impl Peer {
    /// The placement driver wants the region to become part of a neighbour.
    pub fn merge(&mut self, task: MergeTask, now: Now) {
        let refuse = |reason: &str| {
            tracing::info!(
                region = task.target.id,
                reason,
                "merge into this region refused"
            );
        };
        if !self.is_leader() || self.view.region().region_epoch != Some(task.epoch) {
            return refuse("the replica does not lead, or the region has changed");
        }
        if self.merge.holds_writes() || self.holds_writes() {
            return refuse("another change of the region is under way");
        }
        if let Some(reason) = misfit(self.view.region(), &task.target) {
            return refuse(reason);
        }
        self.merge.asked = Some((now.moment, task));
        self.prepare_merge(now);
    }

    /// Proposes the merge that was asked for, once everything before it is everywhere.
    pub(super) fn prepare_merge(&mut self, now: Now) {
        let Some((since, task)) = &self.merge.asked else {
            return;
        };
        let same = self.view.region().region_epoch == Some(task.epoch);
        if !same || !self.is_leader() || now.moment.since(*since) >= ASK_MAX {
            tracing::info!(
                region = self.id().0,
                target = task.target.id,
                "merge given up"
            );
            self.merge.asked = None;
            return;
        }
        let last = self.node.last_index();
        let own = self.view.peer().id;
        let others = self.view.region().peers.iter();
        let mut others = others.filter(|peer| peer.id != own);
        let everywhere = others.all(|peer| self.node.follows(PeerId(peer.id)))
            && self.node.replicated_index() == Some(last)
            && self.applied.index == last;
        if !everywhere {
            return;
        }
        let operation = Operation::PrepareMerge(PrepareMerge {
            conf_ver: task.epoch.conf_ver,
            target: Some(task.target.clone()),
        });
        self.merge.asked = None;
        self.propose_merge(operation, now);
    }

    fn propose_merge(&mut self, operation: Operation, now: Now) {
        let prepares = matches!(operation, Operation::PrepareMerge(_));
        let command = Command {
            version: self.view.version(),
            operation: Some(operation),
        };
        let entry = RegionEntry {
            format: FORMAT,
            now_ms: now.wall_ms,
            commands: vec![command],
        };
        match self.node.propose(entry.encode_to_vec().into(), now.moment) {
            Ok(proposal) => self.merge.proposed = Some((proposal.index, prepares)),
            Err(error) => {
                tracing::info!(region = self.id().0, %error, "a step of a merge is not proposed");
            }
        }
    }

    /// A replica beside this one waits to become part of this region: proposes it if this one leads, and is as it was.
    pub fn commit_merge(&mut self, call: MergeCall, log: &LogStore, now: Now, config: &Config) {
        let as_expected = self.view.region().region_epoch == Some(call.expected);
        if !as_expected || !self.is_leader() || self.holds_writes() || self.merge.holds_writes() {
            return;
        }
        let entries = log.entries(call.source_id(), call.commit, call.commit);
        let prepared = match entries {
            Ok(mut entries) => entries.pop(),
            Err(error) => {
                tracing::debug!(region = self.id().0, %error, "the source's log is not there");
                return;
            }
        };
        // What is queued was checked under this epoch, so it goes first.
        self.propose_queued(now, config);
        let operation = Operation::CommitMerge(CommitMerge {
            conf_ver: call.expected.conf_ver,
            source: Some(call.source),
            prepared,
        });
        self.propose_merge(operation, now);
    }

    /// What the region waits for.
    pub fn waits_for(&self) -> Option<&Merging> {
        self.merge.waits.as_ref()
    }

    /// The target of the merge prepared at `commit` is no longer what it was.
    pub fn merge_failed(&mut self, commit: u64, now: Now) {
        let waits = self.merge.waits.as_ref();
        let this = waits.is_some_and(|waits| waits.commit == commit);
        if this && self.is_leader() && self.merge.proposed.is_none() {
            self.propose_merge(Operation::RollbackMerge(RollbackMerge { commit }), now);
        }
    }

    /// The same, seen here: acts on it, or tells the leader.
    pub(crate) fn give_merge_up(&mut self, now: Now, effects: &mut Effects) {
        let Some(commit) = self.merge.waits.as_ref().map(|waits| waits.commit) else {
            return;
        };
        if self.is_leader() {
            return self.merge_failed(commit, now);
        }
        let Some(leader) = self.leader_hint() else {
            return;
        };
        effects.send.push(Envelope {
            region_id: self.id().0,
            from: Some(*self.view.peer()),
            to: Some(leader),
            epoch: self.view.region().region_epoch,
            merge_failed: commit,
            ..Envelope::default()
        });
    }

    /// Whether a merge forbids to serve under the lease: its PrepareMerge is committed, as far as this leader knows.
    ///
    /// One that an earlier leader proposed is applied before this one has a lease at all.
    pub(super) fn has_merge_committed(&self) -> bool {
        let committed = |(index, prepares): (Index, bool)| {
            prepares && index <= self.node.commit() && index > self.applied.index
        };
        !planted::is(Planted::LeaseKeptByMerge)
            && (self.merge.waits.is_some() || self.merge.proposed.is_some_and(committed))
    }

    /// The refusal of everything while the region waits.
    pub(super) fn refused_by_merge(&self) -> Option<errorpb::Error> {
        let waits = self.merge.waits.is_some();
        waits.then(|| refusal::merging(self.id()))
    }

    /// A step of a merge was applied.
    pub(super) fn merge_done(&mut self, change: Change, effects: &mut Effects) {
        match change {
            Change::MergePrepared(region, merging) => {
                tracing::info!(region = self.id().0, "merge prepared");
                self.merge.asked = None;
                self.merge.waits = Some(merging);
                self.take_view(region, effects);
                let error = refusal::merging(self.id());
                for responder in self.take_queued() {
                    responder.refuse(error.clone());
                }
            }
            Change::MergeRolledBack(region) => {
                tracing::info!(region = self.id().0, "merge rolled back");
                self.merge.waits = None;
                self.take_view(region, effects);
            }
            Change::Merged(done) => self.merged(done, effects),
            Change::TakenIn(_) | Change::Split(_) | Change::Members(_) => {}
        }
    }

    /// The region is part of another one. Its node may not even know of the last changes; what was cut off lives on.
    pub(super) fn taken_in(&mut self, changes: Vec<Change>, end: usize, effects: &mut Effects) {
        self.merge.over = true;
        for change in changes.into_iter().take(end) {
            if let Change::Split(done) = change {
                effects.adopt.extend(done.created(false));
            }
        }
    }

    /// The same range under another epoch.
    fn take_view(&mut self, region: Region, effects: &mut Effects) {
        self.view.withdraw();
        self.view = Arc::new(self.view.with_members(region));
        if self.is_leader() {
            self.node.announce_commit();
            self.report(effects);
        }
    }

    fn merged(&mut self, done: MergedDone, effects: &mut Effects) {
        tracing::info!(
            region = self.id().0,
            source = done.source.0,
            leader = self.is_leader(),
            "regions merged"
        );
        let next = self.view.followed_by(done.region.clone(), Vec::new());
        self.view.retire(vec![done.region.clone()]);
        self.view = Arc::new(next.having_merged(&done.merged));
        self.size = Size::default();
        let error = refusal::epoch_not_match(vec![done.region]);
        for responder in self.take_queued() {
            responder.refuse(error.clone());
        }
        if self.is_leader() {
            self.node.announce_commit();
            self.report(effects);
        }
    }

    /// Everything up to the applied position is known.
    pub(super) fn merges_applied(&mut self) {
        let applied = self.applied.index;
        self.merge.proposed.take_if(|(index, _)| *index <= applied);
    }

    /// This replica does not lead any more.
    pub(super) fn abandon_merge(&mut self) {
        self.merge.asked = None;
        self.merge.proposed = None;
    }
}
