//! The store's gRPC service, one call or one frame at a time.
//!
//! *Place*: tonic calls [`tikv`] (unary) and [`batch`] (frames); both go through [`Door::take`] into the core.
//!
//! *Life of a request*: decoded by tonic → admitted by its bytes ([`admission`]) → answered at once, read here
//! under the lease, handed to a read thread, or sent to its region's worker → its answer is charged ([`answers`])
//! and finds the waiting call.
//!
//! *Invariants*: every request is answered at most once. While the node stops, calls may end UNAVAILABLE and
//! streams may end instead.
//!
//! *Limits and failure*: a full read queue or inbox, or too many bytes under way, answers ServerIsBusy.
//!
//! *Next stop*: `yadkv_storage_core::front`.

pub mod admission;
pub mod answers;
pub mod batch;
pub mod operations;
pub mod tikv;

use crate::clock;
use crate::metrics::Metrics;
use crate::router::Router;
use crate::threads::reads::ReadJob;
use admission::{Admission, Admitted};
use answers::{Answers, Held, Parcel};
use crossbeam::channel::{Sender, TrySendError};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};
use yadkv_engine::Engine;
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::time::Now;
use yadkv_storage_core::front::{self, Front, Next};
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
    /// Bytes of requests under way.
    pub admission: Admission,
    /// Bytes of answers that wait for their clients.
    pub answers: Answers,
    /// Ends the streams when the node stops.
    pub stop: CancellationToken,
}

/// A request that came in, and how its answer gets to whoever waits for it.
pub struct Arrived<Deliver> {
    request: StoreRequest,
    deliver: Deliver,
    at: Now,
}

impl<Deliver: FnOnce(StoreResponse, Held) + Send + 'static> Arrived<Deliver> {
    /// `deliver` gets the answer once, on any thread, and lets go of what it holds when the connection has it. `at` may be
    /// the moment when a frame came whose commands are taken one after the other.
    pub fn new(request: StoreRequest, deliver: Deliver, at: Now) -> Self {
        Self {
            request,
            deliver,
            at,
        }
    }
}

impl Door {
    /// Takes a request in if there is room for it now; gives it back otherwise. Without room for answers it is refused
    /// at once, before anything is done.
    pub fn take<Deliver>(&self, arrived: Arrived<Deliver>) -> Option<Arrived<Deliver>>
    where
        Deliver: FnOnce(StoreResponse, Held) + Send + 'static,
    {
        if self.answers.are_full() {
            let (request, reply) = self.measured(arrived, None);
            self.front.refuse(&request, reply, answers::no_room());
            return None;
        }
        let Some(admitted) = self.admission.try_admit(&arrived.request) else {
            return Some(arrived);
        };
        let now = arrived.at;
        self.submit(arrived, admitted, now);
        None
    }

    /// Takes a request in as soon as there is room for it, and refuses it when there is none at the deadline.
    pub async fn take_until<Deliver>(&self, arrived: Arrived<Deliver>, deadline: time::Instant)
    where
        Deliver: FnOnce(StoreResponse, Held) + Send + 'static,
    {
        match self.admission.admit(&arrived.request, deadline).await {
            Some(admitted) => self.submit(arrived, admitted, clock::now()),
            None => {
                let (request, reply) = self.measured(arrived, None);
                let reason = "too many bytes of requests are under way";
                self.front.refuse(&request, reply, refusal::busy(reason));
            }
        }
    }

    fn submit<Deliver>(&self, arrived: Arrived<Deliver>, admitted: Admitted, now: Now)
    where
        Deliver: FnOnce(StoreResponse, Held) + Send + 'static,
    {
        let (request, reply) = self.measured(arrived, Some(admitted));
        match self.front.submit(request, reply, now) {
            Next::Answered => {}
            Next::Send(region, input) => {
                self.router.send(region, input);
            }
            Next::Read(read, task) => {
                let cached = read.evaluate_cached(&*self.kv, &task.request);
                match cached {
                    Some(response) if read.confirm(clock::moment()) => {
                        self.metrics.calls.lease_reads.inc();
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

    /// A reply that gives the request's share back, charges the answer and counts the call.
    fn measured<Deliver>(
        &self,
        arrived: Arrived<Deliver>,
        admitted: Option<Admitted>,
    ) -> (StoreRequest, Reply)
    where
        Deliver: FnOnce(StoreResponse, Held) + Send + 'static,
    {
        let Arrived {
            request,
            deliver,
            at,
        } = arrived;
        let (call, calls) = (request.number(), self.metrics.calls.clone());
        let answers = self.answers.clone();
        let read = front::describe(&request)
            .map(|(kind, _)| kind)
            .filter(|kind| !kind.is_write());
        let reply = Box::new(move |response| {
            drop(admitted);
            let (response, held) = answers.charge(response, read);
            calls.answered(call, clock::moment().since(at.moment), &response);
            deliver(response, held);
        });
        (request, reply)
    }

    /// Takes a request in and waits for its answer, which [`answers::go_with_bytes`] lets go of.
    pub async fn call<T>(&self, request: StoreRequest) -> Result<Response<T>, Status>
    where
        T: TryFrom<StoreResponse, Error = StoreResponse>,
    {
        let (sender, receiver) = oneshot::channel();
        // The caller may have gone meanwhile: then nobody misses the answer.
        let deliver = move |response, held| drop(sender.send((response, held)));
        if let Some(waiting) = self.take(Arrived::new(request, deliver, clock::now())) {
            let deadline = time::Instant::now() + admission::WAIT_MAX;
            self.take_until(waiting, deadline).await;
        }
        let (response, held) = receiver
            .await
            .map_err(|_| Status::unavailable("the store is stopping: try another"))?;
        let response = T::try_from(response)
            .map_err(|other| Status::internal(format!("answered as {}", other.name())))?;
        let mut response = Response::new(response);
        let parcel = Parcel::default();
        parcel.add([held]);
        response.extensions_mut().insert(parcel);
        Ok(response)
    }
}
