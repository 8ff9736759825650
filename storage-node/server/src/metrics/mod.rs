//! What a storage node counts and times.
//!
//! *Place*: services time requests, worker and apply threads time their loops, transport counts messages and snapshots;
//! [`crate::status`] shows them.
//!
//! *What is where*: [`calls`] requests of clients · [`raft`] logs and elections · [`apply`] data · [`moves`] replicas on
//! their way · [`resources`] what is looked at only when it is shown: memory, disk, queues, RocksDB.
//!
//! *Invariants*: names begin with `yadkv_store_` and end in their unit; times are in seconds. On the hot path nothing is
//! looked up by name.
//!
//! *Limits*: labels are names of calls, errors, reasons and states: all are closed sets.
//!
//! *Next stop*: [`crate::status`].

pub mod apply;
pub mod calls;
pub mod moves;
pub mod raft;
pub mod resources;

use std::sync::Arc;
use yadkv_metrics::{Description, Error, Meters};

/// What the names of all metrics of a store begin with.
pub const PREFIX: &str = "yadkv_store";

/// Everything that is counted where it happens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Requests of clients.
    pub calls: Arc<calls::Calls>,
    /// Logs and elections.
    pub raft: raft::Raft,
    /// Data.
    pub apply: apply::Apply,
    /// Replicas on their way, and whether they are sound.
    pub moves: moves::Moves,
}

impl Metrics {
    /// Makes the metrics of one store.
    pub fn new(meters: &Meters) -> Result<Self, Error> {
        Ok(Self {
            calls: Arc::new(calls::Calls::new(meters)?),
            raft: raft::Raft::new(meters)?,
            apply: apply::Apply::new(meters)?,
            moves: moves::Moves::new(meters)?,
        })
    }
}

/// Every metric of a store.
pub fn describe() -> Result<Vec<Description>, Error> {
    let meters = Meters::new(PREFIX);
    Metrics::new(&meters)?;
    resources::Gauges::new(&meters)?;
    meters.add_process()?;
    meters.add_runtime()?;
    Ok(meters.descriptions())
}
