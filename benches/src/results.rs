//! Measurements of several targets side by side.
//!
//! *Place*: the suite of `yadkv bench` fills [`Results`] and writes what they render.
//!
//! *Invariants*: ratios are within one run.
//!
//! *Next stop*: [`crate::plot`].

use crate::machine::{Machine, Programs};
use crate::report::Report;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Who ratios are to.
const BASE: &str = "etcd";

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Results {
    /// Where.
    pub machine: Machine,
    /// Of which versions.
    pub programs: Programs,
    /// How long each load was measured.
    pub seconds: u64,
    /// Different keys, unless a load's name says otherwise.
    pub records: u64,
    /// Bytes of a value, unless a load's name says otherwise.
    pub value_bytes: usize,
    /// In the order of the run.
    pub rows: Vec<Row>,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was asked of all targets; ratios are between rows of one case.
    pub case: String,
    /// Whether records and rate are as usual.
    pub usual: bool,
    /// Regions that the load spreads over, of a cluster.
    pub regions: u32,
    /// What came out.
    pub report: Report,
}

impl Results {
    /// As a document, with links to the plots beside it.
    pub fn document(&self, plots: &[&str]) -> String {
        let mut text = String::from("# Results of the last full run\n\n");
        let _ = writeln!(
            text,
            "`yadkv bench --suite`, {} s a load, 1 second of warm-up; {} records of {} bytes, which all memories hold, \
             and uniform keys, unless a load says otherwise (a to f are YCSB's loads, with its distributions of keys); {}. \
             {}.\n\n\
             Everything is synced to disk before it is answered. Redis is one server without replicas; floor is what three \
             replicas have to write, without network or agreement, in the client's process; tikv-client is the published client \
             on yadkv, tikv-client-null the same on stores that do nothing. Clients of etcd go to its leader. A scan has an \
             end with half as many more records before it than it may give back; echoes of reads carry back as many bytes as \
             a value has. Latencies of an open loop count from the moment that was meant.\n",
            self.seconds, self.records, self.value_bytes, self.machine, self.programs
        );
        text.push_str(&self.table());
        for plot in plots {
            let _ = writeln!(text, "\n![{plot}]({plot}.svg)");
        }
        text
    }

    /// As a Markdown table, case by case.
    pub fn table(&self) -> String {
        let mut text = format!(
            "| load | target | regions | ops/s | × {BASE} | p50 µs | p99 µs | p99.9 µs | CPU µs an answer: client, servers | errors |\n\
             |---|---|---|---|---|---|---|---|---|---|\n"
        );
        let mut cases: BTreeMap<usize, Vec<&Row>> = BTreeMap::new();
        for row in &self.rows {
            let first = self.rows.iter().position(|other| other.case == row.case);
            cases
                .entry(first.unwrap_or_default())
                .or_default()
                .push(row);
        }
        for rows in cases.values() {
            let base = rows.iter().find(|row| row.report.target == BASE);
            for row in rows {
                let _ = writeln!(text, "{}", line(row, base.copied()));
            }
        }
        text
    }
}

fn line(row: &Row, base: Option<&Row>) -> String {
    let report = &row.report;
    let ratio = base.map_or_else(String::new, |base| {
        format!("{:.2}", report.ops_per_s / base.report.ops_per_s)
    });
    let regions = match row.regions {
        0 => String::new(),
        regions => regions.to_string(),
    };
    let server = match report.server_us_per_op {
        Some(micros) => format!("{micros:.1}"),
        None => "–".to_owned(),
    };
    format!(
        "| {} | {} | {regions} | {:.0} | {ratio} | {} | {} | {} | {:.1}, {server} | {} |",
        row.case,
        report.target,
        report.ops_per_s,
        report.p50_us,
        report.p99_us,
        report.p999_us,
        report.client_us_per_op,
        report.errors,
    )
}
