//! Snapshots to other stores.
//!
//! *Place*: workers name a peer that lags; what became of its snapshot goes back into the worker's inbox.
//!
//! *Life of a sending*: room? → address → one view of the data engine → chunks, at the rate that all share → the
//! receiver has installed it, or says why not → the worker hears of it.
//!
//! *Limits and failure*: `store.snapshots` are sent at once; beyond that, and on any failure, Raft hears that it did not
//! arrive and asks again. Nothing takes longer than [`SEND_MAX`].
//!
//! *Next stop*: [`super::arriving`].

use super::Resolver;
use super::slots::Slots;
use super::wire::KEEP_ALIVE;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::router::Router;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use yadkv_engine::Engine;
use yadkv_proto::id::{ClusterId, PeerId, RegionId, StoreId};
use yadkv_proto::yadkvpb::SnapshotChunk;
use yadkv_proto::yadkvpb::transport_client::TransportClient;
use yadkv_storage_core::snapshot::send::{SendError, Sending};
use yadkv_storage_core::store::message::{Input, SendTask};
use yadkv_tls::{Tls, words};

/// Chunks on their way into a connection.
const CHUNKS_IN_FLIGHT: usize = 4;
/// How long one may take.
const SEND_MAX: Duration = Duration::from_secs(1500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(50);
/// Pace at which a lack of room is reported: Raft asks again at once.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(500);

/// What all sendings share.
pub struct Parts {
    /// Our cluster.
    pub cluster: ClusterId,
    /// The data engine.
    pub kv: Arc<dyn Engine>,
    /// How stores are dialled.
    pub tls: Tls,
    /// Where stores are.
    pub resolver: Arc<dyn Resolver>,
    /// Where results go.
    pub router: Router,
    /// Counters.
    pub metrics: Metrics,
    /// Where tasks run.
    pub runtime: Handle,
    /// What is on its way.
    pub under_way: UnderWay,
    /// Ends them.
    pub stop: CancellationToken,
}

/// Bytes sent so far of each snapshot that is on its way, by region and receiver; at most `store.snapshots`. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct UnderWay(Arc<Mutex<Sent>>);

type Sent = BTreeMap<(RegionId, PeerId), Arc<AtomicU64>>;

impl UnderWay {
    /// Bytes of pairs sent to a peer; none if nothing is being sent to it.
    pub fn sent(&self, region: RegionId, to: PeerId) -> Option<u64> {
        let sent = self.0.lock();
        sent.get(&(region, to))
            .map(|bytes| bytes.load(Ordering::Relaxed))
    }

    fn begin(&self, task: &SendTask) -> Place {
        let key = (task.region, PeerId(task.to.id));
        let bytes = Arc::<AtomicU64>::default();
        self.0.lock().insert(key, bytes.clone());
        let list = self.clone();
        Place { list, key, bytes }
    }
}

/// A snapshot's place in the list of those that are on their way.
struct Place {
    list: UnderWay,
    key: (RegionId, PeerId),
    bytes: Arc<AtomicU64>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut list = self.list.0.lock();
        // Another one to the same peer may have taken it.
        if list
            .get(&self.key)
            .is_some_and(|bytes| Arc::ptr_eq(bytes, &self.bytes))
        {
            list.remove(&self.key);
        }
    }
}

/// Sends snapshots. Cheap to clone.
#[derive(Clone)]
pub struct Snapshots {
    parts: Arc<Parts>,
    room: Slots,
    pace: Arc<Pace>,
}

/// `store.snapshot_rate`, over all sendings.
struct Pace {
    settings: watch::Receiver<Config>,
    next: Mutex<Instant>,
}

impl Pace {
    /// When so many bytes may leave.
    fn reserve(&self, bytes: usize) -> Instant {
        let rate = self.settings.borrow().store.snapshot_rate.as_u64();
        let time = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let mut next = self.next.lock();
        let start = (*next).max(Instant::now());
        *next = start + time;
        start
    }
}

impl Snapshots {
    /// As many at once, and as many bytes a second, as the settings say.
    pub fn new(parts: Parts, settings: watch::Receiver<Config>) -> Self {
        Self {
            parts: Arc::new(parts),
            room: Slots::new(settings.clone()),
            pace: Arc::new(Pace {
                settings,
                next: Mutex::new(Instant::now()),
            }),
        }
    }

    /// Sends one, if there is room.
    pub fn send(&self, task: SendTask) {
        let this = self.clone();
        let run = async move {
            let sent = tokio::select! {
                sent = this.run(&task) => sent,
                () = this.parts.stop.cancelled() => return,
            };
            let label = if sent.is_ok() { "installed" } else { "failed" };
            this.parts
                .metrics
                .moves
                .snapshots
                .with_label_values(&[label])
                .inc();
            match &sent {
                Ok(()) => {
                    tracing::info!(
                        region = task.region.0,
                        to = task.to.id,
                        "snapshot installed"
                    );
                }
                Err(reason) => {
                    tracing::info!(
                        region = task.region.0,
                        to = task.to.id,
                        reason,
                        "snapshot not installed"
                    );
                }
            }
            this.tell(&task, sent.is_ok()).await;
        };
        self.parts.runtime.spawn(run);
    }

    async fn tell(&self, task: &SendTask, arrived: bool) {
        let result = || Input::SnapshotSent {
            region: task.region,
            to: PeerId(task.to.id),
            arrived,
        };
        while !self.parts.stop.is_cancelled() && !self.parts.router.send(task.region, result()) {
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn run(&self, task: &SendTask) -> Result<(), String> {
        let Some(_room) = self.room.take() else {
            tokio::time::sleep(NO_ROOM_PAUSE).await;
            return Err("enough snapshots are being sent".into());
        };
        let _counted = self.parts.metrics.moves.snapshot("send");
        let place = self.parts.under_way.begin(task);
        match tokio::time::timeout(SEND_MAX, self.transfer(task, &place.bytes)).await {
            Ok(result) => result,
            Err(_) => Err("it took too long".into()),
        }
    }

    async fn transfer(&self, task: &SendTask, sent: &Arc<AtomicU64>) -> Result<(), String> {
        let store = StoreId(task.to.store_id);
        let address = self.parts.resolver.resolve(store).await;
        let address = address.ok_or("the store's address is unknown")?;
        let endpoint = self.parts.tls.endpoint(&address);
        let endpoint = endpoint
            .map_err(|error| error.to_string())?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let connector = self.parts.tls.connector();
        let connecting = endpoint.connect_with_connector(connector.clone());
        let channel = connecting.await.map_err(|error| words::cause(&error))?;
        let (sender, chunks) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let (this, order, sent) = (self.clone(), task.clone(), sent.clone());
        let reading = tokio::task::spawn_blocking(move || this.read(&order, &sender, &sent));
        let mut client = TransportClient::new(channel);
        let end = client.send_snapshot(ReceiverStream::new(chunks)).await;
        let read = reading.await.map_err(|error| error.to_string())?;
        read.map_err(|error| error.to_string())?;
        let end = end
            .map_err(|status| connector.explain(&status))?
            .into_inner();
        match end.refusal.is_empty() {
            true => Ok(()),
            false => Err(end.refusal),
        }
    }

    /// Reads chunk after chunk, as fast as they may leave; a receiver that is gone ends it.
    fn read(
        &self,
        task: &SendTask,
        chunks: &mpsc::Sender<SnapshotChunk>,
        sent: &AtomicU64,
    ) -> Result<(), SendError> {
        let view = self.parts.kv.clone().hold();
        let mut sending = Sending::begin(&*view, self.parts.cluster, task)?;
        while let Some(chunk) = sending.next_chunk()? {
            let bytes = chunk.pairs.len();
            let wait = self.pace.reserve(bytes);
            std::thread::sleep(wait.saturating_duration_since(Instant::now()));
            self.parts.metrics.moves.snapshot_bytes.inc_by(bytes as u64);
            if chunks.blocking_send(chunk).is_err() {
                break;
            }
            sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}
