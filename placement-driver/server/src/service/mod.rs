//! The gRPC services: decode, route, await, encode.
//!
//! *Place*: tonic calls them; they call the member through [`Door`].
//!
//! *What is where*: [`pd`] unary calls and streams of `pdpb.PD` and `keyspacepb.Keyspace` · [`streams`] the
//! ordered conversation behind Tso and QueryRegion · [`heartbeats`] the region heartbeat stream and pushed
//! operators · [`etcd`] two calls that Go clients make.
//!
//! *Types to know*: [`Door`].
//!
//! *Invariants*: a refusal becomes the gRPC status of `proto/README.md`, Headers; calls that the
//! protocol knows and this server does not serve answer UNIMPLEMENTED.
//!
//! *Next stop*: [`crate::driver`].

pub mod etcd;
pub mod heartbeats;
pub mod pd;
pub mod streams;

use crate::driver::Handle;
use crate::forward::{Forwarder, MARK, RETRY, may_pass};
use crate::metrics::Metrics;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use tonic::{Request, Response, Status};
use yadkv_placement_core::Refusal;
use yadkv_placement_core::config::HOLD_MAX;
use yadkv_proto::api::{PdRequest, PdResponse};

/// The way of a unary call to the member, here or elsewhere. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    /// The member of this process.
    pub handle: Handle,
    /// The other members.
    pub forwarder: Arc<Forwarder>,
    /// Counts calls.
    pub metrics: Metrics,
}

/// A refusal as gRPC says it.
pub fn status(refusal: &Refusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        Refusal::NotLeader { .. } | Refusal::Unavailable(_) => Status::unavailable(message),
        Refusal::ClusterMismatch { .. } => Status::failed_precondition(message),
        Refusal::Invalid(_) => Status::invalid_argument(message),
    }
}

impl Door {
    /// Asks the member here, and times it: a message of a stream.
    pub fn request(
        &self,
        request: PdRequest,
    ) -> impl Future<Output = Result<PdResponse, Refusal>> + Send + use<> {
        self.metrics.asked(&request);
        let seconds = &self.metrics.request_seconds;
        let timer = seconds.with_label_values(&[request.name()]).start_timer();
        let answer = self.handle.request(request);
        async move {
            let answer = answer.await;
            timer.observe_duration();
            answer
        }
    }

    /// Answers a unary call, here or through the leader.
    pub async fn unary<I, O>(&self, request: Request<I>) -> Result<Response<O>, Status>
    where
        PdRequest: From<I>,
        O: TryFrom<PdResponse, Error = PdResponse>,
    {
        let may_forward = !request.metadata().contains_key(MARK);
        let request = PdRequest::from(request.into_inner());
        let name = request.name();
        let timer = self
            .metrics
            .request_seconds
            .with_label_values(&[name])
            .start_timer();
        let answer = self.answer(request, may_forward).await;
        timer.observe_duration();
        let response = answer.inspect_err(|status| {
            self.metrics.refused.with_label_values(&[name]).inc();
            tracing::debug!(call = name, code = ?status.code(), reason = status.message(), "refused");
        })?;
        let other = |_| Status::internal("the answer is to another call");
        O::try_from(response).map(Response::new).map_err(other)
    }

    /// Asks here; if another member leads, asks that one, until someone answers or the hold time is over.
    async fn answer(&self, request: PdRequest, may_forward: bool) -> Result<PdResponse, Status> {
        let deadline = Instant::now() + HOLD_MAX;
        loop {
            let refusal = match self.handle.request(request.clone()).await {
                Ok(response) => return Ok(response),
                Err(refusal) => refusal,
            };
            let url = match &refusal {
                Refusal::NotLeader { leader: Some(url) } if may_forward => url,
                _ => return Err(status(&refusal)),
            };
            self.metrics
                .forwarded
                .with_label_values(&[request.name()])
                .inc();
            match self.forwarder.ask(url, request.clone()).await {
                Err(error) if may_pass(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(RETRY).await;
                }
                answer => return answer,
            }
        }
    }
}
