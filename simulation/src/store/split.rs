//! What splits want of the placement driver, and measuring regions.
//!
//! *Place*: the same as `storage-node/server/src/pd/splits.rs` and `threads/sizes.rs`.
//!
//! *Next stop*: [`super::companion`].

use super::StoreHost;
use super::companion::Pd;
use crate::sky::{Shared, StoreEvent};
use crate::tasks::sleep;
use bytes::Bytes;
use std::time::Duration;
use yadkv_engine::Engine;
use yadkv_proto::id::RegionId;
use yadkv_proto::key::KeyRange;
use yadkv_proto::kvrpcpb::Context;
use yadkv_proto::metapb::Region;
use yadkv_proto::pdpb::{
    AskBatchSplitRequest, AskBatchSplitResponse, ReportBatchSplitRequest, ReportBatchSplitResponse,
    RequestHeader,
};
use yadkv_storage_core::respond::{Borders, Kind, Responder};
use yadkv_storage_core::split::check::check;
use yadkv_storage_core::store::message::{CutTask, DigestTask, IdRequest, Input, SizeTask};
use yadkv_storage_core::store::recover;

const REPORT_TRIES: u32 = 3;
const RETRY: Duration = Duration::from_millis(100);

impl StoreHost {
    /// Somebody who knows the present epoch asks for a cut and does not wait for the answer.
    pub(super) fn cut(&mut self, sky: &Shared, region: u64, key: Bytes) {
        let region = RegionId(region);
        let Some(view) = self
            .runs()
            .and_then(|running| running.directory.get(region))
        else {
            return;
        };
        let context = Context {
            region_id: region.0,
            region_epoch: view.region().region_epoch,
            peer: Some(*view.peer()),
            ..Default::default()
        };
        let nobody = Responder::new(Kind::SplitRegion, Borders::True, Box::new(|_| {}));
        let task = CutTask {
            context: Box::new(context),
            keys: vec![key],
            responder: nobody,
        };
        self.input(sky, region, Input::Cut(task));
    }

    pub(super) fn tell_splits(
        &mut self,
        sky: &Shared,
        ids: Vec<IdRequest>,
        reports: Vec<(RegionId, Vec<Region>)>,
    ) {
        if ids.is_empty() && reports.is_empty() {
            return;
        }
        let machine = self.machine();
        let record = recover::store_record(&self.kv).expect("the record is sound");
        let header = record.map(|record| RequestHeader {
            cluster_id: record.cluster_id,
            sender_id: record.store_id,
            ..Default::default()
        });
        let pd = Pd::new(sky.clone(), machine);
        let mut sky = sky.lock();
        for request in ids {
            let task = give_ids(pd.clone(), header.clone(), request);
            sky.spawned.push((machine, Box::pin(task)));
        }
        for (region, regions) in reports {
            let task = report(pd.clone(), header.clone(), region, regions);
            sky.spawned.push((machine, Box::pin(task)));
        }
    }

    pub(super) fn look(&mut self, sky: &Shared, task: &SizeTask) {
        let region = RegionId(task.region.id);
        let version = task.region.region_epoch.map_or(0, |epoch| epoch.version);
        let range = KeyRange::of(&task.region);
        let found = check(&*self.kv.snapshot(), &range, &task.limits);
        // Damaged data cannot be measured.
        if let Ok(found) = found {
            self.input(sky, region, Input::Looked(region, version, found));
        }
    }

    pub(super) fn digest(&mut self, sky: &Shared, task: DigestTask) {
        let answer = task.point.digest(&task).map_err(|error| error.to_string());
        let region = RegionId(task.point.region.id);
        self.input(sky, region, Input::Digested(task, answer));
    }
}

async fn give_ids(pd: Pd, header: Option<RequestHeader>, request: IdRequest) {
    let ask = AskBatchSplitRequest {
        header,
        region: Some(request.region.clone()),
        split_count: request.keys.len() as u32,
        reason: 0,
    };
    let answer: Option<AskBatchSplitResponse> = pd.ask_any(ask).await;
    let ids = answer.map(|answer| answer.ids).unwrap_or_default();
    if let Some(task) = request.with_ids(ids) {
        pd.tell(StoreEvent::Split(Box::new(task)));
    }
}

async fn report(pd: Pd, header: Option<RequestHeader>, region: RegionId, regions: Vec<Region>) {
    let report = ReportBatchSplitRequest { header, regions };
    for _ in 0..REPORT_TRIES {
        let answer: Option<ReportBatchSplitResponse> = pd.ask_any(report.clone()).await;
        if answer.is_some() {
            break;
        }
        sleep(&pd.sky, pd.machine, RETRY).await;
    }
    pd.tell(StoreEvent::SplitReported(region.0));
}
