//! What an operator asks of a store: our own service.
//!
//! *Next stop*: [`super::Door`].

use super::Door;
use tonic::{Request, Response, Status};
use yadkv_proto::yadkvpb::operations_server::Operations as Calls;
use yadkv_proto::yadkvpb::{CheckRegionRequest, CheckRegionResponse};

/// The service.
#[derive(Clone)]
pub struct Operations(pub Door);

#[tonic::async_trait]
impl Calls for Operations {
    async fn check_region(
        &self,
        request: Request<CheckRegionRequest>,
    ) -> Result<Response<CheckRegionResponse>, Status> {
        self.0.call(request.into_inner().into()).await
    }
}
