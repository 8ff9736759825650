//! The load generator and the targets that yadkv is compared with, all under the same load.
//!
//! *Place*: `yadkv bench` calls [`run`]; it starts and stops the servers it compares.
//!
//! *Types to know*: [`Options`] what to do, [`targets::Target`] to whom, [`report::Report`] what came out.
//!
//! *Life of a run*: connect → preload (gets) → N tasks in a closed loop until the time is over → histograms of
//! all tasks merged → [`report::Report`].
//!
//! *Invariants*: every target gets the same keys, the same incompressible values and the same number of
//! waiting clients; an operation counts when its answer is there.
//!
//! *Limits*: one operation a client at a time; latencies from 1 µs to 60 s.
//!
//! *Next stop*: [`load`].

pub mod load;
pub mod report;
pub mod targets;
pub mod values;

use std::sync::Arc;
use std::time::Duration;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Each operation writes one record.
    Put,
    /// Each operation reads one preloaded record.
    Get,
}

impl Workload {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the clients do.
    pub workload: Workload,
    /// Different keys, at least 1; all are written before a get workload.
    pub records: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Clients that wait for one answer each.
    pub clients: usize,
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
}

/// Measures one target.
pub async fn run(
    target: Arc<dyn targets::Target>,
    options: Options,
) -> Result<report::Report, Error> {
    if options.workload == Workload::Get {
        load::preload(&*target, options).await?;
    }
    Ok(load::closed_loop(target, options).await)
}
