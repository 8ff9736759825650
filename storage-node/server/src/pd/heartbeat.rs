//! Store heartbeats, and the slow look at this store's own state that goes with them.
//!
//! *Invariants*: what is not known is left out. Written bytes and keys are those since the last heartbeat that was taken.
//!
//! *Limits and failure*: a heartbeat that finds no placement driver is left out. A store that was removed ends.
//!
//! *Next stop*: [`super::regions`].

use super::register::RegisterError;
use super::{Pd, header};
use crate::clock;
use crate::config::Config;
use crate::life::Life;
use crate::metrics::Metrics;
use crate::router::Router;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use yadkv_engine::{Engine, LogEngine};
use yadkv_proto::id::{ClusterId, StoreId};
use yadkv_proto::pdpb::{ErrorType, StoreHeartbeatRequest, StoreStats, TimeInterval};
use yadkv_storage_core::damage;
use yadkv_storage_core::front::Front;

/// What a heartbeat looks at.
pub struct Heartbeat {
    /// Whom to tell.
    pub pd: Arc<Pd>,
    /// Our cluster.
    pub cluster: ClusterId,
    /// This store.
    pub store: StoreId,
    /// Its door and replicas.
    pub front: Arc<Front>,
    /// Its workers.
    pub router: Router,
    /// Data engine.
    pub kv: Arc<dyn Engine>,
    /// Log engine.
    pub raft: Arc<dyn LogEngine>,
    /// Where the disk is.
    pub data_dir: PathBuf,
    /// Gauges.
    pub metrics: Metrics,
    /// Seconds since the epoch when the process started.
    pub start_time: u32,
    /// Time between two heartbeats.
    pub settings: watch::Receiver<Config>,
    /// Whether it serves; says when something changed that the placement driver should not hear late.
    pub life: Life,
}

/// What was applied until some moment, seconds since the epoch.
#[derive(Clone, Copy)]
struct Written {
    at: u64,
    bytes: u64,
    keys: u64,
}

/// The first one at once.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl Heartbeat {
    /// Runs until the store is removed from the cluster, or until it is dropped.
    pub async fn run(mut self) -> RegisterError {
        let mut interval = every(self.wanted_interval());
        let changed = self.life.changed();
        let mut told = Written {
            at: self.start_time.into(),
            bytes: 0,
            keys: 0,
        };
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = changed.notified() => {}
                Ok(()) = self.settings.changed() => {
                    let wanted = self.wanted_interval();
                    if wanted == interval.period() {
                        continue;
                    }
                    interval = every(wanted);
                }
            }
            let written = self.written();
            let stats = StoreStats {
                bytes_written: written.bytes - told.bytes,
                keys_written: written.keys - told.keys,
                interval: Some(TimeInterval {
                    start_timestamp: told.at,
                    end_timestamp: written.at.max(told.at),
                }),
                ..self.look()
            };
            let request = StoreHeartbeatRequest {
                header: header(self.cluster, self.store),
                stats: Some(stats),
                ..Default::default()
            };
            let sent = self.pd.ask(|mut pd| {
                let request = request.clone();
                async move { pd.store_heartbeat(request).await }
            });
            let header = match sent.await {
                Ok(response) => {
                    told = written;
                    response.header
                }
                Err(status) => {
                    tracing::debug!(reason = status.message(), "store heartbeat was not taken");
                    continue;
                }
            };
            let refusal = header.and_then(|header| header.error);
            if refusal.is_some_and(|error| error.r#type() == ErrorType::StoreTombstone) {
                return RegisterError::Removed(self.store.0);
            }
        }
    }

    fn wanted_interval(&self) -> Duration {
        self.settings.borrow().store.heartbeat_interval
    }

    fn written(&self) -> Written {
        Written {
            at: clock::now().wall_ms / 1000,
            bytes: self.metrics.apply.bytes.get(),
            keys: self.metrics.apply.keys.get(),
        }
    }

    fn look(&self) -> StoreStats {
        let views = self.front.directory.all();
        let snapshots = |kind| {
            let now = self.metrics.moves.snapshots_now.with_label_values(&[kind]);
            u32::try_from(now.get()).unwrap_or(0)
        };
        let log_bytes = self.raft.statistics().disk_bytes;
        // What cannot be looked at stops the node elsewhere.
        let damage = damage::named(&*self.kv, &self.front.directory).unwrap_or_default();
        StoreStats {
            damaged_regions_id: damage.regions.iter().map(|region| region.0).collect(),
            store_id: self.store.0,
            capacity: fs4::total_space(&self.data_dir).unwrap_or(0),
            available: fs4::available_space(&self.data_dir).unwrap_or(0),
            used_size: log_bytes + self.kv.statistics().disk_bytes,
            region_count: u32::try_from(views.len()).unwrap_or(u32::MAX),
            sending_snap_count: snapshots("send"),
            receiving_snap_count: snapshots("receive"),
            applying_snap_count: snapshots("install"),
            is_busy: self.front.log_full.load(Ordering::Relaxed)
                || self.front.writes.hang(clock::moment())
                || self.router.is_crowded()
                || self.life.leaves()
                || !damage.files.is_empty(),
            is_apply_busy: self.apply_is_behind(),
            start_time: self.start_time,
            ..Default::default()
        }
    }

    /// Whether more than half of the bytes are used that may wait for apply, or entries wait in the log already.
    fn apply_is_behind(&self) -> bool {
        let waiting = u64::try_from(self.metrics.apply.queue_bytes.get()).unwrap_or(0);
        let left = self.metrics.apply.queue_left.get() > 0;
        left || waiting > self.front.config.apply_queue_bytes as u64 / 2
    }
}
