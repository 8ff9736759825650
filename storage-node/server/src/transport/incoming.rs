//! The receiving end: frames of other stores go to the workers.
//!
//! *Invariants*: a frame of another cluster or a later format ends the stream with an error that says so;
//! whether the sender belongs to a region is checked by the region's worker.
//!
//! *Limits*: messages that find a full inbox are dropped.
//!
//! *Next stop*: [`crate::router`].

use super::FORMAT;
use super::arriving::Arriving;
use crate::router::Router;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use yadkv_proto::id::ClusterId;
use yadkv_proto::yadkvpb::transport_server::Transport;
use yadkv_proto::yadkvpb::{Frame, FrameEnd, SnapshotChunk, SnapshotEnd};

/// The service.
pub struct Incoming {
    /// Our cluster.
    pub cluster: ClusterId,
    /// Where messages go.
    pub router: Router,
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

    async fn deliver(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<FrameEnd>, Status> {
        let mut frames = request.into_inner();
        loop {
            let received = tokio::select! {
                received = frames.message() => received?,
                () = self.stop.cancelled() => None,
            };
            let Some(frame) = received else {
                return Ok(Response::new(FrameEnd {}));
            };
            if frame.format != FORMAT {
                let reason = format!(
                    "frame format {} is not known to this release (1): upgrade it",
                    frame.format
                );
                return Err(Status::unimplemented(reason));
            }
            if frame.cluster_id != self.cluster.0 {
                let reason = format!(
                    "frame of cluster {}, this is {}",
                    frame.cluster_id, self.cluster.0
                );
                return Err(Status::failed_precondition(reason));
            }
            for envelope in frame.envelopes {
                self.router.receive(envelope);
            }
        }
    }
}
