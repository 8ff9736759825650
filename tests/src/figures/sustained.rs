//! Puts until four gigabytes were written over a gigabyte of records: what is left of the speed when tables are merged
//! beside it, and how much the stores write for it.
//!
//! *Life of the figure*: etcd for half a minute, in which it has nothing to tidy up yet → a cluster of ours, its records
//! written once (a load that reads does that first) → puts of random records for [`TRIAL_SECONDS`], then at full speed until
//! about [`USER_BYTES`] were put; `/proc/PID/io` says what the stores gave to the disk meanwhile.
//!
//! *Next stop*: [`super::bench`].

use super::bench::run;
use crate::Figure;
use std::fs;
use yadkv_tests::{Cluster, borders};

const USER_BYTES: f64 = (4_u64 << 30) as f64;
const RECORDS: u32 = 1_000_000;
const VALUE_BYTES: f64 = 1024.0;
const CLIENTS: &str = "--clients=256";
const REGIONS: u32 = 8;
const RATIO_MIN: f64 = 2.5;
const WRITTEN_MAX: f64 = 16.0;
/// Seconds of a run that says how long the long one has to be.
const TRIAL_SECONDS: u32 = 10;

pub(crate) fn measure() -> Vec<Figure> {
    let etcd = ["--target=etcd", CLIENTS, "--records=50000", "--seconds=30"];
    let etcd = run(&etcd.map(str::to_owned)).rate;
    let cluster = Cluster::start(&[&borders(REGIONS), "store.memory=256MiB"]);
    let load = |workload: &str, seconds: u32| {
        let flags = [
            format!("--pd={}", cluster.pd()),
            format!("--workload={workload}"),
            format!("--records={RECORDS}"),
            format!("--seconds={seconds}"),
            CLIENTS.to_owned(),
        ];
        run(&flags).rate
    };
    load("get", 1);
    let trial = load("put", TRIAL_SECONDS);
    let seconds = (USER_BYTES / (trial * VALUE_BYTES)).ceil() as u32;
    let before = written(&cluster);
    let rate = load("put", seconds);
    let user = rate * f64::from(seconds) * VALUE_BYTES;
    let stores = written(&cluster) - before;
    eprintln!("  {rate:.0} puts/s for {seconds} s, etcd {etcd:.0}/s");
    vec![
        Figure::at_least(
            "put, 256 clients, over 4 GiB",
            RATIO_MIN,
            rate / etcd,
            "× etcd",
        ),
        Figure::at_most(
            "bytes written to disk for a byte put, three replicas",
            WRITTEN_MAX,
            stores / user,
            "",
        ),
    ]
}

/// Bytes that the stores have given to their disks.
fn written(cluster: &Cluster) -> f64 {
    let ids = cluster.stores.iter().filter_map(|store| store.id());
    ids.map(|id| {
        let io = fs::read_to_string(format!("/proc/{id}/io")).expect("our own process");
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        let bytes: f64 = line.and_then(|bytes| bytes.parse().ok()).expect("a number");
        bytes
    })
    .sum()
}
