//! The thread that measures regions.
//!
//! *Place*: workers name regions that may be too large; what is found goes back to them.
//!
//! *Limits and failure*: [`QUEUE`] regions wait; a worker that finds no room names its region again later. A read that
//! fails is left out, the next look meets it again.
//!
//! *Next stop*: `yadkv_storage_core::split::check`.

use crate::metrics::Metrics;
use crate::router::Router;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use yadkv_engine::Engine;
use yadkv_proto::id::RegionId;
use yadkv_proto::key::KeyRange;
use yadkv_storage_core::split::check::check;
use yadkv_storage_core::store::message::{Input, SizeTask};

/// Regions that may wait.
pub const QUEUE: usize = 256;
/// How often it looks whether the node stops.
const PAUSE: Duration = Duration::from_millis(200);

/// What it uses.
pub struct SizeThread {
    /// Regions.
    pub tasks: Receiver<SizeTask>,
    /// The data engine.
    pub kv: Arc<dyn Engine>,
    /// Counters.
    pub metrics: Metrics,
    /// Where results go.
    pub router: Router,
    /// Ends it.
    pub stop: CancellationToken,
}

impl SizeThread {
    /// Runs until the node stops.
    pub fn run(self) {
        while !self.stop.is_cancelled() {
            match self.tasks.recv_timeout(PAUSE) {
                Ok(task) => self.look(&task),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&self, task: &SizeTask) {
        let region = RegionId(task.region.id);
        let version = task.region.region_epoch.map_or(0, |epoch| epoch.version);
        let range = KeyRange::of(&task.region);
        match check(&*self.kv.clone().hold(), &range, &task.limits) {
            Ok(found) => {
                self.metrics
                    .moves
                    .uncuttable
                    .inc_by(found.uncuttable.into());
                self.router
                    .send(region, Input::Looked(region, version, found));
            }
            Err(error) => tracing::error!(region = region.0, %error, "a region cannot be measured"),
        }
    }
}
