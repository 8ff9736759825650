//! Replicas that come, go, are cut and are compared.
//!
//! *Place*: transport counts snapshots, the threads for sizes and moves what they do, workers splits and checks.
//!
//! *Next stop*: [`super::resources`].

use yadkv_metrics::{Error, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Meters, about};
use yadkv_storage_core::check::Report;

/// Counters of replicas. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Moves {
    /// Snapshots sent, by what became of them.
    pub snapshots: IntCounterVec,
    /// Bytes of pairs in them.
    pub snapshot_bytes: IntCounter,
    /// Snapshots under way, by what is done with them: send, receive, install.
    pub snapshots_now: IntGaugeVec,
    /// Replicas installed and destroyed.
    pub replicas: IntCounterVec,
    /// Regions cut while they were led here.
    pub splits: IntCounter,
    /// Looks at regions that are too large and cannot be cut.
    pub uncuttable: IntCounter,
    /// Data files with damaged bytes.
    pub damaged_files: IntGauge,
    checks: IntCounterVec,
}

/// Something that is counted while it lasts.
#[derive(Debug)]
pub struct Underway(IntGauge);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Moves {
    pub(super) fn new(meters: &Meters) -> Result<Self, Error> {
        let moves = Self {
            snapshots: meters.counters(
                about(
                    "snapshots_sent_total",
                    "Snapshots that were sent, by what became of them.",
                    "Do replicas get what they lack?",
                ),
                "end",
            )?,
            snapshot_bytes: meters.counter(about(
                "snapshot_sent_bytes_total",
                "Bytes of pairs that were sent in snapshots.",
                "How much of the network do moving replicas take?",
            ))?,
            snapshots_now: meters.gauges(
                about(
                    "snapshots",
                    "Snapshots that are sent, received and installed now.",
                    "Do moves of replicas queue up?",
                ),
                "kind",
            )?,
            replicas: meters.counters(
                about(
                    "replica_moves_total",
                    "Replicas that were installed or destroyed here.",
                    "Do regions move?",
                ),
                "kind",
            )?,
            splits: meters.counter(about(
                "region_splits_total",
                "Regions that were cut while they were led here.",
                "Does data grow?",
            ))?,
            uncuttable: meters.counter(about(
                "region_uncuttable_total",
                "Looks at regions that are too large and stay whole: all their keys begin with one encoded key.",
                "Does one key have too many rows?",
            ))?,
            damaged_files: meters.gauge(about(
                "damaged_files",
                "Data files in which reads have met damaged bytes.",
                "Does this disk have to be replaced?",
            ))?,
            checks: meters.counters(
                about(
                    "region_checks_total",
                    "Comparisons of all replicas of a region, by what they found; partial: a replica was silent.",
                    "Is every replica the same?",
                ),
                "found",
            )?,
        };
        moves.begin_at_zero();
        Ok(moves)
    }

    fn begin_at_zero(&self) {
        for end in ["installed", "failed"] {
            self.snapshots.with_label_values(&[end]);
        }
        for kind in ["send", "receive", "install"] {
            self.snapshots_now.with_label_values(&[kind]);
        }
        for kind in ["install", "destroy"] {
            self.replicas.with_label_values(&[kind]);
        }
        for found in ["same", "different", "partial"] {
            self.checks.with_label_values(&[found]);
        }
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
}
