//! What a placement driver member counts and times.
//!
//! *Place*: services time calls, the driver times the log; `/metrics` shows them.
//!
//! *What is where*: this file what every member counts · [`cluster`] what only the leader knows: stores, regions, operators.
//!
//! *Invariants*: names begin with `yadkv_pd_` and end in their unit; times are in seconds.
//!
//! *Limits*: labels are names of calls, reasons and states: all are closed sets.
//!
//! *Next stop*: [`crate::http`].

pub mod cluster;

use yadkv_metrics::{
    Description, Error, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Meters,
    about, level,
};
use yadkv_placement_core::Member;
use yadkv_proto::api::PdRequest;

/// Why a Raft message is dropped: the member's thread has too much before it.
pub const INBOX_FULL: &str = "inbox_full";
/// Why a Raft message is dropped: too many wait for the member that it goes to.
pub const QUEUE_FULL: &str = "queue_full";

/// What the names of all metrics of a member begin with.
pub const PREFIX: &str = "yadkv_pd";

/// What a member counts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// From taking a call in to its answer, by call.
    pub request_seconds: HistogramVec,
    /// Calls that were not served here, by call.
    pub refused: IntCounterVec,
    /// Calls passed on to the leader, by call.
    pub forwarded: IntCounterVec,
    /// A log write with its fsync.
    pub log_write_seconds: Histogram,
    /// Raft messages dropped, by reason.
    pub dropped_messages: IntCounterVec,
    /// Whole states sent to members that lag, or not, and installed here, by outcome.
    pub state_transfers: IntCounterVec,
    /// Leaders or terms that this member has learned of.
    pub leader_changes: IntCounter,
    stamps: Histogram,
    leads: IntGauge,
    term: IntGauge,
    waiting: IntGauge,
    log_entries: IntGauge,
    map_stores: IntGauge,
    map_regions: IntGauge,
}

impl Metrics {
    /// Makes the metrics of one member.
    pub fn new(meters: &Meters) -> Result<Self, Error> {
        let gauge = |name, what, question| meters.gauge(about(name, what, question));
        let state_transfers = meters.counters(
            about(
                "state_transfers_total",
                "Whole states for members that lag, by outcome.",
                "Does a member fall behind again and again, or can it not be helped?",
            ),
            "outcome",
        )?;
        for outcome in ["sent", "failed", "installed"] {
            state_transfers.with_label_values(&[outcome]);
        }
        let (request_seconds, refused, forwarded) = calls(meters)?;
        Ok(Self {
            request_seconds,
            refused,
            forwarded,
            state_transfers,
            log_write_seconds: meters.times(about(
                "log_write_seconds",
                "Time to write a batch of log entries, with its fsync.",
                "Is the disk slow?",
            ))?,
            dropped_messages: dropped(meters)?,
            leader_changes: meters.counter(about(
                "leader_changes_total",
                "Times that this member learned of another leader or term.",
                "Is the leader lost again and again?",
            ))?,
            stamps: meters.amounts(about(
                "tso_batch",
                "Timestamps that were asked for at once.",
                "Do clients ask for timestamps in batches?",
            ))?,
            leads: gauge(
                "leads",
                "1 while this member is in office.",
                "Is there exactly one leader?",
            )?,
            term: gauge("term", "Raft term.", "Does it rise all the time?")?,
            waiting: gauge(
                "waiting_calls",
                "Calls that wait for a lease, a timestamp or a leader.",
                "Is there no leader, or too much to do?",
            )?,
            log_entries: gauge(
                "log_entries",
                "Applied entries in the Raft log.",
                "Does the log grow beyond log.keep_entries?",
            )?,
            map_stores: gauge(
                "map_stores",
                "Stores that this member knows of.",
                "Does this member know what the others know?",
            )?,
            map_regions: gauge(
                "map_regions",
                "Regions in this member's map.",
                "Does this member know what the others know?",
            )?,
        })
    }

    /// Counts what is in a request.
    pub fn asked(&self, request: &PdRequest) {
        if let PdRequest::Tso(tso) = request {
            self.stamps.observe(tso.count.into());
        }
    }

    /// Shows how the member is.
    pub fn show(&self, member: &Member) {
        self.leads.set(member.is_leader().into());
        self.term.set(level(member.term().0));
        self.waiting.set(level(member.waiting()));
        self.log_entries.set(level(member.log_entries()));
        let cluster = member.cluster();
        self.map_stores.set(level(cluster.stores().len()));
        self.map_regions.set(level(cluster.regions().len()));
    }
}

fn dropped(meters: &Meters) -> Result<IntCounterVec, Error> {
    let about = about(
        "raft_dropped_messages_total",
        "Raft messages that were dropped, by reason.",
        "Is a member overloaded or unreachable?",
    );
    let dropped = meters.counters(about, "reason")?;
    for reason in [INBOX_FULL, QUEUE_FULL] {
        dropped.with_label_values(&[reason]);
    }
    Ok(dropped)
}

fn calls(meters: &Meters) -> Result<(HistogramVec, IntCounterVec, IntCounterVec), Error> {
    let seconds = about(
        "request_seconds",
        "Time from a call's arrival to its answer, by call; messages of streams count as calls.",
        "Is the placement driver slow, and at what? Who asks it for what?",
    );
    let refused = about(
        "refused_total",
        "Calls that were not served, by call.",
        "Do callers go to the wrong member, or is there no leader?",
    );
    let forwarded = about(
        "forwarded_total",
        "Calls that were passed on to the leader, by call.",
        "Do callers know who leads?",
    );
    let refused = meters.counters(refused, "call")?;
    let forwarded = meters.counters(forwarded, "call")?;
    for name in PdRequest::NAMES {
        refused.with_label_values(&[*name]);
        forwarded.with_label_values(&[*name]);
    }
    Ok((meters.times_by(seconds, "call")?, refused, forwarded))
}

/// Every metric of a member.
pub fn describe() -> Result<Vec<Description>, Error> {
    let meters = Meters::new(PREFIX);
    Metrics::new(&meters)?;
    cluster::Cluster::new(&meters)?;
    meters.add_process()?;
    meters.add_runtime()?;
    Ok(meters.descriptions())
}
