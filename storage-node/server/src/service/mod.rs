//! The store's gRPC service, one call or one frame at a time.
//!
//! *Place*: tonic calls [`tikv`] (unary) and [`batch`] (frames); both go through [`Door::take`] into the core.
//!
//! *Life of a request*: decoded by tonic → [`Door::take`]: answered at once, read here under the lease, handed
//! to a read thread, or sent to its region's worker → its reply finds the waiting call.
//!
//! *Invariants*: every request is answered exactly once, also while the node stops.
//!
//! *Limits and failure*: a full read queue or inbox, or too many bytes under way, answers ServerIsBusy.
//!
//! *Next stop*: `yadkv_storage_core::front`.

pub mod admission;
pub mod batch;
pub mod tikv;

use crate::clock;
use crate::metrics::{Calls, Metrics};
use crate::router::Router;
use crate::threads::reads::ReadJob;
use admission::{Admission, Admitted};
use crossbeam::channel::{Sender, TrySendError};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use yadkv_engine::Engine;
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_storage_core::front::{Front, Next};
use yadkv_storage_core::refusal;
use yadkv_storage_core::respond::Reply;

/// What service tasks share. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    /// The core's door.
    pub front: Arc<Front>,
    /// The data engine, for reads here.
    pub kv: Arc<dyn Engine>,
    /// To the workers.
    pub router: Router,
    /// To the read threads.
    pub reads: Sender<ReadJob>,
    /// Counters.
    pub metrics: Metrics,
    /// Timers by call.
    pub calls: Calls,
    /// Bytes of requests under way.
    pub admission: Admission,
    /// Ends the streams when the node stops.
    pub stop: CancellationToken,
}

impl Door {
    /// Takes a request in as soon as there is room for it; `reply` gets the answer, now or later, on any thread.
    pub async fn take(&self, request: StoreRequest, reply: Reply) {
        let Some(admitted) = self.admission.admit(&request).await else {
            let reason = "too many bytes of requests are under way";
            return self.front.refuse(&request, reply, refusal::busy(reason));
        };
        let reply = self.timed(&request, reply, admitted);
        match self.front.submit(request, reply, clock::now()) {
            Next::Answered => {}
            Next::Send(region, input) => {
                self.router.send(region, input);
            }
            Next::Read(read, task) => {
                let cached = read.evaluate_cached(&*self.kv, &task.request);
                match cached {
                    Some(response) if read.confirm(clock::moment()) => {
                        self.metrics.lease_reads.inc();
                        task.responder.answer(response);
                    }
                    // Unconfirmed or not in the cache: a read thread reads again, and asks the worker if the
                    // lease is really over.
                    _ => self.read_later(ReadJob::Lease(read, task)),
                }
            }
        }
    }

    fn read_later(&self, job: ReadJob) {
        if let Err(TrySendError::Full(ReadJob::Lease(_, task))) = self.reads.try_send(job) {
            task.responder
                .refuse(refusal::busy("the read queue is full"));
        }
    }

    fn timed(&self, request: &StoreRequest, reply: Reply, admitted: Admitted) -> Reply {
        let Some(call) = self.calls.get(request.name()).cloned() else {
            return reply;
        };
        let begun = Instant::now();
        Box::new(move |response| {
            drop(admitted);
            call.seconds.observe(begun.elapsed().as_secs_f64());
            if region_error(&response) {
                call.region_errors.inc();
            }
            reply(response);
        })
    }

    /// Takes a request in and waits for its answer.
    pub async fn call<T>(&self, request: StoreRequest) -> Result<T, Status>
    where
        T: TryFrom<StoreResponse, Error = StoreResponse>,
    {
        let (sender, receiver) = oneshot::channel();
        // The caller may have gone meanwhile: then nobody misses the answer.
        self.take(
            request,
            Box::new(move |response| drop(sender.send(response))),
        )
        .await;
        let response = receiver
            .await
            .map_err(|_| Status::unavailable("the store is stopping: try another"))?;
        T::try_from(response)
            .map_err(|other| Status::internal(format!("answered as {}", other.name())))
    }
}

fn region_error(response: &StoreResponse) -> bool {
    macro_rules! any {
        ($($name:ident),*) => {
            match response {
                $(StoreResponse::$name(response) => response.region_error.is_some(),)*
                _ => false,
            }
        };
    }
    any!(
        RawGet,
        RawPut,
        RawBatchGet,
        RawBatchPut,
        RawDelete,
        RawBatchDelete,
        RawScan,
        RawCompareAndSwap
    )
}
