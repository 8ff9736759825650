//! The sending end of one pair of stores.
//!
//! *Life of a connection*: resolve → connect → stream frames until it breaks → tell the workers that the store
//! is unreachable → drop what waits → back off → again.
//!
//! *Limits*: a frame holds [`FRAME_BYTES_MAX`] of entries and one message more, and at most [`ENVELOPES_MAX`]; back-off
//! 50 ms to 1 s; it begins anew once a connection has lasted, for one may be refused after it is made.
//!
//! *Next stop*: [`super::incoming`].

use super::budget::Share;
use super::{FORMAT, KEEP_ALIVE, Shared, size};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};
use yadkv_proto::id::StoreId;
use yadkv_proto::yadkvpb::transport_client::TransportClient;
use yadkv_proto::yadkvpb::{Envelope, Frame, FrameEnd};
use yadkv_tls::{Pace, words};

/// Messages packed into one frame.
const ENVELOPES_MAX: usize = 4096;
/// Bytes of entries after which a frame is full.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Frames on their way into the connection.
const FRAMES_IN_FLIGHT: usize = 4;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn run(
    shared: Arc<Shared>,
    store: StoreId,
    queue: mpsc::Receiver<Vec<Envelope>>,
    share: Share,
) {
    let mut waiting = Waiting {
        queue,
        share,
        opened: VecDeque::new(),
    };
    let mut backoff = BACKOFF_MIN;
    let mut warnings = Pace::default();
    loop {
        let ended = tokio::select! {
            () = shared.stop.cancelled() => return,
            ended = stream(&shared, store, &mut waiting) => ended,
        };
        match ended {
            Ended::QueueClosed => return,
            Ended::Failed { lasted, reason } => {
                backoff = if lasted >= BACKOFF_MAX {
                    BACKOFF_MIN
                } else {
                    (backoff * 2).min(BACKOFF_MAX)
                };
                // A certificate that is not trusted is seen nowhere else.
                match shared.tls.is_on().then(|| warnings.warn()).flatten() {
                    Some(_) => tracing::warn!(store = store.0, reason, "store is unreachable"),
                    None => tracing::debug!(store = store.0, reason, "store is unreachable"),
                }
            }
        }
        (shared.unreachable)(store);
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(backoff) => {}
        }
        while waiting.try_next().is_some() {}
    }
}

/// Messages that wait for one store; those taken out give their bytes back.
struct Waiting {
    queue: mpsc::Receiver<Vec<Envelope>>,
    share: Share,
    /// The rest of the bundle that was taken from the queue last.
    opened: VecDeque<Envelope>,
}

impl Waiting {
    async fn next(&mut self) -> Option<Envelope> {
        while self.opened.is_empty() {
            self.opened = self.queue.recv().await?.into();
        }
        self.try_next()
    }

    fn try_next(&mut self) -> Option<Envelope> {
        while self.opened.is_empty() {
            self.opened = self.queue.try_recv().ok()?.into();
        }
        let envelope = self.opened.pop_front()?;
        self.share.give_back(size(&envelope));
        Some(envelope)
    }
}

enum Ended {
    QueueClosed,
    /// How long the connection lasted, and why it ended.
    Failed {
        lasted: Duration,
        reason: String,
    },
}

async fn stream(shared: &Shared, store: StoreId, waiting: &mut Waiting) -> Ended {
    let failed = |reason| Ended::Failed {
        lasted: Duration::ZERO,
        reason,
    };
    let Some(address) = shared.resolver.resolve(store).await else {
        return failed("its address is unknown".into());
    };
    let endpoint = match shared.tls.endpoint(&address) {
        Ok(endpoint) => endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true),
        Err(error) => return failed(error.to_string()),
    };
    let connector = shared.tls.connector();
    let connecting = endpoint.connect_with_connector(connector.clone());
    let channel = match connecting.await {
        Ok(channel) => channel,
        Err(error) => return failed(words::cause(&error)),
    };
    let begin = Instant::now();
    let broken = |reason| Ended::Failed {
        lasted: begin.elapsed(),
        reason,
    };
    let over = |end: Result<Response<FrameEnd>, Status>| {
        let closed = "closed by the other side".to_owned();
        broken(
            end.err()
                .map_or(closed, |status| connector.explain(&status)),
        )
    };
    let (frames, receiver) = mpsc::channel(FRAMES_IN_FLIGHT);
    let mut client = TransportClient::new(channel);
    let mut call = std::pin::pin!(client.deliver(ReceiverStream::new(receiver)));
    loop {
        tokio::select! {
            end = &mut call => return over(end),
            envelope = waiting.next() => {
                let Some(envelope) = envelope else { return Ended::QueueClosed };
                let frame = pack(shared, envelope, waiting);
                tokio::select! {
                    end = &mut call => return over(end),
                    sent = frames.send(frame) => if sent.is_err() {
                        return broken("the connection is gone".into());
                    }
                }
            }
        }
    }
}

fn pack(shared: &Shared, first: Envelope, waiting: &mut Waiting) -> Frame {
    let mut packed = size(&first);
    let mut envelopes = vec![first];
    while packed < FRAME_BYTES_MAX && envelopes.len() < ENVELOPES_MAX {
        let Some(envelope) = waiting.try_next() else {
            break;
        };
        packed += size(&envelope);
        envelopes.push(envelope);
    }
    Frame {
        format: FORMAT,
        cluster_id: shared.cluster.0,
        envelopes,
    }
}
