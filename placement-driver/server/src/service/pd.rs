//! `pdpb.PD` and `keyspacepb.Keyspace`.
//!
//! *Place*: tonic calls it; [`Door`] answers unary calls, [`streams`] and [`heartbeats`] the conversations.
//!
//! *Source*: `proto/README.md`, Headers and Timestamps.
//!
//! *Next stop*: [`super::streams`].

use super::{Door, heartbeats, streams};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};
use yadkv_proto::api::{GetPrevRegion, GetPrevRegionResponse, GetRegionById};
use yadkv_proto::keyspacepb::keyspace_server::Keyspace;
use yadkv_proto::keyspacepb::{LoadKeyspaceRequest, LoadKeyspaceResponse};
use yadkv_proto::pdpb::pd_server::Pd;
use yadkv_proto::pdpb::*;

/// The services of a member. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// Where calls go.
    pub door: Door,
    /// Region heartbeat streams that are open.
    pub streams: heartbeats::Streams,
    /// Tasks of open streams.
    pub tasks: TaskTracker,
    /// Ends the streams when the node stops.
    pub stop: CancellationToken,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Pd for Service {
    async fn get_members(&self, request: Request<GetMembersRequest>) -> Answer<GetMembersResponse> {
        self.door.unary(request).await
    }

    async fn get_cluster_info(
        &self,
        request: Request<GetClusterInfoRequest>,
    ) -> Answer<GetClusterInfoResponse> {
        self.door.unary(request).await
    }

    async fn tso(&self, request: Request<Streaming<TsoRequest>>) -> Answer<BoxStream<TsoResponse>> {
        Ok(streams::converse(self, request.into_inner()))
    }

    async fn query_region(
        &self,
        request: Request<Streaming<QueryRegionRequest>>,
    ) -> Answer<BoxStream<QueryRegionResponse>> {
        Ok(streams::converse(self, request.into_inner()))
    }

    async fn region_heartbeat(
        &self,
        request: Request<Streaming<RegionHeartbeatRequest>>,
    ) -> Answer<BoxStream<RegionHeartbeatResponse>> {
        Ok(heartbeats::converse(self, request.into_inner()))
    }

    async fn bootstrap(&self, request: Request<BootstrapRequest>) -> Answer<BootstrapResponse> {
        self.door.unary(request).await
    }

    async fn is_bootstrapped(
        &self,
        request: Request<IsBootstrappedRequest>,
    ) -> Answer<IsBootstrappedResponse> {
        self.door.unary(request).await
    }

    async fn alloc_id(&self, request: Request<AllocIdRequest>) -> Answer<AllocIdResponse> {
        self.door.unary(request).await
    }

    async fn get_store(&self, request: Request<GetStoreRequest>) -> Answer<GetStoreResponse> {
        self.door.unary(request).await
    }

    async fn put_store(&self, request: Request<PutStoreRequest>) -> Answer<PutStoreResponse> {
        self.door.unary(request).await
    }

    async fn get_all_stores(
        &self,
        request: Request<GetAllStoresRequest>,
    ) -> Answer<GetAllStoresResponse> {
        self.door.unary(request).await
    }

    async fn store_heartbeat(
        &self,
        request: Request<StoreHeartbeatRequest>,
    ) -> Answer<StoreHeartbeatResponse> {
        self.door.unary(request).await
    }

    async fn ask_batch_split(
        &self,
        request: Request<AskBatchSplitRequest>,
    ) -> Answer<AskBatchSplitResponse> {
        self.door.unary(request).await
    }

    async fn report_batch_split(
        &self,
        request: Request<ReportBatchSplitRequest>,
    ) -> Answer<ReportBatchSplitResponse> {
        self.door.unary(request).await
    }

    async fn get_region(&self, request: Request<GetRegionRequest>) -> Answer<GetRegionResponse> {
        self.door.unary(request).await
    }

    async fn get_prev_region(
        &self,
        request: Request<GetRegionRequest>,
    ) -> Answer<GetRegionResponse> {
        let answer: Answer<GetPrevRegionResponse> =
            self.door.unary(request.map(GetPrevRegion)).await;
        answer.map(|response| response.map(|wrapped| wrapped.0))
    }

    async fn get_region_by_id(
        &self,
        request: Request<GetRegionByIdRequest>,
    ) -> Answer<GetRegionResponse> {
        let answer: Answer<GetRegionById> = self.door.unary(request).await;
        answer.map(|response| response.map(|wrapped| wrapped.0))
    }

    async fn scan_regions(
        &self,
        request: Request<ScanRegionsRequest>,
    ) -> Answer<ScanRegionsResponse> {
        self.door.unary(request).await
    }

    async fn batch_scan_regions(
        &self,
        request: Request<BatchScanRegionsRequest>,
    ) -> Answer<BatchScanRegionsResponse> {
        self.door.unary(request).await
    }

    async fn get_gc_safe_point(
        &self,
        request: Request<GetGcSafePointRequest>,
    ) -> Answer<GetGcSafePointResponse> {
        self.door.unary(request).await
    }

    async fn update_gc_safe_point(
        &self,
        request: Request<UpdateGcSafePointRequest>,
    ) -> Answer<UpdateGcSafePointResponse> {
        self.door.unary(request).await
    }

    async fn get_min_ts(&self, request: Request<GetMinTsRequest>) -> Answer<GetMinTsResponse> {
        self.door.unary(request).await
    }
}

#[tonic::async_trait]
impl Keyspace for Service {
    async fn load_keyspace(
        &self,
        request: Request<LoadKeyspaceRequest>,
    ) -> Answer<LoadKeyspaceResponse> {
        self.door.unary(request).await
    }
}
