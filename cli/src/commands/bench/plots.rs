//! Pictures of what the suite has measured.
//!
//! *Place*: [`super::suite`] writes them beside its table.
//!
//! *Invariants*: curves are of loads with records and rates as usual.
//!
//! *Next stop*: `yadkv_benches::plot`.

use super::suite::{CLIENTS, MANY_CLIENTS, REGIONS};
use crate::failure::{Context, Outcome};
use std::path::Path;
use yadkv_benches::plot::{self, Axes, Line, X};
use yadkv_benches::report::Report;
use yadkv_benches::results::{Results, Row};

/// Files, without their ending.
pub(super) const NAMES: [&str; 4] = ["clients", "latency", "regions", "time"];
const PERCENTILES: [&str; 5] = ["50 %", "95 %", "99 %", "99.9 %", "all"];
/// Targets and loads that are plotted.
const CURVES: [(&str, &str); 4] = [
    ("yadkv", "get"),
    ("yadkv", "put"),
    ("etcd", "get"),
    ("etcd", "put"),
];
const REDIS_CURVES: [(&str, &str); 2] = [("redis", "get"), ("redis", "put")];

/// Writes all of them into a folder.
pub(super) fn write(folder: &Path, results: &Results) -> Outcome {
    let picture = |name: &str, axes, lines: &[Line]| {
        plot::lines(&folder.join(format!("{name}.svg")), axes, lines).context("plot")
    };
    let rate = "operations a second";
    let axes = Axes {
        title: "Throughput over clients",
        x: X::Log("clients"),
        y: rate,
    };
    picture(NAMES[0], axes, &over_clients(results))?;
    let axes = Axes {
        title: "Latency of 256 clients: so many answers came within",
        x: X::Names(&PERCENTILES),
        y: "microseconds",
    };
    picture(NAMES[1], axes, &latencies(results))?;
    let axes = Axes {
        title: "Puts over regions",
        x: X::Log("regions"),
        y: rate,
    };
    picture(NAMES[2], axes, &over_regions(results))?;
    let seconds: Vec<_> = (1..=results.seconds)
        .map(|second| format!("{second}"))
        .collect();
    let seconds: Vec<&str> = seconds.iter().map(String::as_str).collect();
    let axes = Axes {
        title: "Operations in each second, 256 clients",
        x: X::Names(&seconds),
        y: rate,
    };
    picture(NAMES[3], axes, &over_time(results))
}

/// Rows of one target and load, over `REGIONS` regions if it has some.
fn rows<'a>(results: &'a Results, target: &str, workload: &str) -> impl Iterator<Item = &'a Row> {
    results.rows.iter().filter(move |row| {
        let named = row.report.target == target && row.report.workload == workload;
        named && row.usual && (row.regions == 0 || row.regions == REGIONS)
    })
}

fn over_clients(results: &Results) -> Vec<Line> {
    let mut lines = Vec::new();
    for (target, workload) in CURVES {
        let all = rows(results, target, workload).map(|row| &row.report);
        let mut points: Vec<_> = all
            .filter(|report| CLIENTS.contains(&report.clients))
            .map(|report| (report.clients as f64, report.ops_per_s))
            .collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        lines.push(Line {
            name: format!("{target}, {workload}"),
            points,
        });
    }
    lines
}

/// A line for each target and load of 256 clients.
fn of_256_clients(results: &Results, points: impl Fn(&Report) -> Vec<f64>) -> Vec<Line> {
    let line = |(target, workload): (&str, &str)| {
        let report = rows(results, target, workload).find(|row| row.report.clients == 256)?;
        let points = points(&report.report).into_iter().enumerate();
        Some(Line {
            name: format!("{target}, {workload}"),
            points: points.map(|(at, value)| (at as f64, value)).collect(),
        })
    };
    CURVES
        .into_iter()
        .chain(REDIS_CURVES)
        .filter_map(line)
        .collect()
}

fn latencies(results: &Results) -> Vec<Line> {
    of_256_clients(results, |report| {
        let all = [
            report.p50_us,
            report.p95_us,
            report.p99_us,
            report.p999_us,
            report.max_us,
        ];
        all.map(|us| us as f64).into()
    })
}

fn over_time(results: &Results) -> Vec<Line> {
    of_256_clients(results, |report| {
        report
            .per_second
            .iter()
            .map(|count| *count as f64)
            .collect()
    })
}

fn over_regions(results: &Results) -> Vec<Line> {
    let line = |clients: usize| {
        let rows = results.rows.iter().filter(|row| {
            let report = &row.report;
            let put = report.target == "yadkv" && report.workload == "put";
            put && row.usual && report.clients == clients
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
