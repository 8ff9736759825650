//! `yadkv bench --suite`: every load, every target that has it, in one run.
//!
//! *Life of a target's turn*: started afresh → its records written once → the cases of one group → stopped; then the next
//! one. At last the table is printed, and document, JSON and plots are written.
//!
//! *Invariants*: one target runs at a time; all get the same cases in the same order, soon after one another, and none
//! carries the history of another group along (etcd keeps every version that it is not told to forget, and who has just
//! written more has more to merge).
//!
//! *Limits*: about 15 minutes with 6 s a case. A case that cannot be measured ends the run.
//!
//! *Next stop*: [`super::plots`], [`super::running`].

use super::plots;
use super::running::{Cluster, Running, TargetName, borders};
use super::{measure, print};
use crate::failure::{Context, Outcome};
use crate::output::say;
use std::fs;
use std::path::Path;
use std::time::Duration;
use yadkv_benches::machine::{Machine, Programs};
use yadkv_benches::results::{Results, Row};
use yadkv_benches::workload::{Shape, Workload};
use yadkv_benches::{Keys, Options};

use TargetName::{Echo, EchoStream, Etcd, Floor, Redis, TikvClient, TikvClientNull, Yadkv};

const TURNS: [TargetName; 8] = [
    EchoStream,
    Echo,
    Floor,
    Redis,
    Etcd,
    TikvClientNull,
    TikvClient,
    Yadkv,
];
pub(super) const REGIONS: u32 = 8;
const WARM_UP: Duration = Duration::from_secs(1);
/// Clients of the curve over clients.
pub(super) const CLIENTS: [usize; 6] = [1, 4, 16, 64, 256, 1024];
/// Regions of the curve over regions.
const REGION_COUNTS: [u32; 4] = [1, 8, 64, 500];
pub(super) const MANY_CLIENTS: [usize; 2] = [256, 2048];
/// Operations that begin in a second of an open loop: less than any target can do.
const OPEN_RATE: f64 = 5000.0;
/// Four times what a playground's store holds in memory of 256 MiB.
const LARGE_RECORDS: u64 = 1_000_000;

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

    fn name(&self, label: &str) -> String {
        let what = match self.workload {
            Workload::BatchPut | Workload::BatchGet | Workload::Scan => {
                format!("{} of {}", self.workload.name(), self.batch)
            }
            workload => workload.name().to_owned(),
        };
        let clients = self.clients;
        let (many, comma) = (
            if clients == 1 { "" } else { "s" },
            if label.is_empty() { "" } else { "; " },
        );
        format!("{what}, {clients} client{many}{comma}{label}")
    }
}

const STORES: &[TargetName] = &[Etcd, Yadkv];

/// Cases that one start of each target serves, with one shape of records.
struct Group {
    /// Behind the names of its cases; nothing if all is as usual.
    label: &'static str,
    /// Different keys, if not as usual.
    records: Option<u64>,
    /// Bytes of a value, if not as usual.
    value_bytes: Option<usize>,
    keys: Keys,
    /// Of an open loop.
    rate: Option<f64>,
    cases: Vec<Case>,
}

impl Group {
    fn usual(cases: Vec<Case>) -> Self {
        Self {
            label: "",
            records: None,
            value_bytes: None,
            keys: Keys::Uniform,
            rate: None,
            cases,
        }
    }

    fn other(label: &'static str, cases: Vec<Case>) -> Self {
        Self {
            label,
            ..Self::usual(cases)
        }
    }
}

/// All that `REGIONS` regions serve.
fn groups() -> Vec<Group> {
    let points = vec![
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
    ];
    let batches = vec![
        Case::new(Workload::BatchPut, 16, &[Floor, Redis, Etcd, Yadkv]),
        Case::new(Workload::BatchGet, 16, &[Redis, Etcd, Yadkv]),
    ];
    let scans = vec![Case {
        batch: 100,
        ..Case::new(Workload::Scan, 64, &[Etcd, TikvClient, Yadkv])
    }];
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
    let usual = [points, batches, scans, curve, ycsb.into()].map(Group::usual);
    usual.into_iter().chain(others()).collect()
}

/// What is not as usual.
fn others() -> [Group; 6] {
    let both = |clients| {
        let loads = [Workload::Put, Workload::Get];
        loads.map(|load| Case::new(load, clients, STORES)).into()
    };
    let puts = || vec![Case::new(Workload::Put, 256, STORES)];
    let large = vec![
        Case::new(Workload::Get, 256, &[Yadkv]),
        Case::new(Workload::A, 256, &[Yadkv]),
    ];
    [
        Group {
            rate: Some(OPEN_RATE),
            ..Group::other("5,000 begin a second", both(256))
        },
        Group {
            value_bytes: Some(16),
            ..Group::other("values of 16 bytes", both(256))
        },
        Group {
            value_bytes: Some(1 << 20),
            records: Some(200),
            ..Group::other("values of 1 MiB", both(4))
        },
        Group {
            keys: Keys::Sequential,
            ..Group::other("keys one after another", puts())
        },
        Group {
            keys: Keys::Zipfian,
            ..Group::other("few hot keys", puts())
        },
        Group {
            records: Some(LARGE_RECORDS),
            ..Group::other("1,000,000 records, more than memory holds", large)
        },
    ]
}

/// A run of the suite.
struct Suite<'a> {
    options: Options,
    set: &'a [String],
    results: Results,
}

/// Measures everything.
pub(super) async fn run(options: Options, set: &[String], folder: &Path) -> Outcome {
    fs::create_dir_all(folder).context(folder.display())?;
    let results = Results {
        machine: Machine::this(),
        programs: Programs::here(),
        seconds: options.time.as_secs(),
        records: options.shape.records,
        value_bytes: options.shape.value_bytes,
        rows: Vec::new(),
    };
    let mut suite = Suite {
        options,
        set,
        results,
    };
    for group in groups() {
        for target in TURNS {
            let cases = group.cases.iter();
            let cases = cases.filter(|case| case.targets.contains(&target));
            suite.turn(target, REGIONS, &group, cases.collect()).await?;
        }
    }
    let many = MANY_CLIENTS.map(|clients| Case::new(Workload::Put, clients, &[Yadkv]));
    let many = Group::usual(many.into());
    for regions in REGION_COUNTS {
        // What REGIONS regions do with 256 clients is known.
        let known = |case: &&Case| regions == REGIONS && case.clients == 256;
        let cases = many.cases.iter().filter(|case| !known(case));
        suite.turn(Yadkv, regions, &many, cases.collect()).await?;
    }
    let table = suite.results.table();
    say(format_args!("\n{table}"))?;
    write(folder, &suite.results)
}

impl Suite<'_> {
    /// Starts a target and measures cases of a group.
    async fn turn(
        &mut self,
        target: TargetName,
        regions: u32,
        group: &Group,
        cases: Vec<&Case>,
    ) -> Outcome {
        if cases.is_empty() {
            return Ok(());
        }
        let usual = self.options.shape;
        let shape = Shape {
            records: group.records.unwrap_or(usual.records),
            value_bytes: group.value_bytes.unwrap_or(usual.value_bytes),
            keys: group.keys,
            ..usual
        };
        let set: Vec<_> = std::iter::once(borders(regions, group.keys, shape.records))
            .chain(self.set.iter().cloned())
            .collect();
        let cluster = Cluster::Playground {
            set: &set,
            tls: false,
        };
        let running = Running::start(target, &cluster, shape.value_bytes).await?;
        let mut preload = true;
        for case in cases {
            let options = Options {
                workload: case.workload,
                shape: Shape {
                    batch: case.batch,
                    ..shape
                },
                clients: case.clients,
                rate: group.rate,
                preload,
                warm_up: WARM_UP,
                ..self.options
            };
            preload &= !case.workload.reads();
            let report = measure(&running, options).await?;
            print(&report, false)?;
            let is_cluster = matches!(target, Yadkv | TikvClient);
            self.results.rows.push(Row {
                case: case.name(group.label),
                usual: group.label.is_empty(),
                regions: if is_cluster { regions } else { 0 },
                report,
            });
        }
        running.stop().await;
        Ok(())
    }
}

fn write(folder: &Path, results: &Results) -> Outcome {
    let save = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).context(path.display())
    };
    save("RESULTS.md", results.document(&plots::NAMES))?;
    let json = serde_json::to_string_pretty(results).context("results")?;
    save("results.json", json)?;
    plots::write(folder, results)
}
