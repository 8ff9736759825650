//! What workers ask and tell the placement driver: ids for splits, splits that have happened, where a region is.
//!
//! *Place*: workers hand over what they want told; the answers go back into their inboxes.
//!
//! *Life of a split by size or by hand*: the worker wants ids → AskBatchSplit → proposed → applied →
//! ReportBatchSplit → the worker lets callers with the old borders go.
//!
//! *Invariants*: nothing here holds up the data plane: without placement driver no new split begins, and one that
//! has happened goes on; the regions' heartbeats say the same later.
//!
//! *Limits and failure*: [`QUEUE`] jobs wait, [`UNDER_WAY_MAX`] are asked at once; beyond, callers get ServerIsBusy.
//! A report is tried [`REPORT_TRIES`] times.
//!
//! *Next stop*: [`super::regions`].

use super::{Pd, checked, header};
use crate::router::Router;
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use yadkv_proto::id::{ClusterId, RegionId, StoreId};
use yadkv_proto::metapb::Region;
use yadkv_proto::pdpb::{
    AskBatchSplitRequest, GetRegionByIdRequest, GetRegionRequest, ReportBatchSplitRequest, SplitId,
    SplitReason,
};
use yadkv_storage_core::refusal;
use yadkv_storage_core::store::message::{IdRequest, Input, Lookup};

/// Jobs that may wait.
pub const QUEUE: usize = 1024;
/// Calls under way at once.
const UNDER_WAY_MAX: usize = 16;
const REPORT_TRIES: u32 = 3;
const RETRY: Duration = Duration::from_millis(100);

/// What a worker wants of the placement driver.
#[derive(Debug)]
pub enum Job {
    /// Ids for cutting a region.
    Ids(IdRequest),
    /// A region was cut into these.
    Report(RegionId, Vec<Region>),
    /// Where a region is.
    Locate(Lookup),
}

impl Job {
    /// There is no room for it.
    pub fn refuse(self) {
        if let Self::Ids(request) = self {
            refuse(request, "too many splits are under way");
        }
    }
}

/// The conversation.
pub struct Splits {
    /// Whom to ask.
    pub pd: Arc<Pd>,
    /// Our cluster.
    pub cluster: ClusterId,
    /// This store.
    pub store: StoreId,
    /// Jobs of the workers.
    pub jobs: mpsc::Receiver<Job>,
    /// Where answers go.
    pub router: Router,
}

impl Splits {
    /// Runs until the workers are gone or it is dropped.
    pub async fn run(mut self) {
        let (_, none) = mpsc::channel(1);
        let jobs = std::mem::replace(&mut self.jobs, none);
        let this = &self;
        ReceiverStream::new(jobs)
            .for_each_concurrent(UNDER_WAY_MAX, |job| async move {
                match job {
                    Job::Ids(request) => this.give_ids(request).await,
                    Job::Report(region, regions) => {
                        this.report(regions).await;
                        this.router.send(region, Input::SplitReported(region));
                    }
                    Job::Locate(lookup) => this.locate(lookup).await,
                }
            })
            .await;
    }

    /// An answer that gets lost is asked for again. Who has the key comes first: a region that is not known after that,
    /// although its keys are in a later one, is part of another one, and not a new one that nobody has reported.
    async fn locate(&self, lookup: Lookup) {
        let Lookup {
            region,
            start,
            asked: since,
        } = lookup;
        let request = GetRegionRequest {
            header: header(self.cluster, self.store),
            region_key: start,
            ..Default::default()
        };
        let asked = self.pd.ask(|mut pd| {
            let request = request.clone();
            async move { pd.get_region(request).await }
        });
        let Ok(owner) = asked.await else { return };
        let request = GetRegionByIdRequest {
            header: header(self.cluster, self.store),
            region_id: region.0,
            ..Default::default()
        };
        let asked = self.pd.ask(|mut pd| {
            let request = request.clone();
            async move { pd.get_region_by_id(request).await }
        });
        let Ok(known) = asked.await else { return };
        let refused = known.header.is_none_or(|header| header.error.is_some());
        match (known.region, owner.region) {
            (Some(known), _) => self.router.send(region, Input::Located(known, since)),
            (None, Some(owner)) if !refused => {
                self.router.send(region, Input::Vanished(region, owner))
            }
            _ => false,
        };
    }

    async fn give_ids(&self, request: IdRequest) {
        let region = RegionId(request.region.id);
        match self.ask(&request).await {
            Err(status) => refuse(request, status.message()),
            Ok(ids) => {
                if let Some(task) = request.with_ids(ids) {
                    self.router.send(region, Input::Split(task));
                }
            }
        }
    }

    async fn ask(&self, request: &IdRequest) -> Result<Vec<SplitId>, Status> {
        let by_hand = request.responder.is_some();
        let reason = match by_hand {
            true => SplitReason::Admin,
            false => SplitReason::Size,
        };
        let ask = AskBatchSplitRequest {
            header: header(self.cluster, self.store),
            region: Some(request.region.clone()),
            split_count: u32::try_from(request.keys.len()).unwrap_or(u32::MAX),
            reason: reason as i32,
        };
        let asked = self.pd.ask(|mut pd| {
            let ask = ask.clone();
            async move { pd.ask_batch_split(ask).await }
        });
        let response = asked.await?;
        Ok(checked(response.header.clone().as_ref(), response)?.ids)
    }

    async fn report(&self, regions: Vec<Region>) {
        let report = ReportBatchSplitRequest {
            header: header(self.cluster, self.store),
            regions,
        };
        for _ in 0..REPORT_TRIES {
            let told = self.pd.ask(|mut pd| {
                let report = report.clone();
                async move { pd.report_batch_split(report).await }
            });
            match told.await {
                Ok(response) => {
                    if let Some(error) = response.header.and_then(|header| header.error) {
                        tracing::info!(reason = error.message, "split report was refused");
                    }
                    return;
                }
                Err(status) => {
                    tracing::debug!(reason = status.message(), "split report was not taken");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

fn refuse(request: IdRequest, reason: &str) {
    let region = request.region.id;
    tracing::info!(region, reason, "no ids for a split");
    if let Some(responder) = request.responder {
        let reason = format!("the placement driver gives no ids for the split: {reason}");
        responder.refuse(refusal::busy(&reason));
    }
}
