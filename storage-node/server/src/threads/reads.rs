//! Threads for reads that may touch the disk.
//!
//! *Place*: services hand lease reads over that missed the cache, workers hand over confirmed reads.
//!
//! *Invariants*: a lease read is confirmed after it was evaluated, else the worker is asked.
//!
//! *Limits and failure*: [`QUEUE`] jobs may wait; beyond, ServerIsBusy: a worker never waits for a read.
//!
//! *Next stop*: `yadkv_storage_core::read`.

use crate::clock;
use crate::metrics::Metrics;
use crate::router::Router;
use crossbeam::channel::Receiver;
use std::sync::Arc;
use yadkv_engine::Engine;
use yadkv_storage_core::front::{Front, Next};
use yadkv_storage_core::read::{ConfirmedRead, LeaseRead};
use yadkv_storage_core::store::message::ReadTask;

/// Jobs that may wait.
pub const QUEUE: usize = 4096;

/// One read.
#[derive(Debug)]
pub enum ReadJob {
    /// Under the lease.
    Lease(LeaseRead, ReadTask),
    /// Through ReadIndex.
    Confirmed(ConfirmedRead),
    /// One thread shall end.
    Stop,
}

/// What a read thread uses.
#[derive(Clone)]
pub struct ReadThread {
    /// Jobs; shared by all read threads.
    pub jobs: Receiver<ReadJob>,
    /// The data engine.
    pub kv: Arc<dyn Engine>,
    /// For reads whose lease ended meanwhile.
    pub router: Router,
    /// Whether a worker can be asked.
    pub front: Arc<Front>,
    /// Counters.
    pub metrics: Metrics,
}

impl ReadThread {
    /// Runs until it is told to stop.
    pub fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            match job {
                ReadJob::Confirmed(read) => read.serve(&*self.kv),
                ReadJob::Lease(read, task) => self.lease(read, task),
                ReadJob::Stop => return,
            }
        }
    }

    fn lease(&self, read: LeaseRead, task: ReadTask) {
        let response = read.evaluate(&*self.kv, task.responder.kind(), &task.request);
        if read.confirm(clock::moment()) {
            self.metrics.calls.lease_reads.inc();
            return task.responder.answer(response);
        }
        if let Next::Send(region, input) = self.front.read_index(task, clock::moment()) {
            self.router.send(region, input);
        }
    }
}
