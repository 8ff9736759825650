//! `yadkv bench --suite`: every load, every target that has it, in one run.
//!
//! *Life of a target's turn*: started afresh → its records written once → the cases of one group → stopped; then the next
//! one. At last the table is printed, and document, JSON and plots are written.
//!
//! *Invariants*: one target runs at a time; all get the same cases in the same order, soon after one another, and none
//! carries the history of another group along (etcd keeps every version that it is not told to forget).
//!
//! *Limits*: about 15 minutes with 8 s a case. A case that cannot be measured ends the run.
//!
//! *Next stop*: [`super::running`].

use super::running::{Cluster, Running, TargetName, borders};
use super::{measure, print};
use crate::failure::{Context, Outcome};
use crate::output::say;
use std::fs;
use std::path::Path;
use std::time::Duration;
use yadkv_benches::machine::Machine;
use yadkv_benches::plot::{self, Axes, Line, X};
use yadkv_benches::results::{Results, Row};
use yadkv_benches::workload::{Shape, Workload};
use yadkv_benches::{Keys, Options};

use TargetName::{Echo, EchoStream, Etcd, Redis, Rocksdb, TikvClient, TikvClientNull, Yadkv};

const TURNS: [TargetName; 8] = [
    EchoStream,
    Echo,
    Rocksdb,
    Redis,
    Etcd,
    TikvClientNull,
    TikvClient,
    Yadkv,
];
const REGIONS: u32 = 8;
const WARM_UP: Duration = Duration::from_secs(1);
/// Clients of the curve over clients.
const CLIENTS: [usize; 6] = [1, 4, 16, 64, 256, 1024];
/// Regions of the curve over regions.
const REGION_COUNTS: [u32; 4] = [1, 8, 64, 500];
const MANY_CLIENTS: [usize; 2] = [256, 2048];
const PERCENTILES: [&str; 5] = ["50 %", "95 %", "99 %", "99.9 %", "all"];
const PLOTS: [&str; 3] = ["clients", "latency", "regions"];

/// One load, and who gets it.
struct Case {
    workload: Workload,
    clients: usize,
    batch: u32,
    targets: &'static [TargetName],
}

impl Case {
    const fn new(workload: Workload, clients: usize, targets: &'static [TargetName]) -> Self {
        Self {
            workload,
            clients,
            batch: 128,
            targets,
        }
    }

    fn name(&self) -> String {
        let what = match self.workload {
            Workload::BatchPut | Workload::BatchGet | Workload::Scan => {
                format!("{} of {}", self.workload.name(), self.batch)
            }
            workload => workload.name().to_owned(),
        };
        let clients = self.clients;
        format!(
            "{what}, {clients} client{}",
            if clients == 1 { "" } else { "s" }
        )
    }
}

const STORES: &[TargetName] = &[Etcd, Yadkv];

/// All that `REGIONS` regions serve.
fn groups() -> [Vec<Case>; 3] {
    let main = vec![
        Case::new(Workload::Put, 256, &TURNS),
        Case::new(
            Workload::Get,
            256,
            &[
                EchoStream,
                Echo,
                Redis,
                Etcd,
                TikvClientNull,
                TikvClient,
                Yadkv,
            ],
        ),
        Case::new(Workload::BatchPut, 16, &[Rocksdb, Redis, Etcd, Yadkv]),
        Case::new(Workload::BatchGet, 16, &[Redis, Etcd, Yadkv]),
        Case {
            batch: 100,
            ..Case::new(Workload::Scan, 64, &[Etcd, TikvClient, Yadkv])
        },
    ];
    let mut curve = Vec::new();
    for clients in CLIENTS.into_iter().filter(|clients| *clients != 256) {
        let targets: &[TargetName] = match clients {
            1 => &[EchoStream, Redis, Etcd, Yadkv],
            _ => STORES,
        };
        curve.push(Case::new(Workload::Put, clients, targets));
        curve.push(Case::new(Workload::Get, clients, targets));
    }
    use Workload::{A, B, C, D, E, F};
    let ycsb = [A, B, C, D, E, F].map(|workload| Case::new(workload, 64, STORES));
    [main, curve, ycsb.into()]
}

/// Measures everything.
pub(super) async fn run(options: Options, set: &[String], folder: &Path) -> Outcome {
    fs::create_dir_all(folder).context(folder.display())?;
    let mut results = Results {
        machine: Machine::this(),
        seconds: options.time.as_secs(),
        rows: Vec::new(),
    };
    for group in groups() {
        for target in TURNS {
            let cases = group.iter().filter(|case| case.targets.contains(&target));
            let cases: Vec<&Case> = cases.collect();
            turn(target, REGIONS, &cases, options, set, &mut results).await?;
        }
    }
    let many = MANY_CLIENTS.map(|clients| Case::new(Workload::Put, clients, &[Yadkv]));
    for regions in REGION_COUNTS {
        // What REGIONS regions do with 256 clients is known.
        let known = |case: &&Case| regions == REGIONS && case.clients == 256;
        let cases: Vec<&Case> = many.iter().filter(|case| !known(case)).collect();
        turn(Yadkv, regions, &cases, options, set, &mut results).await?;
    }
    let table = results.table();
    say(format_args!("\n{table}"))?;
    write(folder, &results)
}

/// Starts a target and measures its cases.
async fn turn(
    target: TargetName,
    regions: u32,
    cases: &[&Case],
    options: Options,
    set: &[String],
    results: &mut Results,
) -> Outcome {
    if cases.is_empty() {
        return Ok(());
    }
    let set: Vec<_> = std::iter::once(borders(regions, Keys::Uniform))
        .chain(set.iter().cloned())
        .collect();
    let cluster = Cluster::Playground {
        set: &set,
        tls: false,
    };
    let running = Running::start(target, &cluster, options.shape.value_bytes).await?;
    let mut preload = true;
    for case in cases {
        let options = Options {
            workload: case.workload,
            shape: Shape {
                batch: case.batch,
                ..options.shape
            },
            clients: case.clients,
            preload,
            warm_up: WARM_UP,
            ..options
        };
        preload &= !case.workload.reads();
        let report = measure(&running, options).await?;
        print(&report, false)?;
        let is_cluster = matches!(target, Yadkv | TikvClient);
        results.rows.push(Row {
            case: case.name(),
            regions: if is_cluster { regions } else { 0 },
            report,
        });
    }
    running.stop().await;
    Ok(())
}

fn write(folder: &Path, results: &Results) -> Outcome {
    let save = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).context(path.display())
    };
    save("RESULTS.md", results.document(&PLOTS))?;
    let json = serde_json::to_string_pretty(results).context("results")?;
    save("results.json", json)?;
    let picture = |name: &str, axes, lines: &[Line]| {
        plot::lines(&folder.join(format!("{name}.svg")), axes, lines).context("plot")
    };
    let rate = "operations a second";
    let axes = Axes {
        title: "Throughput over clients",
        x: X::Log("clients"),
        y: rate,
    };
    picture(PLOTS[0], axes, &over_clients(results))?;
    let axes = Axes {
        title: "Latency of 256 clients: so many answers came within",
        x: X::Names(&PERCENTILES),
        y: "microseconds",
    };
    picture(PLOTS[1], axes, &latencies(results))?;
    let axes = Axes {
        title: "Puts over regions",
        x: X::Log("regions"),
        y: rate,
    };
    picture(PLOTS[2], axes, &over_regions(results))
}

fn over_clients(results: &Results) -> Vec<Line> {
    let mut lines = Vec::new();
    for (target, workload) in [
        ("yadkv", "get"),
        ("yadkv", "put"),
        ("etcd", "get"),
        ("etcd", "put"),
    ] {
        let rows = results.rows.iter().filter(|row| {
            let report = &row.report;
            let curve = report.target == target && report.workload == workload;
            curve && (row.regions == 0 || row.regions == REGIONS) && report.clients <= 1024
        });
        let mut points: Vec<_> = rows
            .map(|row| (row.report.clients as f64, row.report.ops_per_s))
            .collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        lines.push(Line {
            name: format!("{target}, {workload}"),
            points,
        });
    }
    lines
}

fn latencies(results: &Results) -> Vec<Line> {
    let mut lines = Vec::new();
    for row in &results.rows {
        let report = &row.report;
        let shown = matches!(report.target.as_str(), "yadkv" | "etcd" | "redis");
        let known = row.regions == 0 || row.regions == REGIONS;
        if shown && known && report.clients == 256 && matches!(report.workload, "put" | "get") {
            let all = [
                report.p50_us,
                report.p95_us,
                report.p99_us,
                report.p999_us,
                report.max_us,
            ];
            let points = all.iter().enumerate();
            lines.push(Line {
                name: format!("{}, {}", report.target, report.workload),
                points: points.map(|(at, us)| (at as f64, *us as f64)).collect(),
            });
        }
    }
    lines
}

fn over_regions(results: &Results) -> Vec<Line> {
    let line = |clients: usize| {
        let rows = results.rows.iter().filter(|row| {
            let report = &row.report;
            report.target == "yadkv" && report.workload == "put" && report.clients == clients
        });
        let mut points: Vec<_> = rows
            .map(|row| (f64::from(row.regions), row.report.ops_per_s))
            .collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        Line {
            name: format!("{clients} clients"),
            points,
        }
    };
    MANY_CLIENTS.map(line).into()
}
