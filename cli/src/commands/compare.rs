//! `yadkv bench --compare`: put and get of every target in one run, with ratios to etcd.
//!
//! *Invariants*: one target runs at a time, all under the same load; ratios are within this run, machines are
//! noisy between runs.
//!
//! *Next stop*: [`super::bench`].

use super::bench::{Running, TargetName, print};
use crate::failure::{Context, Outcome};
use crate::output::say;
use std::collections::BTreeMap;
use yadkv_benches::{Options, Workload};

const TARGETS: [TargetName; 4] = [
    TargetName::EchoStream,
    TargetName::Echo,
    TargetName::Etcd,
    TargetName::Yadkv,
];

/// Measures everything and prints a Markdown table (or one JSON object a line).
pub(crate) async fn run(options: Options, set: &[String], json: bool) -> Outcome {
    let mut rates = BTreeMap::new();
    for name in TARGETS {
        let running = Running::start(name, None, set).await?;
        for workload in [Workload::Put, Workload::Get] {
            let report = yadkv_benches::run(
                running.target.clone(),
                Options {
                    workload,
                    ..options
                },
            )
            .await
            .context("benchmark")?;
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
        let etcd = rates
            .get(&(*workload, "etcd".to_string()))
            .copied()
            .unwrap_or(f64::NAN);
        say(format_args!(
            "| {workload} | {target} | {rate:.0} | {:.2} |",
            rate / etcd
        ))?;
    }
    Ok(())
}
