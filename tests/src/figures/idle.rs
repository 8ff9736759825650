//! What a store costs that has nothing to do: memory and processor with 100 regions.
//!
//! *Next stop*: [`super::store_kill`].

use crate::Figure;
use std::time::{Duration, Instant};
use yadkv_tests::Cluster;
use yadkv_tests::borders;
use yadkv_tests::process::{processor_seconds, resident_mib};

const REGIONS: u32 = 100;
const RESIDENT_MIB_MAX: f64 = 150.0;
const PERCENT_OF_A_CORE_MAX: f64 = 2.0;
/// Time for the first elections and heartbeats to be over.
const SETTLE: Duration = Duration::from_secs(10);
const WINDOW: Duration = Duration::from_secs(30);

pub(crate) fn measure() -> Vec<Figure> {
    let cluster = Cluster::start(&[&borders(REGIONS)]);
    cluster.wait_until_leaders_are_spread();
    std::thread::sleep(SETTLE);
    let stores: Vec<u32> = cluster
        .stores
        .iter()
        .filter_map(|store| store.id())
        .collect();
    let used = || -> Vec<f64> { stores.iter().map(|id| processor_seconds(*id)).collect() };
    let (begun, before) = (Instant::now(), used());
    std::thread::sleep(WINDOW);
    let (after, seconds) = (used(), begun.elapsed().as_secs_f64());
    let percent = before
        .iter()
        .zip(&after)
        .map(|(before, after)| (after - before) / seconds * 100.0)
        .fold(0.0, f64::max);
    let resident = stores
        .iter()
        .map(|id| resident_mib(*id).expect("the process runs"))
        .fold(0.0, f64::max);
    let of = format!("idle store with {REGIONS} regions");
    vec![
        Figure::at_most(format!("{of}: resident"), RESIDENT_MIB_MAX, resident, "MiB"),
        Figure::at_most(
            format!("{of}: processor"),
            PERCENT_OF_A_CORE_MAX,
            percent,
            "% of a core",
        ),
    ]
}
