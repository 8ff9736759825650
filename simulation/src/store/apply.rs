//! The apply thread: committed entries of many regions in one write, in three events.
//!
//! *Place*: the same order as `storage-node/server/src/threads/apply.rs`.
//!
//! ```text
//! handed over → ApplyPrepare → ApplyWritten (kv, synced only if a region changed) → ApplyFinished (clocks, answers) → workers
//! ```
//!
//! *Next stop*: [`super::read`].

use super::{Running, StoreHost};
use crate::check::laws::Laws;
use crate::chronicle::Happening;
use crate::planted::{self, Planted};
use crate::sky::{Shared, StoreEvent};
use std::time::Duration;
use yadkv_engine::LogEngine;
use yadkv_proto::id::{Index, RegionId};
use yadkv_storage_core::apply::queue::{ApplyTask, Next, Order};
use yadkv_storage_core::apply::{Change, Prepared, Progress};

/// What the apply thread is at.
pub enum State {
    /// Nothing to apply.
    Idle,
    /// Will look at what was handed over.
    Scheduled,
    /// The batch is on its way.
    Writing(Box<Prepared>),
    /// The batch is written, nobody knows yet.
    Written(Box<Prepared>),
}

impl StoreHost {
    pub(super) fn hand_over(&mut self, sky: &Shared, tasks: Vec<ApplyTask>, orders: Vec<Order>) {
        let Some(running) = self.running() else {
            return;
        };
        running.handed_over.add(tasks);
        for order in orders {
            running.handed_over.order(order);
        }
        if !running.handed_over.is_empty() && matches!(running.apply, State::Idle) {
            running.apply = State::Scheduled;
            self.apply_soon(sky, StoreEvent::ApplyPrepare);
        }
    }

    fn apply_soon(&self, sky: &Shared, event: StoreEvent) {
        let mut sky = sky.lock();
        // Now and then apply falls behind: readers must notice.
        let slow = sky.slow_data.contains(&self.machine());
        let delay = match sky.places.machine(self.machine()).below(1000) {
            0..100 if slow => sky.places.machine(self.machine()).millis(500, 2500),
            0..5 => sky.places.machine(self.machine()).millis(20, 400),
            _ => sky.places.machine(self.machine()).micros(10, 150),
        };
        let stalled = sky.stalled_apply.get(&self.machine()).copied();
        let stalled = stalled.unwrap_or_default().saturating_sub(sky.now);
        let delay = delay + Duration::from_nanos(stalled);
        self.later(&mut sky, delay, event);
    }

    pub(super) fn prepare(&mut self, sky: &Shared, laws: &mut Laws) {
        let Some(running) = self.running() else {
            return;
        };
        let bytes_max = running.front.config.apply_bytes;
        let mut resumed = std::mem::take(&mut running.continues);
        let mut tasks = Vec::new();
        // What waits for the write before comes before any order.
        while !resumed {
            match running.handed_over.next(bytes_max) {
                Some(Next::Apply(taken)) => {
                    tasks = taken;
                    break;
                }
                Some(Next::Carry(Order::Move(order))) => {
                    running.applier.moves(order.region());
                    running.moves.add(order);
                    self.step_soon(sky);
                    return self.prepare(sky, laws);
                }
                Some(Next::Carry(Order::Forget(region))) => running.applier.forget(region),
                Some(Next::Carry(Order::Settled(region))) => {
                    resumed |= running.applier.settled(region);
                }
                None => break,
            }
        }
        if tasks.is_empty() && !resumed {
            running.apply = State::Idle;
            return;
        }
        running.judge_entries(sky, laws, &tasks);
        match running.applier.prepare(tasks) {
            Ok(mut prepared) => {
                let rest = std::mem::take(&mut prepared.rest);
                running.handed_over.give_back(rest);
                running.apply = State::Writing(Box::new(prepared));
            }
            Err(error) => return sky.lock().violated(format!("apply fails: {error}")),
        }
        self.apply_soon(sky, StoreEvent::ApplyWritten);
    }

    pub(super) fn write_data(&mut self, sky: &Shared) {
        let disk = self.kv.clone();
        let Some(running) = self.running() else {
            return;
        };
        let State::Writing(mut prepared) = std::mem::replace(&mut running.apply, State::Idle)
        else {
            return;
        };
        let batch = std::mem::take(&mut prepared.batch);
        let written = if planted::is(Planted::WritePastRows) {
            disk.write(batch, prepared.durability)
        } else {
            running.rows.write(batch, prepared.durability)
        };
        written.expect("memory engines fail only when told to");
        running.apply = State::Written(prepared);
        self.apply_soon(sky, StoreEvent::ApplyFinished);
    }

    pub(super) fn finish(&mut self, sky: &Shared) {
        let Some(running) = self.running() else {
            return;
        };
        let State::Written(prepared) = std::mem::replace(&mut running.apply, State::Idle) else {
            return;
        };
        running.continues |= running.applier.continues();
        let more = running.continues || !running.handed_over.is_empty();
        if more {
            running.apply = State::Scheduled;
        }
        let applied = prepared.finish();
        note_changes(sky, &applied);
        self.applied(sky, applied);
        if more {
            self.apply_soon(sky, StoreEvent::ApplyPrepare);
        }
    }
}

impl Running {
    /// Shows the entries of tasks to the laws, those in the log as well.
    fn judge_entries(&self, sky: &Shared, laws: &mut Laws, tasks: &[ApplyTask]) {
        for task in tasks {
            laws.applying(sky, self.store, task.region, &task.entries);
            let mut peers = self
                .workers
                .iter()
                .filter_map(|host| host.worker.peer(task.region));
            let known = peers.next().map(|peer| peer.applied().index.next());
            let held = task.entries.last().map(|entry| Index(entry.index + 1));
            let mut next = held.or(known).unwrap_or(task.last.next());
            // One that cannot be read is for apply to find.
            while next <= task.last
                && let Ok(entries) = self.log.entries(task.region, next, task.last)
            {
                laws.applying(sky, self.store, task.region, &entries);
                next = Index(next.0 + entries.len() as u64);
            }
        }
    }
}

/// Tells what became of regions, and counts merges.
fn note_changes(sky: &Shared, applied: &[Progress]) {
    let mut sky = sky.lock();
    for change in applied.iter().flat_map(|progress| &progress.changes) {
        let region = change.region();
        let version = region.region_epoch.map_or(0, |epoch| epoch.version);
        let counted = (RegionId(region.id), version);
        let changed = Happening::changed(change, &sky.stores);
        sky.tell(changed);
        match change {
            Change::TakenIn(_) => drop(sky.merged.insert(counted)),
            Change::MergeRolledBack(_) => drop(sky.rolled_back.insert(counted)),
            _ => {}
        }
    }
}
