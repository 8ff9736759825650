//! The thread that installs and destroys replicas, all that wait together.
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
use crossbeam::channel::Receiver;
use yadkv_storage_core::snapshot::install::{Move, Moving, Places, advance};

/// Moves that may wait.
pub const QUEUE: usize = 4096;
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
        let mut moving = Vec::new();
        while let Ok(order) = self.moves.recv() {
            self.begin(order, &mut moving);
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
        }
    }

    fn begin(&self, order: Move, moving: &mut Vec<Moving>) {
        let kind = match order {
            Move::Install(_) => "install",
            Move::Destroy { .. } => "destroy",
        };
        self.metrics.moves.with_label_values(&[kind]).inc();
        moving.push(order.begin());
    }
}
