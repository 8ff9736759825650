//! An echo service in this process: what gRPC costs without a store behind it.
//!
//! *Life of a message* (streamed): a client's message → one queue → whatever waits becomes a frame → echoed →
//! each answer finds its client by id.
//!
//! *Limits*: [`QUEUE`] messages may wait; beyond, clients wait.
//!
//! *Next stop*: [`super::etcd`].

use super::Target;
use crate::Error;
use bytes::Bytes;
use echo::echo_client::EchoClient;
use echo::echo_server::{Echo, EchoServer};
use echo::{Frame, Message};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod echo {
    tonic::include_proto!("echo");
}

/// Messages that may wait for the stream.
const QUEUE: usize = 4096;
/// Messages in one frame.
const FRAME_MAX: usize = 128;

fn failed(reason: impl std::fmt::Display) -> Error {
    Error::Target {
        target: "echo".into(),
        reason: reason.to_string(),
    }
}

struct Service;

#[tonic::async_trait]
impl Echo for Service {
    type FramesStream = BoxStream<'static, Result<Frame, Status>>;

    async fn unary(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn frames(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::FramesStream>, Status> {
        Ok(Response::new(Box::pin(request.into_inner())))
    }
}

async fn connect() -> Result<EchoClient<Channel>, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder().add_service(EchoServer::new(Service));
    // Ends with the process: the benchmark measures one target after the other.
    tokio::spawn(server.serve_with_incoming(incoming));
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(failed)?
        .tcp_nodelay(true);
    Ok(EchoClient::new(endpoint.connect().await.map_err(failed)?))
}

/// One call a message.
pub struct Unary {
    client: EchoClient<Channel>,
}

impl Unary {
    /// Starts the service.
    pub async fn start() -> Result<Self, Error> {
        Ok(Self {
            client: connect().await?,
        })
    }

    fn echo(&self, payload: Bytes) -> BoxFuture<'_, Result<(), String>> {
        let mut client = self.client.clone();
        async move {
            client
                .unary(Message { id: 0, payload })
                .await
                .map(drop)
                .map_err(|status| status.to_string())
        }
        .boxed()
    }
}

impl Target for Unary {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn put(&self, _: usize, _: Bytes, value: Bytes) -> BoxFuture<'_, Result<(), String>> {
        self.echo(value)
    }

    fn get(&self, _: usize, key: Bytes) -> BoxFuture<'_, Result<bool, String>> {
        async move { self.echo(key).await.map(|()| true) }.boxed()
    }
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>;

/// Frames over one stream.
pub struct Streamed {
    queue: mpsc::Sender<Message>,
    waiting: Waiting,
    next_id: AtomicU64,
}

impl Streamed {
    /// Starts the service and the stream.
    pub async fn start() -> Result<Self, Error> {
        let mut client = connect().await?;
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
        let mut answers = client
            .frames(ReceiverStream::new(receiver))
            .await
            .map_err(failed)?
            .into_inner();
        let waiting = Waiting::default();
        let woken = waiting.clone();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = answers.next().await {
                let mut waiting = woken.lock().expect("invariant: no panic under the lock");
                for message in frame.messages {
                    if let Some(client) = waiting.remove(&message.id) {
                        // The client may have given up.
                        let _ = client.send(());
                    }
                }
            }
        });
        Ok(Self {
            queue,
            waiting,
            next_id: AtomicU64::new(0),
        })
    }

    async fn echo(&self, payload: Bytes) -> Result<(), String> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.waiting
            .lock()
            .expect("invariant: no panic under the lock")
            .insert(id, sender);
        self.queue
            .send(Message { id, payload })
            .await
            .map_err(|error| error.to_string())?;
        receiver.await.map_err(|error| error.to_string())
    }
}

impl Target for Streamed {
    fn name(&self) -> &'static str {
        "echo-stream"
    }

    fn put(&self, _: usize, _: Bytes, value: Bytes) -> BoxFuture<'_, Result<(), String>> {
        self.echo(value).boxed()
    }

    fn get(&self, _: usize, key: Bytes) -> BoxFuture<'_, Result<bool, String>> {
        async move { self.echo(key).await.map(|()| true) }.boxed()
    }
}
