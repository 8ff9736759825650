//! What a measurement found.
//!
//! *Next stop*: the command line, which prints it.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// Numbers of one run, by the names that `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Who was measured.
    pub target: String,
    /// What the clients did.
    pub workload: &'static str,
    /// How many there were.
    pub clients: usize,
    /// Answers without error, a second.
    pub ops_per_s: f64,
    /// Half of the answers came within this many microseconds.
    pub p50_us: u64,
    /// 95 %.
    pub p95_us: u64,
    /// 99 %.
    pub p99_us: u64,
    /// 99.9 %.
    pub p999_us: u64,
    /// Answers with an error.
    pub errors: u64,
    /// One of the errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What one client saw.
pub struct Seen {
    /// Microseconds of answers without error.
    pub latency: Histogram<u64>,
    /// How many had one.
    pub errors: u64,
    /// The last of them.
    pub error: Option<String>,
}

impl Default for Seen {
    fn default() -> Self {
        // 1 µs to 60 s, two digits: constants that the crate accepts.
        let latency =
            Histogram::new_with_bounds(1, 60_000_000, 3).expect("invariant: valid bounds");
        Self {
            latency,
            errors: 0,
            error: None,
        }
    }
}

impl Seen {
    /// Notes an answer.
    pub fn answer(&mut self, after: Duration, answer: Result<(), String>) {
        match answer {
            Ok(()) => self
                .latency
                .saturating_record(u64::try_from(after.as_micros()).unwrap_or(u64::MAX)),
            Err(error) => {
                self.errors += 1;
                self.error = Some(error);
            }
        }
    }

    /// Adds what another client saw.
    pub fn merge(&mut self, other: Self) {
        self.latency
            .add(&other.latency)
            .expect("invariant: equal bounds");
        self.errors += other.errors;
        self.error = other.error.or(self.error.take());
    }
}

impl Report {
    /// Sums up.
    pub fn new(
        target: &str,
        workload: &'static str,
        clients: usize,
        seen: Seen,
        time: Duration,
    ) -> Self {
        let at = |quantile| seen.latency.value_at_quantile(quantile);
        Self {
            target: target.into(),
            workload,
            clients,
            ops_per_s: seen.latency.len() as f64 / time.as_secs_f64(),
            p50_us: at(0.5),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            errors: seen.errors,
            error: seen.error,
        }
    }
}
