//! `BatchCommands`: many commands in frames over one stream.
//!
//! *Life of a frame*: each command gets a place in the answer channel, then goes its own way → answers come in
//! any order → whatever is there when the connection can take it becomes one frame.
//!
//! *Invariants*: each id is answered once; an unknown command is answered `Empty`. A command that waits for room
//! holds up no other of its frame, and the frames behind it no longer than one [`admission::WAIT_MAX`].
//!
//! *Limits and failure*: a frame ends after [`FRAME_BYTES_MAX`], whatever waits. When [`IN_FLIGHT_MAX`] commands of
//! one stream are under way, or a quarter of what the store holds for answers waits for this stream's client, its
//! next frames wait in the connection. When the stream ends, answers are thrown away.
//!
//! *Next stop*: [`super::Door`].

use super::admission;
use super::answers::Held;
use super::{Arrived, Door};
use futures::stream::{self, BoxStream};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
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

/// An answer, the id of its command, and the bytes it holds.
struct Answer {
    id: u64,
    cmd: ResponseCmd,
    held: Option<Held>,
}

impl Answer {
    fn bytes(&self) -> usize {
        self.held.as_ref().map_or(0, Held::bytes)
    }
}

/// The bytes of one stream's answers that its client has not taken.
#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicUsize,
    taken: Notify,
}

impl Backlog {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.taken.notify_one();
    }

    /// Waits until less than `bytes_max` is left; for one task.
    async fn below(&self, bytes_max: usize) {
        while self.bytes.load(Ordering::Relaxed) >= bytes_max {
            self.taken.notified().await;
        }
    }
}

/// Serves one stream.
pub fn serve(
    door: Door,
    requests: Streaming<BatchCommandsRequest>,
) -> BoxStream<'static, Result<BatchCommandsResponse, Status>> {
    let (answers, receiver) = mpsc::channel::<Answer>(IN_FLIGHT_MAX);
    let backlog = Arc::new(Backlog::default());
    let stop = door.stop.clone();
    let frames = Frames {
        door,
        answers,
        backlog: backlog.clone(),
    };
    tokio::spawn(async move {
        tokio::select! {
            () = frames.take_all(requests) => {}
            () = stop.cancelled() => {}
        }
    });
    let outgoing = Outgoing {
        receiver,
        backlog,
        waiting: VecDeque::new(),
        sent: Vec::new(),
    };
    Box::pin(stream::unfold(outgoing, |mut outgoing| async move {
        let frame = outgoing.next().await?;
        Some((Ok(frame), outgoing))
    }))
}

/// The way of answers to the client.
struct Outgoing {
    receiver: mpsc::Receiver<Answer>,
    backlog: Arc<Backlog>,
    waiting: VecDeque<Answer>,
    /// What the last frame holds: the connection has taken it when it asks for the next.
    sent: Vec<Held>,
}

impl Outgoing {
    async fn next(&mut self) -> Option<BatchCommandsResponse> {
        self.sent.clear();
        if self.waiting.is_empty() {
            let mut answers = Vec::with_capacity(FRAME_MAX);
            if self.receiver.recv_many(&mut answers, FRAME_MAX).await == 0 {
                return None;
            }
            self.waiting = answers.into();
        }
        let (frame, held) = frame(&mut self.waiting);
        self.sent = held;
        self.backlog.take(self.sent.iter().map(Held::bytes).sum());
        Some(frame)
    }
}

/// One frame of the first answers that wait, and what they hold.
fn frame(waiting: &mut VecDeque<Answer>) -> (BatchCommandsResponse, Vec<Held>) {
    let mut frame = BatchCommandsResponse::default();
    let mut held = Vec::with_capacity(waiting.len());
    let mut bytes = 0;
    while bytes < FRAME_BYTES_MAX
        && let Some(answer) = waiting.pop_front()
    {
        bytes += answer.bytes();
        frame.request_ids.push(answer.id);
        frame.responses.push(Response {
            cmd: Some(answer.cmd),
        });
        held.extend(answer.held);
    }
    (frame, held)
}

/// The way of requests into the store.
struct Frames {
    door: Door,
    answers: mpsc::Sender<Answer>,
    backlog: Arc<Backlog>,
}

impl Frames {
    async fn take_all(self, mut requests: Streaming<BatchCommandsRequest>) {
        let backlog_max = self.door.answers.bytes_max() / 4;
        loop {
            self.backlog.below(backlog_max).await;
            // An error is the client's end of the stream: it knows.
            let Ok(Some(frame)) = requests.message().await else {
                return;
            };
            if self.take(frame).await.is_none() {
                return;
            }
        }
    }

    /// `None` when nobody waits for answers any more.
    async fn take(&self, frame: BatchCommandsRequest) -> Option<()> {
        let mut waiting = Vec::new();
        for (id, request) in frame.request_ids.into_iter().zip(frame.requests) {
            let place = self.answers.clone().reserve_owned().await.ok()?;
            match request.cmd.map_or(Err(0), decode) {
                Ok(request) => {
                    let backlog = self.backlog.clone();
                    let deliver = move |response, held: Held| {
                        backlog.add(held.bytes());
                        let (cmd, held) = (encode(response), Some(held));
                        place.send(Answer { id, cmd, held });
                    };
                    waiting.extend(self.door.take(Arrived::new(request, deliver)));
                }
                Err(test_id) => {
                    let cmd = ResponseCmd::Empty(BatchCommandsEmptyResponse { test_id });
                    let held = None;
                    place.send(Answer { id, cmd, held });
                }
            }
        }
        let deadline = Instant::now() + admission::WAIT_MAX;
        for arrived in waiting {
            self.door.take_until(arrived, deadline).await;
        }
        Some(())
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
        | StoreResponse::SplitRegion(_)
        | StoreResponse::UnsafeDestroyRange(_)
        | StoreResponse::GetStoreSafeTs(_) => {
            ResponseCmd::Empty(BatchCommandsEmptyResponse::default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::answers::Answers;
    use yadkv_proto::kvrpcpb::RawGetResponse;
    use yadkv_storage_core::respond::Kind;

    fn answer(answers: &Answers, id: u64, bytes: usize) -> Answer {
        let response = StoreResponse::RawGet(RawGetResponse {
            value: vec![0; bytes].into(),
            ..Default::default()
        });
        let (response, held) = answers.charge(response, Some(Kind::RawGet));
        Answer {
            id,
            cmd: encode(response),
            held: Some(held),
        }
    }

    #[tokio::test]
    async fn large_answers_become_several_frames_and_are_held_until_the_next_is_asked_for() {
        let answers = Answers::new(64 << 20);
        let backlog = Arc::new(Backlog::default());
        let (sender, receiver) = mpsc::channel(8);
        for id in 0..5 {
            let answer = answer(&answers, id, FRAME_BYTES_MAX / 2);
            backlog.add(answer.bytes());
            assert!(sender.try_send(answer).is_ok());
        }
        drop(sender);
        let mut outgoing = Outgoing {
            receiver,
            backlog: backlog.clone(),
            waiting: VecDeque::new(),
            sent: Vec::new(),
        };
        let mut below = std::pin::pin!(backlog.below(FRAME_BYTES_MAX));
        assert!(futures::poll!(&mut below).is_pending());
        let mut frames = Vec::new();
        while let Some(frame) = outgoing.next().await {
            assert!(answers.held() > 0, "the connection does not have it yet");
            frames.push(frame.request_ids);
        }
        assert_eq!(frames, [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(answers.held(), 0);
        below.await;
    }
}
