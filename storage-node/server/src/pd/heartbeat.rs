//! Store heartbeats, and the slow look at this store's own state that goes with them.
//!
//! *Limits and failure*: a heartbeat that finds no placement driver is left out. A store that was removed ends.
//!
//! *Next stop*: [`super::regions`].

use super::register::RegisterError;
use super::{Pd, header};
use crate::metrics::Metrics;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use yadkv_engine::Engine;
use yadkv_proto::id::{ClusterId, StoreId};
use yadkv_proto::pdpb::{ErrorType, StoreHeartbeatRequest, StoreStats};
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
    /// Data engine.
    pub kv: Arc<dyn Engine>,
    /// Log engine.
    pub raft: Arc<dyn Engine>,
    /// Where the disk is.
    pub data_dir: PathBuf,
    /// Gauges.
    pub metrics: Metrics,
    /// Seconds since the epoch when the process started.
    pub start_time: u32,
    /// Time between two heartbeats.
    pub interval: Duration,
}

impl Heartbeat {
    /// Runs until the store is removed from the cluster, or until it is dropped.
    pub async fn run(self) -> RegisterError {
        let mut interval = tokio::time::interval(self.interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let stats = self.look();
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
                Ok(response) => response.header,
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

    fn look(&self) -> StoreStats {
        let views = self.front.directory.all();
        let leaders = views
            .iter()
            .filter(|view| view.delegate().is_some())
            .count();
        self.metrics
            .regions
            .set(i64::try_from(views.len()).unwrap_or(i64::MAX));
        self.metrics
            .leaders
            .set(i64::try_from(leaders).unwrap_or(i64::MAX));
        let log_bytes = self.raft.statistics().disk_bytes;
        // What cannot be looked at stops the node elsewhere.
        let damage = damage::look(&*self.kv).unwrap_or_default();
        StoreStats {
            is_busy: !damage.files.is_empty(),
            damaged_regions_id: damage.regions.iter().map(|region| region.0).collect(),
            store_id: self.store.0,
            capacity: fs4::total_space(&self.data_dir).unwrap_or(0),
            available: fs4::available_space(&self.data_dir).unwrap_or(0),
            used_size: log_bytes + self.kv.statistics().disk_bytes,
            region_count: u32::try_from(views.len()).unwrap_or(u32::MAX),
            start_time: self.start_time,
            ..Default::default()
        }
    }
}
