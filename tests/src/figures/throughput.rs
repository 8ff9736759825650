//! Puts and gets of 256 clients beside etcd, in one run: medians of three.
//!
//! *Next stop*: [`super::simulation`].

use crate::Figure;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use yadkv_tests::binary;

const RUNS: usize = 3;
const PUT_RATIO_MIN: f64 = 3.0;
const GET_RATIO_MIN: f64 = 8.0;
const ARGUMENTS: [&str; 8] = [
    "bench",
    "--compare",
    "--json",
    "--clients",
    "256",
    "--seconds",
    "10",
    "--records=50000",
];

pub(crate) fn measure() -> Vec<Figure> {
    let mut ratios: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for run in 1..=RUNS {
        let rates = compare();
        for workload in ["put", "get"] {
            let rate = |target: &str| rates[&(workload.to_string(), target.to_string())];
            let (ours, theirs) = (rate("yadkv"), rate("etcd"));
            eprintln!(
                "  run {run}: {workload} {ours:.0}/s, etcd {theirs:.0}/s, × {:.2}",
                ours / theirs
            );
            ratios.entry(workload).or_default().push(ours / theirs);
        }
    }
    let median = |workload: &str| {
        let mut ratios = ratios[workload].clone();
        ratios.sort_by(f64::total_cmp);
        ratios[RUNS / 2]
    };
    vec![
        Figure::at_least(
            "put, 256 clients (median of 3)",
            PUT_RATIO_MIN,
            median("put"),
            "× etcd",
        ),
        Figure::at_least(
            "get, 256 clients (median of 3)",
            GET_RATIO_MIN,
            median("get"),
            "× etcd",
        ),
    ]
}

/// Answers a second by workload and target.
fn compare() -> BTreeMap<(String, String), f64> {
    let output = Command::new(binary())
        .args(ARGUMENTS)
        .stderr(Stdio::inherit())
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "the benchmark fails");
    let text = String::from_utf8(output.stdout).expect("JSON");
    let mut rates = BTreeMap::new();
    for line in text.lines() {
        let report: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(report["errors"], 0, "{line}");
        let name = |field: &str| report[field].as_str().expect("a name").to_string();
        let rate = report["ops_per_s"].as_f64().expect("a number");
        rates.insert((name("workload"), name("target")), rate);
    }
    rates
}
