//! Which call travels how: in frames of the command stream, or by itself.
//!
//! *Next stop*: [`super::stream`].

use super::call_error;
use super::link::Link;
use crate::runtime::CallError;
use tonic::Code;
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::tikvpb::batch_commands_request::request::Cmd as Command;
use yadkv_proto::tikvpb::batch_commands_response::response::Cmd as Answer;
use yadkv_proto::tikvpb::tikv_client::TikvClient;
use yadkv_proto::yadkvpb::operations_client::OperationsClient;

macro_rules! framed {
    ($($request:ident => $command:ident),* $(,)?) => {
        /// The command for the stream, or the request back if it has to go by itself.
        pub(super) fn framed(request: StoreRequest) -> Result<Command, Box<StoreRequest>> {
            match request {
                $(StoreRequest::$request(request) => Ok(Command::$command(request)),)*
                other => Err(Box::new(other)),
            }
        }

        /// The response that an answer of the stream carries; `None` if it is of a kind never asked for.
        pub(super) fn unframed(answer: Answer) -> Option<StoreResponse> {
            match answer {
                $(Answer::$command(response) => Some(StoreResponse::$request(response)),)*
                _ => None,
            }
        }
    };
}

framed!(
    RawGet => RawGet,
    RawBatchGet => RawBatchGet,
    RawPut => RawPut,
    RawBatchPut => RawBatchPut,
    RawDelete => RawDelete,
    RawBatchDelete => RawBatchDelete,
    RawDeleteRange => RawDeleteRange,
    RawScan => RawScan,
    RawBatchScan => RawBatchScan,
    KvScanLock => ScanLock,
    GetHealthFeedback => GetHealthFeedback,
);

/// Sends a request by itself.
pub(super) async fn unary(link: &Link, request: StoreRequest) -> Result<StoreResponse, CallError> {
    let (channel, generation) = link.channel().await?;
    let mut operations = OperationsClient::new(channel.clone());
    let mut client = TikvClient::new(channel)
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    macro_rules! send {
        ($($name:ident by $method:ident),* $(,)?) => {
            match request {
                $(StoreRequest::$name(request) => {
                    client.$method(request).await.map(|response| StoreResponse::$name(response.into_inner()))
                })*
                StoreRequest::CheckRegion(request) => {
                    let answer = operations.check_region(request).await;
                    answer.map(|response| StoreResponse::CheckRegion(response.into_inner()))
                }
                other => return Err(CallError::NotServed(other.name().to_owned())),
            }
        };
    }
    let result = send!(
        RawGetKeyTtl by raw_get_key_ttl,
        RawCompareAndSwap by raw_compare_and_swap,
        RawChecksum by raw_checksum,
        SplitRegion by split_region,
        UnsafeDestroyRange by unsafe_destroy_range,
        GetStoreSafeTs by get_store_safe_ts,
    );
    result.map_err(|status| {
        if status.code() == Code::Unavailable {
            link.broken(generation);
        }
        call_error(link, &status)
    })
}
