//! `BatchCommands`: many commands in frames over one stream.
//!
//! *Life of a frame*: each command gets a place in the answer channel, then goes its own way → answers come in
//! any order → whatever is there when the connection can take it becomes one frame.
//!
//! *Invariants*: each id is answered once, while the stream lasts; an unknown command is answered `Empty`. A command
//! that waits for room holds up no other of its frame, and the frames behind it no longer than one
//! [`admission::WAIT_MAX`], counted from when its frame was read.
//!
//! *Limits and failure*: a frame ends after [`FRAME_BYTES_MAX`], whatever waits. When [`IN_FLIGHT_MAX`] commands of
//! one stream are under way, or a quarter of what the store holds for answers waits for this stream's client, its
//! next frames wait in the connection. When the stream ends, answers are thrown away.
//!
//! *Next stop*: [`super::Door`].

use super::admission;
use super::answers::{Backlog, Held, Parcel};
use super::{Arrived, Door};
use crate::clock;
use futures::future::join_all;
use futures::stream::{self, BoxStream};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;
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
/// Bytes of answers after which a frame is sent: larger frames cost more for each byte, long before the 4 MiB that some
/// clients refuse.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// An answer, the id of its command, and the bytes it holds.
struct Answer {
    id: u64,
    cmd: ResponseCmd,
    held: Held,
}

/// Serves one stream; the parcel goes along with its response.
pub fn serve(
    door: Door,
    requests: Streaming<BatchCommandsRequest>,
) -> (
    BoxStream<'static, Result<BatchCommandsResponse, Status>>,
    Parcel,
) {
    let (answers, receiver) = mpsc::channel::<Answer>(IN_FLIGHT_MAX);
    let stop = door.stop.clone();
    let frames = Frames {
        door,
        answers,
        backlog: Arc::default(),
    };
    tokio::spawn(async move {
        tokio::select! {
            () = frames.take_all(requests) => {}
            () = stop.cancelled() => {}
        }
    });
    let outgoing = Outgoing {
        receiver,
        waiting: VecDeque::new(),
        parcel: Parcel::default(),
    };
    let parcel = outgoing.parcel.clone();
    let answers = stream::unfold(outgoing, |mut outgoing| async move {
        let frame = outgoing.next().await?;
        Some((Ok(frame), outgoing))
    });
    (Box::pin(answers), parcel)
}

/// The way of answers to the client.
struct Outgoing {
    receiver: mpsc::Receiver<Answer>,
    waiting: VecDeque<Answer>,
    parcel: Parcel,
}

impl Outgoing {
    async fn next(&mut self) -> Option<BatchCommandsResponse> {
        if self.waiting.is_empty() {
            let mut answers = Vec::with_capacity(FRAME_MAX);
            if self.receiver.recv_many(&mut answers, FRAME_MAX).await == 0 {
                return None;
            }
            self.waiting = answers.into();
        }
        let (frame, held) = frame(&mut self.waiting);
        self.parcel.add(held);
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
        bytes += answer.held.content();
        frame.request_ids.push(answer.id);
        frame.responses.push(Response {
            cmd: Some(answer.cmd),
        });
        held.push(answer.held);
    }
    (frame, held)
}

/// The way of requests into the store.
struct Frames {
    door: Door,
    answers: mpsc::Sender<Answer>,
    backlog: Arc<Backlog>,
}

/// Waits until the client has taken enough; false when it has gone.
async fn may_go_on(backlog: &Backlog, bytes_max: usize, answers: &mpsc::Sender<Answer>) -> bool {
    tokio::select! {
        () = backlog.below(bytes_max) => true,
        () = answers.closed() => false,
    }
}

impl Frames {
    async fn take_all(self, mut requests: Streaming<BatchCommandsRequest>) {
        let backlog_max = self.door.answers.bytes_max() / 4;
        while may_go_on(&self.backlog, backlog_max, &self.answers).await {
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
        let (now, deadline) = (clock::now(), Instant::now() + admission::WAIT_MAX);
        let mut waiting = Vec::new();
        for (id, request) in frame.request_ids.into_iter().zip(frame.requests) {
            let place = match self.answers.clone().try_reserve_owned() {
                Ok(place) => place,
                Err(_) => {
                    // Commands that wait for room have places too: without this nobody would free one.
                    self.take_until(std::mem::take(&mut waiting), deadline)
                        .await;
                    self.answers.clone().reserve_owned().await.ok()?
                }
            };
            match request.cmd.map_or(Err(0), decode) {
                Ok(request) => {
                    let backlog = self.backlog.clone();
                    let deliver = move |response, held: Held| {
                        let (cmd, held) = (encode(response), held.on(backlog));
                        place.send(Answer { id, cmd, held });
                    };
                    waiting.extend(self.door.take(Arrived::new(request, deliver, now)));
                }
                Err(test_id) => {
                    let cmd = ResponseCmd::Empty(BatchCommandsEmptyResponse { test_id });
                    let held = self.door.answers.empty().on(self.backlog.clone());
                    place.send(Answer { id, cmd, held });
                }
            }
        }
        self.take_until(waiting, deadline).await;
        Some(())
    }

    async fn take_until<Deliver>(&self, waiting: Vec<Arrived<Deliver>>, deadline: Instant)
    where
        Deliver: FnOnce(StoreResponse, Held) + Send + 'static,
    {
        let waiting = waiting.into_iter();
        join_all(waiting.map(|arrived| self.door.take_until(arrived, deadline))).await;
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
        | StoreResponse::CheckRegion(_)
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

    fn answer(answers: &Answers, backlog: &Arc<Backlog>, id: u64, bytes: usize) -> Answer {
        let response = StoreResponse::RawGet(RawGetResponse {
            value: vec![0; bytes].into(),
            ..Default::default()
        });
        let (response, held) = answers.charge(response, Some(Kind::RawGet));
        Answer {
            id,
            cmd: encode(response),
            held: held.on(backlog.clone()),
        }
    }

    #[tokio::test]
    async fn large_answers_become_several_frames() {
        let answers = Answers::new(64 << 20);
        let backlog = Arc::new(Backlog::default());
        let (sender, receiver) = mpsc::channel(8);
        for id in 0..5 {
            let answer = answer(&answers, &backlog, id, FRAME_BYTES_MAX / 2);
            assert!(sender.try_send(answer).is_ok());
        }
        drop(sender);
        let mut outgoing = Outgoing {
            receiver,
            waiting: VecDeque::new(),
            parcel: Parcel::default(),
        };
        let mut frames = Vec::new();
        while let Some(frame) = outgoing.next().await {
            frames.push(frame.request_ids);
        }
        assert_eq!(frames, [vec![0, 1], vec![2, 3], vec![4]]);
        assert!(answers.held() > 5 * FRAME_BYTES_MAX / 2, "nobody took it");
        drop(outgoing);
        assert_eq!(answers.held(), 0);
    }

    #[test]
    fn small_answers_share_frames() {
        let answers = Answers::new(64 << 20);
        let backlog = Arc::new(Backlog::default());
        let mut waiting: VecDeque<_> = (0..FRAME_MAX as u64)
            .map(|id| answer(&answers, &backlog, id, 10))
            .collect();
        let (frame, held) = frame(&mut waiting);
        assert_eq!((frame.responses.len(), held.len()), (FRAME_MAX, FRAME_MAX));
    }

    #[tokio::test]
    async fn a_client_that_goes_with_a_full_backlog_is_noticed_and_late_answers_are_dropped() {
        let answers = Answers::new(64 << 20);
        let backlog = Arc::new(Backlog::default());
        let (sender, receiver) = mpsc::channel(8);
        let late = sender.clone().reserve_owned().await.expect("a place");
        let unwritten = answer(&answers, &backlog, 1, 1000);
        {
            let mut waiting = std::pin::pin!(may_go_on(&backlog, 1000, &sender));
            assert!(futures::poll!(&mut waiting).is_pending());
            drop(receiver);
            assert!(!waiting.await);
        }
        late.send(answer(&answers, &backlog, 2, 1000));
        drop((sender, unwritten));
        assert_eq!(answers.held(), 0);
    }
}
