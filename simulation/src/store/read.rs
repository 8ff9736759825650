//! Reads outside of the worker: under the lease in four steps that anything may come between, or confirmed.
//!
//! *Place*: the same order as `storage-node/server/src/threads/reads.rs`.
//!
//! ```text
//! begin (front) → evaluate the engine → read the clock → confirm → answer, or ask the worker
//! ```
//!
//! *Next stop*: [`super::companion`].

use super::{Rows, StoreHost};
use crate::planted::{self, Planted};
use crate::sky::{Machine, Shared, Sky, StoreEvent};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use yadkv_engine::Engine;
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::id::RegionId;
use yadkv_proto::time::Moment;
use yadkv_storage_core::front;
use yadkv_storage_core::front::Next;
use yadkv_storage_core::read::{ConfirmedRead, LeaseRead};
use yadkv_storage_core::respond::{Borders, Reply, Responder};
use yadkv_storage_core::store::message::{Input, ReadTask};
use yadkv_storage_core::view::RegionView;

/// A read under way.
#[allow(clippy::large_enum_variant, reason = "few at a time")]
pub enum Job {
    /// Under the lease.
    Lease(Box<Lease>),
    /// Through ReadIndex.
    Confirmed(ConfirmedRead),
    /// Planted: the engine comes first, whatever will be decided.
    Early(StoreRequest, Reply),
    /// Likewise, with what the engine held.
    Decide(StoreRequest, Reply, Option<StoreResponse>),
}

/// A lease read between two steps.
pub struct Lease {
    read: LeaseRead,
    task: ReadTask,
    response: Option<StoreResponse>,
    clock: Option<Moment>,
}

impl StoreHost {
    /// Takes a request in; with a planted mistake reads go their own way.
    pub(super) fn admit(&mut self, sky: &Shared, request: StoreRequest, reply: Reply) {
        let read = matches!(
            request,
            StoreRequest::RawGet(_)
                | StoreRequest::RawBatchGet(_)
                | StoreRequest::RawGetKeyTtl(_)
                | StoreRequest::RawScan(_)
        );
        if read && planted::is(Planted::EngineBeforeDelegate) {
            self.keep(sky, Job::Early(request, reply));
        } else {
            self.decide(sky, request, reply, None);
        }
    }

    fn decide(
        &mut self,
        sky: &Shared,
        request: StoreRequest,
        reply: Reply,
        response: Option<StoreResponse>,
    ) {
        let now = sky.lock().clock(self.machine());
        let Some(running) = self.running() else {
            return;
        };
        match running.front.submit(request, reply, now) {
            Next::Answered => {}
            Next::Send(region, input) => self.input(sky, region, input),
            Next::Read(read, task) => {
                let lease = Lease {
                    read,
                    task,
                    response,
                    clock: None,
                };
                self.keep(sky, Job::Lease(Box::new(lease)));
            }
        }
    }

    pub(super) fn serve_later(&mut self, sky: &Shared, read: ConfirmedRead) {
        self.keep(sky, Job::Confirmed(read));
    }

    fn keep(&mut self, sky: &Shared, job: Job) {
        let (id, delay) = {
            let mut sky = sky.lock();
            (sky.id(), pause(&mut sky, self.machine()))
        };
        if let Some(running) = self.running() {
            running.jobs.insert(id, job);
            self.later(&mut sky.lock(), delay, StoreEvent::Read(id));
        }
    }

    /// The next step of a read.
    pub(super) fn read_on(&mut self, sky: &Shared, id: u64) {
        let Some(running) = self.running() else {
            return;
        };
        let rows = running.rows.clone();
        match running.jobs.remove(&id) {
            Some(Job::Lease(lease)) => self.lease_on(sky, &rows, lease),
            Some(Job::Confirmed(read)) => read.serve(&*rows),
            Some(Job::Early(request, reply)) => {
                let view = running.directory.get(region_of(&request));
                let response = view.and_then(|view| look(view, &*rows, &request));
                self.keep(sky, Job::Decide(request, reply, response));
            }
            Some(Job::Decide(request, reply, response)) => {
                self.decide(sky, request, reply, response);
            }
            None => {}
        }
    }

    fn lease_on(&mut self, sky: &Shared, rows: &Rows, mut lease: Box<Lease>) {
        let region = region_of(&lease.task.request);
        let Some(clock) = lease.clock else {
            if lease.response.is_none() {
                let kind = lease.task.responder.kind();
                let request = &lease.task.request;
                let response = lease
                    .read
                    .evaluate_cached(rows, request)
                    .unwrap_or_else(|| lease.read.evaluate(rows, kind, request));
                lease.response = Some(response);
            } else if planted::is(Planted::ClockBeforeEngine) {
                lease.clock = self.last_round(region);
            } else {
                lease.clock = Some(sky.lock().moment(self.machine()));
            }
            return self.keep(sky, Job::Lease(lease));
        };
        let confirmed = lease.read.confirm(clock);
        let Lease { task, response, .. } = *lease;
        match response {
            Some(response) if confirmed => task.responder.answer(response),
            _ => self.input(sky, region, Input::Read(task)),
        }
    }
}

fn region_of(request: &StoreRequest) -> RegionId {
    RegionId(front::describe(request).map_or(0, |(_, context)| context.region_id))
}

/// What the engine holds now, asked without any right to answer it.
fn look(
    view: Arc<RegionView>,
    engine: &dyn Engine,
    request: &StoreRequest,
) -> Option<StoreResponse> {
    let (kind, _) = front::describe(request)?;
    let slot = Arc::new(Mutex::new(None));
    let fill = slot.clone();
    let read = ConfirmedRead {
        view,
        office: None,
        request: request.clone(),
        responder: Responder::new(
            kind,
            Borders::True,
            Box::new(move |response| *fill.lock() = Some(response)),
        ),
    };
    read.serve(engine);
    slot.lock().take()
}

/// Time between two steps of a read: a thread may lose the processor, or wait for a slow disk.
fn pause(sky: &mut Sky, machine: Machine) -> Duration {
    let hangs = sky.slow_data.contains(&machine) && sky.places.machine(machine).chance(500);
    match sky.places.machine(machine).below(100) {
        _ if hangs => sky.places.machine(machine).millis(50, 2500),
        0..=1 => sky.places.machine(machine).millis(200, 1500),
        2..=5 => sky.places.machine(machine).millis(1, 50),
        _ => sky.places.machine(machine).micros(5, 100),
    }
}
