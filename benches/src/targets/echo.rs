//! An echo service: what gRPC costs without a store behind it.
//!
//! *Life of a message* (streamed): a client's message → one queue → whatever waits becomes a frame → echoed →
//! each answer finds its client by id.
//!
//! *Invariants*: a request brings what the load's request would, one message whatever it is about, and an answer what the
//! load's answer would: a write's its own bytes, a read's as many as a value has.
//!
//! *Limits*: [`QUEUE`] messages may wait; beyond, clients wait.
//!
//! *Next stop*: [`super::null`].

use super::process::{Process, failed};
use super::{Answer, Found, Target};
use crate::Error;
use crate::workload::{Request, Workload};
use bytes::Bytes;
use echo::echo_client::EchoClient;
use echo::echo_server::{Echo, EchoServer};
use echo::{Frame, Message};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Router;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Response, Status, Streaming};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod echo {
    tonic::include_proto!("echo");
}

/// Its name in [`crate::serve`].
pub(crate) const NAME: &str = "echo";
/// Messages that may wait for the stream.
const QUEUE: usize = 4096;
/// Messages in one frame.
const FRAME_MAX: usize = 128;

/// Longest answer to a read.
const ANSWER_MAX: usize = 1 << 20;

struct Service {
    /// What reads are answered with.
    value: Bytes,
}

impl Service {
    fn answer(&self, mut message: Message) -> Message {
        if message.answer_bytes > 0 {
            let bytes = ANSWER_MAX.min(message.answer_bytes as usize);
            message.payload = self.value.slice(..bytes);
        }
        message
    }
}

/// The service.
pub(crate) fn services() -> Router {
    let value = vec![7; ANSWER_MAX].into();
    let service = EchoServer::new(Service { value }).max_decoding_message_size(usize::MAX);
    Server::builder().add_service(service)
}

#[tonic::async_trait]
impl Echo for Service {
    type FramesStream = BoxStream<'static, Result<Frame, Status>>;

    async fn unary(&self, request: tonic::Request<Message>) -> Result<Response<Message>, Status> {
        Ok(Response::new(self.answer(request.into_inner())))
    }

    async fn frames(
        &self,
        request: tonic::Request<Streaming<Frame>>,
    ) -> Result<Response<Self::FramesStream>, Status> {
        let service = Self {
            value: self.value.clone(),
        };
        let frames = request.into_inner().map(move |frame| {
            let messages = frame?.messages.into_iter();
            Ok(Frame {
                messages: messages.map(|message| service.answer(message)).collect(),
            })
        });
        Ok(Response::new(Box::pin(frames)))
    }
}

async fn connect() -> Result<(EchoClient<Channel>, Process), Error> {
    let (process, address) = Process::serve(NAME)?;
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| failed(NAME, error))?;
    let channel = endpoint.tcp_nodelay(true).connect().await;
    let channel = channel.map_err(|error| failed(NAME, error))?;
    let client = EchoClient::new(channel).max_decoding_message_size(usize::MAX);
    Ok((client, process))
}

/// What of a request travels in one message; batches and scans are not echoed.
fn message(id: u64, request: Request, value_bytes: u32) -> Message {
    let (payload, answer_bytes) = match request {
        Request::Put(_, value) | Request::Modify(_, value) => (value, 0),
        Request::Get(key) => (key, value_bytes),
        Request::Scan { .. } | Request::BatchPut(_) | Request::BatchGet(_) => (Bytes::new(), 0),
    };
    Message {
        id,
        payload,
        answer_bytes,
    }
}

/// What a message has brought back, if it was a read's.
fn found(message: &Message, reads: bool) -> Found {
    match reads {
        true => Found::values([&message.payload]),
        false => Found::NOTHING,
    }
}

fn length(value_bytes: usize) -> u32 {
    value_bytes.min(ANSWER_MAX) as u32
}

fn serves(workload: Workload) -> bool {
    matches!(workload, Workload::Put | Workload::Get)
}

/// One call a message.
pub struct Unary {
    client: EchoClient<Channel>,
    value_bytes: u32,
    server: Process,
}

impl Unary {
    /// Starts the service; reads are answered with `value_bytes`, at most 1 MiB.
    pub async fn start(value_bytes: usize) -> Result<Self, Error> {
        let (client, server) = connect().await?;
        Ok(Self {
            client,
            value_bytes: length(value_bytes),
            server,
        })
    }
}

impl Target for Unary {
    fn name(&self) -> &'static str {
        NAME
    }

    fn serves(&self, workload: Workload) -> bool {
        serves(workload)
    }

    fn call(&self, _: usize, request: Request) -> BoxFuture<'_, Answer> {
        let mut client = self.client.clone();
        let message = message(0, request, self.value_bytes);
        let reads = message.answer_bytes > 0;
        async move {
            let answer = client.unary(message).await;
            let answer = answer.map_err(|status| status.code().to_string())?;
            Ok(found(answer.get_ref(), reads))
        }
        .boxed()
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.server.id()]
    }
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Message>>>>;

/// Frames over one stream.
pub struct Streamed {
    queue: mpsc::Sender<Message>,
    waiting: Waiting,
    next_id: AtomicU64,
    value_bytes: u32,
    server: Process,
}

impl Streamed {
    /// Starts the service and the stream; reads are answered with `value_bytes`, at most 1 MiB.
    pub async fn start(value_bytes: usize) -> Result<Self, Error> {
        let (mut client, server) = connect().await?;
        let (queue, mut messages) = mpsc::channel::<Message>(QUEUE);
        let (frames, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(FRAME_MAX);
            while messages.recv_many(&mut batch, FRAME_MAX).await > 0 {
                let frame = Frame {
                    messages: std::mem::take(&mut batch),
                };
                if frames.send(frame).await.is_err() {
                    return;
                }
            }
        });
        let answers = client.frames(ReceiverStream::new(receiver)).await;
        let mut answers = answers.map_err(|status| failed(NAME, status))?.into_inner();
        let waiting = Waiting::default();
        let woken = waiting.clone();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = answers.next().await {
                let mut waiting = woken.lock();
                for message in frame.messages {
                    if let Some(client) = waiting.remove(&message.id) {
                        // The client may have given up.
                        let _ = client.send(message);
                    }
                }
            }
        });
        Ok(Self {
            queue,
            waiting,
            next_id: AtomicU64::new(0),
            value_bytes: length(value_bytes),
            server,
        })
    }

    async fn echo(&self, request: Request) -> Answer {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(id, sender);
        let gone = "the stream has ended";
        let message = message(id, request, self.value_bytes);
        let reads = message.answer_bytes > 0;
        let sent = self.queue.send(message).await;
        sent.map_err(|_| gone.to_owned())?;
        let answer = receiver.await.map_err(|_| gone.to_owned())?;
        Ok(found(&answer, reads))
    }
}

impl Target for Streamed {
    fn name(&self) -> &'static str {
        "echo-stream"
    }

    fn serves(&self, workload: Workload) -> bool {
        serves(workload)
    }

    fn call(&self, _: usize, request: Request) -> BoxFuture<'_, Answer> {
        self.echo(request).boxed()
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.server.id()]
    }
}
