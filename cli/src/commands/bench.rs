//! `yadkv bench`: measure one target, or compare several in one run.
//!
//! *Place*: starts and stops what it measures: a playground unless --pd names a cluster, three etcd members,
//! an echo service.
//!
//! *Next stop*: `yadkv_benches`.

use super::compare;
use crate::failure::{Context, Outcome};
use crate::output::say;
use crate::server::playground::{Playground, PlaygroundArgs};
use clap::{Args, ValueEnum};
use std::sync::Arc;
use std::time::Duration;
use yadkv_benches::report::Report;
use yadkv_benches::targets::Target;
use yadkv_benches::targets::echo::{Streamed, Unary};
use yadkv_benches::targets::etcd::Etcd;
use yadkv_benches::targets::yadkv::Yadkv;
use yadkv_benches::{Options, Workload};

/// Flags of the benchmark.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// Who is measured.
    #[arg(long, value_enum, default_value = "yadkv")]
    target: TargetName,
    /// What the clients do.
    #[arg(long, value_enum, default_value = "put")]
    workload: WorkloadName,
    /// Different keys.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1024)]
    value_size: usize,
    /// Clients that wait for one answer each.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    clients: u32,
    /// How long to measure.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Placement drivers of a running cluster; a playground is started if not given.
    #[arg(long)]
    pd: Option<String>,
    /// A setting of that playground.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Regions of that playground that the load spreads over.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=2048))]
    regions: u32,
    /// Measure put and get of all targets and print a table with ratios.
    #[arg(long)]
    compare: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Targets by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetName {
    Yadkv,
    Etcd,
    Echo,
    EchoStream,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WorkloadName {
    Put,
    Get,
}

/// A target and what keeps it running.
pub(crate) struct Running {
    pub(crate) target: Arc<dyn Target>,
    playground: Option<Playground>,
}

impl Running {
    /// Starts a target.
    pub(crate) async fn start(name: TargetName, pd: Option<&str>, set: &[String]) -> Outcome<Self> {
        let mut playground = None;
        let target: Arc<dyn Target> = match name {
            TargetName::Etcd => Arc::new(Etcd::start().await.context("benchmark")?),
            TargetName::Echo => Arc::new(Unary::start().await.context("benchmark")?),
            TargetName::EchoStream => Arc::new(Streamed::start().await.context("benchmark")?),
            TargetName::Yadkv => {
                let pd = match pd {
                    Some(pd) => pd.to_string(),
                    None => {
                        let started = start_playground(set).await?;
                        let pd = started.pd.clone();
                        playground = Some(started);
                        pd
                    }
                };
                Arc::new(Yadkv::connect(&pd).await.context("benchmark")?)
            }
        };
        Ok(Self { target, playground })
    }

    /// Stops what was started.
    pub(crate) async fn stop(self) {
        if let Some(mut playground) = self.playground {
            playground.stop().await;
        }
    }
}

/// The setting that divides the keys of the load (`yadkv_benches::values::key`, in keyspace DEFAULT) evenly by
/// their first hexadecimal digits.
pub(crate) fn borders(regions: u32) -> String {
    let border = |number: u32| {
        let digits = format!("{:04x}", number * 0x1_0000 / regions);
        // The keyspace and "user" fill one group of the encoding; its marker says that another follows.
        let border = [&b"r\0\0\0user\xff"[..], digits.as_bytes()].concat();
        let hex: String = border.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\"hex:{hex}\"")
    };
    let borders: Vec<_> = (1..regions).map(border).collect();
    format!("bootstrap.borders=[{}]", borders.join(","))
}

async fn start_playground(set: &[String]) -> Outcome<Playground> {
    let args = PlaygroundArgs {
        pd: 3,
        stores: 3,
        data_dir: None,
        port_base: Some(0),
        set: set.to_vec(),
    };
    let mut playground = Playground::start(&args)?;
    playground.wait_until_ready().await?;
    Ok(playground)
}

/// Runs the benchmark.
pub(crate) async fn run(args: BenchArgs) -> Outcome {
    let workload = match args.workload {
        WorkloadName::Put => Workload::Put,
        WorkloadName::Get => Workload::Get,
    };
    // Before the given settings, so that they win.
    let set: Vec<_> = std::iter::once(borders(args.regions))
        .chain(args.set)
        .collect();
    let options = Options {
        workload,
        records: args.records,
        value_bytes: args.value_size,
        clients: args.clients as usize,
        time: Duration::from_secs(args.seconds),
    };
    if args.compare {
        return compare::run(options, &set, args.json).await;
    }
    let running = Running::start(args.target, args.pd.as_deref(), &set).await?;
    let report = yadkv_benches::run(running.target.clone(), options).await;
    running.stop().await;
    print(&report.context("benchmark")?, args.json)
}

/// Prints one report.
pub(crate) fn print(report: &Report, json: bool) -> Outcome {
    if json {
        return say(serde_json::to_string(report).context("report")?);
    }
    say(format_args!(
        "{:<12} {:<4} {:>5} clients  {:>10.0} ops/s  p50 {:>7} µs  p95 {:>7} µs  p99 {:>7} µs  p99.9 {:>7} µs  {} errors{}",
        report.target,
        report.workload,
        report.clients,
        report.ops_per_s,
        report.p50_us,
        report.p95_us,
        report.p99_us,
        report.p999_us,
        report.errors,
        report
            .error
            .as_ref()
            .map(|error| format!(" ({error})"))
            .unwrap_or_default(),
    ))
}
