//! Reads outside of the worker: under the lease in four steps that anything may come between, or confirmed.
//!
//! *Place*: the same order as `storage-node/server/src/threads/reads.rs`.
//!
//! ```text
//! begin (front) → evaluate the engine → read the clock → confirm → answer, or ask the worker
//! ```
//!
//! *Next stop*: [`super::companion`].

use super::StoreHost;
use crate::planted::{self, Planted};
use crate::sky::{Machine, Shared, Sky, StoreEvent};
use std::time::Duration;
use yadkv_proto::api::StoreResponse;
use yadkv_proto::id::RegionId;
use yadkv_proto::time::Moment;
use yadkv_storage_core::front;
use yadkv_storage_core::read::{ConfirmedRead, LeaseRead};
use yadkv_storage_core::store::message::{Input, ReadTask};

/// A read under way.
#[allow(clippy::large_enum_variant, reason = "few at a time")]
pub enum Job {
    /// Under the lease.
    Lease(Box<Lease>),
    /// Through ReadIndex.
    Confirmed(ConfirmedRead),
}

/// A lease read between two steps.
pub struct Lease {
    read: LeaseRead,
    task: ReadTask,
    response: Option<StoreResponse>,
    clock: Option<Moment>,
}

impl StoreHost {
    pub(super) fn begin_read(&mut self, sky: &Shared, read: LeaseRead, task: ReadTask) {
        let job = Job::Lease(Box::new(Lease {
            read,
            task,
            response: None,
            clock: None,
        }));
        self.keep(sky, job);
    }

    pub(super) fn serve_later(&mut self, sky: &Shared, read: ConfirmedRead) {
        self.keep(sky, Job::Confirmed(read));
    }

    fn keep(&mut self, sky: &Shared, job: Job) {
        let (id, delay) = {
            let mut sky = sky.lock();
            (sky.id(), pause(&mut sky, self.machine()))
        };
        let event = match &job {
            Job::Lease(_) => StoreEvent::Read(id),
            Job::Confirmed(_) => StoreEvent::Serve(id),
        };
        if let Some(running) = self.running() {
            running.jobs.insert(id, job);
            self.later(&mut sky.lock(), delay, event);
        }
    }

    /// The next step of a lease read.
    pub(super) fn read_on(&mut self, sky: &Shared, id: u64) {
        let (now, delay) = {
            let mut sky = sky.lock();
            (sky.moment(self.machine()), pause(&mut sky, self.machine()))
        };
        let disk = self.kv.clone();
        let Some(running) = self.running() else {
            return;
        };
        let Some(Job::Lease(mut job)) = running.jobs.remove(&id) else {
            return;
        };
        let clock_first = planted::is(Planted::ClockBeforeEngine);
        let clock_due = job.clock.is_none() && (clock_first || job.response.is_some());
        if clock_due {
            job.clock = Some(now);
        } else if job.response.is_none() {
            let kind = job.task.responder.kind();
            job.response = Some(job.read.evaluate(&disk, kind, &job.task.request));
        }
        let Lease {
            response: Some(_),
            clock: Some(clock),
            ..
        } = &*job
        else {
            running.jobs.insert(id, Job::Lease(job));
            return self.later(&mut sky.lock(), delay, StoreEvent::Read(id));
        };
        // The clock was read in an event of its own: whatever came in between is judged by `confirm`.
        let confirmed = job.read.confirm(*clock);
        let Lease { task, response, .. } = *job;
        match response {
            Some(response) if confirmed => task.responder.answer(response),
            _ => {
                let region =
                    front::describe(&task.request).map_or(0, |(_, context)| context.region_id);
                self.input(sky, RegionId(region), Input::Read(task));
            }
        }
    }

    pub(super) fn serve(&mut self, id: u64) {
        let disk = self.kv.clone();
        let Some(running) = self.running() else {
            return;
        };
        if let Some(Job::Confirmed(read)) = running.jobs.remove(&id) {
            read.serve(&disk);
        }
    }
}

/// Time between two steps of a read: a thread may lose the processor, or wait for a slow disk.
fn pause(sky: &mut Sky, machine: Machine) -> Duration {
    let stalls = sky.slow_disks.contains_key(&machine) && sky.random.chance(600);
    match sky.random.below(100) {
        _ if stalls => sky.random.millis(700, 2700),
        0..=1 => sky.random.millis(200, 1500),
        2..=5 => sky.random.millis(1, 50),
        _ => sky.random.micros(5, 100),
    }
}
