//! `BatchCommands`: many commands in frames over one stream.
//!
//! *Life of a frame*: each command gets a place in the answer channel, then goes its own way → answers come in
//! any order → whatever is there when the connection can take it becomes one frame.
//!
//! *Invariants*: each id is answered once; a slow command delays no other; an unknown one is answered `Empty`.
//!
//! *Limits and failure*: [`IN_FLIGHT_MAX`] commands of one stream may be under way, then its frames wait in
//! the connection. When the stream ends, answers are thrown away.
//!
//! *Next stop*: [`super::Door`].

use super::Door;
use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::tikvpb::batch_commands_request::request::Cmd as RequestCmd;
use yadkv_proto::tikvpb::batch_commands_response::Response;
use yadkv_proto::tikvpb::batch_commands_response::response::Cmd as ResponseCmd;
use yadkv_proto::tikvpb::{
    BatchCommandsEmptyResponse, BatchCommandsRequest, BatchCommandsResponse,
};

/// Commands of one stream that may be under way.
const IN_FLIGHT_MAX: usize = 16_384;
/// Answers in one frame.
const FRAME_MAX: usize = 256;

/// Serves one stream.
pub fn serve(
    door: Door,
    requests: Streaming<BatchCommandsRequest>,
) -> BoxStream<'static, Result<BatchCommandsResponse, Status>> {
    let (answers, receiver) = mpsc::channel::<(u64, Option<ResponseCmd>)>(IN_FLIGHT_MAX);
    tokio::spawn(take_frames(door, requests, answers));
    Box::pin(stream::unfold(receiver, |mut receiver| async move {
        let mut answers = Vec::with_capacity(FRAME_MAX);
        if receiver.recv_many(&mut answers, FRAME_MAX).await == 0 {
            return None;
        }
        let mut frame = BatchCommandsResponse::default();
        for (id, cmd) in answers {
            frame.request_ids.push(id);
            frame.responses.push(Response { cmd });
        }
        Some((Ok(frame), receiver))
    }))
}

async fn take_frames(
    door: Door,
    mut requests: Streaming<BatchCommandsRequest>,
    answers: mpsc::Sender<(u64, Option<ResponseCmd>)>,
) {
    loop {
        let received = tokio::select! {
            received = requests.message() => received,
            () = door.stop.cancelled() => return,
        };
        // An error is the client's end of the stream: it knows.
        let Ok(Some(frame)) = received else { return };
        for (id, request) in frame.request_ids.into_iter().zip(frame.requests) {
            let Ok(place) = answers.clone().reserve_owned().await else {
                return;
            };
            match request.cmd.map(decode) {
                Some(Ok(request)) => door.take(
                    request,
                    Box::new(move |response| {
                        place.send((id, Some(encode(response))));
                    }),
                ),
                Some(Err(test_id)) => {
                    place.send((
                        id,
                        Some(ResponseCmd::Empty(BatchCommandsEmptyResponse { test_id })),
                    ));
                }
                None => {
                    place.send((
                        id,
                        Some(ResponseCmd::Empty(BatchCommandsEmptyResponse::default())),
                    ));
                }
            }
        }
    }
}

/// The request of a command; `Err` for those that are answered `Empty`.
fn decode(cmd: RequestCmd) -> Result<StoreRequest, u64> {
    Ok(match cmd {
        RequestCmd::RawGet(request) => request.into(),
        RequestCmd::RawBatchGet(request) => request.into(),
        RequestCmd::RawPut(request) => request.into(),
        RequestCmd::RawBatchPut(request) => request.into(),
        RequestCmd::RawDelete(request) => request.into(),
        RequestCmd::RawBatchDelete(request) => request.into(),
        RequestCmd::RawDeleteRange(request) => request.into(),
        RequestCmd::RawScan(request) => request.into(),
        RequestCmd::RawBatchScan(request) => request.into(),
        RequestCmd::ScanLock(request) => request.into(),
        RequestCmd::GetHealthFeedback(request) => request.into(),
        RequestCmd::Empty(request) => return Err(request.test_id),
        _ => return Err(0),
    })
}

fn encode(response: StoreResponse) -> ResponseCmd {
    match response {
        StoreResponse::RawGet(response) => ResponseCmd::RawGet(response),
        StoreResponse::RawBatchGet(response) => ResponseCmd::RawBatchGet(response),
        StoreResponse::RawPut(response) => ResponseCmd::RawPut(response),
        StoreResponse::RawBatchPut(response) => ResponseCmd::RawBatchPut(response),
        StoreResponse::RawDelete(response) => ResponseCmd::RawDelete(response),
        StoreResponse::RawBatchDelete(response) => ResponseCmd::RawBatchDelete(response),
        StoreResponse::RawDeleteRange(response) => ResponseCmd::RawDeleteRange(response),
        StoreResponse::RawScan(response) => ResponseCmd::RawScan(response),
        StoreResponse::RawBatchScan(response) => ResponseCmd::RawBatchScan(response),
        StoreResponse::KvScanLock(response) => ResponseCmd::ScanLock(response),
        StoreResponse::GetHealthFeedback(response) => ResponseCmd::GetHealthFeedback(response),
        // These have no command; decode never lets their requests in.
        StoreResponse::RawGetKeyTtl(_)
        | StoreResponse::RawCompareAndSwap(_)
        | StoreResponse::RawChecksum(_)
        | StoreResponse::UnsafeDestroyRange(_)
        | StoreResponse::GetStoreSafeTs(_) => {
            ResponseCmd::Empty(BatchCommandsEmptyResponse::default())
        }
    }
}
