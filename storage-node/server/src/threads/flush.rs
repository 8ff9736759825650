//! The thread that makes applied data durable, so that logs can be shortened.
//!
//! *Place*: workers name positions that are applied; when they are durable they hear of it.
//!
//! *Limits and failure*: [`QUEUE`] lists wait; a worker that finds no room asks again later. At most one flush every
//! [`PAUSE`], for all that was asked until then. One that fails stops the node.
//!
//! *Next stop*: `yadkv_storage_core::peer`.

use super::Failure;
use crate::router::Router;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use yadkv_engine::Engine;
use yadkv_proto::id::{Index, RegionId};
use yadkv_storage_core::store::message::Input;

/// Lists that may wait.
pub const QUEUE: usize = 1024;
/// Shortest time between two flushes: each writes files of whatever size the memtables have.
const PAUSE: Duration = Duration::from_secs(5);
/// How often it looks whether the node stops.
const LOOK: Duration = Duration::from_millis(200);

/// What it uses.
pub struct FlushThread {
    /// Positions that shall be durable.
    pub asked: Receiver<Vec<(RegionId, Index)>>,
    /// The data engine.
    pub kv: Arc<dyn Engine>,
    /// Where results go.
    pub router: Router,
    /// Where to report the end, and what ends it.
    pub failure: Failure,
}

impl FlushThread {
    /// Runs until the node stops.
    pub fn run(self) {
        let mut next = Instant::now();
        let mut waiting = Vec::new();
        while !self.failure.stop.is_cancelled() {
            match self.asked.recv_timeout(LOOK) {
                Ok(mut positions) => waiting.append(&mut positions),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if waiting.is_empty() || Instant::now() < next {
                continue;
            }
            let positions = std::mem::take(&mut waiting);
            if let Err(error) = self.kv.sync() {
                return self.failure.report("flush", &error);
            }
            self.router.broadcast(|| Input::Durable(positions.clone()));
            next = Instant::now() + PAUSE;
        }
    }
}
