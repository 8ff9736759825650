//! Loads beside etcd, the echo service and others: medians of three ratios, each of two runs soon after one another.
//!
//! *Life of a round*: every pair of [`LINES`] is measured, a run that two lines share once → three rounds → the median of
//! each line's ratios.
//!
//! *Limits*: a round takes about six minutes.
//!
//! *Next stop*: [`super::sustained`].

use super::bench::{Run, run};
use crate::Figure;
use std::collections::BTreeMap;

const ROUNDS: usize = 3;
const SECONDS: &str = "6";
const RECORDS: &str = "50000";

/// One target under one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    target: &'static str,
    load: &'static str,
    clients: u32,
    regions: u32,
}

impl Case {
    fn run(self) -> Run {
        let batch = if self.load == "batch-put" { 128 } else { 100 };
        let flags = [
            ("target", self.target.to_owned()),
            ("workload", self.load.to_owned()),
            ("clients", self.clients.to_string()),
            ("regions", self.regions.to_string()),
            ("batch", batch.to_string()),
            ("records", RECORDS.to_owned()),
            ("warm-up", "1".to_owned()),
            ("seconds", SECONDS.to_owned()),
        ];
        let flags = flags.map(|(name, value)| format!("--{name}={value}"));
        run(&flags)
    }
}

/// What of two runs is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Rate,
    P50,
    P99,
}

impl What {
    fn of(self, run: Run) -> f64 {
        match self {
            Self::Rate => run.rate,
            Self::P50 => run.p50_us,
            Self::P99 => run.p99_us,
        }
    }
}

/// A promise: so many times as much, or of latencies as long, at most.
struct Line {
    what: What,
    ours: Case,
    theirs: Case,
    asked: f64,
}

const fn case(target: &'static str, load: &'static str, clients: u32) -> Case {
    Case {
        target,
        load,
        clients,
        regions: 8,
    }
}

const fn over_regions(clients: u32, regions: u32) -> Case {
    Case {
        target: "yadkv",
        load: "put",
        clients,
        regions,
    }
}

const fn line(what: What, ours: Case, theirs: Case, asked: f64) -> Line {
    Line {
        what,
        ours,
        theirs,
        asked,
    }
}

/// Beside etcd under the same load.
const fn beside_etcd(load: &'static str, clients: u32, asked: f64) -> Line {
    let theirs = case("etcd", load, clients);
    line(What::Rate, case("yadkv", load, clients), theirs, asked)
}

const LINES: [Line; 18] = [
    beside_etcd("put", 256, 5.0),
    line(
        What::Rate,
        case("tikv-client", "put", 256),
        case("etcd", "put", 256),
        2.5,
    ),
    line(
        What::P50,
        case("yadkv", "put", 1),
        case("etcd", "put", 1),
        0.5,
    ),
    line(
        What::P99,
        case("yadkv", "put", 1),
        case("etcd", "put", 1),
        1.0,
    ),
    beside_etcd("get", 256, 15.0),
    line(
        What::Rate,
        case("yadkv", "get", 256),
        case("echo-stream", "get", 256),
        0.5,
    ),
    line(
        What::P50,
        case("yadkv", "get", 1),
        case("echo-stream", "get", 1),
        1.3,
    ),
    line(
        What::Rate,
        case("tikv-client", "get", 256),
        case("tikv-client-null", "get", 256),
        0.75,
    ),
    line(
        What::Rate,
        case("yadkv", "batch-put", 16),
        case("floor", "batch-put", 16),
        0.6,
    ),
    beside_etcd("scan", 64, 4.0),
    beside_etcd("a", 64, 4.0),
    beside_etcd("b", 64, 10.0),
    beside_etcd("c", 64, 10.0),
    beside_etcd("d", 64, 10.0),
    beside_etcd("e", 64, 4.0),
    beside_etcd("f", 64, 4.0),
    line(
        What::Rate,
        over_regions(256, 500),
        over_regions(256, 8),
        0.6,
    ),
    line(
        What::Rate,
        over_regions(2048, 500),
        over_regions(2048, 8),
        0.8,
    ),
];
/// Processor time of the client for a get, microseconds.
const CLIENT_US_MAX: f64 = 5.0;

pub(crate) fn measure() -> Vec<Figure> {
    let mut ratios = vec![Vec::new(); LINES.len()];
    let mut client_us = Vec::new();
    for round in 1..=ROUNDS {
        let mut runs: BTreeMap<Case, Run> = BTreeMap::new();
        for (line, ratios) in LINES.iter().zip(&mut ratios) {
            let mut once = |case: Case| *runs.entry(case).or_insert_with(|| case.run());
            let (ours, theirs) = (once(line.ours), once(line.theirs));
            let (ours, theirs) = (line.what.of(ours), line.what.of(theirs));
            eprintln!("  round {round}: {}: {ours:.0}, {theirs:.0}", line.name());
            ratios.push(ours / theirs);
        }
        client_us.push(runs[&case("yadkv", "get", 256)].client_us);
    }
    let figures = LINES.iter().zip(ratios);
    let mut figures: Vec<_> = figures.map(|(line, ratios)| line.figure(ratios)).collect();
    let what = "client's processor time for a get, 256 clients";
    figures.push(Figure::at_most(
        what,
        CLIENT_US_MAX,
        median(client_us),
        "µs",
    ));
    figures
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

impl Line {
    fn name(&self) -> String {
        let Case {
            target,
            load,
            clients,
            regions,
        } = self.ours;
        let what = match self.what {
            What::Rate => "a second",
            What::P50 => "p50",
            What::P99 => "p99",
        };
        let other = match self.theirs.regions == regions {
            true => self.theirs.target.to_owned(),
            false => format!("{} regions", self.theirs.regions),
        };
        format!("{load}, {clients} clients, {target} on {regions} regions beside {other}: {what}")
    }

    fn figure(&self, ratios: Vec<f64>) -> Figure {
        let reached = median(ratios);
        match self.what {
            What::Rate => Figure::at_least(self.name(), self.asked, reached, "×"),
            What::P50 | What::P99 => Figure::at_most(self.name(), self.asked, reached, "×"),
        }
    }
}
