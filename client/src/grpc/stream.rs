//! The command stream of one store, shared by all tasks.
//!
//! *Types to know*: [`Frames`] (the queue that calls join), [`Pending`] (who waits for which id).
//!
//! *Life of a frame*: the sender task waits for one command → takes all others that wait, up to
//! [`FRAME_COMMANDS_MAX`] and about [`FRAME_BYTES_MAX`], without waiting for more → gives them ids, notes them as
//! pending, sends. The receiver task hands answers to whoever waits for the id. When the stream ends, everything
//! pending has no answer, and the next command opens a new one.
//!
//! *Invariants*: an id is used once in a stream. A command is noted as pending before it is sent, so its answer
//! finds it; what is still queued when a stream cannot be opened was never sent.
//!
//! *Limits and failure*: [`QUEUE_MAX`] commands queue; more wait within their timeout. [`PENDING_MAX`] commands
//! may be unanswered; beyond that the stream counts as broken. A command whose caller gave up is skipped.
//!
//! *Source*: `proto/README.md`, Streams.
//!
//! *Next stop*: the store's `service::batch`.

use super::link::Link;
use super::{call_error, calls, timed_out};
use crate::runtime::CallError;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use yadkv_proto::api::StoreResponse;
use yadkv_proto::tikvpb::batch_commands_request::Request;
use yadkv_proto::tikvpb::batch_commands_request::request::Cmd as Command;
use yadkv_proto::tikvpb::tikv_client::TikvClient;
use yadkv_proto::tikvpb::{BatchCommandsRequest, BatchCommandsResponse};

/// Commands of one frame. Larger frames delay the first of them, smaller ones cost more per command.
const FRAME_COMMANDS_MAX: usize = 128;
/// Bytes of commands after which a frame is sent.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Commands that may wait to be framed.
const QUEUE_MAX: usize = 4096;
/// Frames that may wait for the connection; with a slow store commands shall queue, where they can be skipped.
const FRAMES_MAX: usize = 4;
/// Commands without an answer in one stream.
const PENDING_MAX: usize = 65_536;

type Reply = oneshot::Sender<Result<StoreResponse, CallError>>;

/// A command and who waits for its answer.
pub(super) struct Call {
    command: Command,
    reply: Reply,
}

/// The way into a store's command stream.
pub(super) struct Frames {
    queue: mpsc::Sender<Call>,
}

impl Frames {
    pub(super) fn new(handle: &tokio::runtime::Handle, link: Arc<Link>) -> Self {
        let (queue, calls) = mpsc::channel(QUEUE_MAX);
        // Ends when the queue's sender is dropped.
        handle.spawn(send_all(link, calls));
        Self { queue }
    }

    /// Queues a command at once; gives it back if too many wait already.
    pub(super) fn enqueue(&self, command: Command) -> Result<Answer, Box<Call>> {
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(Call { command, reply }) {
            Ok(()) => Ok(Answer(answer)),
            Err(TrySendError::Full(call) | TrySendError::Closed(call)) => Err(Box::new(call)),
        }
    }

    /// Queues a command when there is room, and waits for its answer.
    pub(super) async fn call_late(
        &self,
        call: Box<Call>,
        timeout: Duration,
    ) -> Result<StoreResponse, CallError> {
        let deadline = Instant::now() + timeout;
        let (reply, answer) = oneshot::channel();
        let command = call.command;
        let queued = timeout_at(deadline, self.queue.send(Call { command, reply })).await;
        let queued = queued.map_err(|_| CallError::NotSent("too many commands wait".into()))?;
        queued.map_err(|_| CallError::NotSent("the client is shutting down".into()))?;
        let left = deadline.saturating_duration_since(Instant::now());
        Answer(answer).within(left).await
    }
}

/// What a queued command waits for.
pub(super) struct Answer(oneshot::Receiver<Result<StoreResponse, CallError>>);

impl Answer {
    /// Waits for the answer.
    pub(super) async fn within(self, timeout: Duration) -> Result<StoreResponse, CallError> {
        match tokio::time::timeout(timeout, self.0).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CallError::Lost("the stream ended".into())),
            Err(_) => Err(timed_out(timeout)),
        }
    }
}

/// Who waits for which id; `None` when the stream has ended.
type Pending = Arc<Mutex<Option<HashMap<u64, Reply>>>>;

/// An open stream.
struct Stream {
    frames: mpsc::Sender<BatchCommandsRequest>,
    pending: Pending,
    next_id: u64,
}

async fn send_all(link: Arc<Link>, mut calls: mpsc::Receiver<Call>) {
    let mut stream: Option<Stream> = None;
    let mut batch = Vec::with_capacity(FRAME_COMMANDS_MAX);
    while calls.recv_many(&mut batch, FRAME_COMMANDS_MAX).await > 0 {
        // Whoever is ready to run gets the chance to join; when nobody is, this costs nothing.
        tokio::task::yield_now().await;
        while batch.len() < FRAME_COMMANDS_MAX
            && let Ok(call) = calls.try_recv()
        {
            batch.push(call);
        }
        batch.retain(|call| !call.reply.is_closed());
        if stream.as_ref().is_none_or(Stream::ended) {
            match link.channel().await {
                Ok((channel, generation)) => {
                    stream = Some(Stream::open(channel, link.clone(), generation));
                }
                Err(error) => {
                    fail(batch.drain(..).map(|call| call.reply), &error);
                    continue;
                }
            }
        }
        let Some(open) = &mut stream else {
            continue;
        };
        while !batch.is_empty() {
            if let Err(error) = open.send(&mut batch).await {
                // Those noted as pending were failed with the stream; these never got that far.
                fail(batch.drain(..).map(|call| call.reply), &error);
                stream = None;
                break;
            }
        }
    }
}

fn fail(replies: impl Iterator<Item = Reply>, error: &CallError) {
    for reply in replies {
        // A caller that gave up needs no answer.
        let _ = reply.send(Err(error.clone()));
    }
}

impl Stream {
    fn open(channel: Channel, link: Arc<Link>, generation: u64) -> Self {
        let (frames, outgoing) = mpsc::channel(FRAMES_MAX);
        let pending: Pending = Arc::new(Mutex::new(Some(HashMap::new())));
        let receiver = Receiver {
            link,
            generation,
            pending: pending.clone(),
        };
        tokio::spawn(receiver.run(channel, ReceiverStream::new(outgoing)));
        Self {
            frames,
            pending,
            next_id: 0,
        }
    }

    fn ended(&self) -> bool {
        self.frames.is_closed() || self.pending.lock().is_none()
    }

    /// Sends one frame of the first commands in `batch`. On an error what is left there was not sent.
    async fn send(&mut self, batch: &mut Vec<Call>) -> Result<(), CallError> {
        if batch.is_empty() {
            return Ok(());
        }
        // The place in the frame queue first: while this waits, nothing is noted as sent.
        let Ok(permit) = self.frames.reserve().await else {
            return Err(CallError::NotSent("the stream has ended".into()));
        };
        let mut frame = BatchCommandsRequest::default();
        {
            let mut pending = self.pending.lock();
            let Some(waiting) = pending.as_mut() else {
                return Err(CallError::NotSent("the stream has ended".into()));
            };
            if waiting.len() >= PENDING_MAX {
                waiting.retain(|_, reply| !reply.is_closed());
            }
            if waiting.len() >= PENDING_MAX {
                return Err(CallError::NotSent("the store answers too slowly".into()));
            }
            let count = fitting(batch.iter().map(|call| call.command.encoded_len()));
            for call in batch.drain(..count) {
                self.next_id += 1;
                waiting.insert(self.next_id, call.reply);
                frame.request_ids.push(self.next_id);
                frame.requests.push(Request {
                    cmd: Some(call.command),
                });
            }
        }
        permit.send(frame);
        Ok(())
    }
}

/// How many commands of these sizes go into one frame: at least one.
fn fitting(sizes: impl Iterator<Item = usize>) -> usize {
    let before = sizes.scan(0usize, |total, bytes| {
        let before = *total;
        *total = total.saturating_add(bytes);
        Some(before)
    });
    before.take_while(|bytes| *bytes < FRAME_BYTES_MAX).count()
}

/// The task that hands out the answers of one stream.
struct Receiver {
    link: Arc<Link>,
    generation: u64,
    pending: Pending,
}

impl Receiver {
    async fn run(self, channel: Channel, outgoing: ReceiverStream<BatchCommandsRequest>) {
        let error = match self.receive(channel, outgoing).await {
            Ok(()) => CallError::Lost("the store ended the stream".into()),
            // Even if it says "refused": some of what is pending may have been executed.
            Err(status) => match call_error(&self.link, &status) {
                CallError::NotServed(text) => CallError::NotServed(text),
                error => CallError::Lost(error.to_string()),
            },
        };
        self.link.broken(self.generation);
        let pending = self.pending.lock().take().unwrap_or_default();
        fail(pending.into_values(), &error);
    }

    async fn receive(
        &self,
        channel: Channel,
        outgoing: ReceiverStream<BatchCommandsRequest>,
    ) -> Result<(), tonic::Status> {
        let mut client = TikvClient::new(channel)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        // Some servers send their headers with the first answer only: this runs beside the sender for that.
        let mut frames = client.batch_commands(outgoing).await?.into_inner();
        while let Some(frame) = frames.message().await? {
            self.hand_out(frame);
        }
        Ok(())
    }

    fn hand_out(&self, frame: BatchCommandsResponse) {
        let mut pending = self.pending.lock();
        let Some(waiting) = pending.as_mut() else {
            return;
        };
        for (id, response) in frame.request_ids.iter().zip(frame.responses) {
            let Some(reply) = waiting.remove(id) else {
                continue;
            };
            let answer = response.cmd.and_then(calls::unframed);
            let _ = reply.send(answer.ok_or_else(|| {
                CallError::NotServed("the store answered the command with nothing known".into())
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_ends_with_the_command_that_fills_it() {
        let half = FRAME_BYTES_MAX / 2;
        assert_eq!(fitting([1; 100].into_iter()), 100);
        assert_eq!(fitting([half, half, half].into_iter()), 2);
        assert_eq!(fitting([half, half - 1, half, half].into_iter()), 3);
        assert_eq!(fitting([usize::MAX, usize::MAX].into_iter()), 1);
    }
}
