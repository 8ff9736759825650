//! Conversations with one answer to each request, in order: Tso and QueryRegion.
//!
//! *Place*: [`super::pd`] opens one for each stream of a client.
//!
//! *Life of a stream*: requests go to the member as they come, up to [`IN_FLIGHT_MAX`] at once → answers leave
//! in the order of the requests → the first refusal, or another member's taking the lead, ends the stream with
//! an error: clients without a timeout on their side must not wait here for ever.
//!
//! *Limits*: a client that does not read its answers stops being read.
//!
//! *Source*: `proto/README.md`, Timestamps.
//!
//! *Next stop*: [`super::heartbeats`].

use super::pd::Service;
use super::status;
use crate::driver::State;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Response, Status, Streaming};
use yadkv_proto::api::{PdRequest, PdResponse};

/// Requests of one stream that are with the member at once.
const IN_FLIGHT_MAX: usize = 256;
/// Answers that wait for the client to read them.
const ANSWERS: usize = 256;

/// Whether another member is known to lead.
pub(super) fn led_elsewhere(state: &State) -> Option<Status> {
    let elsewhere = !state.leads && state.leader.is_some() && state.cluster_id != 0;
    elsewhere.then(|| Status::unavailable("not leader: ask GetMembers for the leader"))
}

/// Waits until another member leads.
pub(super) async fn lost(state: &mut watch::Receiver<State>) -> Status {
    loop {
        if let Some(status) = led_elsewhere(&state.borrow_and_update()) {
            return status;
        }
        if state.changed().await.is_err() {
            return Status::unavailable("the placement driver stops");
        }
    }
}

/// Waits until another member leads, or this one in another term than this: it knows nothing then of what was reported
/// before.
pub(super) async fn another_office(state: &mut watch::Receiver<State>, term: u64) -> Status {
    loop {
        let now = state.borrow_and_update().clone();
        if let Some(status) = led_elsewhere(&now) {
            return status;
        }
        if now.term != term {
            return Status::unavailable("another term has begun: report everything again");
        }
        if state.changed().await.is_err() {
            return Status::unavailable("the placement driver stops");
        }
    }
}

/// Answers a stream until it ends.
pub fn converse<I, O>(service: &Service, requests: Streaming<I>) -> Response<BoxStream<O>>
where
    I: Send + 'static,
    PdRequest: From<I>,
    O: TryFrom<PdResponse, Error = PdResponse> + Send + 'static,
{
    let (answers, receiver) = mpsc::channel(ANSWERS);
    let service_task = service.clone();
    service.tasks.spawn(async move {
        let stop = service_task.stop.clone();
        let end = tokio::select! {
            end = answer_all(&service_task, requests, &answers) => end,
            () = stop.cancelled() => Err(Status::unavailable("the placement driver stops")),
        };
        if let Err(status) = end {
            let _ = answers.send(Err(status)).await;
        }
    });
    Response::new(Box::pin(ReceiverStream::new(receiver)))
}

async fn answer_all<I, O>(
    service: &Service,
    mut requests: Streaming<I>,
    answers: &mpsc::Sender<Result<O, Status>>,
) -> Result<(), Status>
where
    PdRequest: From<I>,
    O: TryFrom<PdResponse, Error = PdResponse>,
{
    let door = &service.door;
    let mut state = door.handle.state();
    let mut in_flight = FuturesOrdered::new();
    let mut open = true;
    while open || !in_flight.is_empty() {
        tokio::select! {
            biased;
            Some(answer) = in_flight.next(), if !in_flight.is_empty() => {
                let answer: Result<PdResponse, _> = answer;
                let response = answer.map_err(|refusal| status(&refusal))?;
                let response = O::try_from(response)
                    .map_err(|_| Status::internal("the answer is to another call"))?;
                if answers.send(Ok(response)).await.is_err() {
                    return Ok(());
                }
            }
            request = requests.message(), if open && in_flight.len() < IN_FLIGHT_MAX => {
                match request? {
                    Some(request) => in_flight.push_back(door.request(request.into())),
                    None => open = false,
                }
            }
            status = lost(&mut state) => return Err(status),
        }
    }
    Ok(())
}
