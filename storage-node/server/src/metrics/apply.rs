//! Committed entries on their way into the data.
//!
//! *Place*: [`crate::threads::apply`] times and counts; workers show what waits.
//!
//! *Next stop*: [`super::moves`].

use yadkv_metrics::{Error, Histogram, IntCounter, IntGauge, Meters, about};

/// Counters of apply. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Apply {
    /// Applying one batch.
    pub seconds: Histogram,
    /// Entries applied.
    pub entries: IntCounter,
    /// Bytes of keys and values written.
    pub bytes: IntCounter,
    /// Pairs written.
    pub keys: IntCounter,
    /// Regions with entries that wait.
    pub queue: IntGauge,
    /// Those with entries in the log only.
    pub queue_left: IntGauge,
    /// Bytes of entries that wait in memory.
    pub queue_bytes: IntGauge,
}

impl Apply {
    pub(super) fn new(meters: &Meters) -> Result<Self, Error> {
        let seconds = about(
            "apply_seconds",
            "Time to apply a batch of entries of many regions. Its sum is how long apply was busy.",
            "Is apply at its limit?",
        );
        let entries = about(
            "apply_entries_total",
            "Entries applied.",
            "Does apply go on?",
        );
        let bytes = about(
            "apply_bytes_total",
            "Bytes of keys and values that were applied.",
            "How much do clients write, all replicas here together?",
        );
        let keys = about(
            "apply_keys_total",
            "Pairs that were applied.",
            "How many pairs do clients write?",
        );
        let queue = about(
            "apply_queue_regions",
            "Regions with entries that wait to be applied.",
            "Does apply keep up?",
        );
        let left = about(
            "apply_queue_left_regions",
            "Regions whose waiting entries found no room in memory and will be read from the log again.",
            "Is apply so far behind that it costs reads of the log?",
        );
        let waiting = about(
            "apply_queue_bytes",
            "Bytes of entries that wait in memory to be applied.",
            "How far is apply behind?",
        );
        Ok(Self {
            seconds: meters.times(seconds)?,
            entries: meters.counter(entries)?,
            bytes: meters.counter(bytes)?,
            keys: meters.counter(keys)?,
            queue: meters.gauge(queue)?,
            queue_left: meters.gauge(left)?,
            queue_bytes: meters.gauge(waiting)?,
        })
    }
}
