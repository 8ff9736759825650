//! Stops writes before the disk is full.
//!
//! *Place*: beside the servers, whether or not a placement driver answers; `Front::submit` looks at the result.
//!
//! *Invariants*: the first look comes before the first request.
//!
//! *Limits and failure*: a look every [`INTERVAL`]; what is written in between comes out of the reserve. A file
//! system that cannot be asked counts as full.
//!
//! *Next stop*: [`crate::pd`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use yadkv_engine::Engine;
use yadkv_storage_core::front::Front;

/// Writes are refused while less than this is free: hard states, applied entries and flushes still need room.
const RESERVE_BYTES: u64 = 256 << 20;
/// At 200 MB/s the reserve lasts longer than this.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is looked at, and who is told.
pub struct DiskWatch {
    /// Refuses writes while the disk or the logs are full.
    pub front: Arc<Front>,
    /// Log engine.
    pub raft: Arc<dyn Engine>,
    /// Where the disk is.
    pub data_dir: PathBuf,
}

impl DiskWatch {
    /// Looks at once, then until it is dropped.
    pub async fn run(self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.look();
        }
    }

    /// Refuses or allows writes from now on.
    pub fn look(&self) {
        let log_bytes = self.raft.statistics().disk_bytes;
        let available = fs4::available_space(&self.data_dir);
        let free = *available.as_ref().unwrap_or(&0);
        let full = log_bytes > self.front.config.log_bytes_max || free < RESERVE_BYTES;
        let was = self.front.log_full.swap(full, Ordering::Relaxed);
        let data_dir = self.data_dir.display();
        if full && !was {
            tracing::warn!(
                %data_dir,
                ?available,
                needed = RESERVE_BYTES,
                log_bytes,
                log_bytes_max = self.front.config.log_bytes_max,
                "writes are refused: free space on this disk, or raise store.log_size"
            );
        } else if was && !full {
            tracing::info!(%data_dir, ?available, log_bytes, "writes are taken again");
        }
    }
}
