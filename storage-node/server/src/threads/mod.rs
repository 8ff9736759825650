//! The threads of a storage node: workers, apply, reads, those that measure regions, make data durable, and install or
//! destroy replicas.
//!
//! *Place*: [`crate::node`] starts and joins them; [`crate::router`] feeds the workers.
//!
//! *Invariants*: no worker waits for another thread: what it hands to apply is left in the log when that is behind, reads
//! are refused, everything else may get lost. Apply alone waits, for the thread of the moves; results upward go through the
//! mailbox, which cannot fill up: no cycle of full channels.
//!
//! *Limits and failure*: a thread that meets an engine error reports it to [`Failure`] and the node stops.
//!
//! *Next stop*: [`worker`].

pub mod apply;
pub mod digests;
pub mod flush;
pub mod moves;
pub mod reads;
pub mod sizes;
pub mod worker;

use parking_lot::Mutex;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The first fatal error of any thread; setting it stops the node.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    first: Arc<Mutex<Option<String>>>,
    /// Fires when a thread failed or the node shall stop.
    pub stop: CancellationToken,
}

impl Failure {
    /// A thread cannot go on.
    pub fn report(&self, what: &str, error: &dyn std::fmt::Display) {
        tracing::error!(%error, "{what} stopped");
        self.first
            .lock()
            .get_or_insert_with(|| format!("{what}: {error}"));
        self.stop.cancel();
    }

    /// Whether a thread failed: what still waits for it gets no answer.
    pub fn is_known(&self) -> bool {
        self.first.lock().is_some()
    }

    /// What went wrong first.
    pub fn take(&self) -> Option<String> {
        self.first.lock().take()
    }
}
