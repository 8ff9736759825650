//! Looks for damaged data files, and tells the workers whose data is in them.
//!
//! *Place*: beside the servers, whether or not a placement driver answers; that one hears of it with the store's
//! heartbeats.
//!
//! *Limits and failure*: a look every [`INTERVAL`]; without damage it costs nothing. Damage in the store's own records
//! stops the node.
//!
//! *Next stop*: `yadkv_storage_core::damage`.

use crate::metrics::Metrics;
use crate::router::Router;
use crate::threads::Failure;
use std::sync::Arc;
use std::time::Duration;
use yadkv_engine::Engine;
use yadkv_storage_core::damage::{self, Damage};
use yadkv_storage_core::store::message::Input;

const INTERVAL: Duration = Duration::from_secs(1);

/// What is looked at, and who is told.
pub struct DamageWatch {
    /// The data engine.
    pub kv: Arc<dyn Engine>,
    /// Workers.
    pub router: Router,
    /// Gauges.
    pub metrics: Metrics,
    /// Where to report the end.
    pub failure: Failure,
}

impl DamageWatch {
    /// Looks until it is dropped, or until the node has to stop.
    pub async fn run(self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = Damage::default();
        loop {
            interval.tick().await;
            match damage::look(&*self.kv) {
                Ok(found) => self.tell(found, &mut last),
                Err(error) => return self.failure.report("the store's data", &error),
            }
        }
    }

    fn tell(&self, found: Damage, last: &mut Damage) {
        for file in found.files.iter().filter(|file| !last.files.contains(file)) {
            tracing::error!(
                file = file.name,
                first = %file.first.escape_ascii(),
                last = %file.last.escape_ascii(),
                regions = found.regions.len(),
                "a data file is damaged: the placement driver replaces the replicas with data between these keys"
            );
        }
        if found.files.is_empty() && !last.files.is_empty() {
            tracing::info!("no data file is damaged any more");
        }
        // Every time: an offer to a worker that is behind may be lost.
        self.router.offer(|| Input::Damaged(found.regions.clone()));
        let files = i64::try_from(found.files.len()).unwrap_or(i64::MAX);
        self.metrics.moves.damaged_files.set(files);
        *last = found;
    }
}
