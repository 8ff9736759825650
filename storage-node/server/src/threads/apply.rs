//! The loop of the apply thread: committed entries of many regions in one write.
//!
//! *Place*: between the workers, which add to [`Handovers`] and never wait, and the data engine.
//!
//! *Invariants*: one thread, so the order of each region is kept; answers leave after the write.
//!
//! *Limits and failure*: what waits is bounded by `yadkv_storage_core::apply::queue`: entries beyond its bytes are read from
//! the log again. An entry that cannot be applied stops the node.
//!
//! *Next stop*: `yadkv_storage_core::apply`.

use super::Failure;
use crate::metrics::Metrics;
use crate::router::Router;
use crossbeam::channel::{Receiver, Sender};
use parking_lot::Mutex;
use std::sync::Arc;
use yadkv_engine::Engine;
use yadkv_storage_core::apply::queue::{ApplyTask, Next, Order, Queue};
use yadkv_storage_core::apply::{Applier, ApplyError};
use yadkv_storage_core::snapshot::install::Move;

/// What workers hand down. Cheap to clone; apply ends when the last one that a worker has is gone.
#[derive(Clone)]
pub struct Handovers {
    queue: Arc<Mutex<Queue>>,
    /// Wakes apply; one token is enough.
    wake: Sender<()>,
}

impl Handovers {
    /// Hands down to a queue; `wake` has room for one.
    pub fn new(queue: Arc<Mutex<Queue>>, wake: Sender<()>) -> Self {
        Self { queue, wake }
    }

    /// Adds committed entries, and orders behind them.
    pub fn add(&self, tasks: Vec<ApplyTask>, orders: impl IntoIterator<Item = Order>) {
        let mut orders = orders.into_iter().peekable();
        if tasks.is_empty() && orders.peek().is_none() {
            return;
        }
        {
            let mut queue = self.queue.lock();
            queue.add(tasks);
            orders.for_each(|order| queue.order(order));
        }
        // It is awake already if there is no room, or the node is stopping.
        let _ = self.wake.try_send(());
    }

    /// Regions that wait, those of them with entries in the log only, and bytes of entries in memory.
    pub fn waiting(&self) -> (usize, usize, usize) {
        let queue = self.queue.lock();
        (queue.len(), queue.left(), queue.bytes())
    }
}

/// The applier and what it hands on to.
pub struct ApplyThread {
    /// The core.
    pub applier: Applier,
    /// What workers hand down.
    pub queue: Arc<Mutex<Queue>>,
    /// Wakes it; closed when all workers are gone.
    pub woken: Receiver<()>,
    /// Bytes of entries that are taken at once, about.
    pub bytes_max: usize,
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
        loop {
            let next = self.queue.lock().next(self.bytes_max);
            match next {
                Some(Next::Apply(tasks)) => self.apply(tasks)?,
                Some(Next::Carry(order)) => self.carry_out(order)?,
                None if self.woken.recv().is_ok() => {}
                None if self.queue.lock().is_empty() => return Ok(()),
                None => {}
            }
        }
    }

    /// What comes behind everything that was handed over before.
    fn carry_out(&mut self, order: Order) -> Result<(), ApplyError> {
        match order {
            Order::Move(order) => {
                self.applier.moves(order.region());
                // An error means that the node is stopping.
                let _ = self.moves.send(order);
            }
            Order::Settled(region) => {
                if self.applier.settled(region) {
                    self.apply(Vec::new())?;
                }
            }
            Order::Forget(region) => self.applier.forget(region),
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
        let timer = self.metrics.apply.seconds.start_timer();
        let mut prepared = self.applier.prepare(tasks)?;
        let rest = std::mem::take(&mut prepared.rest);
        self.queue.lock().give_back(rest);
        let entries = prepared.entries;
        self.kv
            .write(std::mem::take(&mut prepared.batch), prepared.durability)?;
        let applied = prepared.finish();
        timer.observe_duration();
        self.metrics.apply.entries.inc_by(entries);
        for progress in &applied {
            self.metrics.apply.bytes.inc_by(progress.written.bytes);
            self.metrics.apply.keys.inc_by(progress.written.keys);
        }
        self.router.applied(applied);
        Ok(())
    }
}
