//! Region heartbeats: reports of a store's region leaders up, operators down.
//!
//! *Place*: [`super::pd`] opens a conversation for each store's stream; the driver pushes new operators into
//! [`Streams`].
//!
//! *Life of an operator*: made by a scheduler → pushed at once into the stream of the store that leads the
//! region, if one is open → repeated in the answer to each heartbeat of the region until it ends. Answers that
//! ask for nothing are not sent; refusals are.
//!
//! *Limits and failure*: [`QUEUE`] messages wait for a store; a push beyond that is left to the next heartbeat.
//! A member that lost its office ends the stream with an error.
//!
//! *Next stop*: `yadkv_placement_core::schedule`.

use super::pd::Service;
use super::status;
use super::streams::another_office;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Response, Status, Streaming};
use yadkv_proto::api::{PdRequest, PdResponse};
use yadkv_proto::id::StoreId;
use yadkv_proto::pdpb::{RegionHeartbeatRequest, RegionHeartbeatResponse};

/// Messages that wait for one store.
const QUEUE: usize = 1024;

type Sender = mpsc::Sender<Result<RegionHeartbeatResponse, Status>>;

/// Open streams by store; the latest of a store counts. Cheap to clone.
#[derive(Clone, Default)]
pub struct Streams {
    open: Arc<Mutex<BTreeMap<StoreId, Sender>>>,
}

impl Streams {
    /// Sends an operator to a store, if it has a stream with room.
    pub fn push(&self, store: StoreId, operator: RegionHeartbeatResponse) {
        let mut open = self.open.lock();
        let Some(sender) = open.get(&store) else {
            return;
        };
        if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(Ok(operator)) {
            open.remove(&store);
        }
    }

    fn register(&self, store: StoreId, sender: &Sender) {
        self.open.lock().insert(store, sender.clone());
    }

    fn remove(&self, store: StoreId, sender: &Sender) {
        let mut open = self.open.lock();
        if open
            .get(&store)
            .is_some_and(|registered| registered.same_channel(sender))
        {
            open.remove(&store);
        }
    }
}

/// Answers a store's stream until it ends.
pub fn converse(
    service: &Service,
    reports: Streaming<RegionHeartbeatRequest>,
) -> Response<BoxStream<RegionHeartbeatResponse>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = service.clone();
    service.tasks.spawn(async move {
        let mut store = StoreId::NONE;
        let stop = task.stop.clone();
        let end = tokio::select! {
            end = answer_all(&task, reports, &sender, &mut store) => end,
            () = stop.cancelled() => Err(Status::unavailable("the placement driver stops")),
        };
        task.streams.remove(store, &sender);
        if let Err(status) = end {
            let _ = sender.send(Err(status)).await;
        }
    });
    Response::new(Box::pin(ReceiverStream::new(receiver)))
}

async fn answer_all(
    service: &Service,
    mut reports: Streaming<RegionHeartbeatRequest>,
    sender: &Sender,
    store: &mut StoreId,
) -> Result<(), Status> {
    let mut state = service.door.handle.state();
    let term = state.borrow().term;
    loop {
        let report = tokio::select! {
            report = reports.message() => report?,
            status = another_office(&mut state, term) => return Err(status),
        };
        let Some(report) = report else { return Ok(()) };
        let leads = StoreId(report.leader.map_or(0, |leader| leader.store_id));
        if *store == StoreId::NONE && leads != StoreId::NONE {
            *store = leads;
            service.streams.register(leads, sender);
        }
        let report = PdRequest::RegionHeartbeat(report);
        let answer = service.door.request(report).await;
        let PdResponse::RegionHeartbeat(response) = answer.map_err(|refusal| status(&refusal))?
        else {
            return Err(Status::internal("the answer is to another call"));
        };
        let says = response.region_id != 0
            || response
                .header
                .as_ref()
                .is_some_and(|header| header.error.is_some());
        if says && sender.send(Ok(response)).await.is_err() {
            return Ok(());
        }
    }
}
