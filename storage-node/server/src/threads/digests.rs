//! The thread that reads whole regions to compare their replicas.
//!
//! *Place*: workers name what is to be read; digests of it go back to them.
//!
//! *Limits and failure*: [`QUEUE`] views wait, each of which keeps what is overwritten meanwhile; one that finds no room
//! is dropped, and the check goes on without this replica. What cannot be read is said to whoever compares.
//!
//! *Next stop*: `yadkv_storage_core::check`.

use crate::router::Router;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use yadkv_proto::id::RegionId;
use yadkv_storage_core::store::message::{DigestTask, Input};

/// Views that may wait.
pub const QUEUE: usize = 4;
/// How often it looks whether the node stops.
const PAUSE: Duration = Duration::from_millis(200);

/// What it uses.
pub struct DigestThread {
    /// Views.
    pub tasks: Receiver<DigestTask>,
    /// Where results go.
    pub router: Router,
    /// Ends it.
    pub stop: CancellationToken,
}

impl DigestThread {
    /// Runs until the node stops.
    pub fn run(self) {
        while !self.stop.is_cancelled() {
            match self.tasks.recv_timeout(PAUSE) {
                Ok(task) => self.digest(task),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn digest(&self, task: DigestTask) {
        let region = RegionId(task.point.region.id);
        let answer = task.point.digest(&task).map_err(|error| {
            tracing::error!(region = region.0, %error, "a replica cannot be read");
            error.to_string()
        });
        self.router.send(region, Input::Digested(task, answer));
    }
}
