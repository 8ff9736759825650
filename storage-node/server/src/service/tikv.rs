//! The unary calls of `tikvpb.Tikv`; those that are not listed answer UNIMPLEMENTED.
//!
//! *Place*: tonic → one function a call → [`Door::call`].
//!
//! *Next stop*: [`super::batch`] for the frames.

use super::{Door, batch};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};
use yadkv_proto::kvrpcpb as kv;
use yadkv_proto::tikvpb::tikv_server::Tikv;
use yadkv_proto::tikvpb::{BatchCommandsRequest, BatchCommandsResponse};

/// The service.
#[derive(Clone)]
pub struct Service(pub Door);

macro_rules! unary {
    ($($method:ident($request:ty) -> $response:ty),* $(,)?) => {
        #[tonic::async_trait]
        impl Tikv for Service {
            async fn batch_commands(
                &self,
                request: Request<Streaming<BatchCommandsRequest>>,
            ) -> Result<Response<BoxStream<'static, Result<BatchCommandsResponse, Status>>>, Status> {
                let (answers, parcel) = batch::serve(self.0.clone(), request.into_inner());
                let mut response = Response::new(answers);
                response.extensions_mut().insert(parcel);
                Ok(response)
            }

            // ANCHOR: unary
            $(async fn $method(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                self.0.call(request.into_inner().into()).await
            })*
            // ANCHOR_END: unary

            /// There is no coprocessor; callers get the error that the call has a field for.
            async fn raw_coprocessor(
                &self,
                _: Request<kv::RawCoprocessorRequest>,
            ) -> Result<Response<kv::RawCoprocessorResponse>, Status> {
                let error = "raw coprocessors are not supported".into();
                Ok(Response::new(kv::RawCoprocessorResponse { error, ..Default::default() }))
            }
        }
    };
}

unary! {
    raw_get(kv::RawGetRequest) -> kv::RawGetResponse,
    raw_batch_get(kv::RawBatchGetRequest) -> kv::RawBatchGetResponse,
    raw_put(kv::RawPutRequest) -> kv::RawPutResponse,
    raw_batch_put(kv::RawBatchPutRequest) -> kv::RawBatchPutResponse,
    raw_delete(kv::RawDeleteRequest) -> kv::RawDeleteResponse,
    raw_batch_delete(kv::RawBatchDeleteRequest) -> kv::RawBatchDeleteResponse,
    raw_delete_range(kv::RawDeleteRangeRequest) -> kv::RawDeleteRangeResponse,
    raw_scan(kv::RawScanRequest) -> kv::RawScanResponse,
    raw_batch_scan(kv::RawBatchScanRequest) -> kv::RawBatchScanResponse,
    raw_get_key_ttl(kv::RawGetKeyTtlRequest) -> kv::RawGetKeyTtlResponse,
    raw_compare_and_swap(kv::RawCasRequest) -> kv::RawCasResponse,
    raw_checksum(kv::RawChecksumRequest) -> kv::RawChecksumResponse,
    split_region(kv::SplitRegionRequest) -> kv::SplitRegionResponse,
    kv_scan_lock(kv::ScanLockRequest) -> kv::ScanLockResponse,
    unsafe_destroy_range(kv::UnsafeDestroyRangeRequest) -> kv::UnsafeDestroyRangeResponse,
    get_store_safe_ts(kv::StoreSafeTsRequest) -> kv::StoreSafeTsResponse,
    get_health_feedback(kv::GetHealthFeedbackRequest) -> kv::GetHealthFeedbackResponse,
}
