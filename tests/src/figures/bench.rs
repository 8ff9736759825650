//! One run of `yadkv bench`.
//!
//! *Next stop*: [`super::speed`], [`super::sustained`].

use serde_json::Value;
use std::process::{Command, Stdio};
use yadkv_tests::binary;

/// What a run says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Answers a second.
    pub(crate) rate: f64,
    /// Microseconds that half of the answers took at most.
    pub(crate) p50_us: f64,
    /// The same of 99 %.
    pub(crate) p99_us: f64,
    /// Processor time of the client for an answer, microseconds.
    pub(crate) client_us: f64,
    /// The same of the servers; NaN if they are not known.
    pub(crate) server_us: f64,
}

/// Runs it; panics if it fails or a client saw an error.
pub(crate) fn run(arguments: &[String]) -> Run {
    let output = Command::new(binary())
        .args(["bench", "--json"])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{arguments:?} fails");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["errors"], 0, "{arguments:?}: {report}");
    let number = |field: &str| report[field].as_f64().expect("a number");
    Run {
        rate: number("ops_per_s"),
        p50_us: number("p50_us"),
        p99_us: number("p99_us"),
        client_us: number("client_us_per_op"),
        server_us: report["server_us_per_op"].as_f64().unwrap_or(f64::NAN),
    }
}
