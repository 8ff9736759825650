//! An observer that counts for Prometheus.
//!
//! *Place*: the application makes one in a registry of its own and puts it into [`crate::Options::observer`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use yadkv_client::metrics::{ClientMetrics, Registry};
//! use yadkv_client::{Client, Options};
//!
//! let registry = Registry::new();
//! let options = Options {
//!     observer: Some(Arc::new(ClientMetrics::new(registry.clone())?)),
//!     ..Options::default()
//! };
//! let client = Client::connect(["127.0.0.1:2379"], options).await?;
//! # Ok(())
//! # }
//! ```
//!
//! *Limits*: labels are names of calls, requests and problems: all are closed sets.
//!
//! *Next stop*: [`crate::observer`].

use crate::observer::Observer;
use std::time::Duration;
use yadkv_metrics::{Description, HistogramVec, IntCounterVec, Meters, about};
pub use yadkv_metrics::{Error, Registry};

/// What the names of all metrics of a client begin with.
pub const PREFIX: &str = "yadkv_client";

/// Counters of one or more clients of a process.
///
/// ```
/// use yadkv_client::metrics::{ClientMetrics, Registry};
///
/// let registry = Registry::new();
/// let metrics = ClientMetrics::new(registry.clone())?;
/// assert!(ClientMetrics::new(registry).is_err(), "one for all clients of a registry");
/// # Ok::<(), yadkv_client::metrics::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientMetrics {
    calls: HistogramVec,
    attempts: IntCounterVec,
    failures: IntCounterVec,
    requests: HistogramVec,
    problems: IntCounterVec,
}

impl ClientMetrics {
    /// Makes the metrics in a registry. Error: it has them already; clients of one process share one of these.
    pub fn new(registry: Registry) -> Result<Self, Error> {
        Self::in_meters(&Meters::within(PREFIX, registry))
    }

    fn in_meters(meters: &Meters) -> Result<Self, Error> {
        let calls = about(
            "call_seconds",
            "Time of a call of the application, with all its attempts.",
            "What does the application wait for?",
        );
        let attempts = about(
            "failed_attempts_total",
            "Attempts that failed, by call; mostly another one follows.",
            "Does the cluster change, or is it overloaded?",
        );
        let failures = about(
            "failed_calls_total",
            "Calls that ended in an error because their time was over.",
            "Does the application see the cluster's troubles?",
        );
        let requests = about(
            "request_seconds",
            "Time of a request to a store or placement driver, by its name.",
            "Is a server or the network slow?",
        );
        let problems = about(
            "request_problems_total",
            "Requests without an answer, or with a region error, by kind.",
            "Why are calls tried again?",
        );
        Ok(Self {
            calls: meters.times_by(calls, "call")?,
            attempts: meters.counters(attempts, "call")?,
            failures: meters.counters(failures, "call")?,
            requests: meters.times_by(requests, "request")?,
            problems: meters.counters(problems, "kind")?,
        })
    }
}

impl Observer for ClientMetrics {
    fn called(&self, call: &'static str, took: Duration) {
        let seconds = self.calls.with_label_values(&[call]);
        seconds.observe(took.as_secs_f64());
    }

    fn attempt_failed(&self, call: &'static str) {
        self.attempts.with_label_values(&[call]).inc();
    }

    fn gave_up(&self, call: &'static str) {
        self.failures.with_label_values(&[call]).inc();
    }

    fn requested(&self, request: &'static str, took: Duration, problem: Option<&'static str>) {
        let seconds = self.requests.with_label_values(&[request]);
        seconds.observe(took.as_secs_f64());
        if let Some(problem) = problem {
            self.problems.with_label_values(&[problem]).inc();
        }
    }
}

/// Every metric of a client.
///
/// ```
/// for metric in yadkv_client::metrics::describe()? {
///     println!("{}: {}", metric.name, metric.question);
/// }
/// # Ok::<(), yadkv_client::metrics::Error>(())
/// ```
pub fn describe() -> Result<Vec<Description>, Error> {
    let meters = Meters::new(PREFIX);
    ClientMetrics::in_meters(&meters)?;
    Ok(meters.descriptions())
}
