//! `yadkv bench`: measure one target, or compare several in one run.
//!
//! *Place*: starts and stops what it measures ([`running`]): a playground unless --pd names a cluster, or what it is
//! compared with.
//!
//! *Limits and failure*: Ctrl-C and SIGTERM break a run off: whatever it has started is killed, temporary folders are
//! removed. A second signal ends the program at once, and leaves the folders.
//!
//! *Next stop*: `yadkv_benches`.

mod compare;
mod plots;
mod running;
mod suite;

use crate::commands::Servers;
use crate::failure::{Context, Failure, Outcome};
use crate::output::say;
use crate::server::shutdown;
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

/// Flags that the suite does not take: its cases are the same in every run, and it starts all that it measures.
const NOT_FOR_THE_SUITE: [&str; 15] = [
    "target", "workload", "keys", "batch", "clients", "rate", "warm_up", "pd", "tls_ca",
    "tls_cert", "tls_key", "tls", "regions", "compare", "json",
];
/// All targets take it.
const VALUE_BYTES_MAX: i64 = 1 << 20;

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
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=VALUE_BYTES_MAX))]
    value_size: u32,
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
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=86_400))]
    warm_up: u64,
    /// How long to measure.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Placement drivers of a running cluster; a playground is started if not given.
    #[arg(long, conflicts_with_all = ["set", "regions"])]
    pd: Option<String>,
    #[command(flatten)]
    files: TlsArgs,
    /// Encrypt that playground.
    #[arg(long, conflicts_with = "pd")]
    tls: bool,
    /// A setting of that playground.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Regions of that playground that the load spreads over.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=2048))]
    regions: u32,
    /// Measure put and get of yadkv, etcd and the echo service, and print a table with ratios.
    #[arg(long, conflicts_with_all = ["target", "workload"])]
    compare: bool,
    /// Measure everything, each for --seconds, print a table, and write it with machine, JSON and plots to this folder.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = NOT_FOR_THE_SUITE)]
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
                value_bytes: self.value_size as usize,
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

/// Runs the benchmark until it is over, or told to stop.
pub(crate) async fn run(args: BenchArgs) -> Outcome {
    if let Some(service) = args.serve {
        return service.run().await.context(service.name());
    }
    let told = shutdown(false)?.leave;
    tokio::select! {
        ended = bench(args) => ended,
        () = told.cancelled() => Err(Failure("interrupted".into())),
    }
}

async fn bench(args: BenchArgs) -> Outcome {
    if let Some(folder) = &args.suite {
        return suite::run(args.options(), &args.set, folder).await;
    }
    let options = args.options();
    let keys = options.workload.keys(&options.shape);
    // Before the given settings, so that they win.
    let borders = running::borders(args.regions, keys, args.records);
    let set: Vec<_> = std::iter::once(borders).chain(args.set.clone()).collect();
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

/// Measures until the time is over.
async fn measure(running: &Running, options: Options) -> Outcome<Report> {
    let report = yadkv_benches::run(running.target.clone(), options).await;
    report.context("benchmark")
}

/// Prints one report.
fn print(report: &Report, json: bool) -> Outcome {
    if json {
        return say(serde_json::to_string(report).context("report")?);
    }
    say(format_args!(
        "{:<16} {:<9} {:>5} clients  {:>10.0} ops/s  p50 {:>7} µs  p95 {:>7} µs  p99 {:>7} µs  p99.9 {:>7} µs  \
         CPU a client's call {:.1} µs, servers {} µs  {} errors{}{}",
        report.target,
        report.workload,
        report.clients,
        report.ops_per_s,
        report.p50_us,
        report.p95_us,
        report.p99_us,
        report.p999_us,
        report.client_us_per_op,
        report
            .server_us_per_op
            .map_or("–".into(), |micros| format!("{micros:.1}")),
        report.errors,
        kinds(report),
        match report.not_begun {
            0 => String::new(),
            late => format!("  {late} not begun: nobody was free"),
        },
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

#[cfg(test)]
mod tests {
    use crate::Cli;
    use clap::Parser;
    use clap::error::ErrorKind;

    fn refused(flags: &str) -> Option<ErrorKind> {
        let words = ["yadkv", "bench"].into_iter().chain(flags.split(' '));
        let parsed = Cli::try_parse_from(words);
        parsed.err().map(|error| error.kind())
    }

    #[test]
    fn flags_that_would_be_ignored_are_refused() {
        let conflicts = [
            "--suite a --target etcd",
            "--suite a --workload get",
            "--suite a --keys zipfian",
            "--suite a --batch 1",
            "--suite a --clients 1",
            "--suite a --rate 1",
            "--suite a --warm-up 1",
            "--suite a --pd b",
            "--suite a --tls-ca b",
            "--suite a --tls",
            "--suite a --regions 1",
            "--suite a --compare",
            "--suite a --json",
            "--compare --target etcd",
            "--compare --workload get",
            "--pd a --set b=1",
            "--pd a --regions 1",
            "--pd a --tls",
        ];
        for flags in conflicts {
            assert_eq!(refused(flags), Some(ErrorKind::ArgumentConflict), "{flags}");
        }
        for flags in [
            "--suite a --records 1 --value-size 1 --seconds 1 --set b=1",
            "--compare --clients 1 --keys zipfian --set b=1 --tls",
            "--pd a --tls-ca b --compare --json",
        ] {
            assert_eq!(refused(flags), None, "{flags}");
        }
    }

    #[test]
    fn numbers_have_limits() {
        for flags in ["--value-size 0", "--value-size 1048577", "--warm-up 86401"] {
            assert_eq!(refused(flags), Some(ErrorKind::ValueValidation), "{flags}");
        }
        assert_eq!(refused("--value-size 1048576 --warm-up 86400"), None);
    }
}
