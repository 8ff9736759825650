//! Reads confirmed by a majority: the leader's without lease, and every follower's.
//!
//! *Life of a read*: `read` → waits for the round → all reads of one round share one ReadIndex token → the
//! token comes back with an index → that index is applied here → served. A lost token (leadership moved)
//! sends its reads round again. When this replica stops leading, reads that did not ask for any replica are taken
//! in anew: refused, or parked.
//!
//! *Invariants*: the token is taken after the read came in, so the index covers every write answered before. The
//! region's version is checked when the read comes in and again when its index is applied.
//! Without `replica_read` a read is served by the leader alone, also if it lost office meanwhile.
//!
//! A read with `replica_read` may show what the leader has committed and not applied yet; a later read of the leader
//! under its lease may then not show it. Reads of one kind never go back.
//!
//! *Limits*: reads wait at most [`READ_WAIT`]; at most `parked_max` of them, beyond ServerIsBusy.
//!
//! *Source*: Raft thesis 6.4.
//!
//! *Next stop*: [`crate::read`].

use super::Peer;
use crate::config::Config;
use crate::front;
use crate::read::ConfirmedRead;
use crate::refusal;
use crate::store::message::{Effects, ReadTask};
use std::collections::BTreeMap;
use std::time::Duration;
use yadkv_consensus::{ReadReady, ReadToken};
use yadkv_proto::id::{Index, StoreId};
use yadkv_proto::time::Moment;

/// Longest wait for a confirmation: under the 2 s after which clients give a call up.
const READ_WAIT: Duration = Duration::from_millis(1800);

/// Reads on their way.
#[derive(Default)]
pub(super) struct Reads {
    /// Not registered yet.
    fresh: Vec<ReadTask>,
    /// Waiting for a token.
    asked: BTreeMap<ReadToken, Vec<ReadTask>>,
    /// Confirmed, waiting until the index is applied.
    confirmed: Vec<(Index, Vec<ReadTask>)>,
}

impl Reads {
    pub(super) fn wants_round(&self) -> bool {
        !self.fresh.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        let asked: usize = self.asked.values().map(Vec::len).sum();
        let confirmed: usize = self.confirmed.iter().map(|(_, tasks)| tasks.len()).sum();
        self.fresh.len() + asked + confirmed
    }
}

impl Peer {
    /// Takes a read in.
    pub fn read(&mut self, task: ReadTask, store: StoreId, config: &Config) {
        let checked = match front::describe(&task.request) {
            Some((_, context)) => self.check(context, store),
            None => return task.responder.refuse(refusal::region_not_found(0)),
        };
        match checked {
            Err(error) => self.refuse_or_park_read(task, error, config),
            Ok(()) if self.reads.len() >= config.parked_max => {
                task.responder
                    .refuse(refusal::busy("the region has too many unconfirmed reads"));
            }
            Ok(()) => self.reads.fresh.push(task),
        }
    }

    /// Asks for one index that covers all reads that came in.
    pub(super) fn register_reads(&mut self, now: Moment) {
        if self.reads.fresh.is_empty() {
            return;
        }
        // Not ready (no leader, or the leader has not committed in its term yet): the reads stay for the
        // next round, until their time is up.
        if let Ok(token) = self.node.read_index(now) {
            let tasks = std::mem::take(&mut self.reads.fresh);
            self.reads.asked.insert(token, tasks);
        }
    }

    /// Tokens that came back, and tokens that never will.
    pub(super) fn confirm_reads(
        &mut self,
        ready: Vec<ReadReady>,
        lost: Vec<ReadToken>,
        effects: &mut Effects,
    ) {
        for token in lost {
            let mut tasks = self.reads.asked.remove(&token).unwrap_or_default();
            self.reads.fresh.append(&mut tasks);
        }
        for read in ready {
            if let Some(tasks) = self.reads.asked.remove(&read.token) {
                self.reads.confirmed.push((read.index, tasks));
            }
        }
        self.serve_confirmed(effects);
    }

    /// Hands out the reads whose index is applied.
    pub(super) fn serve_confirmed(&mut self, effects: &mut Effects) {
        if self.reads.confirmed.is_empty() {
            return;
        }
        let applied = self.applied.index;
        let (served, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.reads.confirmed)
            .into_iter()
            .partition(|(index, _)| *index <= applied);
        self.reads.confirmed = waiting;
        for task in served.into_iter().flat_map(|(_, tasks)| tasks) {
            if self.has_changed_since(&task) {
                let error = refusal::epoch_not_match(self.view.current_regions());
                task.responder.refuse(error);
                continue;
            }
            effects.reads.push(ConfirmedRead {
                view: self.view.clone(),
                office: (!of_any_replica(&task)).then(|| self.node.term()),
                request: task.request,
                responder: task.responder,
            });
        }
    }

    /// Whether the region has other borders than those the read was checked under: a range would be cut short.
    fn has_changed_since(&self, task: &ReadTask) -> bool {
        let epoch = front::describe(&task.request).and_then(|(_, context)| context.region_epoch);
        epoch.map_or(0, |epoch| epoch.version) != self.view.version()
    }

    /// This replica does not lead any more: only reads of any replica stay.
    pub(super) fn return_reads(&mut self, store: StoreId, config: &Config) {
        let mut returned = Vec::new();
        let mut take = |tasks: &mut Vec<ReadTask>| {
            returned.extend(tasks.extract_if(.., |task| !of_any_replica(task)));
        };
        take(&mut self.reads.fresh);
        self.reads.asked.values_mut().for_each(&mut take);
        self.reads
            .confirmed
            .iter_mut()
            .for_each(|(_, tasks)| take(tasks));
        for task in returned {
            self.read(task, store, config);
        }
    }

    pub(super) fn refuse_reads(&mut self, error: &yadkv_proto::errorpb::Error) {
        let reads = std::mem::take(&mut self.reads);
        let confirmed = reads.confirmed.into_iter().map(|(_, tasks)| tasks);
        let waiting = reads.asked.into_values().chain(confirmed).flatten();
        for task in reads.fresh.into_iter().chain(waiting) {
            task.responder.refuse(error.clone());
        }
    }

    pub(super) fn expire_reads(&mut self, now: Moment, config: &Config) {
        let id = self.id();
        let expire = |tasks: &mut Vec<ReadTask>, wait: Duration| {
            for task in tasks.extract_if(.., |task| now.since(task.arrived) >= wait) {
                task.responder.refuse(refusal::read_index_not_ready(id));
            }
        };
        expire(&mut self.reads.fresh, config.park);
        self.reads
            .asked
            .values_mut()
            .for_each(|tasks| expire(tasks, READ_WAIT));
        self.reads
            .confirmed
            .iter_mut()
            .for_each(|(_, tasks)| expire(tasks, READ_WAIT));
        self.reads.asked.retain(|_, tasks| !tasks.is_empty());
        self.reads.confirmed.retain(|(_, tasks)| !tasks.is_empty());
    }
}

fn of_any_replica(task: &ReadTask) -> bool {
    front::describe(&task.request).is_some_and(|(_, context)| context.replica_read)
}
