//! A placement driver member from start to stop.
//!
//! *Place*: `yadkv pd` and the tests call [`run`] with a bound listener.
//!
//! *Life of a node*: check settings → open the data directory → open the member → start the driver thread and
//! the links to the other members → serve gRPC and HTTP on one port → shutdown or a fatal error → streams end,
//! calls drain, the thread is joined.
//!
//! *Invariants*: no thread or task outlives [`run`]; a fatal error of the driver ends it with that error.
//!
//! *Limits*: [`REQUEST_BYTES_MAX`] a message; malformed ones end in gRPC errors inside tonic.
//!
//! *Next stop*: [`crate::driver`].

use crate::clock;
use crate::config::Config;
use crate::data::{Data, Identity, OpenError};
use crate::driver::{self, Driver, Handle};
use crate::flush::Flusher;
use crate::forward::Forwarder;
use crate::http::{self, Http};
use crate::metrics::cluster::Cluster;
use crate::metrics::{self, Metrics};
use crate::online::{self, Settings};
use crate::service::Door;
use crate::service::etcd::Etcd;
use crate::service::heartbeats::Streams;
use crate::service::pd::Service;
use crate::transport::{Incoming, Outgoing};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::Server;
use yadkv_metrics::Meters;
use yadkv_placement_core::{Config as CoreConfig, ConfigError, Fatal, Member, MemberAddress};
use yadkv_proto::etcdserverpb::cluster_server::ClusterServer;
use yadkv_proto::etcdserverpb::kv_server::KvServer;
use yadkv_proto::keyspacepb::keyspace_server::KeyspaceServer;
use yadkv_proto::pdpb::pd_server::PdServer;
use yadkv_proto::yadkvpb::transport_server::TransportServer;
use yadkv_settings::near::Near;
use yadkv_tls::admit::admit;
use yadkv_tls::{LoadError, Speaks, Tls};

/// Largest request: a frame of Raft messages, or very many keys. Larger ones are refused before they are read.
const REQUEST_BYTES_MAX: usize = 64 << 20;
/// How long a member that was asked to stop tries to let another one lead.
const HAND_OVER_MAX: Duration = Duration::from_secs(4);
/// How long a stopping node waits for calls under way.
const DRAIN_MAX: Duration = Duration::from_secs(3);

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
    /// The state cannot be recovered.
    #[error(transparent)]
    Member(#[from] yadkv_placement_core::OpenError),
    /// The server failed.
    #[error("cannot serve: {0}")]
    Serve(String),
    /// The member met a fatal error.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The driver thread ended without saying why.
    #[error("the driver thread panicked")]
    Panicked,
}

/// Runs a member on `listener` until something fatal happens, or it is told to stop: `leave` has it let another member lead
/// first, `stop` cuts that short. `more` are pages that are shown beside its own.
pub async fn run(
    config: Config,
    listener: TcpListener,
    more: axum::Router,
    (leave, stop): (CancellationToken, CancellationToken),
) -> Result<(), NodeError> {
    config.validate()?;
    let tls = Tls::server(&config.tls)?;
    let bound = listener
        .local_addr()
        .map_err(|error| NodeError::Serve(error.to_string()))?;
    let core = config.core(bound, rand::random(), rand::random())?;
    let opening = {
        let (config, core) = (config.clone(), core.clone());
        tokio::task::spawn_blocking(move || open(&config, core))
    };
    let (data, member) = opening.await.map_err(|_| NodeError::Panicked)??;
    let (meters, metrics, shown) = meters().map_err(|error| NodeError::Serve(error.to_string()))?;
    let stop = stop.child_token();
    let tasks = TaskTracker::new();
    let streams = Streams::default();
    let (handle, inputs, state) = driver::inbox(&metrics);
    let others = core.members.iter().filter(|one| one.id != core.member);
    let others: Vec<_> = others.cloned().collect();
    let outgoing = Outgoing::start(&others, &tls, &handle, &metrics, &tasks, &stop);
    let Data {
        kv,
        log,
        identity,
        lock,
        ..
    } = data;
    let flusher = Flusher::start(kv, handle.clone(), stop.clone())
        .map_err(|error| NodeError::Serve(error.to_string()))?;
    tasks.spawn(note_cluster(identity, handle.clone(), stop.clone()));
    let driver = Driver::new(
        member,
        log,
        (inputs, state),
        (outgoing, flusher),
        streams.clone(),
        metrics.clone(),
        stop.clone(),
    );
    let driven = start(driver, stop.clone())?;
    tasks.spawn(take_leave(leave.clone(), handle.clone(), stop.clone()));
    let settings = online::page(&config, &handle);
    let door = Door {
        handle,
        forwarder: Arc::new(Forwarder::new(tls.clone())),
        metrics,
    };
    let service = Service {
        door,
        streams,
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    let served = serve(
        (listener, tls),
        &core,
        service,
        ((meters, shown), settings, more),
        (leave, stop.clone()),
    )
    .await;
    let ended = end(stop, tasks, driven).await;
    drop(lock);
    ended.and(served)
}

/// Everything that a member measures.
fn meters() -> Result<(Meters, Metrics, Cluster), yadkv_metrics::Error> {
    let meters = Meters::new(metrics::PREFIX);
    let metrics = Metrics::new(&meters)?;
    let cluster = Cluster::new(&meters)?;
    meters.add_process()?;
    meters.add_runtime()?;
    Ok((meters, metrics, cluster))
}

/// Waits for what a node has started.
async fn end(
    stop: CancellationToken,
    tasks: TaskTracker,
    driven: JoinHandle<Result<(), Fatal>>,
) -> Result<(), NodeError> {
    stop.cancel();
    tasks.close();
    let _ = tokio::time::timeout(DRAIN_MAX, tasks.wait()).await;
    match tokio::task::spawn_blocking(move || driven.join()).await {
        Ok(Ok(ended)) => Ok(ended?),
        _ => Err(NodeError::Panicked),
    }
}

fn open(config: &Config, core: CoreConfig) -> Result<(Data, Member), NodeError> {
    let memory = usize::try_from(config.pd.memory.as_u64()).unwrap_or(usize::MAX);
    let mut data = Data::open(&config.pd.data_dir, memory, &core)?;
    let member = Member::open(
        core,
        data.kv.clone(),
        data.log.clone(),
        data.start,
        clock::now(),
    )?;
    if let Some(cluster) = member.cluster_id() {
        data.identity.note(cluster.0)?;
    }
    Ok((data, member))
}

/// Starts the driver thread; when it ends, for whatever reason, the node stops.
fn start(
    driver: Driver,
    stop: CancellationToken,
) -> Result<JoinHandle<Result<(), Fatal>>, NodeError> {
    let run = move || {
        let _stops = stop.drop_guard();
        let ended = driver.run();
        if let Err(fatal) = &ended {
            tracing::error!(%fatal, "the placement driver stops");
        }
        ended
    };
    std::thread::Builder::new()
        .name("pd-driver".to_owned())
        .spawn(run)
        .map_err(|error| NodeError::Serve(error.to_string()))
}

/// Lets another member lead when this one is asked to go, then stops it.
async fn take_leave(leave: CancellationToken, handle: Handle, stop: CancellationToken) {
    tokio::select! {
        () = leave.cancelled() => {}
        () = stop.cancelled() => return,
    }
    let handed_over = tokio::time::timeout(HAND_OVER_MAX, handle.hand_over());
    tokio::select! {
        over = handed_over => if over.is_err() {
            tracing::warn!("no other member could take the lead");
        },
        () = stop.cancelled() => {}
    }
    stop.cancel();
}

/// Writes the cluster's identity down when the first leader has chosen it.
async fn note_cluster(mut identity: Identity, handle: Handle, stop: CancellationToken) {
    let mut state = handle.state();
    let known = tokio::select! {
        known = state.wait_for(|state| state.cluster_id != 0) => known.map(|state| state.cluster_id),
        () = stop.cancelled() => return,
    };
    let Ok(cluster_id) = known else { return };
    let noted = tokio::task::spawn_blocking(move || identity.note(cluster_id)).await;
    if let Ok(Err(error)) = noted {
        tracing::error!(%error, "cannot write the cluster's identity down");
        stop.cancel();
    }
}

async fn serve(
    (listener, tls): (TcpListener, Tls),
    core: &CoreConfig,
    service: Service,
    ((meters, cluster), (settings, near), more): (
        (Meters, Cluster),
        (Settings, Near),
        axum::Router,
    ),
    (leave, stop): (CancellationToken, CancellationToken),
) -> Result<(), NodeError> {
    let members: Arc<Vec<MemberAddress>> = Arc::new(core.members.clone());
    let handle = service.door.handle.clone();
    let etcd = Etcd {
        handle: handle.clone(),
        member_id: core.member.0,
        members: members.clone(),
    };
    let incoming = Incoming {
        handle,
        stop: stop.clone(),
    };
    let (_health, health) = tonic_health::server::health_reporter();
    let http = Http {
        door: service.door.clone(),
        members,
        meters,
        cluster,
        leave,
        settings,
        near,
    };
    macro_rules! limited {
        ($server:expr) => {
            $server
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(usize::MAX)
        };
    }
    let routes = Routes::new(limited!(PdServer::new(service.clone())))
        .add_service(limited!(KeyspaceServer::new(service)))
        .add_service(limited!(TransportServer::new(incoming)))
        .add_service(KvServer::new(etcd.clone()))
        .add_service(ClusterServer::new(etcd))
        .add_service(health);
    let router = routes
        .into_axum_router()
        .reset_fallback()
        .merge(http::routes(http).merge(more))
        .fallback(http::unknown)
        .layer(axum::middleware::from_fn(admit));
    let serving = Server::builder()
        .accept_http1(true)
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(
            tls.incoming(listener, Speaks::Both).into_stream(),
            stop.clone().cancelled_owned(),
        );
    let mut serving = std::pin::pin!(serving);
    let failed = |error: tonic::transport::Error| NodeError::Serve(error.to_string());
    tokio::select! {
        served = &mut serving => return served.map_err(failed),
        () = stop.cancelled() => {}
    }
    // Connections that are never closed by their clients must not keep the node alive.
    match tokio::time::timeout(DRAIN_MAX, serving).await {
        Ok(served) => served.map_err(failed),
        Err(_) => Ok(()),
    }
}
