//! Requests of clients: how long they take, and how they are refused.
//!
//! *Place*: [`crate::service::Door`] tells it of every answer; whoever serves a read says how.
//!
//! *Next stop*: [`super::raft`].

use std::time::Duration;
use yadkv_metrics::{Error, Histogram, IntCounter, IntCounterVec, Meters, about};
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::region_error::{self, KINDS};

/// Counters of requests.
#[derive(Debug)]
pub struct Calls {
    /// By [`StoreRequest::number`].
    seconds: Vec<Histogram>,
    errors: IntCounterVec,
    /// Reads served under the lease.
    pub lease_reads: IntCounter,
    /// Reads that a majority had to confirm.
    pub index_reads: IntCounter,
}

impl Calls {
    pub(super) fn new(meters: &Meters) -> Result<Self, Error> {
        let seconds = about(
            "request_seconds",
            "Time from a request's arrival to its answer, by call.",
            "Is the store slow, and at what? What is it asked for?",
        );
        let seconds = meters.times_by(seconds, "call")?;
        let errors = about(
            "request_errors_total",
            "Requests answered with an error, by its kind.",
            "Are clients' routes stale, is a region without leader, or is the store overloaded?",
        );
        let errors = meters.counters(errors, "kind")?;
        let lease_reads = about(
            "lease_reads_total",
            "Reads served under the leader's lease.",
            "Are reads served without asking other stores?",
        );
        let index_reads = about(
            "index_reads_total",
            "Reads that a majority had to confirm.",
            "How many reads cost a round of messages?",
        );
        let names = StoreRequest::NAMES.iter();
        let seconds = names.map(|name| seconds.with_label_values(&[name]));
        for kind in KINDS {
            errors.with_label_values(&[kind]);
        }
        Ok(Self {
            seconds: seconds.collect(),
            errors,
            lease_reads: meters.counter(lease_reads)?,
            index_reads: meters.counter(index_reads)?,
        })
    }

    /// Counts the answer to a call, by [`StoreRequest::number`].
    pub fn answered(&self, call: usize, took: Duration, response: &StoreResponse) {
        if let Some(seconds) = self.seconds.get(call) {
            seconds.observe(took.as_secs_f64());
        }
        if let Some(error) = response.region_error() {
            let kind = region_error::kind(error);
            self.errors.with_label_values(&[kind]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yadkv_proto::id::RegionId;
    use yadkv_proto::kvrpcpb::{RawPutResponse, RawScanResponse};
    use yadkv_storage_core::refusal;

    #[test]
    fn answers_are_counted_by_call_and_errors_by_kind() {
        let meters = Meters::new("yadkv_test");
        let calls = Calls::new(&meters).expect("new names");
        let took = Duration::from_millis(3);
        let number = |name: &str| StoreRequest::NAMES.iter().position(|one| *one == name);
        let (put, scan) = (number("RawPut"), number("RawScan"));
        let (put, scan) = put.zip(scan).expect("known names");
        let busy = RawPutResponse {
            region_error: Some(Box::new(refusal::busy("full"))),
            ..Default::default()
        };
        calls.answered(put, took, &StoreResponse::RawPut(busy));
        let elsewhere = RawScanResponse {
            region_error: Some(Box::new(refusal::not_leader(RegionId(1), None))),
            ..Default::default()
        };
        calls.answered(scan, took, &StoreResponse::RawScan(elsewhere));
        calls.answered(put, took, &StoreResponse::RawPut(Default::default()));
        let text = meters.text().expect("text");
        for line in [
            "yadkv_test_request_seconds_count{call=\"RawPut\"} 2",
            "yadkv_test_request_seconds_count{call=\"RawScan\"} 1",
            "yadkv_test_request_errors_total{kind=\"server_is_busy\"} 1",
            "yadkv_test_request_errors_total{kind=\"not_leader\"} 1",
            "yadkv_test_request_errors_total{kind=\"other\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
