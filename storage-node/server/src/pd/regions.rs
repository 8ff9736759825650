//! Region heartbeats up, operators down, over one stream to the placement driver's leader.
//!
//! *Life of a stream*: find the leader → open → ask the workers to report every region they lead → forward
//! reports up and operators down until it breaks → again.
//!
//! *Limits and failure*: [`QUEUE`] reports may wait; workers drop beyond that. A broken stream is opened anew
//! after [`RETRY`].
//!
//! *Next stop*: `yadkv_storage_core::peer`.

use super::{Pd, header};
use crate::router::Router;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use yadkv_proto::id::{ClusterId, RegionId, StoreId};
use yadkv_proto::pdpb::{RegionHeartbeatRequest, RegionHeartbeatResponse};
use yadkv_storage_core::store::message::{ChangeTask, Input, MergeTask};

/// Reports that may wait.
pub const QUEUE: usize = 4096;
const RETRY: Duration = Duration::from_millis(200);

/// The two ends of the conversation.
pub struct RegionHeartbeats {
    /// Whom to ask for the leader.
    pub pd: Arc<Pd>,
    /// Our cluster.
    pub cluster: ClusterId,
    /// This store.
    pub store: StoreId,
    /// Reports of the workers.
    pub reports: mpsc::Receiver<RegionHeartbeatRequest>,
    /// Where operators go.
    pub router: Router,
}

impl RegionHeartbeats {
    /// Runs until the workers are gone or it is dropped.
    pub async fn run(mut self) {
        loop {
            if let Err(status) = self.stream().await {
                tracing::debug!(reason = status.message(), "region heartbeat stream ended");
            }
            if self.reports.is_closed() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn stream(&mut self) -> Result<(), Status> {
        let members = self.pd.members().await?;
        let url = members
            .leader
            .and_then(|leader| leader.client_urls.into_iter().next());
        let url = url.ok_or_else(|| Status::unavailable("the placement driver has no leader"))?;
        let leader = self.pd.member(&url);
        let mut leader = leader.map_err(|error| Status::unavailable(error.to_string()))?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let opened = tokio::time::timeout(
            super::CALL_TIMEOUT,
            leader.region_heartbeat(ReceiverStream::new(receiver)),
        );
        let mut operators = opened
            .await
            .map_err(|_| Status::deadline_exceeded("the leader did not answer"))??
            .into_inner();
        self.router.broadcast(|| Input::ReportAll);
        loop {
            tokio::select! {
                report = self.reports.recv() => {
                    let Some(mut report) = report else { return Ok(()) };
                    report.header = header(self.cluster, self.store);
                    sender.send(report).await.map_err(|_| Status::unavailable("the stream is gone"))?;
                }
                operator = operators.message() => match operator? {
                    Some(operator) => self.carry_out(operator),
                    None => return Ok(()),
                },
            }
        }
    }

    fn carry_out(&self, operator: RegionHeartbeatResponse) {
        let region = RegionId(operator.region_id);
        if let Some(task) = MergeTask::of(&operator) {
            self.router.send(region, Input::Merge(region, task));
        }
        if let Some(task) = ChangeTask::of(&operator) {
            tracing::info!(
                region = region.0,
                changes = ?task.changes,
                "the placement driver asks for other members"
            );
            self.router.send(region, Input::ChangePeers(region, task));
        }
        if let Some(to) = operator.transfer_leader.and_then(|transfer| transfer.peer) {
            tracing::info!(
                region = region.0,
                to = to.id,
                "the placement driver asks for a leader transfer"
            );
            self.router
                .send(region, Input::TransferLeader { region, to });
        }
    }
}
