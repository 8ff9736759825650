//! `yadkv bench --compare`: put and get of yadkv, etcd and the echo service in one run, with ratios to etcd.
//!
//! *Invariants*: one target runs at a time, all under the same load; ratios are within this run, machines are
//! noisy between runs.
//!
//! *Next stop*: [`super::running`].

use super::running::{Cluster, Running, TargetName};
use super::{measure, print};
use crate::failure::Outcome;
use crate::output::say;
use std::collections::BTreeMap;
use yadkv_benches::Options;
use yadkv_benches::workload::Workload;

const TARGETS: [TargetName; 4] = [
    TargetName::EchoStream,
    TargetName::Echo,
    TargetName::Etcd,
    TargetName::Yadkv,
];

/// Measures everything and prints a Markdown table (or one JSON object a line).
pub(super) async fn run(options: Options, cluster: &Cluster<'_>, json: bool) -> Outcome {
    let mut rates = BTreeMap::new();
    for name in TARGETS {
        let running = Running::start(name, cluster, options.shape.value_bytes).await?;
        for workload in [Workload::Put, Workload::Get] {
            let options = Options {
                workload,
                ..options
            };
            let report = measure(&running, options).await?;
            print(&report, json)?;
            rates.insert((workload.name(), report.target.clone()), report.ops_per_s);
        }
        running.stop().await;
    }
    if json {
        return Ok(());
    }
    say("\n| workload | target | ops/s | × etcd |\n|---|---|---|---|")?;
    for ((workload, target), rate) in &rates {
        let etcd = rates.get(&(*workload, "etcd".to_string()));
        let etcd = etcd.copied().unwrap_or(f64::NAN);
        say(format_args!(
            "| {workload} | {target} | {rate:.0} | {:.2} |",
            rate / etcd
        ))?;
    }
    Ok(())
}
