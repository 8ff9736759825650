//! Every unary call of the two services as one value, so that a request can be routed, retried, framed or
//! simulated without knowing which it is.
//!
//! *Place*: the gRPC services turn a method call or a batch-stream command into a [`StoreRequest`] or
//! [`PdRequest`]; the cores answer with the response of the same name; the SDK sends the same values, over
//! gRPC or over the simulated network.
//!
//! *Invariants*: the response to a request has the variant of the same name.
//!
//! *Next stop*: `storage-node/core`, where a [`StoreRequest`] is answered.

use crate::{keyspacepb, kvrpcpb, pdpb, yadkvpb};
use prost::Message;

macro_rules! calls {
    ($(#[$doc:meta])* $request:ident / $response:ident { $($name:ident ( $in:ty ) -> $out:ty),* $(,)? }) => {
        $(#[$doc])*
        // Unboxed on purpose: a request moves a few times, an allocation each would cost more.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, clippy::large_enum_variant)]
        pub enum $request { $($name($in)),* }

        #[doc = concat!("The answer to the [`", stringify!($request), "`] of the same name.")]
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, clippy::large_enum_variant)]
        pub enum $response { $($name($out)),* }

        impl $request {
            /// The names of all calls.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// The call's name, as metrics and logs show it.
            pub fn name(&self) -> &'static str {
                Self::NAMES[self.number()]
            }

            /// The place of its name in [`Self::NAMES`]: quicker to look up by.
            pub fn number(&self) -> usize {
                enum Number { $($name),* }
                match self { $(Self::$name(_) => Number::$name as usize),* }
            }
        }

        impl $response {
            /// The call's name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),* }
            }
        }

        $(
            impl From<$in> for $request {
                fn from(request: $in) -> Self { Self::$name(request) }
            }

            impl TryFrom<$response> for $out {
                type Error = $response;
                fn try_from(response: $response) -> Result<Self, $response> {
                    match response {
                        $response::$name(response) => Ok(response),
                        #[allow(unreachable_patterns)]
                        other => Err(other),
                    }
                }
            }
        )*
    };
}

calls! {
    // ANCHOR: store-calls
    /// A call that a store answers.
    StoreRequest / StoreResponse {
        RawGet(kvrpcpb::RawGetRequest) -> kvrpcpb::RawGetResponse,
        RawBatchGet(kvrpcpb::RawBatchGetRequest) -> kvrpcpb::RawBatchGetResponse,
        RawPut(kvrpcpb::RawPutRequest) -> kvrpcpb::RawPutResponse,
        RawBatchPut(kvrpcpb::RawBatchPutRequest) -> kvrpcpb::RawBatchPutResponse,
        RawDelete(kvrpcpb::RawDeleteRequest) -> kvrpcpb::RawDeleteResponse,
        RawBatchDelete(kvrpcpb::RawBatchDeleteRequest) -> kvrpcpb::RawBatchDeleteResponse,
        RawDeleteRange(kvrpcpb::RawDeleteRangeRequest) -> kvrpcpb::RawDeleteRangeResponse,
        RawScan(kvrpcpb::RawScanRequest) -> kvrpcpb::RawScanResponse,
        RawBatchScan(kvrpcpb::RawBatchScanRequest) -> kvrpcpb::RawBatchScanResponse,
        RawGetKeyTtl(kvrpcpb::RawGetKeyTtlRequest) -> kvrpcpb::RawGetKeyTtlResponse,
        RawCompareAndSwap(kvrpcpb::RawCasRequest) -> kvrpcpb::RawCasResponse,
        RawChecksum(kvrpcpb::RawChecksumRequest) -> kvrpcpb::RawChecksumResponse,
        KvScanLock(kvrpcpb::ScanLockRequest) -> kvrpcpb::ScanLockResponse,
        SplitRegion(kvrpcpb::SplitRegionRequest) -> kvrpcpb::SplitRegionResponse,
        CheckRegion(yadkvpb::CheckRegionRequest) -> yadkvpb::CheckRegionResponse,
        UnsafeDestroyRange(kvrpcpb::UnsafeDestroyRangeRequest) -> kvrpcpb::UnsafeDestroyRangeResponse,
        GetStoreSafeTs(kvrpcpb::StoreSafeTsRequest) -> kvrpcpb::StoreSafeTsResponse,
        GetHealthFeedback(kvrpcpb::GetHealthFeedbackRequest) -> kvrpcpb::GetHealthFeedbackResponse,
    }
    // ANCHOR_END: store-calls
}

calls! {
    /// A call that a placement driver answers; stream conversations appear as one value a message.
    PdRequest / PdResponse {
        GetMembers(pdpb::GetMembersRequest) -> pdpb::GetMembersResponse,
        GetClusterInfo(pdpb::GetClusterInfoRequest) -> pdpb::GetClusterInfoResponse,
        Tso(pdpb::TsoRequest) -> pdpb::TsoResponse,
        Bootstrap(pdpb::BootstrapRequest) -> pdpb::BootstrapResponse,
        IsBootstrapped(pdpb::IsBootstrappedRequest) -> pdpb::IsBootstrappedResponse,
        AllocId(pdpb::AllocIdRequest) -> pdpb::AllocIdResponse,
        GetStore(pdpb::GetStoreRequest) -> pdpb::GetStoreResponse,
        PutStore(pdpb::PutStoreRequest) -> pdpb::PutStoreResponse,
        GetAllStores(pdpb::GetAllStoresRequest) -> pdpb::GetAllStoresResponse,
        StoreHeartbeat(pdpb::StoreHeartbeatRequest) -> pdpb::StoreHeartbeatResponse,
        RegionHeartbeat(pdpb::RegionHeartbeatRequest) -> pdpb::RegionHeartbeatResponse,
        AskBatchSplit(pdpb::AskBatchSplitRequest) -> pdpb::AskBatchSplitResponse,
        ReportBatchSplit(pdpb::ReportBatchSplitRequest) -> pdpb::ReportBatchSplitResponse,
        GetRegion(pdpb::GetRegionRequest) -> pdpb::GetRegionResponse,
        GetRegionById(pdpb::GetRegionByIdRequest) -> GetRegionById,
        GetPrevRegion(GetPrevRegion) -> GetPrevRegionResponse,
        ScanRegions(pdpb::ScanRegionsRequest) -> pdpb::ScanRegionsResponse,
        BatchScanRegions(pdpb::BatchScanRegionsRequest) -> pdpb::BatchScanRegionsResponse,
        QueryRegion(pdpb::QueryRegionRequest) -> pdpb::QueryRegionResponse,
        LoadKeyspace(keyspacepb::LoadKeyspaceRequest) -> keyspacepb::LoadKeyspaceResponse,
        GetGcSafePoint(pdpb::GetGcSafePointRequest) -> pdpb::GetGcSafePointResponse,
        UpdateGcSafePoint(pdpb::UpdateGcSafePointRequest) -> pdpb::UpdateGcSafePointResponse,
        GetMinTs(pdpb::GetMinTsRequest) -> pdpb::GetMinTsResponse,
    }
}

macro_rules! sizes {
    ($($name:ident),* $(,)?) => {
        impl StoreRequest {
            /// Bytes of the request on the wire.
            pub fn encoded_len(&self) -> usize {
                match self { $(Self::$name(request) => request.encoded_len(),)* }
            }
        }

        impl StoreResponse {
            /// Bytes of the response on the wire.
            pub fn encoded_len(&self) -> usize {
                match self { $(Self::$name(response) => response.encoded_len(),)* }
            }
        }
    };
}

sizes! {
    RawGet, RawBatchGet, RawPut, RawBatchPut, RawDelete, RawBatchDelete, RawDeleteRange, RawScan, RawBatchScan,
    RawGetKeyTtl, RawCompareAndSwap, RawChecksum, KvScanLock, SplitRegion, CheckRegion, UnsafeDestroyRange, GetStoreSafeTs,
    GetHealthFeedback,
}

/// GetPrevRegion takes the message of GetRegion; the wrapper keeps the two calls apart.
#[derive(Clone, Debug, PartialEq)]
pub struct GetPrevRegion(pub pdpb::GetRegionRequest);

/// GetPrevRegion answers with the message of GetRegion.
#[derive(Clone, Debug, PartialEq)]
pub struct GetPrevRegionResponse(pub pdpb::GetRegionResponse);

/// GetRegionByID answers with the message of GetRegion.
#[derive(Clone, Debug, PartialEq)]
pub struct GetRegionById(pub pdpb::GetRegionResponse);
