//! The thread that installs and destroys replicas, all that wait together, and takes damaged data files away.
//!
//! *Place*: behind apply, which has applied everything that was handed over before; the worker hears when it is over.
//!
//! *Limits and failure*: [`QUEUE`] moves wait; apply waits while that is full. One that fails stops the node, and is
//! finished at the next start.
//!
//! *Next stop*: `yadkv_storage_core::snapshot::install`.

use super::Failure;
use crate::metrics::Metrics;
use crate::router::Router;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::time::Duration;
use yadkv_engine::DamagedFile;
use yadkv_storage_core::damage;
use yadkv_storage_core::snapshot::install::{Move, Moving, Places, advance};
use yadkv_storage_core::store::StoreError;

/// Moves that may wait.
pub const QUEUE: usize = 4096;
/// How often it looks for damaged files that nobody needs any more.
const PAUSE: Duration = Duration::from_secs(1);
/// Moves that take their steps together.
const TOGETHER_MAX: usize = 64;

/// What it works on.
pub struct MoveThread {
    /// What to do.
    pub moves: Receiver<Move>,
    /// Engines.
    pub places: Places,
    /// Where results go.
    pub router: Router,
    /// Counters.
    pub metrics: Metrics,
    /// Where to report the end.
    pub failure: Failure,
}

impl MoveThread {
    /// Runs until apply is gone or the node stops.
    pub fn run(self) {
        let (mut moving, mut kept) = (Vec::new(), Vec::new());
        loop {
            match self.moves.recv_timeout(PAUSE) {
                Ok(order) => self.begin(order, &mut moving),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            while !moving.is_empty() {
                if self.failure.stop.is_cancelled() {
                    return;
                }
                let room = TOGETHER_MAX - moving.len();
                for order in self.moves.try_iter().take(room) {
                    self.begin(order, &mut moving);
                }
                match advance(&mut moving, &self.places) {
                    Ok(moved) => moved.into_iter().for_each(|one| self.router.moved(one)),
                    Err(error) => return self.failure.report("installation of a replica", &error),
                }
            }
            if let Err(error) = self.sweep(&mut kept) {
                return self.failure.report("removal of damaged data", &error);
            }
        }
    }

    /// Takes damaged files away, between two moves.
    fn sweep(&self, kept: &mut Vec<DamagedFile>) -> Result<(), StoreError> {
        let found = damage::sweep(&*self.places.kv, kept)?;
        for file in found.iter().filter(|file| !kept.contains(file)) {
            tracing::error!(
                file = file.name,
                "no replica has data in this damaged file any more, but it cannot be taken away: remove this store \
                 (`yadkv ctl store remove`), empty its directory and start it again"
            );
        }
        *kept = found;
        Ok(())
    }

    fn begin(&self, order: Move, moving: &mut Vec<Moving>) {
        let kind = match order {
            Move::Install(_) => "install",
            Move::Destroy { .. } => "destroy",
        };
        self.metrics.moves.replicas.with_label_values(&[kind]).inc();
        moving.push(order.begin());
    }
}
