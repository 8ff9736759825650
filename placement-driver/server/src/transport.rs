//! Raft messages between members, and chunks of the state for one that lags: one bounded stream for each ordered pair.
//!
//! *Place*: the driver hands envelopes to [`Outgoing`]; [`Incoming`] gives received ones to the driver.
//!
//! *Life of a message*: driver → queue of its destination → packed with its neighbours into a frame → stream →
//! the other member's [`Incoming`] → its driver.
//!
//! *Invariants*: frames of one pair arrive in order or not at all. A frame of another cluster or a later
//! format ends the stream with an error that says so; while one of the two has no cluster yet, any may come.
//!
//! *Limits and failure*: [`QUEUE`] bundles may wait for one member; beyond that, and while a member cannot be
//! reached, messages are dropped: Raft repeats what matters. Back-off 50 to 500 ms; it begins anew once a connection has
//! lasted, for one may be refused after it is made.
//!
//! *Next stop*: [`crate::driver`].

use crate::driver::{Handle, State};
use crate::metrics::{Metrics, QUEUE_FULL};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use yadkv_placement_core::MemberAddress;
use yadkv_proto::id::PeerId;
use yadkv_proto::yadkvpb::transport_client::TransportClient;
use yadkv_proto::yadkvpb::transport_server::Transport;
use yadkv_proto::yadkvpb::{Envelope, Frame, FrameEnd, SnapshotChunk, SnapshotEnd};
use yadkv_tls::{Connector, Pace, Tls, words};

/// Wire format of a frame.
pub const FORMAT: u32 = 1;
/// Bundles (all messages of one round for one member) that may wait.
const QUEUE: usize = 1024;
/// Bundles packed into one frame.
const BUNDLES_MAX: usize = 64;
/// Frames on their way into the connection.
const FRAMES_IN_FLIGHT: usize = 4;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A silent connection is probed after this time, and given up after as much again.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Sends envelopes to the other members.
pub struct Outgoing {
    queues: BTreeMap<u64, mpsc::Sender<Vec<Envelope>>>,
    metrics: Metrics,
}

impl Outgoing {
    /// Starts a task for each of `others` on the current runtime.
    pub fn start(
        others: &[MemberAddress],
        tls: &Tls,
        handle: &Handle,
        metrics: &Metrics,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let mut queues = BTreeMap::new();
        for other in others {
            let (sender, queue) = mpsc::channel(QUEUE);
            let link = Link {
                to: other.clone(),
                tls: tls.clone(),
                handle: handle.clone(),
                state: handle.state(),
                queue,
            };
            let stop = stop.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = link.run() => {}
                }
            });
            queues.insert(other.id.0, sender);
        }
        Self {
            queues,
            metrics: metrics.clone(),
        }
    }

    /// Sends; drops what finds a full queue.
    pub fn send(&self, envelopes: Vec<Envelope>) {
        let mut bundles: BTreeMap<u64, Vec<Envelope>> = BTreeMap::new();
        for envelope in envelopes {
            bundles
                .entry(envelope.to.map_or(0, |peer| peer.id))
                .or_default()
                .push(envelope);
        }
        for (member, bundle) in bundles {
            let sent = self.queues.get(&member).map(|queue| queue.try_send(bundle));
            if !matches!(sent, Some(Ok(()))) {
                self.metrics
                    .dropped_messages
                    .with_label_values(&[QUEUE_FULL])
                    .inc();
            }
        }
    }
}

/// The sending end of one pair.
struct Link {
    to: MemberAddress,
    tls: Tls,
    handle: Handle,
    state: watch::Receiver<State>,
    queue: mpsc::Receiver<Vec<Envelope>>,
}

impl Link {
    /// Connects, streams until it breaks, tells the driver, drops what waits, backs off, again.
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        let mut warnings = Pace::default();
        while !self.queue.is_closed() {
            let connector = self.tls.connector();
            let (lasted, reason) = match self.connect(connector.clone()).await {
                Ok(client) => {
                    let begin = Instant::now();
                    let reason = self.stream(client, &connector).await;
                    (begin.elapsed(), reason)
                }
                Err(error) => (Duration::ZERO, words::cause(&error)),
            };
            backoff = if lasted >= BACKOFF_MAX {
                BACKOFF_MIN
            } else {
                (backoff * 2).min(BACKOFF_MAX)
            };
            // A certificate that is not trusted is seen nowhere else.
            match self.tls.is_on().then(|| warnings.warn()).flatten() {
                Some(_) => tracing::warn!(member = self.to.id.0, reason, "member is unreachable"),
                None => tracing::debug!(member = self.to.id.0, reason, "member is unreachable"),
            }
            self.handle.unreachable(PeerId(self.to.id.0));
            tokio::time::sleep(backoff).await;
            while self.queue.try_recv().is_ok() {}
        }
    }

    async fn connect(
        &self,
        connector: Connector,
    ) -> Result<TransportClient<tonic::transport::Channel>, tonic::transport::Error> {
        let endpoint = self
            .tls
            .endpoint(&self.to.peer_url)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .tcp_nodelay(true);
        let connecting = endpoint.connect_with_connector(connector);
        Ok(TransportClient::new(connecting.await?))
    }

    /// Streams until the connection breaks; says why.
    async fn stream(
        &mut self,
        mut client: TransportClient<tonic::transport::Channel>,
        connector: &Connector,
    ) -> String {
        let (frames, receiver) = mpsc::channel(FRAMES_IN_FLIGHT);
        let mut call = std::pin::pin!(client.deliver(ReceiverStream::new(receiver)));
        let ended = |end: Result<Response<FrameEnd>, Status>| {
            end.err().map_or_else(
                || "closed by the other side".to_owned(),
                |status| connector.explain(&status),
            )
        };
        loop {
            let bundle = tokio::select! {
                end = &mut call => return ended(end),
                bundle = self.queue.recv() => bundle,
            };
            let Some(bundle) = bundle else {
                return "this member stops".to_owned();
            };
            let frame = self.pack(bundle);
            tokio::select! {
                end = &mut call => return ended(end),
                sent = frames.send(frame) => {
                    if sent.is_err() {
                        return "the connection is gone".to_owned();
                    }
                }
            }
        }
    }

    fn pack(&mut self, mut envelopes: Vec<Envelope>) -> Frame {
        for _ in 1..BUNDLES_MAX {
            let Ok(mut bundle) = self.queue.try_recv() else {
                break;
            };
            envelopes.append(&mut bundle);
        }
        Frame {
            format: FORMAT,
            cluster_id: self.state.borrow().cluster_id,
            envelopes,
        }
    }
}

/// The receiving end.
pub struct Incoming {
    /// Where messages go.
    pub handle: Handle,
    /// Ends the streams when the node stops.
    pub stop: CancellationToken,
}

#[tonic::async_trait]
impl Transport for Incoming {
    async fn send_snapshot(
        &self,
        _: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<SnapshotEnd>, Status> {
        let reason =
            "a placement driver has no regions: send it to a store (its own state comes in frames)";
        Err(Status::unimplemented(reason))
    }

    async fn deliver(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<FrameEnd>, Status> {
        let mut frames = request.into_inner();
        let state = self.handle.state();
        loop {
            let received = tokio::select! {
                received = frames.message() => received?,
                () = self.stop.cancelled() => None,
            };
            let Some(frame) = received else {
                return Ok(Response::new(FrameEnd {}));
            };
            check(&frame, state.borrow().cluster_id)?;
            for envelope in frame.envelopes {
                self.handle.raft(envelope);
            }
        }
    }
}

fn check(frame: &Frame, ours: u64) -> Result<(), Status> {
    if frame.format != FORMAT {
        let reason = format!(
            "frame format {} is not known to this release ({FORMAT}): upgrade it",
            frame.format
        );
        return Err(Status::unimplemented(reason));
    }
    let theirs = frame.cluster_id;
    if theirs != 0 && ours != 0 && theirs != ours {
        return Err(Status::failed_precondition(format!(
            "frame of cluster {theirs}, this is {ours}"
        )));
    }
    Ok(())
}
