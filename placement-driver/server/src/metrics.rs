//! Counters and latency histograms of a placement driver member.
//!
//! *Place*: services time calls, the driver times the log; `/metrics` shows them.
//!
//! *Invariants*: names begin with `yadkv_pd_` and end in their unit; latency is in seconds.
//!
//! *Limits*: labels are names of calls and of reasons: both are closed sets.
//!
//! *Next stop*: [`crate::http`].

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry,
    core::Collector, exponential_buckets,
};

/// What a member counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Seconds from taking a call in to its answer, by call. Is the placement driver slow, and at what?
    pub request_seconds: HistogramVec,
    /// Calls that were not served here, by call. Do callers go to the wrong member, or is there no leader?
    pub refused: IntCounterVec,
    /// Calls passed on to the leader, by call.
    pub forwarded: IntCounterVec,
    /// Seconds of a log write with its fsync. Is the disk slow?
    pub log_write_seconds: Histogram,
    /// Raft messages dropped, by reason. Is a member overloaded or unreachable?
    pub dropped_messages: IntCounterVec,
    /// 1 in office, else 0. The sum over the members must be 1.
    pub leads: IntGauge,
    /// Raft term. Does it rise all the time?
    pub term: IntGauge,
    /// Calls that wait for a lease, a bound or a leader.
    pub waiting: IntGauge,
    /// Regions in the map.
    pub regions: IntGauge,
    /// Stores ever registered.
    pub stores: IntGauge,
    /// Applied entries in the Raft log. Does it grow beyond `log.keep_entries`?
    pub log_entries: IntGauge,
    /// Whole states sent to members that lag, or not, and installed here, by outcome. Does a member fall behind again and
    /// again, or can it not be helped?
    pub state_transfers: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        // 10 µs to about 21 s; the arguments are constants that the crate accepts.
        let buckets = exponential_buckets(0.000_01, 2.0, 22)?;
        let histogram = |name: &str, help: &str| {
            HistogramOpts::new(format!("yadkv_pd_{name}"), help).buckets(buckets.clone())
        };
        let opts = |name: &str, help: &str| Opts::new(format!("yadkv_pd_{name}"), help);
        let request = histogram("request_seconds", "Time to answer, by call");
        let log_write = histogram("log_write_seconds", "Log write with its fsync");
        let refused = opts("refused_total", "Calls that were not served, by call");
        let forwarded = opts("forwarded_total", "Calls passed on to the leader, by call");
        let transfers = opts(
            "state_transfers_total",
            "Whole states for members that lag, by outcome",
        );
        let dropped = opts("dropped_messages_total", "Raft messages dropped, by reason");
        let transfers = IntCounterVec::new(transfers, &["outcome"])?;
        for outcome in ["sent", "failed", "installed"] {
            transfers.with_label_values(&[outcome]);
        }
        Ok(Self {
            request_seconds: registered(registry, HistogramVec::new(request, &["call"])?)?,
            refused: registered(registry, IntCounterVec::new(refused, &["call"])?)?,
            forwarded: registered(registry, IntCounterVec::new(forwarded, &["call"])?)?,
            log_write_seconds: registered(registry, Histogram::with_opts(log_write)?)?,
            dropped_messages: registered(registry, IntCounterVec::new(dropped, &["reason"])?)?,
            leads: registered(
                registry,
                IntGauge::with_opts(opts("leads", "1 while in office"))?,
            )?,
            term: registered(registry, IntGauge::with_opts(opts("term", "Raft term"))?)?,
            waiting: registered(
                registry,
                IntGauge::with_opts(opts("waiting_calls", "Calls that wait"))?,
            )?,
            regions: registered(
                registry,
                IntGauge::with_opts(opts("regions", "Regions in the map"))?,
            )?,
            stores: registered(
                registry,
                IntGauge::with_opts(opts("stores", "Stores registered"))?,
            )?,
            log_entries: registered(
                registry,
                IntGauge::with_opts(opts("log_entries", "Applied entries in the log"))?,
            )?,
            state_transfers: registered(registry, transfers)?,
        })
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
