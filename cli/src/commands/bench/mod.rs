//! `yadkv bench`: measure one target, or compare several in one run.
//!
//! *Place*: starts and stops what it measures ([`running`]): a playground unless --pd names a cluster, or what it is
//! compared with.
//!
//! *Next stop*: `yadkv_benches`.

mod compare;
mod running;
mod suite;

use crate::commands::Servers;
use crate::failure::{Context, Failure, Outcome};
use crate::output::say;
use crate::tls::TlsArgs;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use running::{Cluster, Running, TargetName};
use std::path::PathBuf;
use std::time::Duration;
use yadkv_benches::report::Report;
use yadkv_benches::serve::Service;
use yadkv_benches::workload::{Shape, Workload};
use yadkv_benches::{Keys, Options};

/// Flags of the benchmark.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// Who is measured.
    #[arg(long, value_enum, default_value = "yadkv")]
    target: TargetName,
    /// What the clients do; a to f are those of YCSB.
    #[arg(long, default_value = "put", value_parser = workload())]
    workload: Workload,
    /// How keys are chosen; the loads of YCSB bring their own.
    #[arg(long, default_value = "uniform", value_parser = keys())]
    keys: Keys,
    /// Different keys.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1024)]
    value_size: usize,
    /// Records of a batch, or of a scan.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Clients that wait for one answer each.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    clients: u32,
    /// Operations a second, of all clients together; latencies then count from the moment that each was meant to begin.
    /// As fast as answers come if not given.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// How long the load runs before it is measured.
    #[arg(long, default_value_t = 0)]
    warm_up: u64,
    /// How long to measure.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Placement drivers of a running cluster; a playground is started if not given.
    #[arg(long)]
    pd: Option<String>,
    #[command(flatten)]
    files: TlsArgs,
    /// Encrypt that playground.
    #[arg(long, conflicts_with_all = ["pd", "suite"])]
    tls: bool,
    /// A setting of that playground.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Regions of that playground that the load spreads over.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=2048))]
    regions: u32,
    /// Measure put and get of yadkv, etcd and the echo service, and print a table with ratios.
    #[arg(long)]
    compare: bool,
    /// Measure everything, each for --seconds, print a table, and write it with machine, JSON and plots to this folder.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["compare", "json", "pd", "target", "workload"])]
    suite: Option<PathBuf>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Serve what the benchmark measures against, until standard input ends.
    #[arg(long, hide = true, value_parser = service())]
    serve: Option<Service>,
}

fn workload() -> impl TypedValueParser<Value = Workload> {
    named(&Workload::ALL, Workload::name)
}

fn keys() -> impl TypedValueParser<Value = Keys> {
    named(&Keys::ALL, Keys::name)
}

fn service() -> impl TypedValueParser<Value = Service> {
    named(&Service::ALL, Service::name)
}

/// Takes one of some values by its name.
fn named<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let names = all.iter().map(|one| name(*one));
    PossibleValuesParser::new(names).try_map(move |given| {
        let found = all.iter().find(|one| name(**one) == given);
        found.copied().ok_or("unknown")
    })
}

fn rate(given: &str) -> Result<f64, String> {
    let rate = given.parse::<f64>().ok();
    rate.filter(|rate| (1.0..=1e9).contains(rate))
        .ok_or_else(|| "between 1 and 1,000,000,000 operations a second".into())
}

impl BenchArgs {
    fn options(&self) -> Options {
        Options {
            workload: self.workload,
            shape: Shape {
                records: self.records,
                value_bytes: self.value_size,
                batch: self.batch,
                keys: self.keys,
            },
            preload: true,
            clients: self.clients as usize,
            rate: self.rate,
            warm_up: Duration::from_secs(self.warm_up),
            time: Duration::from_secs(self.seconds),
        }
    }
}

/// Runs the benchmark.
pub(crate) async fn run(args: BenchArgs) -> Outcome {
    if let Some(service) = args.serve {
        return service.run().await.context(service.name());
    }
    if let Some(folder) = &args.suite {
        return suite::run(args.options(), &args.set, folder).await;
    }
    // Before the given settings, so that they win.
    let borders = running::borders(args.regions, args.keys);
    let set: Vec<_> = std::iter::once(borders).chain(args.set.clone()).collect();
    let options = args.options();
    let cluster = match &args.pd {
        Some(pd) => Cluster::Running(Servers::new(pd, args.files.files()?)?),
        None => Cluster::Playground {
            set: &set,
            tls: args.tls,
        },
    };
    if args.compare {
        return compare::run(options, &cluster, args.json).await;
    }
    let value_bytes = options.shape.value_bytes;
    let running = Running::start(args.target, &cluster, value_bytes).await?;
    let report = measure(&running, options).await;
    running.stop().await;
    print(&report?, args.json)
}

/// Measures until the time is over, or Ctrl-C.
async fn measure(running: &Running, options: Options) -> Outcome<Report> {
    tokio::select! {
        report = yadkv_benches::run(running.target.clone(), options) => report.context("benchmark"),
        _ = tokio::signal::ctrl_c() => Err(Failure("interrupted".into())),
    }
}

/// Prints one report.
fn print(report: &Report, json: bool) -> Outcome {
    if json {
        return say(serde_json::to_string(report).context("report")?);
    }
    say(format_args!(
        "{:<16} {:<9} {:>5} clients  {:>10.0} ops/s  p50 {:>7} µs  p95 {:>7} µs  p99 {:>7} µs  p99.9 {:>7} µs  \
         CPU a client's call {:.1} µs, servers {:.1} µs  {} errors{}",
        report.target,
        report.workload,
        report.clients,
        report.ops_per_s,
        report.p50_us,
        report.p95_us,
        report.p99_us,
        report.p999_us,
        report.client_us_per_op,
        report.server_us_per_op,
        report.errors,
        kinds(report),
    ))
}

fn kinds(report: &Report) -> String {
    let kinds = report.errors_by_kind.iter();
    let kinds: Vec<_> = kinds
        .map(|(kind, count)| format!("{count} × {kind}"))
        .collect();
    match kinds.is_empty() {
        true => String::new(),
        false => format!(" ({})", kinds.join(", ")),
    }
}
