//! Counters and latency histograms of the hot path.
//!
//! *Place*: services time requests, worker and apply threads time their loops; [`crate::status`] shows them.
//!
//! *Invariants*: names begin with `yadkv_store_` and end in their unit; latency is in seconds.
//!
//! *Limits*: labels are names of calls and of drop reasons: both are closed sets.
//!
//! *Next stop*: [`crate::status`].

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, exponential_buckets,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use yadkv_proto::api::StoreRequest;
use yadkv_storage_core::check::Report;

/// What a storage node counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Seconds from taking a request in to its answer, by call. Is the store slow, and at what?
    pub request_seconds: HistogramVec,
    /// Answers with a region error, by call. Are clients' routes stale?
    pub region_errors: IntCounterVec,
    /// Seconds of a log write with its fsync. Is the disk slow?
    pub log_write_seconds: Histogram,
    /// Bytes written to the logs.
    pub log_bytes: IntCounter,
    /// Seconds of applying one batch. Does apply keep up?
    pub apply_seconds: Histogram,
    /// Entries applied.
    pub apply_entries: IntCounter,
    /// Reads served under the lease. What share avoids ReadIndex?
    pub lease_reads: IntCounter,
    /// Reads served through ReadIndex.
    pub index_reads: IntCounter,
    /// Raft messages dropped, by reason. Does a peer talk to the wrong store?
    pub dropped_messages: IntCounterVec,
    /// Regions cut while they were led here. Do regions grow?
    pub splits: IntCounter,
    /// Looks at regions that are too large and stay whole: all their keys begin with one encoded key. Does one key have
    /// too many rows?
    pub uncuttable: IntCounter,
    /// Snapshots sent, by what became of them. Do replicas get what they lack?
    pub snapshots: IntCounterVec,
    /// Bytes of pairs sent in snapshots.
    pub snapshot_bytes: IntCounter,
    /// Replicas installed and destroyed here. Do regions move?
    pub moves: IntCounterVec,
    /// Checks of regions led here, by what they found: `same`, `different`, or `partial` if some replica was silent. Is
    /// every replica right?
    pub checks: IntCounterVec,
    /// Data files with damaged bytes. Does this disk have to be replaced?
    pub damaged_files: IntGauge,
    /// Replicas on this store.
    pub regions: IntGauge,
    /// Replicas that lead.
    pub leaders: IntGauge,
    /// Snapshots under way, by what is done with them: send, receive, install. Do they queue?
    pub snapshots_now: IntGaugeVec,
    /// Bytes of keys and values applied. What do clients write?
    pub applied_bytes: IntCounter,
    /// Pairs applied.
    pub applied_keys: IntCounter,
    /// Regions with entries that wait for apply. Does it keep up?
    pub apply_queue: IntGauge,
    /// Regions with entries that wait for apply in the log only.
    pub apply_queue_left: IntGauge,
    /// Bytes of those entries in memory; the others are in the log.
    pub apply_queue_bytes: IntGauge,
}

/// The timers of one call, looked up once.
#[derive(Clone, Debug)]
pub struct CallMetrics {
    /// See [`Metrics::request_seconds`].
    pub seconds: Histogram,
    /// See [`Metrics::region_errors`].
    pub region_errors: IntCounter,
}

/// Something that is counted while it lasts.
#[derive(Debug)]
pub struct Underway(IntGauge);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// [`CallMetrics`] by call name.
pub type Calls = Arc<BTreeMap<&'static str, CallMetrics>>;

fn latency_buckets() -> Vec<f64> {
    // 10 µs to about 21 s; the arguments are constants that the crate accepts.
    exponential_buckets(0.000_01, 2.0, 22).expect("invariant: start and factor are positive")
}

impl Metrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let histogram = |name: &str, help: &str| {
            HistogramOpts::new(format!("yadkv_store_{name}"), help).buckets(latency_buckets())
        };
        let counter = |name: &str, help: &str| Opts::new(format!("yadkv_store_{name}"), help);
        let total = |name: &str, help: &str| IntCounter::with_opts(counter(name, help));
        let gauge = |name: &str, help: &str| IntGauge::with_opts(counter(name, help));
        let metrics = Self {
            request_seconds: HistogramVec::new(
                histogram("request_seconds", "Time to answer, by call"),
                &["call"],
            )?,
            region_errors: IntCounterVec::new(
                counter("region_errors_total", "Region errors, by call"),
                &["call"],
            )?,
            log_write_seconds: Histogram::with_opts(histogram(
                "log_write_seconds",
                "Log write with its fsync",
            ))?,
            log_bytes: total("log_bytes_total", "Bytes written to Raft logs")?,
            apply_seconds: Histogram::with_opts(histogram("apply_seconds", "Applying one batch"))?,
            apply_entries: total("apply_entries_total", "Entries applied")?,
            lease_reads: total("lease_reads_total", "Reads under the lease")?,
            index_reads: total("index_reads_total", "Reads through ReadIndex")?,
            dropped_messages: IntCounterVec::new(
                counter("dropped_messages_total", "Raft messages dropped, by reason"),
                &["reason"],
            )?,
            splits: total("splits_total", "Regions cut while led here")?,
            uncuttable: total(
                "uncuttable_regions_total",
                "Looks at regions too large that cannot be cut",
            )?,
            snapshots: IntCounterVec::new(
                counter("snapshots_sent_total", "Snapshots sent, by their end"),
                &["end"],
            )?,
            snapshot_bytes: total("snapshot_bytes_total", "Bytes of pairs sent in snapshots")?,
            moves: IntCounterVec::new(
                counter("moves_total", "Replicas installed and destroyed"),
                &["kind"],
            )?,
            checks: IntCounterVec::new(
                counter("region_checks_total", "Checks of replicas, by their end"),
                &["found"],
            )?,
            damaged_files: gauge("damaged_files", "Damaged data files")?,
            regions: gauge("regions", "Replicas on this store")?,
            leaders: gauge("leaders", "Replicas that lead")?,
            snapshots_now: IntGaugeVec::new(
                counter("snapshots", "Snapshots sent, received and installed now"),
                &["kind"],
            )?,
            applied_bytes: total("applied_bytes_total", "Bytes of keys and values applied")?,
            applied_keys: total("applied_keys_total", "Pairs applied")?,
            apply_queue: gauge("apply_queue", "Regions with entries that wait for apply")?,
            apply_queue_left: gauge(
                "apply_queue_left",
                "Regions with entries that wait for apply in the log only",
            )?,
            apply_queue_bytes: gauge("apply_queue_bytes", "Entries that wait for apply in memory")?,
        };
        for collector in metrics.collectors() {
            registry.register(collector)?;
        }
        Ok(metrics)
    }

    fn collectors(&self) -> [Box<dyn Collector>; 24] {
        [
            Box::new(self.request_seconds.clone()),
            Box::new(self.region_errors.clone()),
            Box::new(self.log_write_seconds.clone()),
            Box::new(self.log_bytes.clone()),
            Box::new(self.apply_seconds.clone()),
            Box::new(self.apply_entries.clone()),
            Box::new(self.lease_reads.clone()),
            Box::new(self.index_reads.clone()),
            Box::new(self.dropped_messages.clone()),
            Box::new(self.splits.clone()),
            Box::new(self.uncuttable.clone()),
            Box::new(self.snapshots.clone()),
            Box::new(self.snapshot_bytes.clone()),
            Box::new(self.moves.clone()),
            Box::new(self.checks.clone()),
            Box::new(self.damaged_files.clone()),
            Box::new(self.regions.clone()),
            Box::new(self.leaders.clone()),
            Box::new(self.snapshots_now.clone()),
            Box::new(self.applied_bytes.clone()),
            Box::new(self.applied_keys.clone()),
            Box::new(self.apply_queue.clone()),
            Box::new(self.apply_queue_left.clone()),
            Box::new(self.apply_queue_bytes.clone()),
        ]
    }

    /// Counts a check that is over.
    pub fn checked(&self, report: &Report) {
        let found = match (&report.difference, report.silent.is_empty()) {
            (Some(_), _) => "different",
            (None, true) => "same",
            (None, false) => "partial",
        };
        self.checks.with_label_values(&[found]).inc();
    }

    /// One snapshot more of a kind, until the answer is dropped.
    pub fn snapshot(&self, kind: &str) -> Underway {
        let gauge = self.snapshots_now.with_label_values(&[kind]);
        gauge.inc();
        Underway(gauge)
    }

    /// The timers of every call.
    pub fn calls(&self) -> Calls {
        let named = StoreRequest::NAMES.iter().map(|name| {
            let call = CallMetrics {
                seconds: self.request_seconds.with_label_values(&[name]),
                region_errors: self.region_errors.with_label_values(&[name]),
            };
            (*name, call)
        });
        Arc::new(named.collect())
    }
}
