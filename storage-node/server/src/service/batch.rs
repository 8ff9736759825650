//! `BatchCommands`: many commands in frames over one stream.
//!
//! *Life of a frame*: each command gets a place in the answer channel, then goes its own way → answers come in
//! any order → whatever is there when the connection can take it becomes one frame.
//!
//! *Invariants*: each id is answered once; a slow command delays no other; an unknown one is answered `Empty`.
//!
//! *Limits and failure*: a frame ends after [`FRAME_BYTES_MAX`], whatever waits. [`IN_FLIGHT_MAX`] commands of one stream may be under way, then its frames wait in
//! the connection. When the stream ends, answers are thrown away.
//!
//! *Next stop*: [`super::Door`].

use super::Door;
use futures::stream::{self, BoxStream};
use prost::Message;
use std::collections::VecDeque;
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
/// Bytes of answers after which a frame is sent: some clients refuse messages above 4 MiB.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// An answer and the id of its command.
type Answer = (u64, Option<ResponseCmd>);

/// Serves one stream.
pub fn serve(
    door: Door,
    requests: Streaming<BatchCommandsRequest>,
) -> BoxStream<'static, Result<BatchCommandsResponse, Status>> {
    let (answers, receiver) = mpsc::channel::<Answer>(IN_FLIGHT_MAX);
    tokio::spawn(take_frames(door, requests, answers));
    Box::pin(stream::unfold(
        (receiver, VecDeque::new()),
        |(mut receiver, mut waiting)| async move {
            if waiting.is_empty() {
                let mut answers = Vec::with_capacity(FRAME_MAX);
                if receiver.recv_many(&mut answers, FRAME_MAX).await == 0 {
                    return None;
                }
                waiting = answers.into();
            }
            Some((Ok(frame(&mut waiting)), (receiver, waiting)))
        },
    ))
}

/// One frame of the first answers that wait.
fn frame(waiting: &mut VecDeque<Answer>) -> BatchCommandsResponse {
    let mut frame = BatchCommandsResponse::default();
    let mut bytes = 0;
    while bytes < FRAME_BYTES_MAX
        && let Some((id, cmd)) = waiting.pop_front()
    {
        let response = Response { cmd };
        bytes += response.encoded_len();
        frame.request_ids.push(id);
        frame.responses.push(response);
    }
    frame
}

async fn take_frames(
    door: Door,
    mut requests: Streaming<BatchCommandsRequest>,
    answers: mpsc::Sender<Answer>,
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
                Some(Ok(request)) => {
                    let reply = move |response| drop(place.send((id, Some(encode(response)))));
                    door.take(request, Box::new(reply)).await;
                }
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
