//! The thread that sees to it that applied data becomes durable, so that logs can be shortened.
//!
//! *Place*: workers name positions that shall be durable; they hear of it when they are.
//!
//! *Life of a position*: named → looked for in the tables every [`LOOK`], since memtables are flushed of their own accord
//! when they are full → told. One that waits for [`PATIENCE`] has all memtables flushed, however little is in them.
//!
//! *Limits and failure*: [`QUEUE`] lists wait; a worker that finds no room asks again later. One position a region. A
//! failed flush stops the node; a look that meets damage finds nothing.
//!
//! *Next stop*: `yadkv_storage_core::peer`.

use super::Failure;
use crate::router::Router;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use yadkv_engine::Engine;
use yadkv_proto::id::{Index, RegionId};
use yadkv_storage_core::store::message::Input;
use yadkv_storage_core::store::recover::durable_index;

/// Lists that may wait.
pub const QUEUE: usize = 1024;
/// How long a position waits for memtables to be full. Shorter: small tables, which are merged again and again; longer:
/// longer logs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How often it looks whether the node stops.
const STOP_LOOK: Duration = Duration::from_millis(200);

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

/// Positions by region, and since when they wait.
type Waiting = BTreeMap<RegionId, (Index, Instant)>;

impl FlushThread {
    /// Runs until the node stops.
    pub fn run(self) {
        let mut next = Instant::now();
        let mut waiting = Waiting::new();
        while !self.failure.stop.is_cancelled() {
            match self.asked.recv_timeout(STOP_LOOK) {
                Ok(positions) => {
                    let now = Instant::now();
                    let positions = positions.into_iter();
                    waiting.extend(positions.map(|(region, index)| (region, (index, now))));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if waiting.is_empty() || Instant::now() < next {
                continue;
            }
            self.tell(&mut waiting);
            let late = |(_, since): &(Index, Instant)| since.elapsed() >= PATIENCE;
            if waiting.values().any(late) {
                if let Err(error) = self.kv.sync() {
                    return self.failure.report("flush", &error);
                }
                self.tell(&mut waiting);
                // What is not there now belongs to a replica that is gone; one that lives asks again.
                waiting.clear();
            }
            next = Instant::now() + LOOK;
        }
    }

    /// Takes out what is durable, and tells the workers.
    fn tell(&self, waiting: &mut Waiting) {
        let mut durable = Vec::new();
        waiting.retain(|region, (index, _)| {
            let found = durable_index(&*self.kv, *region);
            let found = found.ok().flatten().filter(|found| found >= index);
            durable.extend(found.map(|found| (*region, found)));
            found.is_none()
        });
        if !durable.is_empty() {
            self.router.broadcast(|| Input::Durable(durable.clone()));
        }
    }
}
