//! A storage node from start to stop.
//!
//! *Place*: `yadkv store` and the tests call [`run`] with bound listeners.
//!
//! *Life of a node*: check settings → open the data directory → learn who we are → recover regions and start
//! threads → serve → register, create the first regions, heartbeats → shutdown or a fatal error → stop taking
//! requests → join threads.
//!
//! *Invariants*: no thread or task outlives [`run`]; an engine error anywhere ends it with that error.
//!
//! *Next stop*: [`crate::service`].

use crate::addresses::Addresses;
use crate::config::Config;
use crate::damage::DamageWatch;
use crate::data::{Data, OpenError};
use crate::disk::{DiskWatch, is_full};
use crate::life::Life;
use crate::metrics::{self, Metrics, resources};
use crate::online::{self, Settings};
use crate::pd::heartbeat::Heartbeat;
use crate::pd::regions::RegionHeartbeats;
use crate::pd::register::{self, RegisterError};
use crate::pd::splits::{self, Splits};
use crate::pd::{Pd, StoreAddresses, regions};
use crate::router::{Mailbox, Message, Router};
use crate::service::Door;
use crate::service::admission::Admission;
use crate::service::answers::{self, Answers};
use crate::service::operations::Operations;
use crate::service::tikv::Service;
use crate::threads::apply::{ApplyThread, Handovers};
use crate::threads::digests::{self, DigestThread};
use crate::threads::flush::{self, FlushThread};
use crate::threads::moves::{self, MoveThread};
use crate::threads::reads::ReadThread;
use crate::threads::sizes::{self, SizeThread};
use crate::threads::worker::WorkerThread;
use crate::threads::{Failure, reads};
use crate::transport::arriving::Arriving;
use crate::transport::incoming::Incoming;
use crate::transport::peers::Peers;
use crate::transport::slots::Slots;
use crate::transport::snapshots::{Parts, Snapshots, UnderWay};
use crate::transport::{Outgoing, Resolver};
use crate::{clock, status};
use crossbeam::channel::{self, Receiver, Sender};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tower::util::MapResponseLayer;
use yadkv_engine::{Engine, LogEngine};
use yadkv_metrics::Meters;
use yadkv_proto::grpc::{CONNECTION_WINDOW, PIECE, STREAM_WINDOW};
use yadkv_proto::id::{ClusterId, Index, RegionId, StoreId};
use yadkv_proto::metapb::{NodeState, Store, StoreState};
use yadkv_proto::pdpb::RegionHeartbeatRequest;
use yadkv_proto::storagepb::StoreRecord;
use yadkv_proto::tikvpb::tikv_server::TikvServer;
use yadkv_proto::yadkvpb::operations_server::OperationsServer;
use yadkv_proto::yadkvpb::transport_server::TransportServer;
use yadkv_storage_core::apply::Applier;
use yadkv_storage_core::apply::queue::Queue;
use yadkv_storage_core::config::ConfigError;
use yadkv_storage_core::front::Front;
use yadkv_storage_core::snapshot::install::{self, Places};
use yadkv_storage_core::store::message::{DigestTask, Input, SizeTask};
use yadkv_storage_core::store::{Shard, Shared, StoreError, Worker};
use yadkv_storage_core::stuck::Writes;
use yadkv_storage_core::view::Directory;
use yadkv_tls::{LoadError, Speaks, Tls};

/// Largest request: a frame of many batch writes. Larger ones are refused before they are read.
const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Calls of one connection that may be under way; clients queue more.
const STREAMS_MAX: u32 = 4096;
/// How long a connection may be silent, and then not answer, before it ends with all that waits for its client.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a stopping node waits for calls under way.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Why a node stopped; tell the operator.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] LoadError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The regions cannot be recovered.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The placement driver refuses this store.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// An address is malformed or of no use to others.
    #[error("address: {0}")]
    Address(String),
    /// A server failed.
    #[error("cannot serve: {0}")]
    Serve(String),
    /// A thread met a fatal error.
    #[error("{0}")]
    Fatal(String),
    /// The data engine met damaged bytes in the background and takes no more writes. A node that starts again knows the
    /// file, leaves it alone, and gives its replicas away.
    #[error("{0}")]
    Damaged(String),
    /// The disk was full: begin again when there is room ([`crate::disk::wait_for_room`]).
    #[error("{0}: free space on the disk")]
    Full(String),
}

/// Runs a node until something fatal happens, or it is told to stop: `leave` has it hand over first what it leads, `stop`
/// cuts that short. `status` serves [`crate::status`], and more pages beside it.
pub async fn run(
    config: Config,
    listener: TcpListener,
    status: Option<(TcpListener, axum::Router)>,
    (leave, stop): (CancellationToken, CancellationToken),
) -> Result<(), NodeError> {
    config.validate()?;
    let tls = Tls::server(&config.tls)?;
    let data = Data::open(&config).map_err(|error| match is_full(&error) {
        true => NodeError::Full(error.to_string()),
        false => error.into(),
    })?;
    let pd = Pd::new(&config.store.pd, tls.clone());
    let pd = Arc::new(pd.map_err(|error| NodeError::Address(error.to_string()))?);
    let identity = register::identity(&pd, &*data.kv, data.record);
    let record = tokio::select! {
        record = identity => record?,
        () = leave.cancelled() => return Ok(()),
        () = stop.cancelled() => return Ok(()),
    };
    let (kv, raft) = (data.kv.clone(), data.log.engine().clone());
    let node = Node::start(&config, data, record, (pd, tls))?;
    let failure = node.failure.clone();
    tokio::spawn({
        let (life, stopped) = (node.life.clone(), failure.stop.clone());
        let leaving = async move {
            leave.cancelled().await;
            life.leave().await;
        };
        async move {
            tokio::select! {
                () = leaving => {}
                () = stop.cancelled() => {}
                () = stopped.cancelled() => {}
            }
            stopped.cancel();
        }
    });
    let served = node.serve(&config, listener, status).await;
    failure.stop.cancel();
    let ended = tokio::task::spawn_blocking(move || node.join()).await;
    match failure.take() {
        Some(reason) if is_full(&reason) => Err(NodeError::Full(reason)),
        Some(reason) if is_damaged(&*kv, &*raft) => Err(NodeError::Damaged(reason)),
        Some(reason) => Err(NodeError::Fatal(reason)),
        None => ended
            .map_err(|error| NodeError::Fatal(error.to_string()))
            .and(served),
    }
}

/// Whether it was damaged data, and nothing else, that ended the writes.
fn is_damaged(kv: &dyn Engine, raft: &dyn LogEngine) -> bool {
    let known = kv.damaged().is_ok_and(|files| !files.is_empty());
    known && kv.sync().is_err() && raft.sync().is_ok()
}

/// What workers tell the placement driver.
struct Conversations {
    reports: mpsc::Receiver<RegionHeartbeatRequest>,
    splits: mpsc::Receiver<splits::Job>,
}

/// What a worker receives by.
type Inbox = (Receiver<Message>, Arc<Mailbox>);

fn inboxes(config: &Config) -> (Router, Vec<Inbox>) {
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for _ in 0..config.store.workers {
        let (sender, receiver) = channel::bounded(config.store.inbox);
        let mailbox = Arc::new(Mailbox::new(config.arriving_bytes() / config.store.workers));
        senders.push((sender, mailbox.clone()));
        receivers.push((receiver, mailbox));
    }
    (Router::new(senders), receivers)
}

/// Where workers hand things on.
struct Ends {
    apply: Handovers,
    sizes: Sender<SizeTask>,
    digests: Sender<DigestTask>,
    flush: Sender<Vec<(RegionId, Index)>>,
    reports: mpsc::Sender<RegionHeartbeatRequest>,
    splits: mpsc::Sender<splits::Job>,
}

struct Node {
    record: StoreRecord,
    data: Data,
    pd: Arc<Pd>,
    tls: Tls,
    router: Router,
    door: Door,
    meters: Meters,
    /// What they look at.
    sources: Option<Arc<resources::Sources>>,
    under_way: UnderWay,
    life: Life,
    settings: Settings,
    failure: Failure,
    conversations: Mutex<Option<Conversations>>,
    threads: Vec<JoinHandle<()>>,
}

impl Node {
    fn start(
        config: &Config,
        data: Data,
        record: StoreRecord,
        (pd, tls): (Arc<Pd>, Tls),
    ) -> Result<Self, NodeError> {
        let meters = Meters::new(metrics::PREFIX);
        let metrics = Metrics::new(&meters).map_err(unmeasured)?;
        let failure = Failure::default();
        let (router, inboxes) = inboxes(config);
        let (reports, reported) = mpsc::channel(regions::QUEUE);
        let (splits, split_jobs) = mpsc::channel(splits::QUEUE);
        let (sizes, size_tasks) = channel::bounded(sizes::QUEUE);
        let (digests, digest_tasks) = channel::bounded(digests::QUEUE);
        let (flush, asked) = channel::bounded(flush::QUEUE);
        let (reads, read_jobs) = channel::bounded(reads::QUEUE);
        let queue = Arc::new(Mutex::new(Queue::new(config.core().apply_queue_bytes)));
        let (wake, woken) = channel::bounded(1);
        let apply = Handovers::new(queue.clone(), wake);
        let front = Front {
            store: StoreId(record.store_id),
            directory: Arc::new(Directory::default()),
            config: config.core(),
            log_full: AtomicBool::new(false),
            writes: Writes::new(config.store.workers),
        };
        let door = Door {
            front: Arc::new(front),
            kv: data.kv.clone(),
            router: router.clone(),
            reads,
            metrics,
            admission: Admission::new(config.request_bytes()),
            answers: Answers::new(config.answer_bytes()),
            stop: failure.stop.clone(),
        };
        let mut node = Self {
            life: Life::new(door.front.clone(), router.clone()),
            record,
            data,
            pd,
            tls,
            router,
            door,
            meters,
            sources: None,
            under_way: UnderWay::default(),
            settings: online::settings(config),
            failure,
            conversations: Mutex::new(Some(Conversations {
                reports: reported,
                splits: split_jobs,
            })),
            threads: Vec::new(),
        };
        let ends = Ends {
            apply,
            sizes,
            digests,
            flush,
            reports,
            splits,
        };
        node.start_workers(config, inboxes, ends)?;
        node.start_apply(config, queue, woken)?;
        node.start_background(size_tasks, asked)?;
        node.start_digests(digest_tasks)?;
        node.start_reads(config, read_jobs)?;
        Ok(node)
    }

    fn start_workers(
        &mut self,
        config: &Config,
        inboxes: Vec<Inbox>,
        ends: Ends,
    ) -> Result<(), NodeError> {
        let (store, cluster) = (
            StoreId(self.record.store_id),
            ClusterId(self.record.cluster_id),
        );
        let shared = self.shared(config);
        install::clear(&shared.places())?;
        let addresses = StoreAddresses {
            pd: self.pd.clone(),
            cluster,
            store,
            known: Default::default(),
        };
        let tell = self.router.clone();
        let addresses: Arc<dyn Resolver> = Arc::new(addresses);
        let snapshots = self.snapshots(addresses.clone());
        let outgoing = Outgoing::new(
            cluster,
            addresses,
            Box::new(move |store| tell.offer(|| Input::Unreachable(store.0))),
            (Handle::current(), self.tls.clone()),
            (config.message_bytes(), self.door.metrics.clone()),
            self.failure.stop.clone(),
        );
        self.show_resources(config, outgoing.clone())
            .map_err(unmeasured)?;
        let of = config.store.workers as u64;
        let mut threads = Vec::new();
        for (number, (inbox, mailbox)) in inboxes.into_iter().enumerate() {
            let shard = Shard {
                number: number as u64,
                of,
            };
            let thread = WorkerThread {
                worker: Worker::open(shared.clone(), shard, clock::now())?,
                inbox,
                mailbox,
                raft: self.data.log.engine().clone(),
                number: shard.number,
                front: self.door.front.clone(),
                outgoing: outgoing.clone(),
                apply: ends.apply.clone(),
                snapshots: snapshots.clone(),
                reads: self.door.reads.clone(),
                sizes: ends.sizes.clone(),
                digests: ends.digests.clone(),
                flush: ends.flush.clone(),
                splits: ends.splits.clone(),
                router: self.router.clone(),
                reports: ends.reports.clone(),
                tick: config.region.tick,
                settings: self.settings.watch(),
                metrics: self.door.metrics.clone(),
                failure: self.failure.clone(),
            };
            threads.push(thread);
        }
        // All are open, or none runs.
        for (number, thread) in threads.into_iter().enumerate() {
            self.threads
                .push(spawn(&format!("worker-{number}"), move || thread.run())?);
        }
        Ok(())
    }

    /// What is looked at only when the metrics are asked for.
    fn show_resources(
        &mut self,
        config: &Config,
        outgoing: Outgoing,
    ) -> Result<(), yadkv_metrics::Error> {
        let sources = resources::Sources {
            config: config.clone(),
            door: self.door.clone(),
            router: self.router.clone(),
            outgoing,
            log: self.data.log.clone(),
            rocks: self.data.rocks.clone(),
            rows: self.data.rows.clone(),
        };
        let sources = self.sources.insert(Arc::new(sources));
        resources::Gauges::new(&self.meters)?.show(&self.meters, sources);
        self.meters.add_process()?;
        self.meters.add_runtime()
    }

    fn shared(&self, config: &Config) -> Shared {
        let (store, boot) = (StoreId(self.record.store_id), clock::now());
        Shared {
            store,
            boot_id: boot.wall_ms,
            seed: boot.moment.0 ^ store.0,
            config: config.core(),
            kv: self.data.kv.clone(),
            intake: self.data.intake.clone(),
            log: self.data.log.clone(),
            directory: self.door.front.directory.clone(),
        }
    }

    fn snapshots(&self, resolver: Arc<dyn Resolver>) -> Snapshots {
        let parts = Parts {
            cluster: ClusterId(self.record.cluster_id),
            kv: self.data.kv.clone(),
            tls: self.tls.clone(),
            resolver,
            router: self.router.clone(),
            metrics: self.door.metrics.clone(),
            runtime: Handle::current(),
            under_way: self.under_way.clone(),
            stop: self.failure.stop.clone(),
        };
        Snapshots::new(parts, self.settings.watch())
    }

    fn start_apply(
        &mut self,
        config: &Config,
        queue: Arc<Mutex<Queue>>,
        woken: Receiver<()>,
    ) -> Result<(), NodeError> {
        let bytes_max = config.core().apply_bytes;
        let (moves, orders) = channel::bounded(moves::QUEUE);
        let thread = MoveThread {
            moves: orders,
            places: Places {
                kv: self.data.kv.clone(),
                intake: self.data.intake.clone(),
                log: self.data.log.clone(),
            },
            router: self.router.clone(),
            metrics: self.door.metrics.clone(),
            failure: self.failure.clone(),
        };
        self.threads.push(spawn("moves", move || thread.run())?);
        let thread = ApplyThread {
            moves,
            applier: Applier::new(
                self.data.kv.clone(),
                self.data.log.clone(),
                self.door.front.directory.clone(),
                bytes_max,
            ),
            queue,
            woken,
            bytes_max,
            kv: self.data.kv.clone(),
            router: self.router.clone(),
            metrics: self.door.metrics.clone(),
            failure: self.failure.clone(),
        };
        self.threads.push(spawn("apply", move || thread.run())?);
        Ok(())
    }

    fn start_background(
        &mut self,
        tasks: Receiver<SizeTask>,
        asked: Receiver<Vec<(RegionId, Index)>>,
    ) -> Result<(), NodeError> {
        let thread = SizeThread {
            tasks,
            kv: self.data.kv.clone(),
            metrics: self.door.metrics.clone(),
            router: self.router.clone(),
            stop: self.failure.stop.clone(),
        };
        self.threads.push(spawn("sizes", move || thread.run())?);
        let thread = FlushThread {
            asked,
            kv: self.data.kv.clone(),
            router: self.router.clone(),
            failure: self.failure.clone(),
        };
        self.threads.push(spawn("flush", move || thread.run())?);
        Ok(())
    }

    fn start_digests(&mut self, tasks: Receiver<DigestTask>) -> Result<(), NodeError> {
        let thread = DigestThread {
            tasks,
            router: self.router.clone(),
            stop: self.failure.stop.clone(),
        };
        self.threads.push(spawn("digests", move || thread.run())?);
        Ok(())
    }

    fn start_reads(
        &mut self,
        config: &Config,
        jobs: Receiver<reads::ReadJob>,
    ) -> Result<(), NodeError> {
        let reader = ReadThread {
            jobs,
            kv: self.data.kv.clone(),
            router: self.router.clone(),
            front: self.door.front.clone(),
            metrics: self.door.metrics.clone(),
        };
        for number in 0..config.store.read_threads {
            let reader = reader.clone();
            self.threads
                .push(spawn(&format!("read-{number}"), move || reader.run())?);
        }
        Ok(())
    }

    fn peers(&self) -> Peers {
        Peers {
            cluster: ClusterId(self.record.cluster_id),
            router: self.router.clone(),
            stop: self.failure.stop.clone(),
        }
    }

    fn incoming(&self) -> Incoming {
        let cluster = ClusterId(self.record.cluster_id);
        Incoming {
            arriving: Arriving {
                cluster,
                front: self.door.front.clone(),
                intake: self.data.intake.clone(),
                router: self.router.clone(),
                room: Slots::new(self.settings.watch()),
                regions: Arc::default(),
                metrics: self.door.metrics.clone(),
            },
            stop: self.failure.stop.clone(),
        }
    }

    async fn serve(
        &self,
        config: &Config,
        listener: TcpListener,
        status_page: Option<(TcpListener, axum::Router)>,
    ) -> Result<(), NodeError> {
        let bound = listener
            .local_addr()
            .map_err(|error| NodeError::Serve(error.to_string()))?;
        let status = status_page.as_ref();
        let status = status
            .map(|(listener, _)| listener.local_addr())
            .transpose();
        let status = status.map_err(|error| NodeError::Serve(error.to_string()))?;
        let addresses = Addresses::of(config, bound, status).map_err(NodeError::Address)?;
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<TikvServer<Service>>().await;
        let incoming = self.incoming();
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(PIECE)
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .layer(MapResponseLayer::new(answers::go_with_bytes))
            .add_service(health_service)
            .add_service(
                TransportServer::new(incoming).max_decoding_message_size(REQUEST_BYTES_MAX),
            )
            .add_service(OperationsServer::new(Operations(self.door.clone())))
            .add_service(
                TikvServer::new(Service(self.door.clone()))
                    .max_decoding_message_size(REQUEST_BYTES_MAX)
                    .max_encoding_message_size(usize::MAX),
            );
        let stop = self.failure.stop.clone();
        let connections = self.tls.incoming(listener, Speaks::Grpc).into_stream();
        let of_clients = self.peers().take_out(connections);
        let served =
            server.serve_with_incoming_shutdown(of_clients, stop.clone().cancelled_owned());
        if let Some((listener, more)) = status_page {
            let pages = self.pages(config);
            let stopped = stop.clone().cancelled_owned();
            let incoming = self.tls.incoming(listener, Speaks::Pages);
            tokio::spawn(status::serve(incoming, pages, more, stopped));
        }
        let (address, status) = (&addresses.clients, &addresses.status);
        tracing::info!(store = self.record.store_id, address, status, "serving");
        let front = self.door.front.clone();
        let log = self.data.log.clone();
        let changed = self.life.changed();
        let settings = self.settings.watch();
        let mut disk = DiskWatch::new(front, self.router.clone(), log, settings, changed);
        // Before the first request; the watch goes on without a placement driver.
        disk.look();
        let damage = self.damage_watch();
        let companions = self.accompany(config, addresses);
        tokio::select! {
            () = disk.run() => Ok(()),
            () = damage.run() => Ok(()),
            served = served => served.map_err(|error| NodeError::Serve(error.to_string())),
            ended = companions => ended.map_err(NodeError::from),
            () = self.drained() => Ok(()),
        }
    }

    fn pages(&self, config: &Config) -> status::Pages {
        status::Pages {
            store: StoreId(self.record.store_id),
            meters: self.meters.clone(),
            router: self.router.clone(),
            under_way: self.under_way.clone(),
            life: self.life.clone(),
            settings: self.settings.clone(),
            near: online::near(config),
        }
    }

    /// After a failure nobody answers the calls under way; their clients go elsewhere the sooner.
    async fn drained(&self) {
        self.failure.stop.cancelled().await;
        if !self.failure.is_known() {
            tokio::time::sleep(DRAIN_MAX).await;
        }
    }

    fn damage_watch(&self) -> DamageWatch {
        DamageWatch {
            kv: self.data.kv.clone(),
            router: self.router.clone(),
            metrics: self.door.metrics.clone(),
            failure: self.failure.clone(),
        }
    }

    /// Registration, first regions and heartbeats; ends only with an error.
    async fn accompany(&self, config: &Config, addresses: Addresses) -> Result<(), RegisterError> {
        let (cluster, store) = (
            ClusterId(self.record.cluster_id),
            StoreId(self.record.store_id),
        );
        let start_time = u32::try_from(clock::now().wall_ms / 1000).unwrap_or(u32::MAX);
        let description = Store {
            id: store.0,
            address: addresses.clients,
            state: StoreState::Up as i32,
            node_state: NodeState::Serving as i32,
            version: env!("CARGO_PKG_VERSION").into(),
            status_address: addresses.status,
            start_timestamp: i64::from(start_time),
            ..Default::default()
        };
        register::put_store(&self.pd, &self.record, description).await?;
        register::create_first_regions(&self.pd, &*self.data.kv, &self.record, &self.router)
            .await?;
        self.life.registered();
        let heartbeat = Heartbeat {
            pd: self.pd.clone(),
            cluster,
            store,
            front: self.door.front.clone(),
            router: self.router.clone(),
            kv: self.data.kv.clone(),
            raft: self.data.log.engine().clone(),
            data_dir: config.store.data_dir.clone(),
            metrics: self.door.metrics.clone(),
            start_time,
            settings: self.settings.watch(),
            life: self.life.clone(),
        };
        let Some(Conversations { reports, splits }) = self.conversations.lock().take() else {
            return Ok(());
        };
        let regions = RegionHeartbeats {
            pd: self.pd.clone(),
            cluster,
            store,
            reports,
            router: self.router.clone(),
        };
        let splits = Splits {
            pd: self.pd.clone(),
            cluster,
            store,
            jobs: splits,
            router: self.router.clone(),
        };
        tokio::select! {
            removed = heartbeat.run() => Err(removed),
            _ = futures::future::join(regions.run(), splits.run()) => Ok(()),
        }
    }

    /// Waits for the threads; the data directory is released afterwards.
    fn join(self) {
        self.router.wake_all();
        for _ in 0..self.threads.len() {
            // One for each read thread and to spare: a full queue drains, its threads still run.
            let _ = self.door.reads.send(reads::ReadJob::Stop);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread panicked");
            }
        }
    }
}

/// A metric that there is already, or one with a malformed name.
fn unmeasured(error: yadkv_metrics::Error) -> NodeError {
    NodeError::Serve(error.to_string())
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, NodeError> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|error| NodeError::Serve(format!("thread {name}: {error}")))
}
