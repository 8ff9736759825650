//! What the process as a whole uses, under the names that Prometheus' own libraries give.
//!
//! *Place*: servers add it once to their meters.
//!
//! *Source*: Prometheus, "Writing client libraries", process metrics.
//!
//! *Next stop*: [`crate::Meters`].

use crate::{Description, Error, Kind, Meters};
use prometheus::process_collector::ProcessCollector;

/// Name, kind, what, question: the crate has them without the last two.
const PROCESS: [(&str, Kind, &str, &str); 7] = [
    (
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time of the process.",
        "Does it need more processors?",
    ),
    (
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Memory of the process.",
        "Will the operating system end it?",
    ),
    (
        "process_virtual_memory_bytes",
        Kind::Gauge,
        "Addresses of the process.",
        "Does it map more than a limit allows?",
    ),
    (
        "process_open_fds",
        Kind::Gauge,
        "Open files and connections.",
        "Do connections leak?",
    ),
    (
        "process_max_fds",
        Kind::Gauge,
        "Files and connections that may be open.",
        "Will connections be refused?",
    ),
    (
        "process_threads",
        Kind::Gauge,
        "Threads of the process.",
        "Do threads leak?",
    ),
    (
        "process_start_time_seconds",
        Kind::Gauge,
        "When the process started, since the Unix epoch.",
        "Was it restarted?",
    ),
];

impl Meters {
    /// Adds processor time, memory, files and threads of this process.
    pub fn add_process(&self) -> Result<(), Error> {
        self.registry
            .register(Box::new(ProcessCollector::for_self()))?;
        let described = PROCESS.map(|(name, kind, what, question)| Description {
            name: name.into(),
            kind,
            label: None,
            what,
            question,
        });
        self.described.lock().extend(described);
        Ok(())
    }
}
