//! The load generator and the targets that yadkv is compared with, all under the same load.
//!
//! *Place*: `yadkv bench` calls [`run`]; it starts and stops the servers it compares.
//!
//! *Types to know*: [`Options`] what to do, [`targets::Target`] to whom, [`report::Report`] what came out.
//!
//! *Life of a run*: connect → preload (loads that read) → warm up → N clients until the time is over, each with its next
//! request as soon as the last one is answered (closed loop), or at the request's own moment (open loop) → what all
//! of them saw → [`report::Report`].
//!
//! *Invariants*: every target gets the same distribution of keys, the same incompressible values and the same number of
//! clients; an operation counts when its answer is there, and has brought all that it should. In an open loop the latency counts from the moment that the
//! operation was meant to begin, so that a stall shows in every operation that it delayed.
//!
//! *Limits*: one operation a client at a time; latencies from 1 µs to 60 s.
//!
//! *Next stop*: [`workload`].

mod keys;
pub mod load;
pub mod machine;
mod pace;
pub mod plot;
mod processor;
pub mod report;
pub mod results;
pub mod serve;
pub mod targets;
mod values;
pub mod workload;

pub use keys::Keys;

use std::sync::Arc;
use std::time::Duration;
use workload::{Shape, Workload};

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the clients do.
    pub workload: Workload,
    /// Its numbers.
    pub shape: Shape,
    /// Whether all records are written before a load that reads; else they are there already.
    pub preload: bool,
    /// Clients that wait for one answer each.
    pub clients: usize,
    /// Operations a second, all clients together; as fast as answers come if not given.
    pub rate: Option<f64>,
    /// How long the load runs before it is measured.
    pub warm_up: Duration,
    /// How long to measure.
    pub time: Duration,
}

/// A measurement that could not be made; the words say what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server could not be started or reached.
    #[error("{target}: {reason}")]
    Target {
        /// Which target.
        target: String,
        /// What happened.
        reason: String,
    },
    /// The operating system has no thread for the schedule of an open loop.
    #[error("the schedule of the open loop: {0}")]
    Schedule(String),
}

/// Measures one target.
pub async fn run(
    target: Arc<dyn targets::Target>,
    options: Options,
) -> Result<report::Report, Error> {
    if !target.serves(options.workload) {
        return Err(Error::Target {
            target: target.name().into(),
            reason: format!("has no {}", options.workload.name()),
        });
    }
    load::run(target, options).await
}
