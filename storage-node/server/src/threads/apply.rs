//! The loop of the apply thread: committed entries of many regions in one write.
//!
//! *Place*: between the workers and the data engine.
//!
//! *Invariants*: one thread, so the order of each region is kept; answers leave after the write.
//!
//! *Limits and failure*: its channel holds [`QUEUE`] hand-overs; workers wait while it is full. An entry that
//! cannot be applied stops the node.
//!
//! *Next stop*: `yadkv_storage_core::apply`.

use super::Failure;
use crate::metrics::Metrics;
use crate::router::Router;
use crossbeam::channel::{Receiver, Sender};
use std::sync::Arc;
use yadkv_engine::Engine;
use yadkv_proto::id::RegionId;
use yadkv_storage_core::apply::{Applier, ApplyError, ApplyTask};
use yadkv_storage_core::snapshot::install::Move;

/// Hand-overs that may wait.
pub const QUEUE: usize = 256;
/// Hand-overs applied in one write.
const DRAIN_MAX: usize = 64;

/// What workers hand down, in the order of each region.
#[derive(Debug)]
pub enum Handover {
    /// Committed entries.
    Apply(Vec<ApplyTask>),
    /// A replica is to be installed or destroyed, after what was handed over before is applied.
    Move(Move),
    /// That is over.
    Settled(RegionId),
    /// Nobody answers for a replica any more.
    Forget(RegionId),
}

/// The applier and what it hands on to.
pub struct ApplyThread {
    /// The core.
    pub applier: Applier,
    /// What workers hand down.
    pub tasks: Receiver<Handover>,
    /// Where replicas are installed and destroyed.
    pub moves: Sender<Move>,
    /// The data engine.
    pub kv: Arc<dyn Engine>,
    /// Where results go.
    pub router: Router,
    /// Counters.
    pub metrics: Metrics,
    /// Where to report the end.
    pub failure: Failure,
}

impl ApplyThread {
    /// Runs until all workers are gone.
    pub fn run(mut self) {
        if let Err(error) = self.run_until_stopped() {
            self.failure.report("apply", &error);
        }
    }

    fn run_until_stopped(&mut self) -> Result<(), ApplyError> {
        while let Ok(first) = self.tasks.recv() {
            let (mut tasks, mut next) = (Vec::new(), Some(first));
            let mut order = None;
            for _ in 0..DRAIN_MAX {
                match next.take().or_else(|| self.tasks.try_recv().ok()) {
                    Some(Handover::Apply(mut more)) => tasks.append(&mut more),
                    None => break,
                    other => {
                        order = other;
                        break;
                    }
                }
            }
            self.metrics.apply_queue.set(length(self.tasks.len()));
            if !tasks.is_empty() {
                self.apply(tasks)?;
            }
            self.carry_out(order)?;
        }
        Ok(())
    }

    /// What comes behind everything that was handed over before.
    fn carry_out(&mut self, order: Option<Handover>) -> Result<(), ApplyError> {
        match order {
            Some(Handover::Move(order)) => {
                self.applier.moves(order.region());
                // An error means that the node is stopping.
                let _ = self.moves.send(order);
            }
            Some(Handover::Settled(region)) => {
                if self.applier.settled(region) {
                    self.apply(Vec::new())?;
                }
            }
            Some(Handover::Forget(region)) => self.applier.forget(region),
            Some(Handover::Apply(_)) | None => {}
        }
        Ok(())
    }

    /// Applies the tasks, and what waited for what they wrote.
    fn apply(&mut self, tasks: Vec<ApplyTask>) -> Result<(), ApplyError> {
        self.apply_once(tasks)?;
        while self.applier.continues() {
            self.apply_once(Vec::new())?;
        }
        Ok(())
    }

    fn apply_once(&mut self, tasks: Vec<ApplyTask>) -> Result<(), ApplyError> {
        let timer = self.metrics.apply_seconds.start_timer();
        let entries: usize = tasks.iter().map(|task| task.entries.len()).sum();
        let mut prepared = self.applier.prepare(tasks)?;
        self.kv
            .write(std::mem::take(&mut prepared.batch), prepared.durability)?;
        let applied = prepared.finish();
        timer.observe_duration();
        self.metrics.apply_entries.inc_by(entries as u64);
        for progress in &applied {
            self.metrics.applied_bytes.inc_by(progress.written.bytes);
            self.metrics.applied_keys.inc_by(progress.written.keys);
        }
        self.router.applied(applied);
        Ok(())
    }
}

/// A number of hand-overs as gauges have it.
pub fn length(waiting: usize) -> i64 {
    i64::try_from(waiting).unwrap_or(i64::MAX)
}
