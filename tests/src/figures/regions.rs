//! A thousand regions that a small split size makes of 200,000 records: all found, and what they cost at rest.
//!
//! *Life*: a new cluster is looked at, then one that cuts regions while records are imported → the difference counts
//! as what the regions cost, though some of it is the records' own.
//!
//! *Next stop*: [`super::scrape`].

use crate::Figure;
use std::time::{Duration, Instant};
use yadkv_client::raw::ScanOptions;
use yadkv_client::{Api, Client, Options};
use yadkv_tests::Cluster;
use yadkv_tests::process::{processor_seconds, resident_mib};

const RECORDS: u64 = 200_000;
const BATCH: u64 = 512;
/// Pairs of a region: it is cut at half as many again.
const SPLIT_KEYS: u64 = 160;
const REGIONS_MIN: usize = 1000;
const PERCENT_OF_A_CORE_MAX: f64 = 10.0;
const KIB_A_REGION_MAX: f64 = 60.0;
/// How long regions may go on being cut after the last record.
const CUT_MAX: Duration = Duration::from_secs(120);
/// Time for elections and heartbeats to be over.
const SETTLE: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_secs(30);

/// What was seen of one cluster.
struct Seen {
    regions: usize,
    seconds: f64,
    resident_mib: f64,
    percent: f64,
}

pub(crate) fn measure() -> Vec<Figure> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (before_mib, _) = runtime.block_on(new_cluster());
    let many = runtime.block_on(import());
    let kib = (many.resident_mib - before_mib) * 1024.0 / many.regions as f64;
    eprintln!(
        "imported in {:.1} s; a store takes {before_mib:.1} MiB without records, {:.1} MiB with all regions",
        many.seconds, many.resident_mib
    );
    let of = format!("{} regions at rest", many.regions);
    vec![
        Figure::at_least(
            format!("{RECORDS} records, all found and scanned: regions"),
            REGIONS_MIN as f64,
            many.regions as f64,
            "",
        ),
        Figure::at_most(
            format!("{of}: processor of a store"),
            PERCENT_OF_A_CORE_MAX,
            many.percent,
            "% of a core",
        ),
        Figure::at_most(
            format!("{of}: resident a region"),
            KIB_A_REGION_MAX,
            kib,
            "KiB",
        ),
    ]
}

fn key(number: u64) -> String {
    format!("user{number:016}")
}

/// What the stores of a new cluster cost.
async fn new_cluster() -> (f64, f64) {
    let cluster = Cluster::start(&["store.memory=256MiB"]);
    tokio::time::sleep(SETTLE).await;
    cost(&cluster).await
}

/// Imports, waits for as many regions, reads everything back, and looks at the stores.
async fn import() -> Seen {
    let split = format!("region.split_keys={SPLIT_KEYS}");
    let cluster = Cluster::start(&["store.memory=256MiB", &split]);
    let options = Options {
        api: Api::V1,
        ..Options::default()
    };
    let endpoints = cluster.endpoints.clone();
    let client = Client::connect(endpoints, options)
        .await
        .expect("the cluster answers");
    let raw = client.raw();
    let begun = Instant::now();
    for first in (0..RECORDS).step_by(BATCH as usize) {
        let numbers = first..(first + BATCH).min(RECORDS);
        let pairs = numbers.map(|number| (key(number), format!("value-{number}")));
        raw.batch_put(pairs).await.expect("the cluster answers");
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mut regions = 0;
    while begun.elapsed() < CUT_MAX {
        let found = client.admin().regions("", 0).await;
        regions = found.expect("the placement driver answers").len();
        if regions >= REGIONS_MIN {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let all = raw.scan_all(key(0), key(RECORDS), ScanOptions::default());
    let all = all.await.expect("the cluster answers");
    assert_eq!(all.len() as u64, RECORDS, "records are missing");
    for (number, pair) in (0..).zip(&all) {
        assert_eq!(pair.key, key(number));
        assert_eq!(pair.value, format!("value-{number}"));
    }
    let sum = raw.checksum(key(0), key(RECORDS)).await;
    assert_eq!(sum.expect("the cluster answers").total_kvs, RECORDS);
    drop(client);
    tokio::time::sleep(SETTLE).await;
    let (resident_mib, percent) = cost(&cluster).await;
    Seen {
        regions,
        seconds,
        resident_mib,
        percent,
    }
}

/// Most of any store: resident memory, and percent of a core.
async fn cost(cluster: &Cluster) -> (f64, f64) {
    let stores = cluster.stores.iter().filter_map(|store| store.id());
    let stores: Vec<u32> = stores.collect();
    let used = || -> Vec<f64> { stores.iter().map(|id| processor_seconds(*id)).collect() };
    let (begun, before) = (Instant::now(), used());
    tokio::time::sleep(WINDOW).await;
    let (after, seconds) = (used(), begun.elapsed().as_secs_f64());
    let percent = before.iter().zip(&after);
    let percent = percent.map(|(before, after)| (after - before) / seconds * 100.0);
    let resident = stores
        .iter()
        .map(|id| resident_mib(*id).expect("the process runs"));
    (resident.fold(0.0, f64::max), percent.fold(0.0, f64::max))
}
