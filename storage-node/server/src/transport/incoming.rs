//! The service that takes snapshots of other stores.
//!
//! *Place*: beside the services for clients; Raft's other messages come over connections of their own ([`super::peers`]).
//!
//! *Next stop*: [`super::arriving`].

use super::arriving::Arriving;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use yadkv_proto::yadkvpb::transport_server::Transport;
use yadkv_proto::yadkvpb::{Frame, FrameEnd, SnapshotChunk, SnapshotEnd};

/// The service.
pub struct Incoming {
    /// Where snapshots go.
    pub arriving: Arriving,
    /// Ends the streams when the node stops.
    pub stop: CancellationToken,
}

#[tonic::async_trait]
impl Transport for Incoming {
    async fn send_snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<SnapshotEnd>, Status> {
        let end = tokio::select! {
            end = self.arriving.take(request.into_inner()) => end?,
            () = self.stop.cancelled() => return Err(Status::unavailable("the store stops")),
        };
        Ok(Response::new(end))
    }

    async fn deliver(&self, _: Request<Streaming<Frame>>) -> Result<Response<FrameEnd>, Status> {
        let reason = "frames come over connections of their own since this release: upgrade the store that sends them";
        Err(Status::unimplemented(reason))
    }
}
